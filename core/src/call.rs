//! One call on its way to a model.

use std::fmt::Debug;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::caller::Caller;
use crate::chat::ChatRequest;
use crate::departure::{Drains, OnDeparture};
use crate::error::{Error, ErrorKind, Result};
use crate::id::CallId;
use crate::model::{ModelKind, Offer};
use crate::money::Money;
use crate::price::Priced;
use crate::provider::Provider;
use crate::quota::Window;
use crate::reply::{Hook, Marker, Served};
use crate::time::{Clock, Timestamp};
use crate::usage::Usage;

/// What a model is asked for: a chat or an embedding. Layers are generic over it, so that each of
/// them is written once.
pub trait Operation: Debug + Clone + Send + Sync + 'static {
    /// What comes back.
    type Reply: Reply;

    /// What kind of model it takes.
    const KIND: ModelKind;

    /// The model that the caller asked for: an id or alias of the catalogue.
    fn model(&self) -> &str;

    /// How much it may use, estimated from its size.
    fn demand(&self) -> Demand;

    /// Whether the answer comes piece by piece.
    fn streams(&self) -> bool;

    /// Hands an attempt to the method of `provider` that serves this operation.
    fn dispatch(provider: &dyn Provider, attempt: Attempt<Self>) -> BoxFuture<'_, Result<Self::Reply>>;
}

/// What comes back from a model.
pub trait Reply: Debug + Send + 'static {
    /// Who served it.
    fn served(&self) -> &Served;

    /// Names the offer that served it.
    fn set_offer(&mut self, offer: Offer);

    /// What is done when it is dropped before its end; by default it is cancelled, as whole replies always are, which
    /// have nothing left to read. Where it runs on, it does so among `drains`.
    fn on_departure(&mut self, then: OnDeparture, drains: &Drains) {
        let _ = (then, drains);
    }

    /// Has `hook` told how the call ended, once: before this returns when it has ended already,
    /// else before the last piece of the answer is handed on, or when the reply is dropped.
    fn watch(self, hook: Hook) -> impl Future<Output = Self> + Send;

    /// Has `marker` told how far it has come, piece by piece; never where it comes as a whole.
    #[must_use]
    fn mark(self, marker: Marker) -> Self
    where
        Self: Sized,
    {
        drop(marker);
        self
    }
}

/// How much an operation may use: the figures a hold is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// An upper estimate of the prompt's tokens, in the terms of [`tokens::count`](crate::tokens::count): whoever knows the
    /// model takes it by its [`Family`](crate::tokens::Family).
    pub prompt_tokens: u64,
    /// The most output tokens that the caller wants, for all choices together; `None` when it did
    /// not say.
    pub output_tokens: Option<u64>,
    /// How many answers the caller wants, each of which may have the output of one; not 0. A limit
    /// that a plan sets is meant for each of them.
    pub choices: u64,
}

/// One call: what is asked, by whom, since when.
///
/// Cheap to clone: the retry of a call shares everything with it.
#[derive(Debug, Clone)]
pub struct Call<O> {
    /// The call's id, also its request id; everything recorded of it is idempotent by it.
    pub id: CallId,
    /// Who calls.
    pub caller: Arc<Caller>,
    /// What is asked.
    pub operation: O,
    /// When it was admitted: the instant that decides period and price.
    pub received_at: Timestamp,
    /// The same on [`Clock::elapsed`]'s face, to measure from.
    pub started: Duration,
    /// What has happened to it so far.
    pub trail: Arc<Trail>,
}

impl<O: Operation> Call<O> {
    /// A call admitted now.
    pub fn new(caller: Arc<Caller>, operation: O, clock: &dyn Clock) -> Self {
        let received_at = clock.now();
        Self::with_id(CallId::new(received_at), caller, operation, clock)
    }

    /// A call admitted now under an id that was given out before (the request id).
    pub fn with_id(id: CallId, caller: Arc<Caller>, operation: O, clock: &dyn Clock) -> Self {
        Self { id, caller, operation, received_at: clock.now(), started: clock.elapsed(), trail: Arc::default() }
    }
}

/// What has happened to a call so far, shared by its attempts: what is known when it ends without
/// a reply.
#[derive(Debug, Default)]
pub struct Trail {
    attempts: AtomicU32,
    in_flight: AtomicBool,
    left: AtomicBool,
    last: Mutex<Last>,
}

/// What a call comes to that ends without a reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unanswered {
    /// What was used.
    pub usage: Usage,
    /// Whether the caller is let off: it pays for what reached it, and for what runs on because it left.
    pub waived: bool,
}

#[derive(Debug, Default, Clone)]
struct Last {
    offer: Option<Offer>,
    discarded: Usage,
    /// What the last attempt cost, where it failed.
    spent: Option<Usage>,
    concluded: Option<Unanswered>,
    waived: bool,
    most: Option<Money>,
    windows: Arc<[Window]>,
}

