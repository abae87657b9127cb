//! Proves a [`QuotaPolicy`].

use std::any::Any;
use std::sync::Arc;

use super::Fixture;
use crate::caller::Caller;
use crate::error::{ErrorKind, Refusal, Result};
use crate::id::{AccountId, CallId};
use crate::money::{Currency, Money};
use crate::plan::Plan;
use crate::quota::{Amounts, Ask, QuotaPolicy, Reservation};
use crate::time::Timestamp;

mod concurrent;
mod counting;
mod refusing;

pub use concurrent::*;
pub use counting::*;
pub use refusing::*;

/// Makes a test of every check in [`quota_policy`](mod@crate::conformance::quota_policy) out of a
/// closure that takes [`Limits`](crate::conformance::quota_policy::Limits) and gives back the future
/// of a [`QuotaFixture`](crate::conformance::quota_policy::QuotaFixture) under them.
///
/// A policy that does not sell limits of calls, tokens and money by the month names the checks that
/// apply to it; a name that is no check does not compile:
///
/// ```text
/// conformance::quota_policy!(under, [never_passes_the_limit_of_tokens, accounts_are_apart]);
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __quota_policy {
    ($maker:expr $(,)?) => {
        $crate::__conformance!(quota_policy, $maker, [
            never_passes_the_limit_of_calls
            never_passes_the_limit_of_tokens
            whoever_can_pay_is_not_refused
            one_call_asked_many_times_at_once_holds_once
            grants_up_to_the_limit_and_no_further
            settling_frees_what_was_not_used
            releasing_frees_everything
            settling_twice_counts_once
            asking_twice_holds_once
            use_beyond_the_hold_counts_in_full
            a_hold_belongs_to_the_month_of_its_admission
            accounts_are_apart
            keys_of_an_account_share_its_limits
            a_key_has_limits_of_its_own
            no_limit_is_no_limit
            a_refusal_names_its_limit
            a_refusal_holds_nothing
            money_is_limited_to_the_last_nano
            what_cannot_be_priced_is_refused
        ]);
    };
    ($maker:expr, [$($check:ident),+ $(,)?] $(,)?) => {
        $crate::__conformance!(quota_policy, $maker, [$($check)+]);
    };
}

/// What one account may use in a month; absent is no limit.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Limits {
    /// [`Plan::monthly_calls`].
    pub calls: Option<u64>,
    /// [`Plan::monthly_tokens`].
    pub tokens: Option<u64>,
    /// Money of one month, however the policy is told.
    pub money: Option<Money>,
}

impl Limits {
    /// A plan with the limits that a plan has.
    pub fn plan(&self) -> Plan {
        let Self { calls, tokens, money } = *self;
        Plan { monthly_calls: calls, monthly_tokens: tokens, monthly_money: money, ..Plan::unlimited("conformance") }
    }

    fn calls(most: u64) -> Self {
        Self { calls: Some(most), ..Self::default() }
    }

    fn tokens(most: u64) -> Self {
        Self { tokens: Some(most), ..Self::default() }
    }
}

/// A policy on which nothing is used yet, and callers that it knows.
#[derive(Debug)]
pub struct QuotaFixture {
    policy: Fixture<dyn QuotaPolicy>,
    caller: Arc<Caller>,
    colleague: Arc<Caller>,
    stranger: Arc<Caller>,
    money: bool,
}

impl QuotaFixture {
    /// `policy`, for callers under `limits` that it need not have heard of.
    pub fn new(policy: Arc<dyn QuotaPolicy>, limits: Limits) -> Self {
        let (mine, other) = (AccountId::new(super::at(0)), AccountId::new(super::at(0)));
        Self {
            policy: policy.into(),
            caller: super::caller(mine, limits.plan()),
            colleague: super::caller(mine, limits.plan()),
            stranger: super::caller(other, limits.plan()),
            money: true,
        }
    }

    /// The callers that the policy has heard of: two keys of one account, and one of another.
    #[must_use]
    pub fn with_callers(mut self, caller: Arc<Caller>, colleague: Arc<Caller>, stranger: Arc<Caller>) -> Self {
        (self.caller, self.colleague, self.stranger) = (caller, colleague, stranger);
        self
    }

    /// The policy cannot limit money: the checks of that prove nothing and pass.
    #[must_use]
    pub fn without_money(mut self) -> Self {
        self.money = false;
        self
    }

    /// Keeps `guard` until the test has ended.
    #[must_use]
    pub fn keeping(mut self, guard: impl Any + Send + Sync) -> Self {
        self.policy = self.policy.keeping(guard);
        self
    }

    fn ask(&self, amounts: Amounts) -> Ask {
        ask(&self.caller, now(), amounts)
    }

    async fn reserve(&self, amounts: Amounts) -> Result<Reservation> {
        self.policy.subject.reserve(&self.ask(amounts)).await
    }

    async fn granted(&self, amounts: Amounts) -> Reservation {
        let held = self.reserve(amounts).await.expect("a hold that fits");
        assert_eq!(held.held, amounts);
        held
    }

    async fn refused(&self, amounts: Amounts) -> Refusal {
        refusal(self.reserve(amounts).await)
    }

    async fn settle(&self, reservation: Reservation, used: Amounts) {
        self.policy.subject.settle(reservation, used).await.expect("a settlement");
    }

    async fn release(&self, reservation: Reservation) {
        self.policy.subject.release(reservation).await.expect("a release");
    }

    /// Nothing is left of tokens but `free`.
    async fn tokens_left(&self, free: u64) {
        self.refused(tokens(free + 1)).await;
        let all = self.granted(tokens(free)).await;
        self.release(all).await;
    }
}

fn refusal(asked: Result<Reservation>) -> Refusal {
    let error = asked.expect_err("an ask beyond the limit");
    assert_eq!(error.kind(), ErrorKind::PaymentRequired, "{error}");
    error.refusal().expect("the limit that refused").clone()
}

fn ask(caller: &Arc<Caller>, at: Timestamp, amounts: Amounts) -> Ask {
    Ask::new(CallId::new(at), Arc::clone(caller), "vendor/model".into(), at, amounts)
}

/// The same reservation again, as after an answer that got lost.
fn again(reservation: &Reservation) -> Reservation {
    reservation.clone()
}

fn now() -> Timestamp {
    super::at(0)
}

fn tokens(count: u64) -> Amounts {
    Amounts::call(count, Some(Money::zero(Currency::USD)))
}

fn usd(nanos: i64) -> Money {
    Money::from_nanos(nanos, Currency::USD)
}
