//! Quotas that are decided in memory, and exact over all processes that share them.
//!
//! A process borrows slices of the windows that its calls fall into ([`Lender`]) and takes from them without asking. What
//! is used and lent of a window is never more than it allows, so whatever a process does with its slices, the limit
//! holds; and near the limit slices are as small as what is asked for, so it is reached exactly. Somebody who finds
//! nothing left while others have slices has them asked to give back what they do not need, and waits for that before
//! the caller is refused.
//!
//! What a process has borrowed stays counted when it is killed, until its journal was read and what it used is in the
//! books. A process that could not say for [`TERM`] that it lives stops by itself: those that have not been seen for
//! longer are taken for lost, and what they had is lent to others.

mod lender;
mod refusal;
mod resolved;
mod slice;
#[cfg(test)]
mod tests;
mod tick;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aihub_core::commerce::RunId;
use aihub_core::quota::{Amounts, Ask, Unit, Window};
use aihub_core::{CallId, Clock, Error, ErrorKind, Money, QuotaPolicy, Reservation, Result, Timestamp};
use async_trait::async_trait;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::RandomState;
use tokio::sync::Mutex;

pub use lender::{Lender, Lent, Return, Wish};
pub(crate) use lender::{SILENT, share};
use resolved::{Resolved, Resolver};
use slice::Slice;
pub use tick::Tick;

/// For how long what was borrowed may be used without a word from the lender. Shorter than [`LOST`] by more than clocks
/// differ.
pub const TERM: Duration = Duration::from_mins(10);

/// After which silence of a process what it had borrowed is lent to others.
pub const LOST: Duration = Duration::from_mins(15);

/// How long a caller waits at most for others to say what they do not need, and how often it looks. They answer within a
/// [`Tick`]; only one that was killed a moment ago does not.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);

/// For how long a window that is used up is not asked for again.
const EMPTY: Duration = Duration::from_millis(250);

/// Borrowers of different accounts do not wait for each other, but for those in the same one of so many.
const TURNS: usize = 32;

/// A [`QuotaPolicy`] over a [`Lender`]. Clones share what was borrowed.
#[derive(Debug, Clone)]
pub struct LeasedQuota(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lender: Arc<dyn Lender>,
    clock: Arc<dyn Clock>,
    run: RunId,
    node: uuid::Uuid,
    /// Whether what is used is said here, since no books say it.
    reports: bool,
    slices: DashMap<Window, Arc<Slice>, RandomState>,
    resolver: Resolver,
    holds: DashMap<CallId, Hold, RandomState>,
    turns: [Mutex<()>; TURNS],
    /// When the lender answered last, in milliseconds of the clock.
    seen_at_ms: AtomicU64,
}

/// What a call has.
#[derive(Debug, Clone)]
enum Hold {
    /// It is being decided.
    Asking,
    Held(Arc<Resolved>, Arc<[i64]>, Reservation),
}

impl LeasedQuota {
    /// Quotas of which `lender` lends to `run` of `node`. What calls use is said by the books that settle them
    /// ([`Books`](aihub_core::commerce::Books)): see [`LeasedQuota::reporting`] where there are none.
    ///
    /// Run [`LeasedQuota::tick`] about every [`Tick::EVERY`].
    pub fn new(lender: Arc<dyn Lender>, clock: Arc<dyn Clock>, run: RunId, node: uuid::Uuid) -> Self {
        Self::made(lender, clock, run, node, false)
    }

    /// The same, for a service that keeps no books: what was used is told to the lender at every tick.
    pub fn reporting(lender: Arc<dyn Lender>, clock: Arc<dyn Clock>, run: RunId, node: uuid::Uuid) -> Self {
        Self::made(lender, clock, run, node, true)
    }

    fn made(lender: Arc<dyn Lender>, clock: Arc<dyn Clock>, run: RunId, node: uuid::Uuid, reports: bool) -> Self {
        let seen_at_ms = AtomicU64::new(millis(clock.elapsed()));
        Self(Arc::new(Shared {
            lender,
            clock,
            run,
            node,
            reports,
            slices: DashMap::default(),
            resolver: Resolver::default(),
            holds: DashMap::default(),
            turns: std::array::from_fn(|_| Mutex::default()),
            seen_at_ms,
        }))
    }

    /// How many calls are held.
    pub fn open_holds(&self) -> usize {
        self.0.holds.len()
    }
}

impl Shared {
    fn slice(&self, window: &Window, ends_at: Option<Timestamp>) -> Arc<Slice> {
        if let Some(known) = self.slices.get(window) {
            return Arc::clone(&known);
        }
        let new = || Arc::new(Slice::new(window.clone(), ends_at));
        Arc::clone(&self.slices.entry(window.clone()).or_insert_with(new))
    }

