//! [`RetryPolicy`] for [`tower::retry`]: the same upstream once more, when the fault may have passed.
//!
//! Only errors that say so ([`Error::is_transient`]) are retried and, by the contract of a reply, only
//! before the first event. A vendor that asks for a longer wait than the policy's patience is not
//! waited for: that is an upstream to fall back from.
//!
//! Beside the count there is a budget that all calls share. With a count alone, a vendor that fails
//! every request gets three times the load just when it cannot bear any; with the budget the retries
//! are a share of what succeeds, and die out when nothing does.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use aihub_core::{Attempt, ChatRequest};
//! use aihub_layers::RetryPolicy;
//! use tower::retry::RetryLayer;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! # let first = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
//! let vendor = service_fn(move |_: Attempt<ChatRequest>| {
//!     let hiccup = first.swap(false, std::sync::atomic::Ordering::SeqCst);
//!     async move { if hiccup { Err(world::transient()) } else { Ok(world::answer()) } }
//! });
//! let service = RetryLayer::new(RetryPolicy::new().with_retries(1)).layer(vendor);
//! service.oneshot(world::attempt()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where it stands
//!
//! As [`tower::retry::RetryLayer`] below Breaker, which then counts a call that a retry saved as no
//! fault; above Timeout, so that each attempt has its own time.
//!
//! # A wrong order
//!
//! Retry around Breaker compiles: the breaker opens in the middle of a series, and the retries that
//! follow wait only to be refused. Retry around Quota does not compile: its second attempt would run on a
//! hold that the first one has released.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aihub_core::{Attempt, Error, Operation};
use tower::retry::Policy;
use tower::retry::budget::Budget;

/// When and after what wait an attempt is made once more.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    settings: Arc<Settings>,
    made: u32,
}

#[derive(Clone)]
struct Settings {
    retries: u32,
    first: Duration,
    longest: Duration,
    patience: Duration,
    budget: Arc<dyn Budget + Send + Sync>,
    dice: Arc<AtomicU64>,
}

impl RetryPolicy {
    /// 2 retries after about 100 and 200 ms, patience for 2 s, an [`Allowance`] of 10 %.
    pub fn new() -> Self {
        let settings = Settings {
            retries: 2,
            first: Duration::from_millis(100),
            longest: Duration::from_secs(2),
            patience: Duration::from_secs(2),
            budget: Arc::new(Allowance::new(10, 100)),
            dice: Arc::new(AtomicU64::new(rand::random())),
        };
        Self { settings: Arc::new(settings), made: 0 }
    }

    /// How often an attempt is made again; default 2. Too high lets the caller wait for what another
    /// upstream could do at once.
    #[must_use]
    pub fn with_retries(self, retries: u32) -> Self {
        self.with(|settings| settings.retries = retries)
    }

    /// The wait before the first retry, which doubles from one to the next, and the longest; default
    /// 100 ms and 2 s. What is really waited is between half of it and all of it, by chance, so that
    /// calls that failed together do not come back together.
    #[must_use]
    pub fn with_backoff(self, first: Duration, longest: Duration) -> Self {
        self.with(|settings| (settings.first, settings.longest) = (first, longest))
    }

