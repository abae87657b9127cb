//! Proves a [`Provider`].

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;

use super::{Fixture, at, caller, together};
use crate::call::{Attempt, Call, Operation, Reply as _};
use crate::chat::{ChatEvent, ChatReply, ChatRequest};
use crate::embedding::EmbedRequest;
use crate::error::Error;
use crate::id::AccountId;
use crate::model::Offer;
use crate::plan::Plan;
use crate::provider::Provider;
use crate::reply::{Ending, Hook};
use crate::time::ManualClock;
use crate::usage::Outcome;

/// Makes a test of every check in [`provider`](mod@crate::conformance::provider) out of a future that
/// makes a [`ProviderFixture`](crate::conformance::provider::ProviderFixture).
#[doc(hidden)]
#[macro_export]
macro_rules! __provider {
    ($maker:expr $(,)?) => {
        $crate::__conformance!(provider, $maker.await, [
            its_name_and_capabilities_are_stable
            a_whole_answer_ends_with_one_finish
            a_stream_has_pieces_then_one_finish_then_nothing
            hooks_are_told_before_the_end_is_handed_on
            a_reply_dropped_early_is_settled_as_client_gone
            what_it_does_not_list_it_does_not_support
            what_it_lists_it_does
            answers_many_at_once
            asks_for_no_more_output_than_the_attempt_allows
        ]);
    };
}

/// How to see what the upstream was asked for.
enum Asked {
    Told(Box<dyn Fn() -> Option<u64> + Send + Sync>),
    ShownByUsage,
}

/// A provider that talks to a working upstream, and what may be asked of it.
///
/// The upstream answers every chat with at least one piece of text, as a stream where one is asked
/// for; it may be a recording.
pub struct ProviderFixture {
    provider: Fixture<dyn Provider>,
    chat: Offer,
    embedding: Option<Offer>,
    generation: Option<String>,
    asked: Asked,
}

impl ProviderFixture {
    /// `provider`, whose upstream answers chats for `chat`; `asked` says how many output tokens the
    /// upstream was last asked for. That is where a test of a vendor's client looks: a recording answers
    /// the same whatever it is asked.
    pub fn new(
        provider: Arc<dyn Provider>,
        chat: Offer,
        asked: impl Fn() -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        Self { provider: provider.into(), chat, embedding: None, generation: None, asked: Asked::Told(Box::new(asked)) }
    }

    /// `provider`, which is the model itself or has one that keeps to what it is asked for: the usage
    /// that it reports shows whether it does. Left to itself, it answers with more than one token.
    pub fn by_usage(provider: Arc<dyn Provider>, chat: Offer) -> Self {
        Self { provider: provider.into(), chat, embedding: None, generation: None, asked: Asked::ShownByUsage }
    }

    /// The upstream embeds for this offer; without it, embedding is asked of the one for chats.
    #[must_use]
    pub fn with_embedding(mut self, offer: Offer) -> Self {
        self.embedding = Some(offer);
        self
    }

    /// The upstream has this answer on record, and not what follows its name by `-unknown`; for a provider that looks
    /// answers up.
    #[must_use]
    pub fn with_generation(mut self, generation: impl Into<String>) -> Self {
        self.generation = Some(generation.into());
        self
    }

    /// Keeps `guard` (the upstream) until the test has ended.
    #[must_use]
    pub fn keeping(mut self, guard: impl Any + Send + Sync) -> Self {
        self.provider = self.provider.keeping(guard);
        self
    }

    fn attempt(&self, stream: bool) -> Attempt<ChatRequest> {
        let body = serde_json::json!({
            "model": "conformance/model",
            "stream": stream,
            "messages": [{"role": "user", "content": "Say something short."}],
        });
        let request = ChatRequest::parse(body.to_string().into()).expect("a request");
        attempt(request, self.chat.clone())
    }

    fn embedding(&self) -> Attempt<EmbedRequest> {
        let body = serde_json::json!({"model": "conformance/model", "input": ["one", "two"]});
        let request = EmbedRequest::parse(body.to_string().into()).expect("a request");
        attempt(request, self.embedding.as_ref().unwrap_or(&self.chat).clone())
    }

    async fn chat(&self, stream: bool) -> ChatReply {
        self.bounded(stream, None).await
    }

    async fn bounded(&self, stream: bool, most: Option<u64>) -> ChatReply {
        let attempt = Attempt { max_output_tokens: most, ..self.attempt(stream) };
        self.provider.subject.chat(attempt).await.expect("a reply")
    }
}

