//! The end of a stream: what it means, and what is written for it.

use std::sync::Arc;

use aihub_core::chat::{ChatChunk, ChatEvent, ChunkChoice, Finish, UsageWire};
use aihub_core::{Error, ErrorKind, Result, Usage};
use bytes::Bytes;
use futures_util::Stream;

use super::{Heard, Passing, Words};

impl<S: Stream<Item = Result<Bytes>> + Unpin> Passing<S> {
    pub(super) fn failed(&self, words: &Words<'_>) -> Error {
        self.billed((self.dialect.explain)(words))
    }

    /// The error with what the vendor said that it costs all the same.
    fn billed(&self, error: Error) -> Error {
        let error = self.reported.usage.into_iter().fold(error, Error::with_spent);
        self.reported.cost.into_iter().fold(error, Error::with_vendor_cost)
    }

    /// Whether the upstream said that it is done: in so many words, or by a reason for every choice.
    pub(super) fn is_whole(&self) -> bool {
        self.done || self.finished != 0 && self.seen & !self.finished == 0
    }

    /// The upstream has said everything, or has broken off.
    pub(super) fn end(&mut self) {
        self.over = true;
        let rest = self.splitter.finish();
        if !self.done && !rest.is_empty() {
            // A last event without its blank line is whole if it can be read at all.
            self.take(&rest);
            if self.ready.back().is_some_and(Result::is_err) {
                return;
            }
        }
        let end = self.verdict().map(|()| {
            self.finish_missing();
            ChatEvent::Finish(Box::new(self.finish()))
        });
        self.ready.push_back(end);
    }

    /// Whether what came is an answer.
    fn verdict(&self) -> Result<()> {
        let error = |message: &'static str| self.billed(Error::new(ErrorKind::BadUpstream, message));
        if !self.is_whole() {
            let cut = error("The upstream broke off in the middle of its answer");
            return Err(cut.with_code("upstream_truncated").with_failover());
        }
        if self.dropped && self.heard != Heard::Words {
            return Err(error("The upstream gave an answer that cannot be read: try again").with_transient());
        }
        if self.heard == Heard::Nothing {
            return Err(error("The upstream answered without an answer: try again").with_transient());
        }
        Ok(())
    }

    fn finish(&mut self) -> Finish {
        let usage = self.reported.used(&self.said);
        let mut finish = Finish::new(usage, self.finish_reason.clone());
        finish.vendor_cost = self.reported.cost;
        finish.own_key_cost = self.reported.own_key_cost;
        // Callers see what is booked: the vendor's event only where it says the same.
        let own = self.usage_event.take().filter(|_| usage == self.reported.usage);
        finish.usage_event = own.or_else(|| self.usage_anew(&usage?));
        finish.model.clone_from(&self.model);
        finish
    }

    /// The usage in the shape that `OpenAI` gives it, where the upstream used another one or told
    /// what it charges us.
    fn usage_anew(&self, usage: &Usage) -> Option<Bytes> {
        let chunk = self.chunk(Vec::new(), Some(usage.into()));
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
    fn finish_missing(&mut self) {
        let missing = self.seen.max(1) & !self.finished;
        if missing == 0 {
            return;
        }
        let reason = |bit: u128| if self.called & bit == 0 { "stop" } else { "tool_calls" };
        let choices = (0..u128::BITS).filter(|index| missing >> index & 1 == 1).map(|index| ChunkChoice {
            index,
            finish_reason: Some(reason(1 << index).to_owned()),
            ..ChunkChoice::default()
        });
        let chunk = self.chunk(choices.collect(), None);
        self.finish_reason = chunk.choices.last().and_then(|choice| choice.finish_reason.as_deref()).map(Arc::from);
        self.ready.push_back(Ok(chunk.into()));
    }
}