    /// Takes of every slice, or of none.
    fn take(&self, resolved: &Resolved, least: &[i64], most: &[i64]) -> Option<Vec<i64>> {
        let now = self.clock.elapsed();
        let mut taken = Vec::with_capacity(most.len());
        for (place, slice) in resolved.slices.iter().enumerate() {
            slice.touch(now);
            if let Some(amount) = slice.take(least[place], most[place]) {
                taken.push(amount);
            } else {
                for (slice, amount) in resolved.slices.iter().zip(taken) {
                    slice.put(amount);
                }
                return None;
            }
        }
        Some(taken)
    }

    /// Borrows what is missing, and takes; or says what is in the way.
    async fn borrow(self: &Arc<Self>, resolved: &Arc<Resolved>, least: &[i64], most: &[i64]) -> Result<Vec<i64>> {
        let now = self.clock.elapsed();
        if let Some(place) = (0..least.len()).find(|place| resolved.slices[*place].is_known_empty(least[*place], now)) {
            return Err(Self::refusal(resolved, place, most[place], &resolved.standing(place)));
        }
        let turn = &self.turns[resolved.turn % TURNS];
        let started = self.clock.elapsed();
        let mut asked: Vec<Lent> = Vec::new();
        loop {
            let lent = {
                let _turn = turn.lock().await;
                // Whoever had the turn before may have borrowed enough for all who waited.
                if let Some(taken) = self.take(resolved, most, most) {
                    return Ok(taken);
                }
                if resolved.slices.iter().any(|slice| slice.has_shed()) {
                    self.give_back(resolved.slices.iter().map(|slice| (slice, false, None))).await?;
                }
                let lent = self.lent(resolved, resolved.wishes(least, most, &asked)).await?;
                if let Some(taken) = self.take(resolved, least, most) {
                    return Ok(taken);
                }
                lent
            };
            let short = |place: &usize| most[*place] > 0 && resolved.slices[*place].free() < least[*place];
            let Some(place) = (0..lent.len()).find(short) else { continue };
            resolved.remember(&lent);
            let standing = lent[place];
            let used_up = standing.limit - standing.settled < least[place];
            if used_up {
                resolved.slices[place].remember_empty(least[place], self.clock.elapsed() + EMPTY);
            }
            // What was given back while this one asked is still there to be had.
            let to_be_had = standing.pending || left(&standing, &resolved.slices[place]) >= least[place];
            if used_up || !to_be_had || self.clock.elapsed().saturating_sub(started) >= PATIENCE {
                return Err(Self::refusal(resolved, place, most[place], &standing));
            }
            asked = lent;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Borrows, in a task of its own: a caller who leaves at the wrong moment would leave behind what is written down as
    /// lent and is in nobody's slice, and others would be refused for it until this process ends.
    async fn lent(self: &Arc<Self>, resolved: &Arc<Resolved>, wishes: Vec<Wish>) -> Result<Vec<Lent>> {
        let (shared, resolved) = (Arc::clone(self), Arc::clone(resolved));
        let lending = tokio::spawn(async move {
            let lent = shared.lender.borrow(shared.run, wishes, shared.clock.now()).await?;
            shared.seen_at_ms.store(millis(shared.clock.elapsed()), Ordering::Release);
            resolved.slices.iter().zip(&lent).for_each(|(slice, lent)| slice.put(lent.amount));
            Ok(lent)
        });
        lending.await.unwrap_or_else(|error| Err(unfinished(error)))
    }

    fn refusal(resolved: &Resolved, place: usize, asked: i64, standing: &Lent) -> Error {
        let left = left(standing, &resolved.slices[place]).max(0);
        refusal::refuse(&resolved.limits[place], standing.limit, left, asked)
    }

    fn is_cut_off(&self) -> bool {
        let seen = Duration::from_millis(self.seen_at_ms.load(Ordering::Acquire));
        self.clock.elapsed().saturating_sub(seen) >= TERM
    }

    async fn decide(self: &Arc<Self>, ask: &Ask) -> Result<Hold> {
        let resolved = self.resolver.resolve(ask, |window, ends_at| self.slice(window, ends_at));
        let of = |amounts: &Amounts| resolved.limits.iter().map(|limit| amounts.of(limit.window.unit)).collect();
        let (most, least): (Result<Vec<i64>>, Result<Vec<i64>>) = (of(&ask.most), of(&ask.least));
        let (most, least) = (most?, least?);
        let taken = match self.take(&resolved, &most, &most) {
            Some(taken) => taken,
            None if self.is_cut_off() => return Err(cut_off()),
            None => self.borrow(&resolved, &least, &most).await?,
        };
        let mut reservation = Reservation::of(ask);
        reservation.windows = Arc::clone(&resolved.windows);
        for (limit, amount) in resolved.limits.iter().zip(&taken) {
            match limit.window.unit {
                Unit::Calls => {}
                Unit::Tokens => reservation.held.tokens = reservation.held.tokens.min(amount.unsigned_abs()),
                Unit::Money(currency) => {
                    let nanos = reservation.held.money.map_or(*amount, |held| held.nanos().min(*amount));
                    reservation.held.money = Some(Money::from_nanos(nanos, currency));
                    reservation.charge_at_most = reservation.held.money;
                }
            }
        }
        Ok(Hold::Held(resolved, taken.into(), reservation))
    }

    async fn end(self: &Arc<Self>, call: CallId, used: impl Fn(Unit, i64) -> i64 + Send) {
        // No hold: it was settled before. Doing nothing is what makes settling idempotent.
        let Some((_, Hold::Held(resolved, taken, _))) = self.holds.remove_if(&call, |_, hold| !hold.is_asking()) else {
            return;
        };
        let mut beyond = false;
        for ((limit, slice), held) in resolved.limits.iter().zip(&resolved.slices).zip(taken.iter()) {
            beyond |= slice.settle(*held, used(limit.window.unit, *held), self.reports);
        }
        if beyond && let Err(error) = self.cover(&resolved).await {
            tracing::warn!(%error, %call, "what a call used beyond its hold is not borrowed yet");
        }
    }

    /// Borrows what was used beyond what this process has, as far as there is something left. The rest is a debt: what
    /// calls that still run give back is counted against it.
    async fn cover(self: &Arc<Self>, resolved: &Arc<Resolved>) -> Result<()> {
        let debts: Vec<i64> = resolved.slices.iter().map(|slice| slice.free().min(0).saturating_neg()).collect();
        let least: Vec<i64> = debts.iter().map(|debt| (*debt).min(1)).collect();
        let wishes = resolved.wishes_of(&least, &debts);
        self.lent(resolved, wishes).await.map(drop)
    }
}

impl Hold {
    const fn is_asking(&self) -> bool {
        matches!(self, Self::Asking)
    }
}

/// Forgets that a call is being decided when whoever decides is gone.
struct Asking<'a>(&'a Shared, CallId);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.holds.remove_if(&self.1, |_, hold| hold.is_asking());
    }
}

