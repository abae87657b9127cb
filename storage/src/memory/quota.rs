//! Quotas in memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aihub_core::quota::{Amounts, Ask};
use aihub_core::{AccountId, CallId, KeyId, Money, QuotaPolicy, Reservation, Result, Timestamp};
use async_trait::async_trait;
use dashmap::DashMap;
use foldhash::fast::RandomState;

use crate::quota::{Limits, Month, Tally, month};

/// A [`QuotaPolicy`] for one process: calls, tokens and money of an account per calendar month (UTC).
///
/// The limits are those of the plan that the caller comes with
/// ([`monthly_calls`](aihub_core::Plan::monthly_calls), [`monthly_tokens`](aihub_core::Plan::monthly_tokens)), for all keys of its account together, and those
/// of its key ([`KeyLimits`](aihub_core::key::KeyLimits)) for that key alone; one that is changed in mid-month counts at the next
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
        let tally = Tally::weigh(ask.most, self.money)?;
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
                    let window = windows.entry(*place).or_default();
                    limits.admit(window.settled.plus(window.held), tally, hold.month)?;
                }
                for place in hold.places() {
                    let window = windows.entry(place).or_default();
                    window.held = window.held.plus(tally);
                }
                place.insert(hold).asked
            }
        };
        Ok(Reservation { held, ..Reservation::of(ask) })
    }

    async fn settle(&self, reservation: Reservation, used: Amounts) -> Result<()> {
        self.settle_at(&reservation, |held| held.used(used, self.money));
        Ok(())
    }

    async fn release(&self, reservation: Reservation) -> Result<()> {
        self.settle_at(&reservation, |_| Tally::default());
        Ok(())
    }
}

fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}
