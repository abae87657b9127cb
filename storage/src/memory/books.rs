//! Books in memory, which also lend: what the others are measured by.

mod reports;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aihub_core::commerce::{Alert, Books, LedgerAccount, Posting, RunId, Settled, SettledCall, Settlement};
use aihub_core::journal::Position;
use aihub_core::quota::{Most, Span, Subject, Unit, Window};
use aihub_core::{AccountId, CallId, Currency, Result, Timestamp, UsageRecord};
use async_trait::async_trait;
use uuid::Uuid;

use crate::books::{Leased, Moves, passed, posting};
use crate::lease::{LOST, Lender, Lent, Return, Wish, share};

/// [`Books`] and a [`Lender`] that forget everything with the process: for tests, and for services that keep no books of
/// their own.
#[derive(Debug, Default)]
pub struct MemoryBooks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    positions: HashMap<Uuid, Position>,
    records: BTreeMap<CallId, UsageRecord>,
    windows: BTreeMap<Window, Standing>,
    leases: BTreeMap<Leased, i64>,
    /// Which recall of its window each lease has answered.
    answered: BTreeMap<Leased, i64>,
    runs: BTreeMap<RunId, Timestamp>,
    sources: BTreeSet<String>,
    balances: BTreeMap<(LedgerAccount, Currency), i64>,
    alerts: BTreeMap<(Window, u16), Raised>,
    booked_at: Option<Timestamp>,
}

/// An alert, and when somebody was told of it.
#[derive(Debug, Clone)]
struct Raised {
    alert: Alert,
    fired_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    ends_at: Option<Timestamp>,
    limit: i64,
    granted: i64,
    settled: i64,
    leased: i64,
    recall: i64,
}

impl MemoryBooks {
    /// Empty books.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every record, by call.
    pub fn records(&self) -> Vec<UsageRecord> {
        self.state().records.values().cloned().collect()
    }

    /// The balance of a ledger account in `currency`, in nano-units.
    pub fn balance(&self, account: &LedgerAccount, currency: Currency) -> i64 {
        self.state().balances.get(&(account.clone(), currency)).copied().unwrap_or(0)
    }

    /// What was used of a window, and what is lent of it.
    pub fn standing(&self, window: &Window) -> (i64, i64) {
        self.state().windows.get(window).map(|standing| (standing.settled, standing.leased)).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn post(&mut self, posting: &Posting) -> bool {
        if !self.sources.insert(posting.source().to_owned()) {
            return false;
        }
        for line in posting.lines() {
            *self.balances.entry((line.account.clone(), line.money.currency())).or_default() += line.money.nanos();
        }
        true
    }

    /// Counts what was used, and raises the alerts that it is reason for.
    fn use_up(&mut self, window: &Window, amount: i64, at: Timestamp) {
        let standing = self.windows.entry(window.clone()).or_default();
        let (before, most) = (standing.settled, standing.limit);
        standing.settled += amount;
        for percent in passed(before, before + amount, most) {
            let alert = Alert { window: window.clone(), percent, settled: before + amount, most, raised_at: at };
            self.alerts.entry((window.clone(), percent)).or_insert(Raised { alert, fired_at: None });
        }
    }

    fn move_lease(&mut self, run: RunId, window: &Window, amount: i64) {
        *self.leases.entry((run, window.clone())).or_default() += amount;
        self.windows.entry(window.clone()).or_default().leased += amount;
    }

    fn take_back_all(&mut self, run: RunId) {
        let had: Vec<_> = self.leases.keys().filter(|(who, _)| *who == run).cloned().collect();
        for lease in had {
            let amount = self.leases.remove(&lease).unwrap_or(0);
            self.windows.entry(lease.1).or_default().leased -= amount;
        }
        self.runs.remove(&run);
    }

    fn lend(&mut self, run: RunId, wish: &Wish) -> Lent {
        let answers = &self.answered;
        let answered = |lease: &Leased| answers.get(lease).copied().unwrap_or(0);
        let others: Vec<i64> = self
            .leases
            .iter()
            .filter(|((who, window), amount)| *who != run && *window == wish.window && **amount > 0)
            .map(|(lease, _)| answered(lease))
            .collect();
        let own = self.leases.get(&(run, wish.window.clone())).copied().unwrap_or(0);
        let standing = self.windows.entry(wish.window.clone()).or_default();
        standing.ends_at = wish.ends_at;
        standing.limit = match wish.most {
            Most::Fixed(most) => most,
            Most::Prepaid => standing.granted,
        };
        let left = standing.limit.saturating_sub(standing.settled).saturating_sub(standing.leased);
        let (amount, elsewhere) = (share(wish, left, others.len() + 1), standing.leased - own);
        let mut recall = None;
        if amount == 0 && wish.least > 0 {
            if wish.recall.is_none() {
                standing.recall += 1;
                // Who asks has nothing to give back.
                self.answered.insert((run, wish.window.clone()), standing.recall);
            }
            recall = Some(wish.recall.unwrap_or(standing.recall));
        }
        let pending = recall.is_some_and(|number| others.iter().any(|answered| *answered < number));
        let (limit, settled) = (standing.limit, standing.settled);
        self.move_lease(run, &wish.window, amount);
        if amount > 0 {
            // It may have more now than it needs: it is to answer again whoever asks.
            self.answered.remove(&(run, wish.window.clone()));
        }
        Lent { amount, limit, settled, own: own + amount, elsewhere, recall, pending }
    }
}

#[async_trait]
impl Books for MemoryBooks {
    async fn position(&self, node: Uuid) -> Result<Position> {
        Ok(self.state().positions.get(&node).copied().unwrap_or_default())
    }

