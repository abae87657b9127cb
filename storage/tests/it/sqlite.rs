//! Keys in SQLite.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aihub_core::conformance::Fixture;
use aihub_core::conformance::key_store::new_key;
use aihub_core::key::KeyChange;
use aihub_core::page::PageRequest;
use aihub_core::{AccountId, Clock, KeyStore, ManualClock};
use aihub_storage::{Database, SqlKeys};
use tempfile::TempDir;

mod suite {
    use aihub_core::conformance;

    conformance::key_store!(super::fresh());
}

pub(crate) async fn fresh() -> Fixture<dyn KeyStore> {
    let folder = TempDir::new().unwrap();
    let keys = opened(&folder).await;
    Fixture::from(Arc::new(keys) as Arc<dyn KeyStore>).keeping(folder)
}

async fn opened(folder: &TempDir) -> SqlKeys {
    SqlKeys::new(Database::sqlite(&folder.path().join("hub.db")).await.unwrap())
}

fn account() -> AccountId {
    AccountId::new(ManualClock::default().now())
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let folder = TempDir::new().unwrap();
    let (new, gone) = (new_key(account(), 0), new_key(account(), 1));
    {
        let keys = opened(&folder).await;
        keys.insert(new.clone()).await.unwrap();
        keys.insert(gone.clone()).await.unwrap();
        keys.revoke(gone.key.account, gone.key.id, gone.key.created_at).await.unwrap();
    }
    let keys = opened(&folder).await;
    assert_eq!(*keys.find(&new.hash).await.unwrap().unwrap(), new.key);
    assert!(keys.find(&gone.hash).await.unwrap().unwrap().revoked_at.is_some());
}

/// As after `kill -9`: the file and its journal are copied while the first process has them open,
/// with nothing closed and no checkpoint made.
#[tokio::test]
async fn what_was_acknowledged_survives_a_process_that_is_killed() {
    let (folder, after) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let keys = opened(&folder).await;
    let new = new_key(account(), 0);
    keys.insert(new.clone()).await.unwrap();
    keys.revoke(new.key.account, new.key.id, new.key.created_at).await.unwrap();
    for file in ["hub.db", "hub.db-wal"] {
        std::fs::copy(folder.path().join(file), after.path().join(file)).unwrap();
    }
    let survived = opened(&after).await.find(&new.hash).await.unwrap().unwrap();
    assert_eq!(survived.revoked_at, Some(new.key.created_at));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_may_open_a_new_file_at_once() {
    let folder = Arc::new(TempDir::new().unwrap());
    let openings: Vec<_> = (0..8)
        .map(|age| {
            let folder = Arc::clone(&folder);
            tokio::spawn(async move { opened(&folder).await.insert(new_key(account(), age)).await })
        })
        .collect();
    for opening in openings {
        opening.await.unwrap().unwrap();
    }
}

/// A client that hangs up drops the future at any of its waits: the next caller must not find a
/// connection that is still at work, or in a transaction.
#[tokio::test(flavor = "multi_thread")]
async fn work_dropped_midway_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let keys = opened(&folder).await;
    let new = new_key(account(), 0);
    keys.insert(new.clone()).await.unwrap();
    let (account, id) = (new.key.account, new.key.id);
    for waits in 0..40 {
        let change = KeyChange::default();
        given_up_after(waits % 8, keys.update(account, id, change)).await;
        given_up_after(waits % 5, keys.find(&new.hash)).await;
        given_up_after(waits % 3, keys.list(account, PageRequest::first(1))).await;
    }
    let mut change = KeyChange::default();
    change.name = Some("after".to_owned());
    assert_eq!(keys.update(account, id, change).await.unwrap().name, "after");
    assert_eq!(keys.find(&new.hash).await.unwrap().unwrap().name, "after");
}

/// Polls `work` until it has waited `waits` times, then drops it.
async fn given_up_after(waits: usize, work: impl Future) {
    let mut work = pin!(work);
    let mut left = waits + 1;
    std::future::poll_fn(move |cx: &mut Context<'_>| {
        left -= 1;
        if work.as_mut().poll(cx).is_ready() || left == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
