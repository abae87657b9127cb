//! A quota policy: a team may use so many tokens a day, and what it likes at the weekend.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aihub_core::jiff::civil::{Date, Weekday};
use aihub_core::jiff::tz::TimeZone;
use aihub_core::quota::{Amounts, Ask};
use aihub_core::{AccountId, CallId, Error, ErrorKind, QuotaPolicy, Refusal, Reservation, Result, Timestamp};
use async_trait::async_trait;

/// Budgets of teams. Several accounts may belong to one team and share its budget.
///
/// It counts in this process only. One for several replicas keeps the same figures in a database,
/// and decides there, in one statement.
#[derive(Debug, Default)]
pub(crate) struct TeamDay {
    members: HashMap<AccountId, Arc<Team>>,
}

#[derive(Debug)]
pub(crate) struct Team {
    tokens_per_day: u64,
    days: Mutex<Days>,
}

#[derive(Debug, Default)]
struct Days {
    /// Tokens that are used or held, by day (UTC). A day is kept for as long as the process lives: a
    /// call may be settled long after it.
    taken: HashMap<Date, u64>,
    /// What makes settling idempotent: a call without a hold was settled before.
    holds: HashMap<CallId, u64>,
}

impl TeamDay {
    /// Adds a team of these accounts.
    pub(crate) fn with_team(mut self, tokens_per_day: u64, accounts: impl IntoIterator<Item = AccountId>) -> Self {
        let team = Arc::new(Team { tokens_per_day, days: Mutex::default() });
        self.members.extend(accounts.into_iter().map(|account| (account, Arc::clone(&team))));
        self
    }

    fn resolve(&self, reservation: &Reservation, used: u64) {
        let Some(team) = self.members.get(&reservation.account) else { return };
        let mut days = team.days();
        let Some(held) = days.holds.remove(&reservation.call) else { return };
        // The day of the admission, not today: a hold belongs to the period in which it was made. Use
        // beyond it counts as well: an estimate that was too low takes the day past its limit once.
        let taken = days.taken.entry(date(reservation.at)).or_default();
        *taken = (*taken - held).saturating_add(used);
    }
}

#[async_trait]
impl QuotaPolicy for TeamDay {
    async fn reserve(&self, ask: &Ask) -> Result<Reservation> {
        let account = ask.caller.account();
        // A limit that cannot be evaluated refuses: an account without a team is not one without limit.
        let team = self.members.get(&account).ok_or_else(no_team)?;
        let day = date(ask.at);
        let tokens = ask.most.tokens;
        let mut days = team.days();
        if !is_weekend(day) && !days.holds.contains_key(&ask.call) {
            let taken = days.taken.entry(day).or_default();
            let left = team.tokens_per_day.saturating_sub(*taken);
            if tokens > left {
                return Err(refused(team.tokens_per_day, left, day));
            }
            *taken += tokens;
            days.holds.insert(ask.call, tokens);
        }
        // No await between the look and the hold: nobody else gets in between, and nothing is half done
        // when the future is dropped.
        Ok(Reservation::of(ask))
    }

    async fn settle(&self, reservation: Reservation, used: Amounts) -> Result<()> {
        self.resolve(&reservation, used.tokens);
        Ok(())
    }

    async fn release(&self, reservation: Reservation) -> Result<()> {
        self.resolve(&reservation, 0);
        Ok(())
    }
}

impl Team {
    fn days(&self) -> MutexGuard<'_, Days> {
        self.days.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn date(at: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(at).date()
}

fn is_weekend(day: Date) -> bool {
    matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday)
}

/// Becomes 402 with these details in the envelope.
fn refused(limit: u64, left: u64, day: Date) -> Error {
    let refusal = Refusal::new("team_daily_tokens", format!("{limit} tokens"), format!("{left} tokens"));
    let midnight = day.tomorrow().and_then(|next| next.to_zoned(TimeZone::UTC));
    let refusal = match midnight {
        Ok(midnight) => refusal.with_reset(midnight.timestamp()),
        Err(_) => refusal,
    };
    let message = format!("Your team has {left} of {limit} tokens left today: ask for less, or wait until tomorrow");
    Error::new(ErrorKind::PaymentRequired, message).with_refusal(refusal)
}

fn no_team() -> Error {
    Error::new(ErrorKind::Unavailable, "This account belongs to no team: ask for it to be added to one").with_alert()
}

#[cfg(test)]
mod tests;
