//! The vendor's stream as events: every one of its events is a whole answer in small, usage is
//! cumulative, and the only end is that the connection closes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aihub_core::chat::{ChatChunk, ChatEvent, ChatSource, ChunkChoice, Delta, Finish};
use aihub_core::{Error, Result, Usage};
use futures_util::Stream;
use futures_util::future::BoxFuture;

use super::answer::{Scribe, citations, logprobs, text_tokens};
use super::finish::{Budget, Judgement, Limit, Progress, judge, malformed, truncated, unusable};
use super::signature::extra;
use super::usage::usage;
use super::wire::{Candidate, GenerateResponse};
use crate::http::{Answer, Frames};
use crate::sse::{self, Content, Splitter};

/// Sends the same request again, with these output tokens at most and, to have an answer
/// continued, this token.
pub(super) type Again = Box<dyn Fn(Limit, Option<&str>) -> BoxFuture<'static, Result<Answer>> + Send>;

/// The events of one reply.
pub(super) struct GeminiSource {
    link: Link,
    splitter: Splitter,
    again: Again,
    scribe: Scribe,
    budget: Budget,
    choices: Vec<Progress>,
    blocked: bool,
    /// What the vendor counted for this hop, last word.
    counted: Option<Usage>,
    /// Text of this hop, for a measure where the vendor has not counted yet.
    text_tokens: u64,
    model: Option<Arc<str>>,
    generation: Option<Arc<str>>,
    queue: VecDeque<ChatEvent>,
    /// What ends the stream once the queue is empty.
    failure: Option<Error>,
    over: bool,
}

enum Link {
    Reading(Box<Frames>),
    Opening(BoxFuture<'static, Result<Answer>>),
    Closed,
}

impl GeminiSource {
    pub(super) fn new(answer: Answer, again: Again, scribe: Scribe, budget: Budget) -> Self {
        Self {
            link: Link::Reading(Box::new(answer.frames())),
            splitter: Splitter::default(),
            again,
            scribe,
            budget,
            choices: Vec::with_capacity(1),
            blocked: false,
            counted: None,
            text_tokens: 0,
            model: None,
            generation: None,
            queue: VecDeque::with_capacity(4),
            failure: None,
            over: false,
        }
    }

    /// Puts back an event that was taken to see whether there is one.
    pub(super) fn put_back(&mut self, event: ChatEvent) {
        self.queue.push_front(event);
    }

    /// The model that answers, in the vendor's words, and the vendor's id of the answer.
    pub(super) fn served(&self) -> (Option<Arc<str>>, Option<Arc<str>>) {
        (self.model.clone(), self.generation.clone())
    }

    /// Reads events: complete ones, or what is left `at_end`.
    fn read(&mut self, bytes: &[u8], at_end: bool) {
        for event in sse::events(bytes) {
            let data = match &event.content {
                // Errors are also sent as plain JSON lines between the events.
                Content::Bare(lines) => lines,
                content => content.data().unwrap_or_default(),
            };
            if data.is_empty() || data == b"[DONE]" {
                continue;
            }
            match super::answer::read(data) {
                Ok(response) => self.take(response),
                // Half an event at the end is a cut, not an answer that makes no sense.
                Err(_) if at_end && super::error::status_in(data).is_none() => self.failure = Some(truncated()),
                // Nothing that follows an event that cannot be read can be trusted.
                Err(error) => self.failure = Some(error),
            }
            if self.failure.is_some() {
                return;
            }
        }
    }

    fn take(&mut self, response: GenerateResponse) {
        if let Some(counted) = &response.usage_metadata {
            self.counted = Some(usage(counted));
        }
        if let Some(status) = &response.error {
            self.failure = Some(super::error::of_status(status));
            return;
        }
        self.blocked |= response.prompt_feedback.is_some_and(|feedback| feedback.blocks());
        if self.model.is_none() {
            self.model = response.model_version.map(Into::into);
        }
        if self.generation.is_none() {
            self.generation = response.response_id.map(Into::into);
        }
        for (place, candidate) in response.candidates.into_iter().enumerate() {
            self.candidate(place, candidate);
        }
    }