    async fn settle(&self, settlement: Settlement) -> Result<Settled> {
        let mut state = self.state();
        let here = state.positions.get(&settlement.node).copied().unwrap_or_default();
        if here != settlement.from {
            return Ok(Settled::Elsewhere(here));
        }
        let new = |call: &&SettledCall| !state.records.contains_key(&call.record.call);
        let calls: Vec<&SettledCall> = settlement.calls.iter().filter(new).collect();
        let booked = posting(&settlement, &calls)?;
        let windows: Vec<_> = state.windows.iter().map(|(window, at)| (window.clone(), at.ends_at)).collect();
        let moves = Moves::of(&calls, &windows, &state.leases.keys().cloned().collect());
        let count = calls.len();
        for call in calls {
            state.records.insert(call.record.call, call.record.clone());
        }
        for (window, amount) in moves.settled {
            state.use_up(&window, amount, settlement.at);
        }
        state.booked_at = state.booked_at.max(Some(settlement.at));
        for ((run, window), amount) in moves.returned {
            state.move_lease(run, &window, -amount);
        }
        state.post(&booked);
        state.positions.insert(settlement.node, settlement.to);
        Ok(Settled::Now { calls: count })
    }

    async fn post(&self, posting: Posting) -> Result<bool> {
        let mut state = self.state();
        if !state.post(&posting) {
            return Ok(false);
        }
        for line in posting.lines() {
            let owner = line.account.as_str().strip_suffix("/prepaid").and_then(|id| id.parse::<AccountId>().ok());
            let Some(account) = owner else { continue };
            let window = Window {
                subject: Subject::Account(account),
                unit: Unit::Money(line.money.currency()),
                span: Span::Lifetime,
                starts_at: Timestamp::UNIX_EPOCH,
            };
            state.windows.entry(window).or_default().granted -= line.money.nanos();
        }
        Ok(true)
    }
}

#[async_trait]
impl Lender for MemoryBooks {
    async fn borrow(&self, run: RunId, wishes: Vec<Wish>, _: Timestamp) -> Result<Vec<Lent>> {
        let mut state = self.state();
        Ok(wishes.iter().map(|wish| state.lend(run, wish)).collect())
    }

    async fn give_back(&self, run: RunId, returns: Vec<Return>) -> Result<()> {
        let mut state = self.state();
        for Return { window, unused, used, answers } in returns {
            if let Some(number) = answers {
                state.answered.insert((run, window.clone()), number);
            }
            state.move_lease(run, &window, -(unused + used));
            state.windows.entry(window).or_default().settled += used;
        }
        Ok(())
    }

    async fn seen(&self, run: RunId, _: Uuid, at: Timestamp) -> Result<Vec<(Window, i64)>> {
        let mut state = self.state();
        state.runs.insert(run, at);
        let silent_since = at.checked_sub(LOST).unwrap_or(Timestamp::MIN);
        let lost: Vec<RunId> =
            state.runs.iter().filter(|(_, seen)| **seen < silent_since).map(|(run, _)| *run).collect();
        for run in lost {
            state.take_back_all(run);
        }
        let asked_for = |lease: &Leased| {
            let number = state.windows.get(&lease.1).map_or(0, |standing| standing.recall);
            (number > state.answered.get(lease).copied().unwrap_or(0)).then(|| (lease.1.clone(), number))
        };
        Ok(state.leases.keys().filter(|(who, _)| *who == run).filter_map(asked_for).collect())
    }

    async fn end(&self, run: RunId) -> Result<()> {
        self.state().take_back_all(run);
        Ok(())
    }
}
