//! [`Journaled`]: writes an attempt down before it is sent, and how far its answer has come.
//!
//! What is written is the record that the call will have if this process is killed and nothing more is ever heard: its
//! prompt, estimated, of which the caller is charged nothing. An answer that streams leaves a mark when its first event
//! comes, with which the vendor can be asked for it later, and then every [`JournalLayer::EVERY`] or
//! [`JournalLayer::TOKENS`]. The end is written by [`Meter`](crate::Meter), which stands outermost and knows of every
//! call.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use std::sync::Arc;
//!
//! use aihub_layers::{JournalLayer, Providers, Upstream};
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! # let vendor: Arc<dyn aihub_core::Provider> = world::Scripted::new("first", []);
//! # let journal = Arc::new(world::Diary::default());
//! let upstream = Upstream::new(Providers::from_iter([vendor]));
//! let service = JournalLayer::new(journal.clone(), world::clock()).layer(upstream);
//! service.oneshot(world::attempt()).await?;
//! assert_eq!(journal.lines(), ["dispatched"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Where it stands
//!
//! Next to the leaf: an attempt that a breaker or a limit stops is never sent, and is not written down.
//!
//! # A wrong order
//!
//! Around Retry it would write down one attempt of several. The record of a call that is cut would say too little, and
//! what is asked of the vendor later would be about another answer.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aihub_core::journal::Progress;
use aihub_core::price::Priced;
use aihub_core::{
    Attempt, CallId, Charge, Clock, Error, Journal, Marker, Markup, Operation, Outcome, Reply as _, Served, Trail,
    Usage, UsageRecord,
};
use futures_util::future::BoxFuture;
use tower::{Layer, Service};

/// Makes [`Journaled`].
#[derive(Debug, Clone)]
pub struct JournalLayer {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
}

impl JournalLayer {
    /// How long an answer streams between two marks.
    pub const EVERY: Duration = Duration::from_secs(2);

    /// How many tokens may come between two marks.
    pub const TOKENS: u64 = 512;

    /// Writes into `journal`.
    pub fn new(journal: Arc<dyn Journal>, clock: Arc<dyn Clock>) -> Self {
        Self { journal, clock }
    }
}

impl<S> Layer<S> for JournalLayer {
    type Service = Journaled<S>;

    fn layer(&self, inner: S) -> Journaled<S> {
        Journaled { inner, journal: Arc::clone(&self.journal), clock: Arc::clone(&self.clock) }
    }
}

/// Writes attempts down. See the [module](self).
#[derive(Debug, Clone)]
pub struct Journaled<S> {
    inner: S,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
}

impl<S, O> Service<Attempt<O>> for Journaled<S>
where
    O: Operation,
    S: Service<Attempt<O>, Response = O::Reply, Error = Error> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = O::Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<O::Reply, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, attempt: Attempt<O>) -> Self::Future {
        let other = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, other);
        let (journal, clock) = (Arc::clone(&self.journal), Arc::clone(&self.clock));
        Box::pin(async move {
            if let Some(written) = journal.dispatched(&draft(&attempt))? {
                written.await;
            }
            let streams = attempt.call.operation.streams();
            let marks = streams.then(|| Marks::of(&attempt, journal, clock));
            let reply = inner.call(attempt).await?;
            Ok(match marks {
                Some(marks) => reply.mark(marks.into_marker()),
                None => reply,
            })
        })
    }
}

/// What is booked of the attempt if nothing is ever heard of it.
fn draft<O: Operation>(attempt: &Attempt<O>) -> UsageRecord {
    let (call, offer) = (&attempt.call, &attempt.offer);
    let model = call.operation.model().into();
    let mut draft = UsageRecord::new(call.id, call.received_at, &call.caller, O::KIND.into(), model);
    draft.stream = call.operation.streams();
    draft.markup = call.caller.plan.markup;
    draft.usage = Usage::estimate(call.operation.demand().prompt_tokens, 0);
    if let Some(prices) = attempt.prices() {
        let charge = Charge::of(&prices.list, &draft.usage, draft.markup, true, None);
        (draft.cost, draft.charge) = (charge.cost, charge.charge);
        draft.price_version = Some(Arc::clone(&prices.version));
    }
    draft.provider = Some(Arc::clone(&offer.provider));
    draft.discarded = call.trail.discarded();
    draft.attempts = call.trail.attempts() + 1;
    (draft.outcome, draft.status, draft.recovered) = (Outcome::GatewayFailed, 500, true);
    draft
}

/// When the next mark of a stream is due. Of the call it keeps what a mark says, and not its prompt.
struct Marks {
    call: CallId,
    trail: Arc<Trail>,
    prices: Option<Arc<Priced>>,
    markup: Markup,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    due: Option<Duration>,
    due_tokens: u64,
    pieces: u32,
}