#[async_trait]
impl QuotaPolicy for LeasedQuota {
    async fn reserve(&self, ask: &Ask) -> Result<Reservation> {
        loop {
            match self.0.holds.entry(ask.call) {
                Entry::Vacant(place) => {
                    place.insert(Hold::Asking);
                    break;
                }
                Entry::Occupied(known) => {
                    if let Hold::Held(_, _, reservation) = known.get() {
                        return Ok(reservation.clone());
                    }
                }
            }
            // Somebody else asks for the same call: a retry that came before its answer did.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let _asking = Asking(&self.0, ask.call);
        let hold = self.0.decide(ask).await?;
        let Hold::Held(_, _, reservation) = &hold else { return Err(cut_off()) };
        let reservation = reservation.clone();
        self.0.holds.insert(ask.call, hold);
        Ok(reservation)
    }

    async fn settle(&self, reservation: Reservation, used: Amounts) -> Result<()> {
        // Money that is not known at the end counts as all that was held of it.
        self.0.end(reservation.call, |unit, held| used.of(unit).unwrap_or(held)).await;
        Ok(())
    }

    async fn release(&self, reservation: Reservation) -> Result<()> {
        self.0.end(reservation.call, |_, _| 0).await;
        Ok(())
    }
}

#[cold]
fn unfinished(error: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Unavailable, "What is left of a limit could not be found out: try again shortly")
        .with_code("quota_unavailable")
        .with_alert()
        .with_source(error)
}

#[cold]
fn cut_off() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "Limits cannot be checked at present, so that no call is taken: try again shortly",
    )
    .with_code("quota_unavailable")
    .with_retry_after(Duration::from_secs(5))
    .with_alert()
}

/// What is neither used nor held nor with others.
fn left(standing: &Lent, slice: &Slice) -> i64 {
    let busy = standing.own - slice.idle();
    standing.limit.saturating_sub(standing.settled).saturating_sub(standing.elsewhere).saturating_sub(busy)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
