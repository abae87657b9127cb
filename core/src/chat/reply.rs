//! The reply to a chat, and the contract of its stream.

mod drain;
mod frames;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;

use super::answer::{ChatChunk, Completion};
use super::said::{Said, Saying};
use crate::call::Reply;
use crate::charge::Charge;
use crate::departure::{Drains, OnDeparture};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Offer;
use crate::money::Money;
use crate::reply::{Ending, Hook, Hooks, Marker, Served, run_on};
use crate::usage::{Outcome, Usage};

/// One event of a reply.
#[derive(Debug, Clone)]
pub enum ChatEvent {
    /// A piece of the answer, typed; the door encodes it. From providers that translate.
    Chunk(Box<ChatChunk>),
    /// One or more complete server-sent events in `OpenAI`'s dialect, ready to be forwarded as they
    /// are. Holds neither the usage event nor `[DONE]`: they follow from [`ChatEvent::Finish`].
    Frames(Bytes),
    /// The whole answer as the JSON of a `chat.completion`, where no stream was asked for.
    Whole(Bytes),
    /// The end: everything before it is the complete answer. Nothing follows.
    Finish(Box<Finish>),
}

impl ChatEvent {
    /// Whether something follows it.
    const fn is_piece(&self) -> bool {
        match self {
            Self::Chunk(_) | Self::Frames(_) | Self::Whole(_) => true,
            Self::Finish(_) => false,
        }
    }

    /// The pieces in this event, whichever way it came: for doors of another dialect. A whole
    /// answer and a finish hold none.
    ///
    /// # Errors
    ///
    /// [`BadUpstream`](ErrorKind::BadUpstream) when forwarded bytes are no chunks after all.
    pub fn chunks(&self) -> Result<Vec<ChatChunk>> {
        match self {
            Self::Chunk(chunk) => Ok(vec![ChatChunk::clone(chunk)]),
            Self::Whole(_) | Self::Finish(_) => Ok(Vec::new()),
            Self::Frames(frames) => {
                let chunks = frames::data(frames).map(|data| serde_json::from_slice(&data));
                chunks.collect::<Result<_, _>>().map_err(|error| {
                    Error::new(ErrorKind::BadUpstream, "The upstream sent an event that is no chunk").with_source(error)
                })
            }
        }
    }
}

impl From<ChatChunk> for ChatEvent {
    fn from(chunk: ChatChunk) -> Self {
        Self::Chunk(Box::new(chunk))
    }
}

impl From<Finish> for ChatEvent {
    fn from(finish: Finish) -> Self {
        Self::Finish(Box::new(finish))
    }
}

/// How an answer ended well.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Finish {
    /// What the vendor counted; `None` when it did not say, never zero for that. By the time a
    /// [`ChatReply`] hands it on, a measured estimate stands in.
    pub usage: Option<Usage>,
    /// What the vendor says it charges; absent is unknown, never zero.
    pub vendor_cost: Option<Money>,
    /// What a vendor behind this one bills to an account of ours there ("bring your own key"); absent
    /// where there is no such vendor.
    pub own_key_cost: Option<Money>,
    /// The last finish reason, in `OpenAI`'s words.
    pub finish_reason: Option<Arc<str>>,
    /// The usage event of a stream that was forwarded as it came, for callers who asked for it:
    /// exactly as the upstream sent it, or written anew without what is not the caller's to see.
    pub usage_event: Option<Bytes>,
    /// What the vendor counted for hops of this answer that never reached the caller.
    pub discarded: Usage,
    /// The model that answered, where the provider learned it late.
    pub model: Option<Arc<str>>,
}

impl Finish {
    /// An end with this usage and finish reason.
    pub fn new(usage: Option<Usage>, finish_reason: Option<Arc<str>>) -> Self {
        Self { usage, finish_reason, ..Self::default() }
    }
}

/// Where the events of a reply come from.
///
/// The contract: at least one event before the end; exactly one [`ChatEvent::Finish`] as the last,
/// or exactly one error as the last. Dropping it cancels the upstream call.
pub trait ChatSource: Stream<Item = Result<ChatEvent>> + Send {
    /// What was used up to now, as far as the vendor said or as measured here: what is settled when
    /// the caller leaves. `prompt_tokens` of the result is 0 where the vendor has not said it yet.
    fn so_far(&self) -> Usage;
}

/// A reply to a chat: a stream of events, ended by one finish or one error.
///
/// *A reply exists once its first event does*: a provider gives it out only with the first event in
/// hand. What fails before is an `Err` of the call and may be retried or served elsewhere; what
/// fails after travels in the stream and is final.
///
/// Hooks attached by [`Reply::watch`] are told of the end once, before the last event is handed on,
/// so that the books are written before the caller has the whole answer. Dropped early, the reply
/// tells them [`Outcome::ClientGone`] with what was used so far, or reads on first where [`Reply::on_departure`] says so.
pub struct ChatReply {
    served: Served,
    marker: Option<Marker>,
    prompt_tokens: u64,
    source: Pin<Box<dyn ChatSource>>,
    hooks: Hooks,
    state: State,
    departure: OnDeparture,
    /// Where it runs on without its caller.
    drains: Option<Drains>,
}

