//! Rates in memory.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aihub_core::rate::RateDecision;
use aihub_core::{Clock, Error, Rate, RateStore, Result};
use async_trait::async_trait;
use dashmap::DashMap;
use governor::clock::{Clock as Ticks, Reference as _};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

/// A [`RateStore`] for one process: the generic cell rate algorithm, one atomic per subject.
///
/// There is one limiter per [`Rate`], since a limiter has one rate; a subject that moves to another
/// rate starts with a full burst there. Subjects whose burst is whole again are forgotten, at most
/// once a minute, by one of the calls: without that, one-time subjects would pile up for ever, and
/// a task of its own would need somebody to start and stop it.
#[derive(Debug)]
pub struct MemoryRates {
    clock: Face,
    limiters: DashMap<Rate, Arc<Limiter>>,
    reap_at: AtomicU64,
}

type Limiter = RateLimiter<Box<str>, DashMapStateStore<Box<str>>, Face, StateInformationMiddleware>;

const REAP_EVERY: Duration = Duration::from_mins(1);

/// Our clock's monotonic face, as governor asks for it.
#[derive(Debug, Clone)]
struct Face(Arc<dyn Clock>);

impl Ticks for Face {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl MemoryRates {
    /// Counts by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let reap_at = AtomicU64::new(seconds(clock.elapsed() + REAP_EVERY));
        Self { clock: Face(clock), limiters: DashMap::new(), reap_at }
    }

    /// How many subjects are remembered.
    pub fn subjects(&self) -> usize {
        self.limiters.iter().map(|limiter| limiter.len()).sum()
    }

    /// Forgets the subjects whose burst is whole again. Called now and then by [`RateStore::take`].
    pub fn reap(&self) {
        // Collected first: a guard of this map must not be held while every subject is visited.
        let limiters: Vec<_> = self.limiters.iter().map(|limiter| Arc::clone(&limiter)).collect();
        for limiter in limiters {
            limiter.retain_recent();
        }
    }

    fn reap_if_due(&self) {
        let now = seconds(self.clock.0.elapsed());
        let due = self.reap_at.load(Ordering::Relaxed);
        let next = now + REAP_EVERY.as_secs();
        if due <= now && self.reap_at.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.reap();
        }
    }

    fn limiter(&self, rate: Rate) -> Result<Arc<Limiter>> {
        if let Some(limiter) = self.limiters.get(&rate) {
            return Ok(Arc::clone(&limiter));
        }
        let quota = NonZeroU32::new(rate.per_minute)
            .zip(NonZeroU32::new(rate.burst))
            .map(|(per_minute, burst)| Quota::per_minute(per_minute).allow_burst(burst))
            .ok_or_else(|| Error::invalid("rate", "A rate and its burst are at least 1"))?;
        let clock = self.clock.clone();
        let made = self.limiters.entry(rate).or_insert_with(|| {
            let limiter = RateLimiter::dashmap_with_clock(quota, clock);
            Arc::new(limiter.with_middleware())
        });
        Ok(Arc::clone(&made))
    }
}

fn seconds(elapsed: Duration) -> u64 {
    elapsed.as_secs()
}

#[async_trait]
impl RateStore for MemoryRates {
    async fn take(&self, subject: &str, rate: Rate) -> Result<RateDecision> {
        self.reap_if_due();
        let limiter = self.limiter(rate)?;
        Ok(match limiter.check_key(&Box::from(subject)) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                // Up to one interval too long: governor shows whole events only.
                let reset_after = state.quota().replenish_interval() * (rate.burst - remaining);
                RateDecision { allowed: true, remaining, reset_after }
            }
            Err(refused) => {
                let now = self.clock.now();
                let reset_after = refused.earliest_possible().duration_since(now).into();
                RateDecision { allowed: false, remaining: 0, reset_after }
            }
        })
    }
}
