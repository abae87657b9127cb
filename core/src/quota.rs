//! Quotas: reserved before a call, settled after it.

mod calendar;
mod rule;
mod window;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::caller::Caller;
use crate::error::{Error, ErrorKind, Result};
use crate::id::CallId;
use crate::money::Money;
use crate::time::Timestamp;

pub use calendar::{Calendar, Period, Span};
pub use rule::{Quota, Scope, all_limits, limits, windows};
pub use window::{Limit, Most, Subject, Unit, Window};

/// Amounts in every unit that can be used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Amounts {
    /// Calls.
    pub calls: u64,
    /// Tokens, in and out together.
    pub tokens: u64,
    /// Money; `None` where no price is known, which a policy with a money limit refuses.
    pub money: Option<Money>,
}

impl Amounts {
    /// These amounts: calls, tokens in and out together, and money, where a price is known.
    pub const fn new(calls: u64, tokens: u64, money: Option<Money>) -> Self {
        Self { calls, tokens, money }
    }

    /// How much of `unit` it is: never below 0, and never more than 2⁶⁰, so that sums of it fit 64 bits.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) where money is asked for and is not known, or is of another currency: a
    /// limit that cannot be evaluated refuses.
    pub fn of(&self, unit: Unit) -> Result<i64> {
        const MOST: i64 = 1 << 60;
        let count = |count: u64| i64::try_from(count).unwrap_or(MOST).min(MOST);
        match (unit, self.money) {
            (Unit::Calls, _) => Ok(count(self.calls)),
            (Unit::Tokens, _) => Ok(count(self.tokens)),
            (Unit::Money(currency), Some(money)) if money.currency() == currency => Ok(money.nanos().clamp(0, MOST)),
            (Unit::Money(currency), Some(_)) => Err(unpriced(&format!("this model is not priced in {currency}"))),
            (Unit::Money(_), None) => Err(unpriced("this model has no price")),
        }
    }

    /// One call of this many tokens and this cost.
    pub const fn call(tokens: u64, money: Option<Money>) -> Self {
        Self::new(1, tokens, money)
    }
}

fn unpriced(why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("The spending limit cannot be checked: {why}. Choose another model"))
        .with_code("unpriced_model")
        .with_alert()
}

/// What a call asks to hold.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Ask {
    /// The call; a hold is idempotent by it.
    pub call: CallId,
    /// Who pays.
    pub caller: Arc<Caller>,
    /// The public model id.
    pub model: Arc<str>,
    /// When the call was admitted: the hold belongs to the period of this instant, also when it is
    /// settled in the next one.
    pub at: Timestamp,
    /// The most that the call can use.
    pub most: Amounts,
    /// What it needs to be of any use. Where there is not `most`, a hold may be of less, down to this; the answer is
    /// made as short as the hold then.
    pub least: Amounts,
}

impl Ask {
    /// What `call` of `caller` asks to hold: all of `most`, or nothing.
    pub fn new(call: CallId, caller: Arc<Caller>, model: Arc<str>, at: Timestamp, most: Amounts) -> Self {
        Self { call, caller, model, at, most, least: most }
    }

    /// The same, content with less.
    #[must_use]
    pub fn or_less(mut self, least: Amounts) -> Self {
        self.least = least;
        self
    }
}

/// A hold that was granted. It has to be settled or released; one that is forgotten stays counted.
#[derive(Debug, Clone)]
#[must_use = "a hold that is neither settled nor released stays counted"]
pub struct Reservation {
    /// The call it was made for.
    pub call: CallId,
    /// The account it was made from.
    pub account: crate::id::AccountId,
    /// The instant that decides its period.
    pub at: Timestamp,
    /// What is held: at most what was asked.
    pub held: Amounts,
    /// The most that the call may be charged, where it is held of a hard limit of money: whatever it is worth
    /// beyond that, because its estimate was too low, the house bears, and the limit holds.
    pub charge_at_most: Option<Money>,
    /// The windows that it is held in, for the books; empty where the policy keeps none that are shared.
    pub windows: Arc<[Window]>,
}

impl Reservation {
    /// A hold of what `ask` asks for, of no hard limit of money.
    pub fn of(ask: &Ask) -> Self {
        let Ask { call, caller, at, most, .. } = ask;
        Self {
            call: *call,
            account: caller.account(),
            at: *at,
            held: *most,
            charge_at_most: None,
            windows: Arc::default(),
        }
    }
}

/// Decides what a caller may still use, and keeps count.
///
/// No interleaving of these methods, on one replica or many, grants a hold that takes what a subject
/// has settled and held past its limit. Only a call that used more than it held, because its estimate
/// was too low, takes the subject beyond; until the period ends, it is then refused. Proved by
/// `conformance::quota_policy` (feature `conformance`).
#[async_trait]
pub trait QuotaPolicy: Debug + Send + Sync + 'static {
    /// Holds `ask.most` in every window that applies, all or nothing; or less of tokens and money, where there is less,
    /// down to `ask.least`.
    ///
    /// Errors: [`PaymentRequired`](crate::ErrorKind::PaymentRequired) with the limit that refused
    /// ([`crate::Error::refusal`]); [`Unavailable`](crate::ErrorKind::Unavailable) when the limit
    /// cannot be evaluated, which refuses, too.
    ///
    /// Cancellation: dropped midway, nothing is held, or the hold is found by the policy's own
    /// recovery. Idempotence: a second ask of the same call gets the same hold.
    async fn reserve(&self, ask: &Ask) -> Result<Reservation>;

    /// Replaces the hold by what was really used; what was held beyond it is free again.
    ///
    /// Counts all of `used`, also what is beyond the hold: an estimate that was too low may take the
    /// subject past its limit once, and not again with every call. Money whose amount is not known at
    /// the end counts as all that was held of it.
    ///
    /// Errors: only when the store fails; the hold then stays counted. Idempotent by call.
    async fn settle(&self, reservation: Reservation, used: Amounts) -> Result<()>;

    /// Gives the whole hold back: nothing was used. Errors and idempotence as for settling.
    async fn release(&self, reservation: Reservation) -> Result<()>;
}

const _: fn(&dyn QuotaPolicy) = |_| {};
