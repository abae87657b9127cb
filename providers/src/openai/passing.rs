//! A stream that passes through: its bytes are forwarded as they came, and what the books and the
//! caller's SDK need is read from them in passing.

mod ending;

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aihub_core::chat::{ChatEvent, ChatSource, Said};
use aihub_core::json::Object;
use aihub_core::{Error, Result, Usage};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};

use super::chunk::{self, Head};
use super::usage::{self, Reported};
use super::{Dialect, Words};
use crate::http::Frames;
use crate::sse::{self, Content, Splitter};

/// The events of a stream in `OpenAI`'s dialect.
pub(crate) struct Passing<S = Frames> {
    frames: S,
    splitter: Splitter,
    dialect: Dialect,
    /// Events that are ready to be given out.
    ready: VecDeque<Result<ChatEvent>>,
    heard: Heard,
    /// Whether something was left out because nobody could read it.
    dropped: bool,
    /// The choices that have said their role, a bit each.
    introduced: u128,
    /// Where roles are said again, among the events at hand.
    repeats: Vec<Range<usize>>,
    /// The choices that have been seen, a bit each.
    seen: u128,
    /// The choices that have their finish reason, a bit each.
    finished: u128,
    /// The choices that call tools, a bit each.
    called: u128,
    finish_reason: Option<Arc<str>>,
    done: bool,
    over: bool,
    reported: Reported,
    usage_event: Option<Bytes>,
    id: Option<Arc<str>>,
    model: Option<Arc<str>>,
    created: i64,
    said: Said,
}

/// What has been heard of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    Nothing,
    /// Pieces that say nothing.
    Silence,
    /// Pieces that say something.
    Words,
}

