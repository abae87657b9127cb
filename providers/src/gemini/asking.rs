//! Asking the vendor, and asking again: once where it wrote nothing that can be handed on, and for
//! the rest of an answer that is too long for one request.

use std::sync::Arc;

use aihub_core::json::Object;
use aihub_core::{Attempt, ChatReply, ChatRequest, Error, ErrorKind, Operation as _, Result, Served, Usage};
use bytes::Bytes;
use futures_util::StreamExt as _;

use super::answer::{self, Gathered, Scribe};
use super::finish::{Budget, Judgement, Limit, malformed, truncated, unusable};
use super::level::Traits;
use super::stream::{Again, GeminiSource};
use super::wire::GenerationConfig;
use super::{Inner, bare, escaped};
use crate::http::{Answer, MOST_BYTES};

/// One request that may have to be sent again with small changes.
#[derive(Clone)]
pub(super) struct Asking {
    inner: Arc<Inner>,
    path: Arc<str>,
    body: Bytes,
    config: Arc<GenerationConfig>,
}

impl Asking {
    /// The request for `attempt`, who writes its answer, and what it may use.
    pub(super) async fn new(inner: &Arc<Inner>, attempt: &Attempt<ChatRequest>) -> Result<(Self, Scribe, Budget)> {
        let request = &attempt.call.operation;
        let prepared = inner.prepare(attempt).await?;
        let body = serde_json::to_vec(&prepared.request)
            .map_err(|error| Error::new(ErrorKind::Internal, "The request cannot be written").with_source(error))?;
        if body.len() > inner.settings.max_request_bytes {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "The request is larger than this model takes: send fewer or smaller files",
            )
            .with_failover());
        }
        let model = bare(&attempt.offer.model);
        let method = if request.streams() { "streamGenerateContent?alt=sse" } else { "generateContent" };
        let asking = Self {
            inner: Arc::clone(inner),
            path: format!("/models/{}:{method}", escaped(model)).into(),
            body: body.into(),
            config: Arc::new(prepared.request.generation_config),
        };
        let id = attempt.call.id.to_string();
        let scribe = Scribe {
            id: format!("chatcmpl-{}", id.rsplit('_').next().unwrap_or(&id)).into(),
            created: attempt.call.received_at.as_second(),
            model: request.model().into(),
            names: prepared.names,
            one_call: prepared.one_call,
            account: attempt.call.caller.account(),
            signatures: inner.signatures.clone(),
            bills_each_search: Traits::of(model).bills_each_search(),
            clock: Arc::clone(&inner.clock),
        };
        let budget = Budget {
            asked: request.max_output_tokens(),
            held: attempt.max_output_tokens,
            choices: prepared.choices.into(),
            hops_left: inner.settings.max_continuations,
            ..Budget::default()
        };
        Ok((asking, scribe, budget))
    }

    async fn first(&self, prompt_tokens: u64) -> Result<Answer> {
        self.inner.send(&self.path, self.body.clone().into(), prompt_tokens).await
    }

    /// Sends the request again, with at most `limit` output tokens, to go on after `token`.
    async fn again(self, Limit(limit): Limit, token: Option<String>, prompt_tokens: u64) -> Result<Answer> {
        let mut config = (*self.config).clone();
        config.max_output_tokens = limit;
        let json = |value: serde_json::Result<Vec<u8>>| {
            value.map_err(|error| Error::new(ErrorKind::Internal, "The request cannot be written").with_source(error))
        };
        let object = Object::scan(self.body.clone())?;
        let mut edit = object.edit();
        edit.set("generationConfig", json(serde_json::to_vec(&config))?);
        if let Some(token) = token {
            edit.set("continuationToken", json(serde_json::to_vec(&token))?);
        }
        self.inner.send(&self.path, edit.finish(), prompt_tokens).await
    }

    /// The answer as a stream, once its first event is here: what fails before may be tried
    /// elsewhere.
    pub(super) async fn stream(self, scribe: Scribe, budget: Budget, prompt_tokens: u64) -> Result<ChatReply> {
        let answer = self.first(prompt_tokens).await?;
        let again: Again =
            Box::new(move |limit, token| Box::pin(self.clone().again(limit, token.map(str::to_owned), prompt_tokens)));
        let mut source = GeminiSource::new(answer, again, scribe, budget);
        let first = source.next().await.ok_or_else(truncated)??;
        source.put_back(first);
        let mut served = Served::default();
        (served.model, served.generation) = source.served();
        Ok(ChatReply::new(served, prompt_tokens, source))
    }

    /// The answer in one piece.
    pub(super) async fn whole(self, scribe: Scribe, mut budget: Budget, prompt_tokens: u64) -> Result<ChatReply> {
        let mut gathered = Gathered::default();
        let mut answer = self.first(prompt_tokens).await?;
        loop {
            // An answer that breaks off was worked on.
            let worked_on = Usage::estimate(prompt_tokens, 0);
            let body = answer.bytes(MOST_BYTES).await.map_err(|error| budget.spent(error, Some(worked_on)))?;
            let response = answer::read(&body).map_err(|error| budget.spent(error, None))?;
            let mut used = gathered.add(response, &scribe).map_err(|error| budget.spent(error, None))?;
            if let Some(used) = &mut used {
                used.searches = gathered.searches();
            }
            let (next, token) = match gathered.judge() {
                Judgement::Unusable => return Err(budget.spent(unusable(), used)),
                Judgement::Truncated => return Err(budget.spent(truncated(), used)),
                Judgement::Malformed => match budget.retry(used) {
                    None => return Err(budget.spent(malformed(), used)),
                    next => (next, None),
                },
                Judgement::Finished => (None, None),
                Judgement::Empty => (budget.retry(used), None),
                Judgement::Continue(token) => (budget.go_on(used), Some(token)),
            };
            let Some(limit) = next else { return Ok(finished(gathered, &scribe, prompt_tokens, &budget, used)) };
            match &token {
                None => gathered = Gathered::default(),
                Some(_) => gathered.go_on(),
            }
            answer =
                self.clone().again(limit, token, prompt_tokens).await.map_err(|error| budget.spent(error, None))?;
        }
    }
}

fn finished(
    gathered: Gathered,
    scribe: &Scribe,
    prompt_tokens: u64,
    budget: &Budget,
    used: Option<Usage>,
) -> ChatReply {
    let usage = used.map(|used| budget.done.plus(&used));
    gathered.reply(scribe, prompt_tokens, usage, budget.discarded)
}
