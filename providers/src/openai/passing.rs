//! A stream that passes through: its bytes are forwarded as they came, and what the books and the
//! caller's SDK need is read from them in passing.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aihub_core::chat::{ChatChunk, ChatEvent, ChatSource, ChunkChoice, Finish, UsageWire, tokens_in};
use aihub_core::json::Object;
use aihub_core::{Error, ErrorKind, Result, Usage};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};

use super::chunk::{self, Head};
use super::usage::{self, Reported};
use super::{Dialect, Words};
use crate::http::Frames;
use crate::sse::{self, Content, Splitter};

/// The events of a stream in `OpenAI`'s dialect.
pub(crate) struct Passing {
    frames: Frames,
    splitter: Splitter,
    dialect: Dialect,
    /// Events that are ready to be given out.
    ready: VecDeque<Result<ChatEvent>>,
    /// Whether an event with data has been seen.
    begun: bool,
    /// The choices that have said their role, a bit each.
    introduced: u128,
    /// Where roles are said again, among the events at hand.
    repeats: Vec<Range<usize>>,
    /// The choices that have their finish reason, a bit each.
    finished: u128,
    finish_reason: Option<Arc<str>>,
    called_tools: bool,
    done: bool,
    over: bool,
    reported: Option<Reported>,
    usage_event: Option<Bytes>,
    id: Option<Arc<str>>,
    model: Option<Arc<str>>,
    created: i64,
    text_bytes: usize,
}

/// What becomes of one event.
enum Fate {
    /// It is forwarded as it came.
    Pass,
    /// It is not forwarded.
    Drop,
    /// Something else is forwarded in its place.
    Replace(Bytes),
    /// The stream ends here with this error.
    Fail(Error),
}

impl Passing {
    /// Reads up to the first event with data: a reply exists once that does.
    pub(crate) async fn first(frames: Frames, dialect: Dialect) -> Result<Self> {
        let mut this = Self {
            frames,
            splitter: Splitter::default(),
            dialect,
            ready: VecDeque::new(),
            begun: false,
            introduced: 0,
            repeats: Vec::new(),
            finished: 0,
            finish_reason: None,
            called_tools: false,
            done: false,
            over: false,
            reported: None,
            usage_event: None,
            id: None,
            model: None,
            created: 0,
            text_bytes: 0,
        };
        let mut leading = VecDeque::new();
        while !this.begun {
            match this.next().await {
                Some(Ok(event @ ChatEvent::Frames(_))) => leading.push_back(Ok(event)),
                Some(Ok(event)) => {
                    leading.push_back(Ok(event));
                    break;
                }
                // Nothing of the answer was given out: what fails here may be served elsewhere.
                Some(Err(error)) => return Err(error.with_failover()),
                None => break,
            }
        }
        leading.append(&mut this.ready);
        this.ready = leading;
        Ok(this)
    }

    /// Takes complete events: runs of them that pass are forwarded as one slice.
    fn take(&mut self, events: &Bytes) {
        let mut from = 0;
        for event in sse::events(events) {
            let fate = match &event.content {
                Content::Silent => Fate::Pass,
                Content::Bare(bare) => self.bare(bare),
                content => self.data(content.data().unwrap_or_default(), events, event.start..event.end),
            };
            if matches!(fate, Fate::Pass) {
                continue;
            }
            self.forward(events, from..event.start);
            from = event.end;
            match fate {
                Fate::Pass | Fate::Drop => {}
                Fate::Replace(bytes) => self.give(bytes),
                Fate::Fail(error) => {
                    self.over = true;
                    self.ready.push_back(Err(error));
                    return;
                }
            }
        }
        self.forward(events, from..events.len());
    }

    /// Forwards a run of events, without the roles in it that were said before.
    fn forward(&mut self, events: &Bytes, run: Range<usize>) {
        let bytes = events.slice(run.clone());
        let repeats: Vec<_> = self.repeats.drain(..).filter(|place| place.end <= run.end).collect();
        if repeats.is_empty() {
            return self.give(bytes);
        }
        let mut changed = BytesMut::from(&*bytes);
        for place in repeats {
            // `null` and blanks: the same length, so that nothing else moves.
            let (null, blanks) = changed[place.start - run.start..place.end - run.start].split_at_mut(4);
            null.copy_from_slice(b"null");
            blanks.fill(b' ');
        }
        self.give(changed.freeze());
    }

