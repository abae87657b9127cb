//! Puts an answer on the wire, with the faults the script asks for. The one place that does, for both vendors.

use std::{collections::VecDeque, future::ready, io, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    End, Stage,
    script::{ErrorEvent, Hang, Script, Status},
    seen::Watch,
};

/// What one vendor's words for a fault are.
pub(crate) trait Dialect {
    /// The answer for a scripted status.
    fn refuse(status: &Status) -> Response;
    /// The answer for an error after the 200 of a call without a stream; it may be 200 as well.
    fn failed_answer(answer: &Value, code: u16) -> Response;
    /// The last event of a stream that fails. `sample` is an event of that stream.
    fn error_event(sample: &Value, error: &ErrorEvent) -> Value;
}

/// How events become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// OpenRouter: comments first, LF, `[DONE]` last.
    Commented,
    /// Gemini with `alt=sse`: CRLF, no end marker.
    Bare,
    /// Gemini without it: one JSON array, element by element.
    Array,
}

impl Framing {
    fn event(self, position: u64, event: &Value) -> String {
        match self {
            Self::Commented => format!("data: {event}\n\n"),
            Self::Bare => format!("data: {event}\r\n\r\n"),
            Self::Array => format!("{}{event}", if position == 0 { "[" } else { ",\r\n" }),
        }
    }

    fn preface(self) -> Option<&'static str> {
        (self == Self::Commented).then_some(": OPENROUTER PROCESSING\n\n")
    }

    fn closing(self) -> Option<&'static str> {
        match self {
            Self::Commented => Some("data: [DONE]\n\n"),
            Self::Bare => None,
            Self::Array => Some("]"),
        }
    }
}

/// An answer that is ready to be sent.
pub(crate) enum Answer {
    Whole(Value),
    Events(Framing, Vec<Value>),
}

/// What to do when the answer ends or is abandoned: gets the number of events and whether the client left.
pub(crate) type Closing = Box<dyn FnOnce(u64, bool) + Send>;

pub(crate) async fn play<D: Dialect>(
    stage: &Arc<Stage>,
    mut watch: Watch,
    script: &Script,
    answer: Answer,
    closing: Closing,
) -> Response {
    if !script.delay.is_zero() {
        tokio::time::sleep(script.delay).await;
    }
    if script.hang == Some(Hang::AtOnce) {
        until_stopped(stage.stopped.clone()).await;
    }
    let fault = match (&script.status, script.html) {
        (Some(status), _) => Some(D::refuse(status)),
        (None, Some(code)) => Some(page(code)),
        (None, None) => None,
    };
    if let Some(response) = fault {
        watch.status(response.status());
        watch.end(End::Completed);
        return response;
    }
    match answer {
        Answer::Whole(answer) => whole::<D>(watch, script, &answer, closing),
        Answer::Events(framing, events) => {
            watch.status(StatusCode::OK);
            let performance = Performance {
                steps: steps::<D>(script, framing, events),
                watch,
                slow: script.slow,
                sent: 0,
                stopped: stage.stopped.clone(),
                closing: Some(closing),
            };
            let kind = if framing == Framing::Array { "application/json; charset=UTF-8" } else { "text/event-stream" };
            let mut response = Response::new(Body::from_stream(performance.stream()));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            response
        }
    }
}

/// A JSON answer with this status.
pub(crate) fn json(status: u16, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).expect("only written as literals or checked by the script");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    response
}

fn page(code: u16) -> Response {
    let mut response = json(code, &Value::Null);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
    *response.body_mut() =
        Body::from(format!("<!DOCTYPE html><html><head><title>{code}: A timeout occurred</title></head></html>"));
    response
}

fn whole<D: Dialect>(mut watch: Watch, script: &Script, answer: &Value, closing: Closing) -> Response {
    let text = answer.to_string();
    let half = || Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]);
    let (mut response, end) = if script.cut.is_some() {
        let parts = stream::once(ready(Ok(half()))).chain(stream::once(breaking()));
        (Response::new(Body::from_stream(parts)), End::Cut)
    } else if script.malformed.is_some() {
        (Response::new(Body::from(half())), End::Completed)
    } else if let Some(error) = &script.error {
        (D::failed_answer(answer, error.code), End::Completed)
    } else {
        (json(200, answer), End::Completed)
    };
    if !response.headers().contains_key(header::CONTENT_TYPE) {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    watch.status(response.status());
    watch.end(end);
    closing(u64::MAX, false);
    response
}

