//! The sinks that forward.

use std::path::Path;
use std::sync::Arc;

use aihub_core::conformance::Fixture;
use aihub_core::conformance::billing_sink::{SinkFixture, records};
use aihub_core::{BillingSink, CallId, Error, ErrorKind, Result, UsageRecord};
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
