//! The stores in memory.

use std::sync::Arc;

use aihub_core::conformance;
use aihub_core::conformance::quota_policy::{Limits, QuotaFixture};
use aihub_core::{ManualClock, QuotaPolicy, RateStore};
use aihub_storage::{MemoryQuota, MemoryRates};

mod keys {
    use std::sync::Arc;

    use aihub_core::{KeyStore, conformance};
    use aihub_storage::MemoryKeys;

    conformance::key_store!(async { Arc::new(MemoryKeys::new()) as Arc<dyn KeyStore> });
}

mod quota {
    use super::{conformance, under};

    conformance::quota_policy!(under);
}

mod idempotency {
    use std::sync::Arc;

    use aihub_core::{IdempotencyStore, conformance};
    use aihub_storage::MemoryIdempotency;

    conformance::idempotency_store!(async { Arc::new(MemoryIdempotency::new()) as Arc<dyn IdempotencyStore> });
}

mod rates {
    use super::{conformance, counting_by};

    conformance::rate_store!(counting_by);
}

mod sink {
    use std::sync::Arc;

    use aihub_core::conformance::billing_sink::SinkFixture;
    use aihub_core::quota::Amounts;
    use aihub_core::{BillingSink, conformance};
    use aihub_storage::MemorySink;

    fn made() -> SinkFixture {
        let sink = Arc::new(MemorySink::new());
        let (reader, summed) = (Arc::clone(&sink), Arc::clone(&sink));
        SinkFixture::from(sink as Arc<dyn BillingSink>)
            .with_reader(move || {
                let calls = reader.records().iter().map(|record| record.call).collect();
                Box::pin(async move { calls })
            })
            .with_totals(move || {
                let records = summed.records();
                let tokens = records.iter().map(|record| record.usage.total_tokens()).sum();
                Box::pin(async move { Amounts::new(records.len() as u64, tokens, None) })
            })
    }

    conformance::billing_sink!(async { made() }, exactly_once);
}

async fn under(limits: Limits) -> QuotaFixture {
    QuotaFixture::new(Arc::new(MemoryQuota::new()) as Arc<dyn QuotaPolicy>, limits)
}

async fn counting_by(clock: Arc<ManualClock>) -> Arc<dyn RateStore> {
    Arc::new(MemoryRates::new(clock))
}

mod housekeeping {
    use std::sync::Arc;
    use std::time::Duration;

    use aihub_core::conformance::billing_sink::records;
    use aihub_core::conformance::{self};
    use aihub_core::idempotency::{Begun, Claim, Fingerprint, Kept, StoredAnswer};
    use aihub_core::plan::Plan;
    use aihub_core::quota::{Amounts, Ask};
    use aihub_core::{
        AccountId, BillingSink, CallId, Clock, ErrorKind, IdempotencyStore, ManualClock, QuotaPolicy, Rate, RateStore,
        Timestamp,
    };
    use aihub_storage::{MemoryIdempotency, MemoryQuota, MemoryRates, MemorySink};

    #[tokio::test]
    async fn subjects_whose_burst_is_whole_are_forgotten() {
        let clock = Arc::new(ManualClock::default());
        let rates = MemoryRates::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let rate = Rate { per_minute: 60, burst: 5 };
        for subject in 0..1_000 {
            rates.take(&format!("subject {subject}"), rate).await.unwrap();
        }
        assert_eq!(rates.subjects(), 1_000);
        clock.advance(Duration::from_secs(61));
        rates.take("subject 1", rate).await.unwrap();
        assert_eq!(rates.subjects(), 1);
    }

    #[tokio::test]
    async fn reaping_forgets_nobody_who_waits() {
        let clock = Arc::new(ManualClock::default());
        let rates = MemoryRates::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let slow = Rate { per_minute: 1, burst: 3 };
        for _ in 0..3 {
            assert!(rates.take("subject", slow).await.unwrap().allowed);
        }
        clock.advance(Duration::from_secs(59));
        rates.reap();
        assert!(!rates.take("subject", slow).await.unwrap().allowed);
    }

    #[tokio::test]
    async fn a_rate_of_zero_is_refused_as_wrong() {
        let rates = MemoryRates::new(Arc::new(ManualClock::default()));
        let error = rates.take("subject", Rate { per_minute: 0, burst: 1 }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[tokio::test]
    async fn an_answer_without_room_is_remembered_as_given_and_room_comes_back() {
        let store = MemoryIdempotency::new().with_capacity(10);
        let clock = ManualClock::default();
        let claim = |key: &str, at: Timestamp| Claim {
            account: AccountId::from_uuid(uuid::Uuid::nil()),
            key: key.parse().unwrap(),
            fingerprint: Fingerprint::of("POST", "/", b""),
            request: CallId::from_uuid(uuid::Uuid::nil()),
            at,
            running_until: at + Duration::from_secs(1),
            expires_at: at + Duration::from_secs(2),
        };
        let answer = || Kept::Answer(StoredAnswer { status: 200, headers: Vec::new(), body: "seven b".into() });
        for (key, kept) in [("first", answer()), ("second", Kept::TooLarge)] {
            assert_eq!(store.begin(&claim(key, clock.now())).await.unwrap(), Begun::New);
            store.finish(&claim(key, clock.now()), answer()).await.unwrap();
            assert_eq!(store.begin(&claim(key, clock.now())).await.unwrap(), Begun::Done(kept));
        }
        clock.advance(Duration::from_secs(2));
        assert_eq!(store.sweep(clock.now(), 9).await.unwrap(), 2);
        for turn in 0..3 {
            let again = claim("first", clock.now());
            assert_eq!(store.begin(&again).await.unwrap(), Begun::New, "{turn}");
            store.finish(&again, answer()).await.unwrap();
            assert_eq!(store.begin(&again).await.unwrap(), Begun::Done(answer()), "{turn}");
            clock.advance(Duration::from_secs(2));
        }
    }

    #[tokio::test]
    async fn the_sink_keeps_the_newest_each_once() {
        let sink = MemorySink::with_capacity(3);
        let records = records(5);
        sink.record(&records).await.unwrap();
        sink.record(&records[3..]).await.unwrap();
        assert_eq!(sink.records(), records[2..]);
        assert_eq!(sink.take(), records[2..]);
        assert!(sink.records().is_empty());
    }

    #[tokio::test]
    async fn what_was_used_beyond_a_hold_is_counted() {
        let clock = ManualClock::default();
        let quota = MemoryQuota::new();
        let plan = Plan { monthly_tokens: Some(1_000), ..Plan::unlimited("any") };
        let caller = conformance::caller(AccountId::new(clock.now()), plan);
        let ask = |tokens| {
            let amounts = Amounts::call(tokens, None);
            Ask::new(CallId::new(clock.now()), Arc::clone(&caller), "m".into(), clock.now(), amounts)
        };
        let held = quota.reserve(&ask(7)).await.unwrap();
        let window = held.windows[0].clone();
        assert_eq!(quota.used(&window).await.unwrap(), 0);
        quota.settle(held, Amounts::call(9, None)).await.unwrap();
        assert_eq!(quota.used(&window).await.unwrap(), 9);
    }
}
