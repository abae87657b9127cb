//! The sinks that forward.

mod delivery;
#[cfg(feature = "http-sink")]
mod http;
#[cfg(feature = "nats-sink")]
mod nats;
#[cfg(feature = "stripe-sink")]
mod stripe;

use std::path::Path;
use std::sync::Arc;

use aihub_core::conformance::Fixture;
use aihub_core::conformance::billing_sink::{SinkFixture, records};
use aihub_core::key::{KeyChange, NewSecret};
use aihub_core::{AccountId, BillingSink, CallId, Error, ErrorKind, KeyId, Result, Timestamp, UsageRecord};
use aihub_storage::sink::Durability;
use aihub_storage::{FanOut, JsonLines, MemorySink};
use async_trait::async_trait;
use serde_json::Value;
use tempfile::TempDir;

mod lines_for_the_process {
    aihub_core::conformance::billing_sink!(super::lines(super::Durability::Process));
}

mod lines_on_disk {
    aihub_core::conformance::billing_sink!(super::lines(super::Durability::Disk));
}

mod fan_out {
    use super::{Arc, BillingSink, FanOut, MemorySink, SinkFixture};

    aihub_core::conformance::billing_sink!(async {
        let (first, second) = (Arc::new(MemorySink::new()), Arc::new(MemorySink::new()));
        let both =
            FanOut::new([Arc::clone(&first) as Arc<dyn BillingSink>, Arc::clone(&second) as Arc<dyn BillingSink>]);
        SinkFixture::from(Arc::new(both) as Arc<dyn BillingSink>).with_reader(move || {
            let calls = first.records().iter().map(|record| record.call).collect();
            assert_eq!(first.records().len(), second.records().len());
            Box::pin(async move { calls })
        })
    });
}

/// A store of keys that never answers.
#[derive(Debug)]
struct Hanging;

#[async_trait]
impl aihub_core::KeyStore for Hanging {
    async fn find(&self, _: &aihub_core::KeyHash) -> Result<Option<Arc<aihub_core::ApiKey>>> {
        std::future::pending().await
    }

    async fn insert(&self, _: aihub_core::NewKey) -> Result<()> {
        std::future::pending().await
    }

    async fn update(&self, _: AccountId, _: KeyId, _: KeyChange) -> Result<Arc<aihub_core::ApiKey>> {
        std::future::pending().await
    }

    async fn revoke(&self, _: AccountId, _: KeyId, _: Timestamp) -> Result<()> {
        std::future::pending().await
    }

    async fn rotate(&self, _: AccountId, _: KeyId, _: NewSecret) -> Result<Arc<aihub_core::ApiKey>> {
        std::future::pending().await
    }

    async fn touch(&self, _: &[(KeyId, Timestamp)]) -> Result<()> {
        std::future::pending().await
    }

    async fn list(
        &self,
        _: AccountId,
        _: aihub_core::page::PageRequest<KeyId>,
    ) -> Result<aihub_core::page::Page<Arc<aihub_core::ApiKey>, KeyId>> {
        std::future::pending().await
    }
}

async fn lines(durability: Durability) -> SinkFixture {
    let folder = TempDir::new().unwrap();
    let sink = JsonLines::open(folder.path().join("usage.jsonl"), durability).await.unwrap();
    let path = sink.path().to_owned();
    let fixture: Fixture<dyn BillingSink> = Fixture::from(Arc::new(sink) as Arc<dyn BillingSink>).keeping(folder);
    SinkFixture::from(fixture).with_reader(move || {
        let calls = read(&path);
        Box::pin(async move { calls })
    })
}

/// The calls in the file, every line of which is a record.
fn read(path: &Path) -> Vec<CallId> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["call"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test]
async fn a_file_is_gone_on_with_and_half_a_line_is_cut() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("usage.jsonl");
    let records = records(4);
    JsonLines::open(&path, Durability::Disk).await.unwrap().record(&records[..2]).await.unwrap();
    let whole = std::fs::read(&path).unwrap();
    for half in ["{", "{\"call\":\"call_01", &"x".repeat(20_000)] {
        std::fs::write(&path, [&whole[..], half.as_bytes()].concat()).unwrap();
        drop(JsonLines::open(&path, Durability::Process).await.unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
    JsonLines::open(&path, Durability::Process).await.unwrap().record(&records[2..]).await.unwrap();
    assert_eq!(read(&path), records.iter().map(|record| record.call).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_left_of_a_failed_batch_is_cut_before_the_next() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("usage.jsonl");
    let records = records(2);
    let sink = JsonLines::open(&path, Durability::Process).await.unwrap();
    sink.record(&records[..1]).await.unwrap();
    let whole = std::fs::read(&path).unwrap();
    // As a write leaves it that a full disk ended in the middle.
    std::fs::write(&path, [&whole[..], b"{\"call\":\"ca"].concat()).unwrap();
    sink.record(&records[1..]).await.unwrap();
    assert_eq!(read(&path), [records[0].call, records[1].call]);
    // And as a rotation by copying leaves it.
    std::fs::write(&path, "").unwrap();
    sink.record(&records[1..]).await.unwrap();
    assert_eq!(read(&path), [records[1].call]);
}

#[tokio::test]
async fn a_file_with_nothing_but_half_a_line_is_emptied() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("usage.jsonl");
    std::fs::write(&path, "x".repeat(10_000)).unwrap();
    JsonLines::open(&path, Durability::Process).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"");
}

