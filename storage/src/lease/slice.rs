//! What this process has of one window.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use aihub_core::Timestamp;
use aihub_core::quota::Window;

use super::lender::Return;

/// A slice of a window. Taken from without a lock and without a wait.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) window: Window,
    pub(super) ends_at: Option<Timestamp>,
    /// May be used. Below zero only where a call used more than it had held.
    free: AtomicI64,
    /// Used and not reported; stays 0 where the books report it.
    used: AtomicI64,
    /// Not to be used any more, and not given back yet: it was borrowed under a larger limit.
    shed: AtomicI64,
    /// On its way back: neither here nor there yet.
    returning: AtomicI64,
    /// The limit that it was borrowed under.
    most: AtomicI64,
    /// When it was taken from last, in milliseconds of the clock.
    taken_at_ms: AtomicU64,
    /// Until when, and from which amount on, it is known that nothing can be had.
    empty_until_ms: AtomicU64,
    empty_from: AtomicI64,
}

impl Slice {
    pub(super) fn new(window: Window, ends_at: Option<Timestamp>) -> Self {
        Self {
            window,
            ends_at,
            free: AtomicI64::new(0),
            used: AtomicI64::new(0),
            shed: AtomicI64::new(0),
            returning: AtomicI64::new(0),
            most: AtomicI64::new(i64::MIN),
            taken_at_ms: AtomicU64::new(0),
            empty_until_ms: AtomicU64::new(0),
            empty_from: AtomicI64::new(i64::MAX),
        }
    }

    pub(super) fn free(&self) -> i64 {
        self.free.load(Ordering::Acquire)
    }

    /// Takes `most`, or as much of it as there is, but not less than `least`.
    pub(super) fn take(&self, least: i64, most: i64) -> Option<i64> {
        if most == 0 {
            return Some(0);
        }
        let mut taken = 0;
        let took = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| {
            taken = most.min(free);
            (taken >= least).then(|| free - taken)
        });
        took.ok().map(|_| taken)
    }

    /// Puts back what was taken, or borrowed.
    pub(super) fn put(&self, amount: i64) {
        self.free.fetch_add(amount, Ordering::AcqRel);
    }

    /// Of what was held, so much was used; whether more than this process has was.
    pub(super) fn settle(&self, held: i64, used: i64, report: bool) -> bool {
        if report {
            self.used.fetch_add(used, Ordering::AcqRel);
        }
        self.free.fetch_add(held - used, Ordering::AcqRel) < used - held
    }

    /// The limit is `most` now: what was borrowed under a larger one is not used any more.
    pub(super) fn under(&self, most: i64) {
        if self.most.swap(most, Ordering::AcqRel) > most {
            let empty = |free: i64| (free > 0).then_some(0);
            let free = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, empty).unwrap_or(0);
            self.shed.fetch_add(free, Ordering::AcqRel);
        }
    }

    pub(super) fn touch(&self, now: Duration) {
        self.taken_at_ms.store(millis(now), Ordering::Relaxed);
    }

    pub(super) fn idle_for(&self, now: Duration) -> Duration {
        Duration::from_millis(millis(now).saturating_sub(self.taken_at_ms.load(Ordering::Relaxed)))
    }

    /// Nothing of this size can be had for a while: it is used up, and not only lent to others.
    pub(super) fn remember_empty(&self, least: i64, until: Duration) {
        self.empty_from.store(least, Ordering::Release);
        self.empty_until_ms.store(millis(until), Ordering::Release);
    }

    /// Whether it is known that `least` cannot be had.
    pub(super) fn is_known_empty(&self, least: i64, now: Duration) -> bool {
        millis(now) < self.empty_until_ms.load(Ordering::Acquire) && least >= self.empty_from.load(Ordering::Acquire)
    }

    /// What goes back now: what was used, and with `all`, or as an answer, also what is free.
    pub(super) fn returns(&self, all: bool, answers: Option<i64>) -> Option<Return> {
        let all = all || answers.is_some();
        let empty = |free: i64| (all && free > 0).then_some(0);
        let unused = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, empty).unwrap_or(0);
        let unused = unused + self.shed.swap(0, Ordering::AcqRel);
        let used = self.used.swap(0, Ordering::AcqRel);
        self.returning.fetch_add(unused, Ordering::AcqRel);
        let something = unused != 0 || used != 0 || answers.is_some();
        something.then(|| Return { window: self.window.clone(), unused, used, answers })
    }

    /// Whether something waits to be given back before more is borrowed.
    pub(super) fn has_shed(&self) -> bool {
        self.shed.load(Ordering::Acquire) > 0
    }

    /// What this process has of the window and does not use: also what is on its way back.
    pub(super) fn idle(&self) -> i64 {
        self.free().max(0) + self.returning.load(Ordering::Acquire)
    }

    /// It went back, or it is not known.
    pub(super) fn returned(&self, returns: &Return) {
        self.returning.fetch_sub(returns.unused, Ordering::AcqRel);
    }

    /// It is not known whether it went back. What was used is said again; what was not stays away, since somebody else
    /// may have it by now: it comes back when this process ends.
    pub(super) fn keep_used(&self, returns: &Return) {
        self.used.fetch_add(returns.used, Ordering::AcqRel);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