    fn give(&mut self, bytes: Bytes) {
        if !bytes.is_empty() && !self.done {
            self.ready.push_back(Ok(ChatEvent::Frames(bytes)));
        }
    }

    fn data(&mut self, data: &[u8], events: &Bytes, place: Range<usize>) -> Fate {
        if data == b"[DONE]" {
            self.done = true;
            return Fate::Drop;
        }
        let Ok(head) = chunk::read(data) else {
            // The Node SDK throws at an event that is no JSON: the caller is better off without it.
            tracing::debug!(bytes = data.len(), "an upstream event that is no chunk was left out");
            return Fate::Drop;
        };
        self.begun = true;
        if self.id.is_none() {
            self.id = head.id.as_deref().map(Arc::from);
            self.model = head.model.as_deref().map(Arc::from);
            self.created = head.created.unwrap_or_default();
        }
        if let Some(raw) = head.usage
            && let Ok(reported) = usage::read(raw.get())
        {
            self.reported = Some(reported);
        }
        if let Some(error) = &head.error {
            return Fate::Fail(self.failed(&Words::read(error)));
        }
        self.text_bytes += head.choices().iter().map(|choice| choice.delta.text_bytes).sum::<usize>();
        self.called_tools |= head.choices().iter().any(|choice| choice.delta.calls);
        if self.dialect.repeats_role {
            self.note_roles(&head, events);
        }
        let news = self.note_finishes(&head);
        let silent = head.choices().iter().all(|choice| choice.delta.is_empty());
        match head.usage {
            // The usage has an event of its own, which is written anew at the end, or kept for it
            // where it holds nothing but usage.
            Some(_) if head.choices().is_empty() => {
                let clean = self.reported.is_some_and(|reported| !reported.has_cost);
                self.usage_event = clean.then(|| events.slice(place)).or(self.usage_event.take());
                Fate::Drop
            }
            Some(_) if silent && !news => Fate::Drop,
            Some(_) => without_usage(data).map_or(Fate::Drop, Fate::Replace),
            // A finish reason that comes again with nothing else is a second end to some readers.
            None if silent && !news && head.repeats_finish() => Fate::Drop,
            None if head.choices.is_none() => with_choices(data).map_or(Fate::Drop, Fate::Replace),
            None => Fate::Pass,
        }
    }

    /// Notes where the role of a choice is said again, quotes included.
    ///
    /// `OpenRouter` says it in every delta, and the accumulator of the official Python SDK joins
    /// strings: its caller would send `assistantassistant` back in the next turn.
    fn note_roles(&mut self, head: &Head<'_>, events: &Bytes) {
        for choice in head.choices() {
            let (bit, Some(role)) = (1u128 << choice.index.min(127), choice.delta.role) else { continue };
            let start = (role.as_ptr() as usize).wrapping_sub(events.as_ptr() as usize);
            // Data of several lines was joined elsewhere: it has no place among these bytes.
            if self.introduced & bit != 0 && (1..events.len()).contains(&start) && role.len() >= 4 {
                self.repeats.push(start - 1..start + role.len() + 1);
            }
            self.introduced |= bit;
        }
    }

    /// Whether the event brings a finish reason that was not there yet.
    fn note_finishes(&mut self, head: &Head<'_>) -> bool {
        let mut news = false;
        for choice in head.choices() {
            let Some(reason) = &choice.finish_reason else { continue };
            let bit = 1u128 << choice.index.min(127);
            news |= self.finished & bit == 0;
            self.finished |= bit;
            self.finish_reason = Some(match &**reason {
                "stop" => Arc::clone(&STOP),
                other => Arc::from(other),
            });
        }
        news
    }

    /// Bare JSON between the events is an error in disguise; anything else is noise.
    fn bare(&mut self, bare: &[u8]) -> Fate {
        match chunk::read(bare) {
            Ok(head) if head.error.is_some() => Fate::Fail(self.failed(&Words::read(&head.error.unwrap_or_default()))),
            _ => Fate::Drop,
        }
    }

    fn failed(&self, words: &Words<'_>) -> Error {
        let error = (self.dialect.explain)(words);
        match self.reported {
            Some(reported) => reported.cost.into_iter().fold(error.with_spent(reported.usage), Error::with_vendor_cost),
            None => error,
        }
    }