#[tokio::test]
async fn a_file_has_one_writer_and_a_place() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("usage.jsonl");
    let first = JsonLines::open(&path, Durability::Process).await.unwrap();
    let second = JsonLines::open(&path, Durability::Process).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Unavailable);
    assert!(second.message().contains("usage.jsonl") && second.message().contains("another process"), "{second}");
    drop(first);
    JsonLines::open(&path, Durability::Process).await.unwrap();
    let nowhere = JsonLines::open(folder.path().join("missing/usage.jsonl"), Durability::Process).await.unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::Unavailable);
}

#[derive(Debug)]
struct Broken;

#[async_trait]
impl BillingSink for Broken {
    async fn record(&self, _: &[UsageRecord]) -> Result<()> {
        Err(Error::new(ErrorKind::Unavailable, "full"))
    }
}

#[tokio::test]
async fn a_batch_that_one_sink_refuses_is_not_taken() {
    let memory = Arc::new(MemorySink::new());
    let all = FanOut::new([Arc::clone(&memory) as Arc<dyn BillingSink>, Arc::new(Broken)]);
    assert_eq!(all.record(&records(3)).await.unwrap_err().message(), "full");
    assert_eq!(memory.records().len(), 3, "those before it have it, and will get it again");
}

/// `/dev/full` takes opens and refuses every write, as a full disk does.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_an_error() {
    let Ok(sink) = JsonLines::open("/dev/full", Durability::Process).await else {
        panic!("/dev/full opens on every Linux");
    };
    let error = sink.record(&records(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.needs_operator());
}

mod last_use {
    use std::sync::Arc;
    use std::time::Duration;

    use aihub_core::conformance::billing_sink::records;
    use aihub_core::page::PageRequest;
    use aihub_core::{ApiKey, BillingSink, Clock, KeyStore, ManualClock, NewKey, Pepper, Timestamp, UsageRecord};
    use aihub_storage::{LastUse, MemoryKeys};

    struct Stage {
        keys: Arc<MemoryKeys>,
        clock: Arc<ManualClock>,
        sink: LastUse,
        record: UsageRecord,
    }

    async fn stage() -> Stage {
        let (keys, clock) = (Arc::new(MemoryKeys::new()), Arc::new(ManualClock::default()));
        let record = records(1).remove(0);
        let key = ApiKey { id: record.key, ..ApiKey::new(record.account, "key", "plan", clock.now()) };
        keys.insert(NewKey::issue("test", &Pepper::random(), key).0).await.unwrap();
        let sink = LastUse::new(Arc::clone(&keys) as Arc<dyn KeyStore>, Arc::clone(&clock) as Arc<dyn Clock>);
        Stage { keys, clock, sink, record }
    }

    impl Stage {
        /// Records a call at this second, lets what follows of it happen, and gives back what the store knows then.
        async fn used(&self, second: i64) -> Option<Timestamp> {
            let mut record = self.record.clone();
            record.at = at(second);
            self.sink.record(&[record]).await.unwrap();
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            let page = self.keys.list(self.record.account, PageRequest::first(1)).await.unwrap();
            page.rows[0].last_used_at
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test]
    async fn uses_are_written_down_now_and_then() {
        let stage = stage().await;
        assert_eq!(stage.used(100).await, Some(at(100)));
        assert_eq!(stage.used(101).await, Some(at(100)), "not for every call");
        stage.clock.advance(LastUse::EVERY);
        assert_eq!(stage.used(90).await, Some(at(101)), "what was unsaid, and the latest of it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_holds_up_nothing() {
        let stage = stage().await;
        let sink = LastUse::new(Arc::new(super::Hanging), Arc::clone(&stage.clock) as Arc<dyn Clock>);
        for _ in 0..3 {
            let taken =
                tokio::time::timeout(Duration::from_secs(1), sink.record(std::slice::from_ref(&stage.record))).await;
            taken.expect("the batch is taken at once").unwrap();
        }
    }
}