#[derive(Debug)]
enum Step {
    Event(String),
    /// Bytes that are no event: a comment, the end marker.
    Aside(String),
    Stall,
    Break,
}

/// The whole stream as a list of steps, faults included.
fn steps<D: Dialect>(script: &Script, framing: Framing, events: Vec<Value>) -> VecDeque<Step> {
    let mut steps = VecDeque::with_capacity(events.len() + 2);
    steps.extend(framing.preface().map(|text| Step::Aside(text.to_owned())));
    // One past the end as well, so that a fault after the last event is possible.
    let last = events.last().cloned().unwrap_or_default();
    for (position, event) in (0..).zip(events.into_iter().map(Some).chain([None])) {
        let sample = event.as_ref().unwrap_or(&last);
        if script.hang == Some(Hang::After(position)) {
            steps.push_back(Step::Stall);
            return steps;
        }
        if script.end == Some(position) {
            return steps;
        }
        if script.cut == Some(position) {
            let mut text = framing.event(position, sample);
            text.truncate(text.floor_char_boundary(text.len() / 2));
            steps.extend([Step::Aside(text), Step::Break]);
            return steps;
        }
        if let Some(error) = script.error.as_ref().filter(|error| error.after == position) {
            let event = D::error_event(sample, error);
            steps.push_back(Step::Event(if error.raw {
                format!("{event:#}\n")
            } else {
                framing.event(position, &event)
            }));
            return steps;
        }
        if script.malformed == Some(position) {
            let text = framing.event(position, sample);
            let end = text.len() - text.trim_end().len();
            let (body, close) = text.split_at(text.len() - end);
            steps.push_back(Step::Aside(format!("{}{close}", body.trim_end_matches(['}', ']']))));
        }
        if let Some(event) = event {
            steps.push_back(Step::Event(framing.event(position, &event)));
        }
    }
    steps.extend(framing.closing().map(|text| Step::Aside(text.to_owned())));
    steps
}

/// A stream on its way; dropped early, its watch and its closing note that the client left.
struct Performance {
    steps: VecDeque<Step>,
    watch: Watch,
    slow: Duration,
    sent: u64,
    stopped: watch::Receiver<bool>,
    closing: Option<Closing>,
}

impl Performance {
    fn stream(self) -> impl Stream<Item = io::Result<Bytes>> {
        stream::unfold(self, |mut this| async {
            let item = this.next().await?;
            Some((item, this))
        })
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        // A step leaves the list only when it is done: dropped while it waits, it was not sent.
        match self.steps.front() {
            Some(Step::Event(_)) if self.sent > 0 && !self.slow.is_zero() => tokio::time::sleep(self.slow).await,
            Some(Step::Stall) => until_stopped(self.stopped.clone()).await,
            _ => {}
        }
        match self.steps.pop_front() {
            Some(Step::Event(text)) => {
                self.sent += 1;
                self.watch.event();
                Some(Ok(text.into()))
            }
            Some(Step::Aside(text)) => Some(Ok(text.into())),
            Some(Step::Stall | Step::Break) => {
                let broken = breaking().await;
                self.close(End::Cut);
                Some(broken)
            }
            None => {
                self.close(End::Completed);
                None
            }
        }
    }

    fn close(&mut self, end: End) {
        // The record of the call first: who waits for its end may look it up at once.
        if let Some(closing) = self.closing.take() {
            closing(self.sent, end == End::ClientLeft);
        }
        self.watch.end(end);
    }
}

impl Drop for Performance {
    fn drop(&mut self) {
        if self.closing.is_some() {
            self.close(End::ClientLeft);
        }
    }
}

async fn until_stopped(mut stopped: watch::Receiver<bool>) {
    let _sender_gone = stopped.wait_for(|stop| *stop).await.is_err();
}

/// hyper answers an error in the body by breaking the connection, which is what is wanted.
async fn breaking() -> io::Result<Bytes> {
    // It throws away what it has not written yet, and writes when the body makes it wait: so make it wait once.
    tokio::task::yield_now().await;
    Err(io::Error::new(io::ErrorKind::ConnectionReset, "the script cuts here"))
}