    /// The longest wait that a vendor may ask for; default 2 s. When it asks for more there is no
    /// retry here.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        self.with(|settings| settings.patience = patience)
    }

    /// The budget that all calls share; default [`Allowance::new(10, 100)`](Allowance::new).
    #[must_use]
    pub fn with_budget(self, budget: Arc<dyn Budget + Send + Sync>) -> Self {
        self.with(|settings| settings.budget = budget)
    }

    /// Where the chance in the waits starts, for tests that want the same every time.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        self.with(|settings| settings.dice = Arc::new(AtomicU64::new(seed)))
    }

    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::clone(&self.settings);
        change(&mut settings);
        Self { settings: Arc::new(settings), made: self.made }
    }

    /// How long to wait before the next retry, if there is to be one.
    fn wait(&self, error: &Error) -> Option<Duration> {
        let settings = &*self.settings;
        if !error.is_transient() || self.made >= settings.retries {
            return None;
        }
        let asked = error.retry_after().unwrap_or_default();
        if asked > settings.patience || !settings.budget.withdraw() {
            return None;
        }
        let whole = settings.first.saturating_mul(1 << self.made.min(16)).min(settings.longest);
        let half_us = u64::try_from(whole.as_micros() / 2).unwrap_or(u64::MAX);
        Some(asked.max(Duration::from_micros(half_us + settings.roll() % (half_us + 1))))
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl<O: Operation> Policy<Attempt<O>, O::Reply, Error> for RetryPolicy {
    type Future = tokio::time::Sleep;

    fn retry(&mut self, _: &mut Attempt<O>, result: &mut Result<O::Reply, Error>) -> Option<Self::Future> {
        match result {
            Ok(_) => {
                self.settings.budget.deposit();
                None
            }
            Err(error) => {
                let wait = self.wait(error)?;
                self.made += 1;
                tracing::debug!(retry = self.made, ?wait, kind = %error.kind(), "attempt is made again");
                Some(tokio::time::sleep(wait))
            }
        }
    }

    fn clone_request(&mut self, attempt: &Attempt<O>) -> Option<Attempt<O>> {
        (self.settings.retries > 0).then(|| attempt.clone())
    }
}

impl Settings {
    /// A number by chance: splitmix64, whose whole state is a counter, so that no lock is needed.
    fn roll(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.dice.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("retries", &self.retries)
            .field("first", &self.first)
            .field("longest", &self.longest)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// A [`Budget`] without locks and without a clock: every success earns a share of a retry, every retry
/// costs a whole one, and no more than a burst is saved up.
///
/// [`TpsBudget`](tower::retry::budget::TpsBudget) takes a lock at every success, which all calls would
/// share.
#[derive(Debug)]
pub struct Allowance {
    /// In hundredths of a retry.
    saved: AtomicU64,
    earned: u64,
    most: u64,
}

impl Allowance {
    /// Retries for `percent` of what succeeds, at most `burst` at once; starts with as many saved up.
    pub const fn new(percent: u32, burst: u32) -> Self {
        let most = burst as u64 * 100;
        Self { saved: AtomicU64::new(most), earned: percent as u64, most }
    }
}

impl Budget for Allowance {
    fn deposit(&self) {
        // When all is saved up, which is the rule, this only reads.
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
            (saved < self.most).then(|| (saved + self.earned).min(self.most))
        });
    }

    fn withdraw(&self) -> bool {
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(100)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use aihub_core::{ChatReply, ErrorKind};
    use tower::retry::RetryLayer;
    use tower::{Layer as _, ServiceExt as _, service_fn};

    use super::*;
    use crate::world;

    /// How often a vendor is asked that always fails in this way, and how long it took.
    async fn asked(policy: RetryPolicy, error: fn() -> Error) -> (u64, Duration) {
        let count = Arc::new(AtomicU64::new(0));
        let vendor = service_fn({
            let count = Arc::clone(&count);
            move |_: Attempt<aihub_core::ChatRequest>| {
                count.fetch_add(1, Ordering::SeqCst);
                std::future::ready(Err::<ChatReply, _>(error()))
            }
        });
        let started = tokio::time::Instant::now();
        RetryLayer::new(policy).layer(vendor).oneshot(world::attempt()).await.unwrap_err();
        (count.load(Ordering::SeqCst), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_pass_is_retried_and_not_for_ever() {
        assert_eq!(asked(RetryPolicy::new(), world::transient).await.0, 3);
        assert_eq!(asked(RetryPolicy::new().with_retries(0), world::transient).await.0, 1);
        assert_eq!(asked(RetryPolicy::new(), world::failover).await, (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_and_are_spread_by_chance() {
        let policy = |seed| {
            RetryPolicy::new()
                .with_seed(seed)
                .with_backoff(Duration::from_secs(1), Duration::from_secs(8))
                .with_retries(3)
        };
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let (_, waited) = asked(policy(seed), world::transient).await;
            assert!((3_500..=7_010).contains(&waited.as_millis()), "{waited:?}");
            seen.insert(waited);
        }
        assert!(seen.len() > 10, "{seen:?}");
        assert_eq!(asked(policy(7), world::transient).await, asked(policy(7), world::transient).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_asked_for_is_kept_or_not_retried_at_all() {
        let (count, waited) =
            asked(RetryPolicy::new(), || world::transient().with_retry_after(Duration::from_secs(2))).await;
        assert!(count == 3 && waited >= Duration::from_secs(4));
        let (count, _) =
            asked(RetryPolicy::new(), || world::transient().with_retry_after(Duration::from_secs(3))).await;
        assert_eq!(count, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_die_out_when_nothing_succeeds() {
        let policy = RetryPolicy::new().with_budget(Arc::new(Allowance::new(10, 5)));
        let mut total = 0;
        for _ in 0..100 {
            total += asked(policy.clone(), world::transient).await.0;
        }
        assert_eq!(total, 105);
    }

    #[test]
    fn ten_successes_earn_a_retry_and_no_more_than_the_burst_is_saved() {
        let allowance = Allowance::new(10, 2);
        assert!(allowance.withdraw() && allowance.withdraw() && !allowance.withdraw());
        (0..9).for_each(|_| allowance.deposit());
        assert!(!allowance.withdraw());
        allowance.deposit();
        assert!(allowance.withdraw());
        (0..1_000).for_each(|_| allowance.deposit());
        assert!(allowance.withdraw() && allowance.withdraw() && !allowance.withdraw());
    }

    #[test]
    fn the_kind_of_an_error_alone_is_no_reason() {
        assert!(RetryPolicy::new().wait(&Error::new(ErrorKind::BadUpstream, "no")).is_none());
    }
}
