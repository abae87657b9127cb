//! Rates that replicas share.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::{Clock, ErrorKind, ManualClock, Rate, RateStore, conformance};
use aihub_storage::RedisRates;
use proptest::prelude::*;

use super::{bare, names, opened, prefix, until, url};

mod suite {
    use super::{conformance, counting_by};

    conformance::rate_store!(counting_by);
}

async fn counting_by(clock: Arc<ManualClock>) -> Arc<dyn RateStore> {
    Arc::new(RedisRates::with_clock(opened(&prefix()).await, clock))
}

#[tokio::test]
async fn replicas_count_together_by_the_clock_of_redis() {
    let prefix = prefix();
    let (here, there) = (RedisRates::new(opened(&prefix).await), RedisRates::new(opened(&prefix).await));
    let rate = Rate { per_minute: 1, burst: 2 };
    assert_eq!(here.take("subject", rate).await.unwrap().remaining, 1);
    let last = there.take("subject", rate).await.unwrap();
    assert!(last.allowed && last.remaining == 0);
    assert!(last.reset_after > Duration::from_mins(1) && last.reset_after <= Duration::from_mins(2), "{last:?}");
    for store in [&here, &there] {
        let refused = store.take("subject", rate).await.unwrap();
        assert!(!refused.allowed && refused.remaining == 0);
        assert!(refused.reset_after <= Duration::from_mins(1), "{refused:?}");
    }
    let quick = Rate { per_minute: 600, burst: 1 };
    assert!(here.take("quick", quick).await.unwrap().allowed);
    until("an event came back", async || there.take("quick", quick).await.unwrap().allowed).await;
}

#[tokio::test]
async fn prefixes_are_apart() {
    let (here, there) = (RedisRates::new(opened(&prefix()).await), RedisRates::new(opened(&prefix()).await));
    let rate = Rate { per_minute: 1, burst: 1 };
    assert!(here.take("subject", rate).await.unwrap().allowed);
    assert!(there.take("subject", rate).await.unwrap().allowed);
    assert!(!here.take("subject", rate).await.unwrap().allowed);
}

#[tokio::test]
async fn a_whole_burst_leaves_nothing_behind() {
    let prefix = prefix();
    let rates = RedisRates::new(opened(&prefix).await);
    let mut bare = bare(&url()).await;
    let slow = Rate { per_minute: 1, burst: 1 };
    let long = "a long name\r\n".repeat(10_000);
    rates.take(&long, slow).await.unwrap();
    let kept = names(&mut bare, &prefix).await;
    assert!(kept.len() == 1 && kept[0].len() < 100 && !kept[0].contains("long"), "{kept:?}");
    let left: i64 = redis::cmd("PTTL").arg(&kept[0]).query_async(&mut bare).await.unwrap();
    assert!((0..=60_000).contains(&left), "{left} ms");
    for subject in 0..10 {
        rates.take(&subject.to_string(), Rate { per_minute: 600, burst: 5 }).await.unwrap();
    }
    until("only who waits is remembered", async || names(&mut bare.clone(), &prefix).await == kept).await;
}

#[tokio::test]
async fn a_clock_set_back_lengthens_no_wait() {
    let prefix = prefix();
    let (ahead, right) = (Arc::new(ManualClock::default()), Arc::new(ManualClock::default()));
    ahead.advance(Duration::from_hours(1));
    let before = RedisRates::with_clock(opened(&prefix).await, Arc::clone(&ahead) as Arc<dyn Clock>);
    let after = RedisRates::with_clock(opened(&prefix).await, Arc::clone(&right) as Arc<dyn Clock>);
    let rate = Rate { per_minute: 60, burst: 2 };
    for _ in 0..2 {
        assert!(before.take("subject", rate).await.unwrap().allowed);
    }
    let refused = after.take("subject", rate).await.unwrap();
    assert!(!refused.allowed && refused.reset_after == Duration::from_secs(1), "{refused:?}");
}

#[tokio::test]
async fn the_largest_rate_is_counted_and_none_is_wrong() {
    let rates = RedisRates::new(opened(&prefix()).await);
    let most = Rate { per_minute: u32::MAX, burst: u32::MAX };
    let decision = rates.take("subject", most).await.unwrap();
    assert!(decision.allowed && decision.remaining == u32::MAX - 1);
    for none in [Rate { per_minute: 0, burst: 1 }, Rate { per_minute: 1, burst: 0 }] {
        assert_eq!(rates.take("subject", none).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

/// How many of `wanted` pass, by the same rule in whole numbers that cannot overflow.
struct Model {
    rate: Rate,
    level: i128,
}

impl Model {
    fn step(&mut self, pause: Duration, wanted: u32) -> u32 {
        const EVENT: i128 = 60_000_000;
        let drained = i128::try_from(pause.as_micros()).unwrap() * i128::from(self.rate.per_minute);
        self.level = (self.level - drained).max(0);
        let room = (i128::from(self.rate.burst) * EVENT - self.level) / EVENT;
        let passed = room.min(wanted.into());
        self.level += passed * EVENT;
        u32::try_from(passed).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// From two replicas at the same time, exactly as many pass as the rate says, to the event.
    #[test]
    fn concurrent_events_pass_to_the_number(
        per_minute in 1_u32..100_000,
        burst in 1_u32..30,
        steps in prop::collection::vec((0_u64..3_000_000, 1_u32..40), 1..6),
    ) {
        let rate = Rate { per_minute, burst };
        conformance::run(async move {
            let (clock, prefix) = (Arc::new(ManualClock::default()), prefix());
            let mut stores = Vec::new();
            for _ in 0..2 {
                let redis = opened(&prefix).await;
                stores.push(Arc::new(RedisRates::with_clock(redis, Arc::clone(&clock) as Arc<dyn Clock>)));
            }
            let mut model = Model { rate, level: 0 };
            for (pause_us, wanted) in steps {
                let pause = Duration::from_micros(pause_us);
                clock.advance(pause);
                let takes: Vec<_> = (0..wanted)
                    .map(|turn| {
                        let store = Arc::clone(&stores[turn as usize % 2]);
                        tokio::spawn(async move { store.take("subject", rate).await.unwrap().allowed })
                    })
                    .collect();
                let mut passed = 0;
                for take in takes {
                    passed += u32::from(take.await.unwrap());
                }
                assert_eq!(passed, model.step(pause, wanted));
            }
        });
    }
}