enum State {
    Flowing,
    /// The hooks are being waited for; then the event they were told of is handed on.
    Settling(BoxFuture<'static, ()>, Option<Result<ChatEvent>>),
    Over,
}

impl ChatReply {
    /// A reply whose events come from `source`; `prompt_tokens` is the estimate that stands in
    /// where the vendor says nothing.
    pub fn new(served: Served, prompt_tokens: u64, source: impl ChatSource + 'static) -> Self {
        Self::flowing(served, prompt_tokens, Box::pin(source), Hooks::default())
    }

    fn flowing(served: Served, prompt_tokens: u64, source: Pin<Box<dyn ChatSource>>, hooks: Hooks) -> Self {
        let (state, departure, drains) = (State::Flowing, OnDeparture::Cancel, None);
        Self { served, marker: None, prompt_tokens, source, hooks, state, departure, drains }
    }

    /// A reply from any stream of events, for providers that do not count by themselves: what is said is
    /// measured as it passes.
    pub fn from_events(prompt_tokens: u64, events: impl Stream<Item = Result<ChatEvent>> + Send + 'static) -> Self {
        Self::new(Served::default(), prompt_tokens, Counted { events: Box::pin(events), said: Said::default() })
    }

    /// A reply that is whole already; `prompt_tokens` as in [`new`](Self::new). Where the completion says no usage, that of `finish` is written
    /// into it, so that callers and books see the same figures.
    #[expect(clippy::missing_panics_doc, reason = "never panics: a completion has string keys alone, so it is JSON")]
    pub fn whole(prompt_tokens: u64, mut completion: Completion, finish: Finish) -> Self {
        completion.usage = completion.usage.or_else(|| finish.usage.as_ref().map(Into::into));
        let body = serde_json::to_vec(&completion).expect("a completion is plain JSON");
        Self::whole_body(prompt_tokens, body.into(), finish)
    }

    /// A reply that is whole already, as the JSON of a `chat.completion`; `prompt_tokens` as in
    /// [`new`](Self::new).
    pub fn whole_body(prompt_tokens: u64, body: Bytes, finish: Finish) -> Self {
        Self::new(Served::default(), prompt_tokens, Whole { body, given: false, finish: Some(Box::new(finish)) })
    }

    /// Who served it, to be completed by those who know more.
    pub fn served_mut(&mut self) -> &mut Served {
        &mut self.served
    }

    /// Reads the reply to its end: the whole answer and how it finished.
    ///
    /// # Errors
    ///
    /// The error that ended the stream.
    pub async fn collect(mut self) -> Result<(Vec<ChatEvent>, Finish)> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            match event? {
                ChatEvent::Finish(finish) => return Ok((events, *finish)),
                event => events.push(event),
            }
        }
        Err(unfinished())
    }

    fn ending(&self, end: Option<&Result<ChatEvent>>) -> Ending {
        let mut ending = match end {
            Some(Ok(ChatEvent::Finish(finish))) => {
                let usage = finish.usage.unwrap_or_else(|| self.measured());
                let mut ending = Ending::new(Outcome::Completed, usage);
                ending.vendor_cost = finish.vendor_cost;
                ending.finish_reason.clone_from(&finish.finish_reason);
                ending.discarded = finish.discarded;
                ending
            }
            Some(Err(error)) => {
                let usage = error.spent().copied().unwrap_or_else(|| self.measured());
                let mut ending = Ending::new(Outcome::UpstreamFailed, usage);
                ending.error = Some(error.kind());
                ending.vendor_cost = error.vendor_cost();
                ending
            }
            Some(Ok(_)) | None => {
                let mut ending = Ending::new(Outcome::ClientGone, self.measured());
                ending.error = Some(ErrorKind::Cancelled);
                ending
            }
        };
        ending.served = self.served.clone();
        ending.waived = Charge::is_insured(ending.outcome, &ending.usage, ending.finish_reason.as_deref())
            || ending.outcome == Outcome::ClientGone && self.departure == OnDeparture::Void;
        ending
    }

    /// What is handed on where `event` is the last: the door and the books show the same figures, also where they are
    /// estimated.
    fn completed(&mut self, mut event: Result<ChatEvent>) -> Result<ChatEvent> {
        if let Ok(ChatEvent::Finish(finish)) = &mut event {
            let usage = finish.usage.unwrap_or_else(|| self.source.so_far());
            finish.usage = Some(self.with_prompt(usage));
            self.served.model = finish.model.clone().or(self.served.model.take());
        }
        event
    }

    fn measured(&self) -> Usage {
        let mut usage = self.source.so_far();
        usage.estimated |= usage.prompt_tokens() == 0;
        self.with_prompt(usage)
    }

    /// An estimate without a prompt, with the prompt's estimate.
    fn with_prompt(&self, mut usage: Usage) -> Usage {
        if usage.estimated && usage.prompt_tokens() == 0 {
            usage.input = self.prompt_tokens;
        }
        usage
    }
}