impl fmt::Debug for ProviderFixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderFixture")
            .field("provider", &self.provider)
            .field("chat", &self.chat)
            .finish_non_exhaustive()
    }
}

fn attempt<O: Operation>(operation: O, offer: Offer) -> Attempt<O> {
    let caller = caller(AccountId::new(at(0)), Plan::unlimited("conformance"));
    Attempt::new(Call::new(caller, operation, &ManualClock::at(at(0))), offer)
}

type Log = Arc<Mutex<Vec<Ending>>>;

fn watching(log: &Log) -> Hook {
    let log = Arc::clone(log);
    Box::new(move |ending| {
        let ending = ending.clone();
        Some(Box::pin(async move { log.lock().unwrap_or_else(PoisonError::into_inner).push(ending) }))
    })
}

fn told(log: &Log) -> Vec<Outcome> {
    log.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|ending| ending.outcome).collect()
}

/// Every event of `reply`, which ends well and then gives nothing more.
async fn events(mut reply: ChatReply) -> Vec<ChatEvent> {
    let mut events = Vec::new();
    while let Some(event) = reply.next().await {
        events.push(event.expect("an event, not an error"));
    }
    assert!(reply.next().await.is_none(), "something after the end");
    let finishes = events.iter().filter(|event| matches!(event, ChatEvent::Finish(_))).count();
    assert_eq!(finishes, 1, "an answer has one finish");
    let Some(ChatEvent::Finish(finish)) = events.last() else { panic!("the finish is not the last event") };
    assert!(finish.usage.is_none_or(|usage| !usage.is_zero()), "no usage is `None`, never zero");
    events
}

/// The name never changes and is the one that offers refer to; neither do the capabilities.
pub async fn its_name_and_capabilities_are_stable(fixture: impl Into<ProviderFixture>) {
    let it = fixture.into();
    let (name, capabilities) = (it.provider.subject.name().to_owned(), it.provider.subject.capabilities());
    assert_eq!(name, *it.chat.provider);
    assert!(capabilities.chat, "a provider of chats lists them");
    drop(events(it.chat(false).await).await);
    assert_eq!((it.provider.subject.name(), it.provider.subject.capabilities()), (&*name, capabilities));
}

/// Where no stream was asked for: one whole answer, in JSON, and one finish.
pub async fn a_whole_answer_ends_with_one_finish(fixture: impl Into<ProviderFixture>) {
    let events = events(fixture.into().chat(false).await).await;
    let [ChatEvent::Whole(body), ChatEvent::Finish(_)] = &events[..] else {
        panic!("not one whole answer: {events:?}")
    };
    let answer: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    assert_eq!(answer["object"], "chat.completion");
    assert!(answer["choices"].as_array().is_some_and(|choices| !choices.is_empty()), "an answer without choices");
}

/// Where a stream was asked for: at least one piece, readable as chunks, then one finish, then nothing.
pub async fn a_stream_has_pieces_then_one_finish_then_nothing(fixture: impl Into<ProviderFixture>) {
    let events = events(fixture.into().chat(true).await).await;
    let mut choices = 0;
    for event in &events[..events.len() - 1] {
        assert!(!matches!(event, ChatEvent::Whole(_)), "a whole answer in a stream");
        for chunk in event.chunks().expect("pieces, without `[DONE]`") {
            assert!(chunk.usage.is_none() || !chunk.choices.is_empty(), "the usage event follows from the finish");
            choices += chunk.choices.len();
        }
    }
    assert!(choices > 0, "a stream without a piece of an answer");
}

/// The books are told once that the answer is complete, before the caller has its end.
pub async fn hooks_are_told_before_the_end_is_handed_on(fixture: impl Into<ProviderFixture>) {
    let it = fixture.into();
    for stream in [false, true] {
        let log = Log::default();
        let mut reply = it.chat(stream).await.watch(watching(&log)).await;
        while let Some(event) = reply.next().await {
            let expected =
                if matches!(event, Ok(ChatEvent::Finish(_))) { vec![Outcome::Completed] } else { Vec::new() };
            assert_eq!(told(&log), expected);
        }
        drop(reply);
        assert_eq!(told(&log), [Outcome::Completed]);
    }
}

