//! Proves a [`RateStore`].

use std::sync::Arc;
use std::time::Duration;

use super::{Fixture, together};
use crate::rate::{Rate, RateDecision, RateStore};
use crate::time::ManualClock;

/// Makes a test of every check in [`rate_store`](mod@crate::conformance::rate_store) out of a closure
/// that takes an `Arc<ManualClock>` and gives back the future of an empty store which counts by it:
/// an `Arc<dyn RateStore>`, or a [`Fixture`] of one.
#[doc(hidden)]
#[macro_export]
macro_rules! __rate_store {
    ($maker:expr $(,)?) => {
        $crate::__conformance!(rate_store, $maker, [
            a_burst_passes_and_the_next_event_waits
            a_refused_event_is_not_counted
            the_wait_that_is_told_is_enough
            refills_with_the_clock
            is_whole_again_when_it_says
            subjects_are_apart
            events_at_once_never_pass_the_burst
        ]);
    };
}

struct Counting {
    store: Fixture<dyn RateStore>,
    clock: Arc<ManualClock>,
}

impl Counting {
    async fn new<F: Into<Fixture<dyn RateStore>>>(make: impl AsyncFnOnce(Arc<ManualClock>) -> F) -> Self {
        let clock = Arc::new(ManualClock::default());
        Self { store: make(Arc::clone(&clock)).await.into(), clock }
    }

    async fn take(&self, rate: Rate) -> RateDecision {
        self.store.subject.take("subject", rate).await.expect("a decision")
    }

    async fn use_up(&self, rate: Rate) {
        for _ in 0..rate.burst {
            assert!(self.take(rate).await.allowed);
        }
    }
}

const RATE: Rate = Rate { per_minute: 60, burst: 10 };

/// As many events as the burst pass, and say truly how many are left; the next is refused.
pub async fn a_burst_passes_and_the_next_event_waits<F: Into<Fixture<dyn RateStore>>>(
    make: impl AsyncFnOnce(Arc<ManualClock>) -> F,
) {
    let it = Counting::new(make).await;
    for left in (0..RATE.burst).rev() {
        let decision = it.take(RATE).await;
        assert!(decision.allowed);
        assert_eq!(decision.remaining, left);
    }
    let refused = it.take(RATE).await;
    assert!(!refused.allowed && refused.remaining == 0);
    assert!(refused.reset_after > Duration::ZERO && refused.reset_after <= Duration::from_secs(1), "{refused:?}");
}

/// A storm of refused events does not lengthen the wait.
pub async fn a_refused_event_is_not_counted<F: Into<Fixture<dyn RateStore>>>(
    make: impl AsyncFnOnce(Arc<ManualClock>) -> F,
) {
    let it = Counting::new(make).await;
    it.use_up(RATE).await;
    let first = it.take(RATE).await;
    for _ in 0..100 {
        assert_eq!(it.take(RATE).await, first);
    }
    it.clock.advance(first.reset_after);
    assert!(it.take(RATE).await.allowed);
}

/// Who waits as long as told is let through, and not a second one with it.
pub async fn the_wait_that_is_told_is_enough<F: Into<Fixture<dyn RateStore>>>(
    make: impl AsyncFnOnce(Arc<ManualClock>) -> F,
) {
    let it = Counting::new(make).await;
    it.use_up(RATE).await;
    for _ in 0..20 {
        let refused = it.take(RATE).await;
        assert!(!refused.allowed);
        it.clock.advance(refused.reset_after);
        assert!(it.take(RATE).await.allowed);
    }
}

/// In the long run as many events pass as the rate says, and never more than burst and rate together.
pub async fn refills_with_the_clock<F: Into<Fixture<dyn RateStore>>>(make: impl AsyncFnOnce(Arc<ManualClock>) -> F) {
    let it = Counting::new(make).await;
    let mut passed = 0;
    for _ in 0..6_000 {
        passed += u32::from(it.take(RATE).await.allowed);
        it.clock.advance(Duration::from_millis(100));
    }
    let most = RATE.per_minute * 10 + RATE.burst;
    assert!((RATE.per_minute * 10..=most).contains(&passed), "{passed} events in ten minutes");
}

/// After the time told by the last event that passed, the whole burst is there again.
pub async fn is_whole_again_when_it_says<F: Into<Fixture<dyn RateStore>>>(
    make: impl AsyncFnOnce(Arc<ManualClock>) -> F,
) {
    let it = Counting::new(make).await;
    for taken in [1, RATE.burst / 2, RATE.burst] {
        let mut last = it.take(RATE).await;
        for _ in 1..taken {
            last = it.take(RATE).await;
        }
        it.clock.advance(last.reset_after);
        it.use_up(RATE).await;
        let empty = it.take(RATE).await;
        assert!(!empty.allowed);
        it.clock.advance(Duration::from_mins(1));
    }
}

/// What one subject uses up is there for another.
pub async fn subjects_are_apart<F: Into<Fixture<dyn RateStore>>>(make: impl AsyncFnOnce(Arc<ManualClock>) -> F) {
    let it = Counting::new(make).await;
    it.use_up(RATE).await;
    assert!(!it.take(RATE).await.allowed);
    for other in ["subjec", "subject2", "", "ключ"] {
        assert_eq!(it.store.subject.take(other, RATE).await.expect("a decision").remaining, RATE.burst - 1, "{other}");
    }
}

/// Of two hundred events at the same instant exactly the burst passes.
pub async fn events_at_once_never_pass_the_burst<F: Into<Fixture<dyn RateStore>>>(
    make: impl AsyncFnOnce(Arc<ManualClock>) -> F,
) {
    let it = Counting::new(make).await;
    let rate = Rate { per_minute: 600, burst: 50 };
    let decisions = together((0..200).map(|_| {
        let store = Arc::clone(&it.store.subject);
        async move { store.take("subject", rate).await.expect("a decision").allowed }
    }))
    .await;
    assert_eq!(decisions.into_iter().filter(|allowed| *allowed).count(), 50);
}
