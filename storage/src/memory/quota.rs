//! Quotas in memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aihub_core::key::KeyLimits;
use aihub_core::quota::{Amounts, Ask};
use aihub_core::{
    AccountId, CallId, Error, ErrorKind, KeyId, Money, Plan, QuotaPolicy, Refusal, Reservation, Result, Timestamp,
};
use async_trait::async_trait;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// A [`QuotaPolicy`] for one process: calls, tokens and money of an account per calendar month (UTC).
///
/// The limits are those of the plan that the caller comes with
/// ([`Plan::monthly_calls`], [`Plan::monthly_tokens`]), for all keys of its account together, and those
/// of its key ([`KeyLimits`]) for that key alone; one that is changed in mid-month counts at the next
/// call. Money is limited for every account alike, by [`MemoryQuota::with_monthly_money`].
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
    windows: HashMap<(Subject, Month), Window, RandomState>,
    holds: HashMap<CallId, Hold, RandomState>,
}

/// Whose amounts are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject {
    Account,
    Key(KeyId),
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
    key: KeyId,
    month: Month,
    asked: Amounts,
    tally: Tally,
}

impl Hold {
    /// The windows that it is in.
    fn places(&self) -> [(Subject, Month); 2] {
        [(Subject::Account, self.month), (Subject::Key(self.key), self.month)]
    }
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
        let window = lock(&account).windows.get(&(Subject::Account, month(at))).copied().unwrap_or_default();
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
        let Some(hold) = account.holds.remove(&reservation.call) else {
            return;
        };
        let used = used(hold.tally);
        for place in hold.places() {
            let window = account.windows.entry(place).or_default();
            window.held = window.held.minus(hold.tally);
            window.settled = window.settled.plus(used);
        }
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
            Entry::Occupied(hold) => hold.get().asked,
            Entry::Vacant(place) => {
                let key = &ask.caller.key;
                let hold = Hold { key: key.id, month: month(ask.at), asked: ask.most, tally };
                let limits = [Limits::of_account(&ask.caller.plan, self.money), Limits::of_key(&key.limits)];
                // All of them before any is counted in: a hold is in every window or in none.
                for (place, limits) in hold.places().iter().zip(limits) {
                    windows.entry(*place).or_default().admit(tally, &limits, hold.month)?;
                }
                for place in hold.places() {
                    let window = windows.entry(place).or_default();
                    window.held = window.held.plus(tally);
                }
                place.insert(hold).asked
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

/// What a window may hold, and the names that its limits have in a refusal.
struct Limits {
    who: &'static str,
    calls: (&'static str, Option<u64>),
    tokens: (&'static str, Option<u64>),
    money: Option<Money>,
}

impl Limits {
    fn of_account(plan: &Plan, money: Option<Money>) -> Self {
        let (calls, tokens) =
            (("plan_monthly_calls", plan.monthly_calls), ("plan_monthly_tokens", plan.monthly_tokens));
        Self { who: "account", calls, tokens, money }
    }

    fn of_key(limits: &KeyLimits) -> Self {
        let calls = ("key_monthly_calls", limits.monthly_calls);
        Self { who: "API key", calls, tokens: ("key_monthly_tokens", limits.monthly_tokens), money: None }
    }
}

impl Window {
    fn admit(&self, ask: Tally, limits: &Limits, month: Month) -> Result<()> {
        let taken = self.settled.plus(self.held);
        let counts =
            [(limits.calls, "calls", ask.calls, taken.calls), (limits.tokens, "tokens", ask.tokens, taken.tokens)];
        for ((source, limit), unit, ask, taken) in counts {
            let Some(limit) = limit else { continue };
            let free = u128::from(limit).saturating_sub(taken);
            if ask > free {
                return Err(refuse(limits.who, source, unit, limit, free, month));
            }
        }
        if let Some(limit) = limits.money {
            let free = (i128::from(limit.nanos()) - taken.nanos).max(0);
            if ask.nanos > free {
                let left = Money::from_nanos(i64::try_from(free).unwrap_or(i64::MAX), limit.currency());
                let source = "account_monthly_money";
                return Err(refuse(limits.who, source, limit.currency(), limit.decimal(), left.decimal(), month));
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

fn refuse(
    who: &str,
    source: &'static str,
    unit: impl Display,
    limit: impl Display,
    left: impl Display,
    month: Month,
) -> Error {
    let resets_at = end_of(month);
    let until = resets_at.map(|end| format!(" until {end}")).unwrap_or_default();
    let message = format!(
        "This {who} may use {limit} {unit} a month and has {left} left{until}, less than this call may need: \
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