/// What becomes of one event.
enum Fate {
    /// It is forwarded as it came.
    Pass,
    /// It is not forwarded.
    Drop,
    /// Something else is forwarded in its place.
    Replace(Bytes),
    /// The answer is complete: nothing that follows is forwarded.
    Done,
    /// The stream ends here with this error.
    Fail(Error),
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> Passing<S> {
    /// Reads up to the first piece of the answer: a reply exists once that does.
    pub(crate) async fn first(frames: S, dialect: Dialect) -> Result<Self> {
        let mut this = Self {
            frames,
            splitter: Splitter::default(),
            dialect,
            ready: VecDeque::new(),
            heard: Heard::Nothing,
            dropped: false,
            introduced: 0,
            repeats: Vec::new(),
            seen: 0,
            finished: 0,
            called: 0,
            finish_reason: None,
            done: false,
            over: false,
            reported: Reported::default(),
            usage_event: None,
            id: None,
            model: None,
            created: 0,
            said: Said::default(),
        };
        let mut leading = VecDeque::new();
        while this.heard == Heard::Nothing {
            match this.next().await {
                Some(Ok(event)) => leading.push_back(Ok(event)),
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
                Fate::Done => self.done = true,
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
        let repeats: Vec<_> = self.repeats.drain(..).filter(|place| place.end <= run.end).collect();
        if repeats.is_empty() {
            return self.give(events.slice(run));
        }
        self.give(silenced(&events[run.clone()], run.start, &repeats));
    }

    fn give(&mut self, bytes: Bytes) {
        if !bytes.is_empty() && !self.done {
            self.ready.push_back(Ok(ChatEvent::Frames(bytes)));
        }
    }

    fn data(&mut self, data: &[u8], events: &Bytes, place: Range<usize>) -> Fate {
        if data == b"[DONE]" {
            return Fate::Done;
        }
        let Some(head) = chunk::read(data) else {
            // The Node SDK throws at an event that is no JSON: the caller is better off without it.
            if !data.is_empty() {
                self.dropped = true;
                tracing::warn!(bytes = data.len(), "an upstream event that is no chunk was left out");
            }
            return Fate::Drop;
        };
        if let Some(raw) = head.usage {
            let reported = usage::read(raw.get());
            // What says nothing does not take back what was said before.
            if reported.usage.is_some() || self.reported.usage.is_none() {
                self.reported = reported;
            }
        }
        self.note_choices(&head);
        if let Some(error) = head.failure() {
            return Fate::Fail(self.failed(&Words::read(&error)));
        }
        let silent = head.choices().iter().all(|choice| choice.delta.is_empty());
        self.heard = self.heard.max(if silent { Heard::Silence } else { Heard::Words });
        if self.id.is_none() {
            self.id = head.id.map(|raw| chunk::text(raw).into());
            self.model = head.model.map(|raw| chunk::text(raw).into());
            self.created = head.created.and_then(chunk::number).unwrap_or_default();
        }
        let repeated = self.repeats.len();
        if self.dialect.repeats_role {
            self.note_roles(&head, events);
        }
        let news = self.note_finishes(&head);
        match head.usage {
            // The usage has an event of its own, which is written anew at the end, or kept for it
            // where it holds nothing but usage.
            Some(_) if head.choices().is_empty() => {
                let clean = self.reported.usage.is_some() && !self.reported.has_cost;
                self.usage_event = clean.then(|| events.slice(place)).or(self.usage_event.take());
                Fate::Drop
            }
            Some(_) if silent && !news => Fate::Drop,
            // It also holds part of the answer.
            Some(_) => {
                let repeats = self.repeats.split_off(repeated);
                let start = (data.as_ptr() as usize).wrapping_sub(events.as_ptr() as usize);
                replaced(silenced(data, start, &repeats), "usage", "null").map_or(Fate::Drop, Fate::Replace)
            }
            // A finish reason that comes again with nothing else is a second end to some readers.
            None if silent && !news && head.repeats_finish() => Fate::Drop,
            // `"choices": null` breaks readers that expect a list.
            None if head.choices.is_none() => {
                replaced(Bytes::copy_from_slice(data), "choices", "[]").map_or(Fate::Drop, Fate::Replace)
            }
            None => Fate::Pass,
        }
    }

    /// Notes which choices there are and how much they say.
    fn note_choices(&mut self, head: &Head<'_>) {
        for choice in head.choices() {
            self.seen |= choice.bit();
            self.said += choice.delta.said;
            if choice.delta.calls {
                self.called |= choice.bit();
            }
        }
    }

    /// Notes where the role of a choice is said again, quotes included.
    ///
    /// `OpenRouter` says it in every delta, and the accumulator of the official Python SDK joins
    /// strings: its caller would send `assistantassistant` back in the next turn.
    fn note_roles(&mut self, head: &Head<'_>, events: &Bytes) {
        for choice in head.choices() {
            let (bit, Some(role)) = (choice.bit(), choice.delta.role) else { continue };
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
            news |= self.finished & choice.bit() == 0;
            self.finished |= choice.bit();
            self.finish_reason = Some(match &**reason {
                "stop" => Arc::clone(&STOP),
                other => Arc::from(other),
            });
        }
        news
    }

    /// Bare JSON between the events is an error in disguise; anything else is noise.
    fn bare(&mut self, bare: &[u8]) -> Fate {
        match chunk::read(bare).and_then(|head| head.error) {
            Some(error) => Fate::Fail(self.failed(&Words::read(&error))),
            None => Fate::Drop,
        }
    }
}

static STOP: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| Arc::from("stop"));

/// A copy of `bytes`, which start at `start`, without the roles at `repeats`.
fn silenced(bytes: &[u8], start: usize, repeats: &[Range<usize>]) -> Bytes {
    let mut changed = BytesMut::from(bytes);
    for place in repeats {
        // `null` and blanks: the same length, so that nothing else moves.
        let (null, blanks) = changed[place.start - start..place.end - start].split_at_mut(4);
        null.copy_from_slice(b"null");
        blanks.fill(b' ');
    }
    changed.freeze()
}

/// The event of this data with another value in one of its fields.
fn replaced(data: Bytes, field: &str, json: &'static str) -> Option<Bytes> {
    let json = Object::scan(data).ok()?.edit().set(field, json).finish().into_bytes();
    Some([b"data: ", &*json, b"\n\n"].concat().into())
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> Stream for Passing<S> {
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
                    Some(Err(_)) if this.is_whole() => this.end(),
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

impl<S: Stream<Item = Result<Bytes>> + Send + Unpin> ChatSource for Passing<S> {
    fn so_far(&self) -> Usage {
        self.reported.used(&self.said).unwrap_or_else(|| self.said.usage(0))
    }
}

#[cfg(test)]
mod tests;