/// A caller who leaves after the first piece is settled once, with something used.
pub async fn a_reply_dropped_early_is_settled_as_client_gone(fixture: impl Into<ProviderFixture>) {
    let it = fixture.into();
    let log = Log::default();
    let mut reply = it.chat(true).await.watch(watching(&log)).await;
    let first = reply.next().await.expect("an event").expect("a piece");
    assert!(!matches!(first, ChatEvent::Finish(_)), "a finish without a piece before it");
    drop(reply);
    while told(&log).is_empty() {
        tokio::task::yield_now().await;
    }
    let endings = log.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(endings.iter().map(|ending| ending.outcome).collect::<Vec<_>>(), [Outcome::ClientGone]);
    assert!(!endings[0].usage.is_zero(), "a prompt was read, and it cost something");
}

/// What the capabilities do not list answers that it is unsupported, and that another may serve it.
pub async fn what_it_does_not_list_it_does_not_support(fixture: impl Into<ProviderFixture>) {
    let it = fixture.into();
    let (provider, can) = (&it.provider.subject, it.provider.subject.capabilities());
    let unsupported = |error: Option<Error>| {
        let error = error.expect("an answer to what is not listed");
        assert_eq!(error.code(), "unsupported_operation");
        assert!(error.may_fail_over());
    };
    if !can.embed {
        unsupported(provider.embed(it.embedding()).await.err());
    }
    if !can.count_tokens {
        unsupported(provider.count_tokens(it.attempt(false)).await.err());
    }
    if !can.models {
        unsupported(provider.models().await.err());
    }
    if !can.lookup {
        unsupported(provider.lookup("generation").await.err());
    }
}

/// What the capabilities list works.
pub async fn what_it_lists_it_does(fixture: impl Into<ProviderFixture>) {
    let it = fixture.into();
    let (provider, can) = (&it.provider.subject, it.provider.subject.capabilities());
    if can.embed {
        let reply = provider.embed(it.embedding()).await.expect("embeddings");
        let body: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
        assert_eq!(body["data"].as_array().map(Vec::len), Some(2), "one vector for each input");
        assert!(!reply.usage.is_zero());
    }
    if can.count_tokens {
        assert!(provider.count_tokens(it.attempt(false)).await.expect("a count") > 0);
    }
    if can.models {
        let models = provider.models().await.expect("a list");
        assert!(!models.is_empty() && models.iter().all(|model| !model.id.is_empty()));
    }
    if can.lookup {
        let known = it.generation.as_deref().expect("the name of an answer that is on record: `with_generation`");
        let record = provider.lookup(known).await.expect("a look-up").expect("a record");
        assert!(record.usage.is_some() || record.cost.is_some(), "a record that says nothing");
        assert!(record.usage.is_none_or(|usage| !usage.is_zero() && !usage.estimated), "{record:?}");
        let unknown = provider.lookup(&format!("{known}-unknown")).await;
        assert_eq!(unknown.expect("no error: it may appear late"), None);
    }
}

/// Many chats at the same time all get their answer.
pub async fn answers_many_at_once(fixture: impl Into<ProviderFixture>) {
    let it = fixture.into();
    let attempts: Vec<_> = (0..16).map(|step| it.attempt(step % 2 == 0)).collect();
    together(attempts.into_iter().map(|attempt| {
        let provider = Arc::clone(&it.provider.subject);
        async move { drop(events(provider.chat(attempt).await.expect("a reply")).await) }
    }))
    .await;
}

/// The vendor is asked for no more output than a hold allows, also where the caller named no limit.
pub async fn asks_for_no_more_output_than_the_attempt_allows(fixture: impl Into<ProviderFixture>) {
    let it = fixture.into();
    for stream in [false, true] {
        match &it.asked {
            Asked::Told(asked) => {
                drop(events(it.bounded(stream, Some(17)).await).await);
                assert!(asked().is_some_and(|asked| asked <= 17), "asked for {:?} output tokens", asked());
            }
            Asked::ShownByUsage => {
                let free = output(it.chat(stream).await).await;
                assert!(free > 1, "an answer of {free} tokens cannot show that it keeps within a bound");
                let bound = output(it.bounded(stream, Some(1)).await).await;
                assert!(bound <= 1, "{bound} output tokens where 1 was allowed");
            }
        }
    }
}

/// The output tokens that a reply reports, which is not estimated.
async fn output(reply: ChatReply) -> u64 {
    let (_, finish) = reply.collect().await.expect("an answer");
    let usage = finish.usage.filter(|usage| !usage.estimated).expect("a provider that is judged by usage counts it");
    usage.completion_tokens()
}

#[cfg(test)]
mod tests;
