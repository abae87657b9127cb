//! Quotas in memory.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aihub_core::quota::{Amounts, Ask};
use aihub_core::{
    AccountId, CallId, Error, ErrorKind, Money, Plan, QuotaPolicy, Refusal, Reservation, Result, Timestamp,
};
use async_trait::async_trait;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// A [`QuotaPolicy`] for one process: calls, tokens and money of an account per calendar month (UTC).
///
/// The limits are those of the plan that the caller comes with
/// ([`Plan::monthly_calls`], [`Plan::monthly_tokens`]), so that a plan changed in mid-month counts at
/// the next call; what several keys of one account use is added up. Money is limited for every
/// account alike, by [`MemoryQuota::with_monthly_money`].
///
/// Each account has a lock of its own, held for the arithmetic only. A call that was settled is
/// forgotten by its id; its amounts stay in the window of its month, and no month is dropped while
/// the process lives, since a call may be settled long after its month has ended.
#[derive(Debug, Default)]
pub struct MemoryQuota {
    money: Option<Money>,
    accounts: DashMap<AccountId, Arc<Mutex<Account>>, RandomState>,
}

/// What an account has used and holds in one month.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Used, and settled. More than the limit only where a call used more than it held.
    pub settled: Amounts,
    /// Held by calls that run.
    pub held: Amounts,
}

#[derive(Debug, Default)]
struct Account {
    windows: BTreeMap<Month, Window>,
    holds: HashMap<CallId, (Month, Hold), RandomState>,
}

/// The first day of a month.
type Month = Date;

/// Wide enough for every sum of 2⁶⁴ amounts: the arithmetic on it cannot overflow, and an ask too
/// large to be true does not wrap into a small one.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    calls: u128,
    tokens: u128,
    nanos: i128,
}

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    settled: Tally,
    held: Tally,
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    asked: Amounts,
    tally: Tally,
}

impl MemoryQuota {
    /// A policy that knows the limits of plans only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also refuses what would take an account beyond `most` in a month; and every call without a
    /// price or in another currency, since a limit that cannot be evaluated refuses.
    #[must_use]
    pub fn with_monthly_money(mut self, most: Money) -> Self {
        self.money = Some(most);
        self
    }

    /// What `account` has used and holds in the month of `at`.
    pub fn standing(&self, account: AccountId, at: Timestamp) -> Standing {
        let Some(account) = self.account(account) else {
            return Standing::default();
        };
        let window = lock(&account).windows.get(&month(at)).copied().unwrap_or_default();
        Standing { settled: self.amounts(window.settled), held: self.amounts(window.held) }
    }

    fn account(&self, id: AccountId) -> Option<Arc<Mutex<Account>>> {
        self.accounts.get(&id).map(|account| Arc::clone(&account))
    }

    fn amounts(&self, tally: Tally) -> Amounts {
        let mut amounts = Amounts::default();
        amounts.calls = u64::try_from(tally.calls).unwrap_or(u64::MAX);
        amounts.tokens = u64::try_from(tally.tokens).unwrap_or(u64::MAX);
        amounts.money =
            self.money.map(|most| Money::from_nanos(i64::try_from(tally.nanos).unwrap_or(i64::MAX), most.currency()));
        amounts
    }

    /// What `amounts` weigh. Money counts only where it is limited, and never below zero: a negative
    /// ask would widen the limit for everybody else.
    fn weigh(&self, amounts: Amounts) -> Result<Tally> {
        let nanos = match (self.money, amounts.money) {
            (None, _) => 0,
            (Some(most), Some(money)) if money.currency() == most.currency() => i128::from(money.nanos().max(0)),
            (Some(most), Some(_)) => return Err(unpriced(&format!("this model is not priced in {}", most.currency()))),
            (Some(_), None) => return Err(unpriced("this model has no price")),
        };
        Ok(Tally { calls: amounts.calls.into(), tokens: amounts.tokens.into(), nanos })
    }

    fn settle_at(&self, reservation: &Reservation, used: impl FnOnce(Tally) -> Tally) {
        let Some(account) = self.account(reservation.account) else {
            return;
        };
        let mut account = lock(&account);
        // No hold: it was settled before. Doing nothing is what makes settling idempotent.
        let Some((month, hold)) = account.holds.remove(&reservation.call) else {
            return;
        };
        let window = account.windows.entry(month).or_default();
        window.held = window.held.minus(hold.tally);
        window.settled = window.settled.plus(used(hold.tally));
    }
}