fn unfinished() -> Error {
    Error::new(ErrorKind::BadUpstream, "The upstream cut the answer short: send the request again")
        .with_code("upstream_truncated")
}

impl Stream for ChatReply {
    type Item = Result<ChatEvent>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Over => return Poll::Ready(None),
                State::Settling(hooks, held) => {
                    ready!(hooks.as_mut().poll(cx));
                    let held = held.take();
                    this.state = State::Over;
                    return Poll::Ready(held);
                }
                State::Flowing => {
                    let event = ready!(this.source.as_mut().poll_next(cx)).unwrap_or_else(|| Err(unfinished()));
                    if event.as_ref().is_ok_and(ChatEvent::is_piece) {
                        if let Some(mut marker) = this.marker.take() {
                            marker(&this.served, &|| this.measured());
                            this.marker = Some(marker);
                        }
                        return Poll::Ready(Some(event));
                    }
                    let event = this.completed(event);
                    let ending = this.ending(Some(&event));
                    let Some(hooks) = this.hooks.tell(&ending) else {
                        this.state = State::Over;
                        return Poll::Ready(Some(event));
                    };
                    this.state = State::Settling(hooks, Some(event));
                }
            }
        }
    }
}

impl Drop for ChatReply {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Flowing => self.left(),
            State::Settling(hooks, _) => run_on(Some(hooks)),
            State::Over => {}
        }
    }
}

impl std::fmt::Debug for ChatReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatReply").field("served", &self.served).field("hooks", &self.hooks).finish_non_exhaustive()
    }
}

impl Reply for ChatReply {
    fn served(&self) -> &Served {
        &self.served
    }

    fn set_offer(&mut self, offer: Offer) {
        self.served.offer = Some(offer);
    }

    fn on_departure(&mut self, then: OnDeparture, drains: &Drains) {
        (self.departure, self.drains) = (then, Some(drains.clone()));
    }

    async fn watch(mut self, hook: Hook) -> Self {
        self.hooks.push(hook);
        self
    }

    fn mark(mut self, marker: Marker) -> Self {
        self.marker = Some(marker);
        self
    }
}

/// An answer that is whole: two events.
struct Whole {
    body: Bytes,
    given: bool,
    finish: Option<Box<Finish>>,
}

impl Stream for Whole {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !std::mem::replace(&mut self.given, true) {
            return Poll::Ready(Some(Ok(ChatEvent::Whole(self.body.clone()))));
        }
        Poll::Ready(self.finish.take().map(|finish| Ok(ChatEvent::Finish(finish))))
    }
}

impl ChatSource for Whole {
    fn so_far(&self) -> Usage {
        // What was counted needs no measuring, which would read the answer once more.
        self.finish.as_ref().and_then(|finish| finish.usage).unwrap_or_else(|| said_in(&self.body).usage(0))
    }
}

/// Events of a provider that does not count by itself.
struct Counted {
    events: Pin<Box<dyn Stream<Item = Result<ChatEvent>> + Send>>,
    said: Said,
}

/// What the choices in `json` say; what cannot be read says nothing.
fn said_in(json: &[u8]) -> Said {
    let mut said = Said::default();
    for choice in serde_json::from_slice::<Choices<'_>>(json).iter().flat_map(|answer| &answer.choices) {
        said += choice.saying.said;
    }
    said
}

/// An answer or a piece of one, as far as it is measured.
#[derive(Deserialize)]
struct Choices<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default, borrow, alias = "delta", alias = "message")]
    saying: Saying<'a>,
}

impl Stream for Counted {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = ready!(self.events.as_mut().poll_next(cx));
        match &event {
            Some(Ok(ChatEvent::Chunk(chunk))) => {
                for choice in &chunk.choices {
                    self.said += Said::from(&choice.delta);
                }
            }
            Some(Ok(ChatEvent::Frames(events))) => frames::data(events).for_each(|data| self.said += said_in(&data)),
            Some(Ok(ChatEvent::Whole(body))) => self.said += said_in(body),
            _ => {}
        }
        Poll::Ready(event)
    }
}

impl ChatSource for Counted {
    fn so_far(&self) -> Usage {
        self.said.usage(0)
    }
}

#[cfg(test)]
mod tests;