    /// The upstream has said everything, or has broken off.
    fn end(&mut self) {
        self.over = true;
        let rest = self.splitter.finish();
        if !self.done && !rest.is_empty() {
            // A last event without its blank line is whole if it can be read at all.
            self.take(&rest);
            if self.ready.back().is_some_and(Result::is_err) {
                return;
            }
        }
        if !self.done && self.finished == 0 {
            let cut = Error::new(ErrorKind::BadUpstream, "The upstream broke off in the middle of its answer");
            self.ready.push_back(Err(cut.with_code("upstream_truncated").with_failover()));
            return;
        }
        if self.finished == 0 && self.begun {
            let finish = self.missing_finish();
            self.ready.push_back(Ok(ChatEvent::Chunk(Box::new(finish))));
        }
        let mut finish = Finish::new(self.reported.map(|reported| reported.usage), self.finish_reason.clone());
        finish.vendor_cost = self.reported.and_then(|reported| reported.cost);
        finish.own_key_cost = self.reported.and_then(|reported| reported.own_key_cost);
        finish.usage_event = self.usage_event.take().or_else(|| self.usage_anew());
        finish.model.clone_from(&self.model);
        self.ready.push_back(Ok(ChatEvent::Finish(Box::new(finish))));
    }

    /// The usage in the shape that `OpenAI` gives it, where the upstream used another one or told
    /// what it charges us.
    fn usage_anew(&self) -> Option<Bytes> {
        let chunk = self.chunk(Vec::new(), Some((&self.reported?.usage).into()));
        let json = serde_json::to_vec(&chunk).ok()?;
        Some([b"data: ", &*json, b"\n\n"].concat().into())
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<UsageWire>) -> ChatChunk {
        ChatChunk {
            id: self.id.clone().unwrap_or_default(),
            object: "chat.completion.chunk".into(),
            created: self.created,
            model: self.model.clone().unwrap_or_default(),
            choices,
            usage,
        }
    }

    /// Some upstreams end properly and never say why: SDKs that wait for a reason get one.
    fn missing_finish(&mut self) -> ChatChunk {
        let reason = if self.called_tools { "tool_calls" } else { "stop" };
        self.finish_reason = Some(Arc::from(reason));
        self.chunk(vec![ChunkChoice { finish_reason: Some(reason.to_owned()), ..ChunkChoice::default() }], None)
    }
}

static STOP: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| Arc::from("stop"));

/// The event without its usage, where it also holds part of the answer.
fn without_usage(data: &[u8]) -> Option<Bytes> {
    replaced(data, "usage", "null")
}

/// `"choices": null` breaks readers that expect a list.
fn with_choices(data: &[u8]) -> Option<Bytes> {
    replaced(data, "choices", "[]")
}

fn replaced(data: &[u8], field: &str, json: &'static str) -> Option<Bytes> {
    let object = Object::scan(Bytes::copy_from_slice(data)).ok()?;
    let json = object.edit().set(field, json).finish().into_bytes();
    Some([b"data: ", &*json, b"\n\n"].concat().into())
}

impl Stream for Passing {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(event) = this.ready.pop_front() {
                return Poll::Ready(Some(event));
            }
            if this.over {
                return Poll::Ready(None);
            }
            match Pin::new(&mut this.frames).poll_next(cx) {
                // The caller does not wait for the upstream to hang up after its last word; polled
                // once for it, so that a connection at its end goes back to the pool.
                Poll::Pending if this.done => this.end(),
                polled => match ready!(polled) {
                    Some(Ok(frame)) => match this.splitter.push(frame) {
                        Ok(events) => this.take(&events),
                        Err(error) => {
                            this.over = true;
                            this.ready.push_back(Err(error));
                        }
                    },
                    Some(Err(_)) if this.done || this.finished != 0 => this.end(),
                    Some(Err(error)) => {
                        this.over = true;
                        this.ready.push_back(Err(error));
                    }
                    None => this.end(),
                },
            }
        }
    }
}

impl ChatSource for Passing {
    fn so_far(&self) -> Usage {
        self.reported.map_or_else(|| Usage::estimate(0, tokens_in(self.text_bytes)), |reported| reported.usage)
    }
}