impl Marks {
    /// Pieces between two looks at the tokens: to count them costs more than to look at a clock.
    const LOOK: u32 = 32;

    fn of<O>(attempt: &Attempt<O>, journal: Arc<dyn Journal>, clock: Arc<dyn Clock>) -> Self {
        let call = &attempt.call;
        Self {
            call: call.id,
            trail: Arc::clone(&call.trail),
            prices: attempt.prices().cloned(),
            markup: call.caller.plan.markup,
            journal,
            clock,
            due: None,
            due_tokens: JournalLayer::TOKENS,
            pieces: 0,
        }
    }

    fn into_marker(mut self) -> Marker {
        Box::new(move |served, usage| self.piece(served, usage))
    }

    fn piece(&mut self, served: &Served, usage: &dyn Fn() -> Usage) {
        self.pieces = self.pieces.wrapping_add(1);
        let now = self.clock.elapsed();
        let late = self.due.is_none_or(|due| now >= due);
        if !late && !self.pieces.is_multiple_of(Self::LOOK) {
            return;
        }
        let used = usage();
        if !late && used.completion_tokens() < self.due_tokens {
            return;
        }
        self.due = Some(now + JournalLayer::EVERY);
        self.due_tokens = used.completion_tokens().saturating_add(JournalLayer::TOKENS);
        let mut mark = Progress::new(self.call, used);
        mark.served_model.clone_from(&served.model);
        mark.generation.clone_from(&served.generation);
        if let Some(prices) = &self.prices {
            let charge = Charge::of(&prices.list, &used, self.markup, false, self.trail.most());
            (mark.cost, mark.charge) = (charge.cost, charge.charge);
        }
        self.journal.progressed(&mark);
    }
}

#[cfg(test)]
mod tests {
    use aihub_core::{Provider, Reply as _};
    use tower::ServiceExt as _;

    use super::*;
    use crate::world::{self, Diary, Scripted, Step};
    use crate::{Providers, Upstream};

    fn service(journal: &Arc<Diary>, clock: &Arc<aihub_core::ManualClock>, step: Step) -> Journaled<Upstream> {
        let vendor: Arc<dyn Provider> = Scripted::new("first", [step]);
        let upstream = Upstream::new(Providers::from_iter([vendor]));
        JournalLayer::new(journal.clone(), clock.clone()).layer(upstream)
    }

    fn streaming() -> Attempt<aihub_core::ChatRequest> {
        let call = aihub_core::Call::new(world::caller(), world::request(r#","stream":true"#), &*world::clock());
        Attempt::new(call, world::offer("first", "1"))
    }

    #[tokio::test]
    async fn nothing_is_sent_that_is_not_written_down() {
        let (journal, clock) = (Arc::new(Diary::default()), world::clock());
        journal.full.store(true, std::sync::atomic::Ordering::SeqCst);
        let attempt = world::attempt();
        let trail = Arc::clone(&attempt.call.trail);
        let error = service(&journal, &clock, Step::Answer).oneshot(attempt).await.unwrap_err();
        assert_eq!((error.code(), trail.attempts(), journal.lines().len()), ("metering_unavailable", 0, 0));
    }

    #[tokio::test]
    async fn a_draft_charges_nothing_and_costs_its_prompt() {
        let (journal, clock) = (Arc::new(Diary::default()), world::clock());
        let reply = service(&journal, &clock, Step::Answer).oneshot(world::attempt()).await.unwrap();
        let draft = journal.drafts.lock().unwrap()[0].clone();
        assert!(draft.recovered && draft.usage.estimated && draft.usage.output == 0);
        assert_eq!(draft.charge.unwrap().nanos(), 0);
        assert!(draft.cost.unwrap().nanos() > 0);
        assert_eq!(reply.served().offer.as_ref().map(|offer| &*offer.provider), Some("first"));
    }

    #[tokio::test]
    async fn a_stream_leaves_marks_and_not_too_many() {
        let (journal, clock) = (Arc::new(Diary::default()), world::clock());
        let step = Step::Stream((0..9).map(|_| world::piece()).chain([world::finish()]).collect());
        let mut reply = service(&journal, &clock, step).oneshot(streaming()).await.unwrap();
        for _ in 0..4 {
            futures_util::StreamExt::next(&mut reply).await.unwrap().unwrap();
        }
        assert_eq!(journal.lines(), ["dispatched", "progressed"]);
        clock.advance(JournalLayer::EVERY);
        reply.collect().await.unwrap();
        assert_eq!(journal.lines(), ["dispatched", "progressed", "progressed"]);
        let marks = journal.marks.lock().unwrap();
        assert!(marks[0].usage.output < marks[1].usage.output && marks[1].charge.unwrap().nanos() > 0, "{marks:?}");
    }
}