impl Trail {
    /// An attempt is about to be sent to `offer`.
    pub fn attempt(&self, offer: &Offer) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        self.in_flight.store(true, Ordering::Release);
        let mut last = self.last();
        (last.offer, last.spent) = (Some(offer.clone()), None);
    }

    /// The attempt failed; `spent` is what the vendor counted for it, as far as it said.
    pub fn failed(&self, spent: Option<&Usage>) {
        self.in_flight.store(false, Ordering::Release);
        if let Some(spent) = spent {
            let mut last = self.last();
            (last.discarded, last.spent) = (last.discarded.plus(spent), Some(*spent));
        }
    }

    /// The caller left: no further attempt is made for it. `waived` lets it off what the one that is under way costs.
    pub fn leave(&self, waived: bool) {
        self.left.store(true, Ordering::Release);
        self.last().waived = waived;
    }

    /// Whether the caller left, and the call runs on without it.
    pub fn left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// It was decided what the call has used and whether its caller is let off, and that is being booked: whoever
    /// writes it down for a caller who leaves meanwhile has to say the same.
    pub fn conclude(&self, usage: &Usage, waived: bool) {
        self.last().concluded = Some(Unanswered { usage: *usage, waived });
    }

    /// What was decided, once it was.
    pub fn concluded(&self) -> Option<Unanswered> {
        self.last().concluded
    }

    /// What the call comes to when it ends without a reply: by `error`, or because its caller left. One rule for all
    /// who keep books of it, and decided once: whoever asks again is told the same.
    ///
    /// What the last attempt cost counts, as far as its vendor said; one that is still with a vendor has cost its
    /// prompt, of which `prompt_tokens` is the estimate. A failure is never charged, since nothing of it reached the
    /// caller. A caller who left an attempt that is under way is, unless the policy lets it off: the vendor works for it
    /// and sends its bill.
    pub fn unanswered(&self, prompt_tokens: u64, error: Option<&Error>) -> Unanswered {
        let in_flight = self.in_flight();
        let mut last = self.last();
        let spent = last.spent.or(error.and_then(Error::spent).copied()).filter(|spent| !spent.is_zero());
        let estimate = || if in_flight { Usage::estimate(prompt_tokens, 0) } else { Usage::default() };
        let failed = error.is_some_and(|error| error.kind() != ErrorKind::Cancelled);
        let waived = last.waived || failed || !in_flight;
        *last.concluded.get_or_insert_with(|| Unanswered { usage: spent.unwrap_or_else(estimate), waived })
    }

    /// The call is held in these windows.
    pub fn hold(&self, windows: Arc<[Window]>) {
        self.last().windows = windows;
    }

    /// The windows that the call is held in.
    pub fn windows(&self) -> Arc<[Window]> {
        Arc::clone(&self.last().windows)
    }

    /// The call may be charged no more than this: what it holds of a limit of money.
    pub fn charge_at_most(&self, most: Money) {
        self.last().most = Some(most);
    }

    /// The most that the call may be charged, where a limit of money bounds it.
    pub fn most(&self) -> Option<Money> {
        self.last().most
    }

    /// How many attempts were sent upstream.
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Whether an attempt is with a vendor and its outcome not known: dropped now, it may have cost
    /// money that nobody reported.
    pub fn in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Whom the last attempt was sent to.
    pub fn offer(&self) -> Option<Offer> {
        self.last().offer.clone()
    }

    /// What vendors counted for attempts of which nothing reached the caller.
    pub fn discarded(&self) -> Usage {
        self.last().discarded
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One attempt to have a call served by one offer.
#[derive(Debug, Clone)]
pub struct Attempt<O> {
    /// The call.
    pub call: Call<O>,
    /// Who is to serve it.
    pub offer: Offer,
    /// The most output tokens to ask the vendor for, for one choice, where a hold set one. It does not
    /// say what the request says: [`Attempt::output_bound`] takes both together.
    pub max_output_tokens: Option<u64>,
}

impl<O> Attempt<O> {
    /// An attempt at `offer` that no hold binds.
    pub fn new(call: Call<O>, offer: Offer) -> Self {
        Self { call, offer, max_output_tokens: None }
    }

    /// The prices it is made at: those of its offer that were in force when the call was admitted.
    pub fn prices(&self) -> Option<&Arc<Priced>> {
        self.offer.prices.at(self.call.received_at)
    }
}

impl Attempt<ChatRequest> {
    /// The most output tokens to ask the vendor for, for one choice: the smaller of what the caller
    /// asked for and what is held. `None` when neither says anything, and the vendor's own limit holds.
    ///
    /// A provider that asks for more has answers that nobody has paid for.
    pub fn output_bound(&self) -> Option<u64> {
        [self.max_output_tokens, self.call.operation.max_output_tokens()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::AccountId;
    use crate::key::ApiKey;
    use crate::plan::Plan;
    use crate::price::PriceList;
    use crate::time::ManualClock;

    #[test]
    fn the_smaller_of_two_limits_bounds_the_output() {
        let (clock, at) = (ManualClock::default(), Timestamp::UNIX_EPOCH);
        let key = ApiKey::new(AccountId::new(at), "key", "any", at);
        let caller = Arc::new(Caller::new(key, Plan::unlimited("any")));
        let offer = Offer::new("vendor", "m", PriceList::flat("1", "2").unwrap());
        for (asked, held, bound) in [
            (None, None, None),
            (Some(7), None, Some(7)),
            (None, Some(5), Some(5)),
            (Some(7), Some(5), Some(5)),
            (Some(4), Some(5), Some(4)),
        ] {
            let body = serde_json::json!({
                "model": "m", "max_tokens": asked, "messages": [{"role": "user", "content": "hi"}]
            });
            let request = ChatRequest::parse(body.to_string().into()).unwrap();
            let mut attempt = Attempt::new(Call::new(Arc::clone(&caller), request, &clock), offer.clone());
            attempt.max_output_tokens = held;
            assert_eq!(attempt.output_bound(), bound, "{asked:?} {held:?}");
        }
    }
}