    fn candidate(&mut self, place: usize, mut candidate: Candidate) {
        let index = candidate.index.unwrap_or_else(|| u32::try_from(place).unwrap_or(u32::MAX));
        let at = self.choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
            self.choices.push(Progress::new(index));
            self.choices.len() - 1
        });
        let mut logs = candidate.logprobs_result.take().and_then(|result| logprobs(&result));
        for delta in self.scribe.take(candidate, &mut self.choices[at]) {
            let logs = if delta.content.is_some() { logs.take() } else { None };
            self.give(at, delta, None, logs);
        }
    }

    fn give(&mut self, at: usize, mut delta: Delta, finish_reason: Option<&str>, logprobs: Option<serde_json::Value>) {
        let choice = &mut self.choices[at];
        if !choice.begun {
            choice.begun = true;
            delta.role = Some("assistant".to_owned());
            if delta.reasoning_content.is_none() && delta.tool_calls.is_none() {
                delta.content.get_or_insert_default();
            }
        }
        let choice =
            ChunkChoice { index: choice.index, delta, finish_reason: finish_reason.map(str::to_owned), logprobs };
        let event = ChatEvent::Chunk(Box::new(ChatChunk {
            id: Arc::clone(&self.scribe.id),
            object: "chat.completion.chunk".into(),
            created: self.scribe.created,
            model: Arc::clone(&self.scribe.model),
            choices: vec![choice],
            usage: None,
        }));
        self.text_tokens += text_tokens(&event);
        self.queue.push_back(event);
    }

    /// The connection closed: the answer is complete, or goes on in another request, or failed.
    fn close(&mut self) {
        self.link = Link::Closed;
        if self.failure.is_some() {
            return;
        }
        let begun = self.choices.iter().any(|choice| choice.begun);
        match judge(self.choices.iter(), self.blocked) {
            Judgement::Finished => self.finish(),
            Judgement::Empty if begun => self.finish(),
            Judgement::Empty => match self.budget.retry(self.used()) {
                Some(limit) => self.reopen(limit, None),
                None => self.finish(),
            },
            Judgement::Malformed if begun => self.failure = Some(malformed()),
            Judgement::Malformed => match self.budget.retry(self.used()) {
                Some(limit) => self.reopen(limit, None),
                None => self.failure = Some(malformed()),
            },
            Judgement::Continue(token) => match self.budget.go_on(self.used()) {
                Some(limit) => self.reopen(limit, Some(&token)),
                None => self.finish(),
            },
            Judgement::Unusable => self.failure = Some(unusable()),
            Judgement::Truncated => self.failure = Some(truncated()),
        }
    }

    fn reopen(&mut self, limit: Limit, token: Option<&str>) {
        self.link = Link::Opening((self.again)(limit, token));
        self.splitter = Splitter::default();
        self.counted = None;
        self.text_tokens = 0;
        if token.is_none() {
            self.choices.clear();
        }
        for choice in &mut self.choices {
            (choice.reason, choice.token, choice.searches) = (None, None, 0);
        }
    }

    fn finish(&mut self) {
        if self.choices.is_empty() {
            self.choices.push(Progress::new(0));
        }
        let mut last = "stop";
        for at in 0..self.choices.len() {
            let choice = &self.choices[at];
            last = choice.finish_reason(self.blocked);
            let mut delta = Delta::default();
            if let Some(grounding) = &choice.grounding {
                delta.annotations = Some(citations(grounding, None, choice.ascii)).filter(|all| !all.is_empty());
            }
            delta.extra_content = choice.signature.as_deref().map(extra);
            self.give(at, delta, Some(last), None);
        }
        // At the end the vendor's word stands, also where it is that nothing was written.
        let usage = self.used().map(|used| self.budget.done.plus(&used));
        let mut finish = Finish::new(usage, Some(last.into()));
        finish.discarded = self.budget.discarded;
        finish.model.clone_from(&self.model);
        self.queue.push_back(ChatEvent::Finish(Box::new(finish)));
        self.over = true;
    }

    /// What this hop used, as far as the vendor said.
    fn used(&self) -> Option<Usage> {
        let mut used = self.counted?;
        used.searches = self.choices.iter().map(|choice| choice.searches).sum();
        Some(used)
    }

    /// What this hop used, measured where text came before the vendor counted it.
    fn now(&self) -> Usage {
        let mut now = self.used().unwrap_or_default();
        if now.completion_tokens() == 0 && self.text_tokens > 0 {
            now.output = self.text_tokens;
            now.estimated = true;
        }
        now
    }

    /// The error with what the vendor counted up to it.
    fn fail(&mut self, error: Error) -> Error {
        self.over = true;
        self.link = Link::Closed;
        // Where the vendor said nothing the reply measures by itself.
        let used = self.counted.is_some().then(|| self.now());
        self.budget.spent(error, used)
    }

    /// Everything arrived although the connection did not close in order.
    fn is_complete(&self) -> bool {
        self.counted.is_some() && judge(self.choices.iter(), self.blocked) == Judgement::Finished
    }
}

impl Stream for GeminiSource {
    type Item = Result<ChatEvent>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(event) = this.queue.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            if this.over {
                return Poll::Ready(None);
            }
            if let Some(failure) = this.failure.take() {
                return Poll::Ready(Some(Err(this.fail(failure))));
            }
            match &mut this.link {
                Link::Closed => this.failure = Some(truncated()),
                Link::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(answer) => this.link = Link::Reading(Box::new(answer.frames())),
                    Err(error) => this.failure = Some(error),
                },
                Link::Reading(frames) => match ready!(Pin::new(&mut **frames).poll_next(cx)) {
                    Some(Ok(frame)) => match this.splitter.push(frame) {
                        Ok(events) => this.read(&events, false),
                        Err(error) => this.failure = Some(error),
                    },
                    Some(Err(_)) if this.is_complete() => this.close(),
                    Some(Err(error)) => this.failure = Some(error),
                    None => {
                        let rest = this.splitter.finish();
                        this.read(&rest, true);
                        this.close();
                    }
                },
            }
        }
    }
}

impl ChatSource for GeminiSource {
    fn so_far(&self) -> Usage {
        let mut so_far = self.budget.done.plus(&self.now());
        // The vendor counts as it goes, and writes on when it is left: only its last word is what it bills.
        so_far.estimated |= !self.is_complete();
        so_far
    }
}

impl std::fmt::Debug for GeminiSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GeminiSource").field("model", &self.model).field("over", &self.over).finish_non_exhaustive()
    }
}