#[async_trait]
impl QuotaPolicy for MemoryQuota {
    async fn reserve(&self, ask: &Ask) -> Result<Reservation> {
        let tally = self.weigh(ask.most)?;
        let id = ask.caller.account();
        // Looked for first: `entry` would shut out everybody else in the same part of the map.
        let known = self.account(id);
        let account = known.unwrap_or_else(|| Arc::clone(&self.accounts.entry(id).or_default()));
        let mut account = lock(&account);
        let Account { windows, holds } = &mut *account;
        let held = match holds.entry(ask.call) {
            Entry::Occupied(hold) => hold.get().1.asked,
            Entry::Vacant(place) => {
                let month = month(ask.at);
                let window = windows.entry(month).or_default();
                window.admit(tally, &ask.caller.plan, self.money, month)?;
                window.held = window.held.plus(tally);
                place.insert((month, Hold { asked: ask.most, tally }));
                ask.most
            }
        };
        Ok(Reservation { call: ask.call, account: id, at: ask.at, held })
    }

    async fn settle(&self, reservation: Reservation, used: Amounts) -> Result<()> {
        let weighed = self.weigh(used);
        self.settle_at(&reservation, |held| {
            // What it cost may not be known, which is never nothing: all the money held is counted.
            weighed.unwrap_or(Tally { calls: used.calls.into(), tokens: used.tokens.into(), nanos: held.nanos })
        });
        Ok(())
    }

    async fn release(&self, reservation: Reservation) -> Result<()> {
        self.settle_at(&reservation, |_| Tally::default());
        Ok(())
    }
}

impl Window {
    fn admit(&self, ask: Tally, plan: &Plan, money: Option<Money>, month: Month) -> Result<()> {
        let taken = self.settled.plus(self.held);
        if let Some(limit) = plan.monthly_calls {
            let free = u128::from(limit).saturating_sub(taken.calls);
            if ask.calls > free {
                return Err(refuse("plan_monthly_calls", "calls", limit, free, month));
            }
        }
        if let Some(limit) = plan.monthly_tokens {
            let free = u128::from(limit).saturating_sub(taken.tokens);
            if ask.tokens > free {
                return Err(refuse("plan_monthly_tokens", "tokens", limit, free, month));
            }
        }
        if let Some(limit) = money {
            let free = (i128::from(limit.nanos()) - taken.nanos).max(0);
            if ask.nanos > free {
                let left = Money::from_nanos(i64::try_from(free).unwrap_or(i64::MAX), limit.currency());
                return Err(refuse("account_monthly_money", limit.currency(), limit.decimal(), left.decimal(), month));
            }
        }
        Ok(())
    }
}

impl Tally {
    fn plus(self, other: Self) -> Self {
        Self { calls: self.calls + other.calls, tokens: self.tokens + other.tokens, nanos: self.nanos + other.nanos }
    }

    fn minus(self, other: Self) -> Self {
        Self { calls: self.calls - other.calls, tokens: self.tokens - other.tokens, nanos: self.nanos - other.nanos }
    }
}

fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

fn month(at: Timestamp) -> Month {
    TimeZone::UTC.to_datetime(at).date().first_of_month()
}

/// The first instant after `month`; `None` past the end of the calendar.
fn end_of(month: Month) -> Option<Timestamp> {
    let next = month.last_of_month().tomorrow().ok()?;
    next.to_zoned(TimeZone::UTC).ok().map(|start| start.timestamp())
}

fn refuse(source: &'static str, unit: impl Display, limit: impl Display, left: impl Display, month: Month) -> Error {
    let resets_at = end_of(month);
    let until = resets_at.map(|end| format!(" until {end}")).unwrap_or_default();
    let message = format!(
        "This account may use {limit} {unit} a month and has {left} left{until}, less than this call may need: \
         ask for less, wait, or move to a larger plan"
    );
    let refusal = Refusal::new(source, format!("{limit} {unit}"), format!("{left} {unit}"));
    let refusal = match resets_at {
        Some(end) => refusal.with_reset(end),
        None => refusal,
    };
    Error::new(ErrorKind::PaymentRequired, message).with_refusal(refusal)
}

fn unpriced(why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("The spending limit cannot be checked: {why}. Choose another model"))
        .with_code("unpriced_model")
        .with_alert()
}
