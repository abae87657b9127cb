//! Keys in SQLite.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aihub_core::conformance::Fixture;
use aihub_core::conformance::key_store::new_key;
use aihub_core::key::KeyChange;
use aihub_core::page::PageRequest;
use aihub_core::{AccountId, Clock, KeyStore, ManualClock};
use aihub_storage::{Database, Migrate, PoolSettings, SqlKeys};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use tempfile::TempDir;

mod suite {
    use aihub_core::conformance;

    conformance::key_store!(super::fresh());
}

mod quota {
    use std::sync::Arc;

    use aihub_core::conformance::quota_policy::{Limits, QuotaFixture};
    use aihub_core::{QuotaPolicy, conformance};
    use aihub_storage::{Database, Migrate, PoolSettings};
    use tempfile::TempDir;

    async fn under(limits: Limits) -> QuotaFixture {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("hub.db");
        let database = Database::sqlite(&file, PoolSettings::default(), Migrate::Run).await.unwrap();
        let policy = crate::leased::replicas(&database);
        QuotaFixture::new(Arc::new(policy) as Arc<dyn QuotaPolicy>, limits).keeping(folder)
    }

    conformance::quota_policy!(under);
}

mod idempotency {
    use std::sync::Arc;

    use aihub_core::IdempotencyStore;
    use aihub_core::conformance::{self, Fixture};
    use aihub_storage::SqlIdempotency;
    use tempfile::TempDir;

    conformance::idempotency_store!(async {
        let folder = TempDir::new().unwrap();
        let store = SqlIdempotency::new(super::database(&folder).await);
        Fixture::from(Arc::new(store) as Arc<dyn IdempotencyStore>).keeping(folder)
    });
}

pub(crate) async fn fresh() -> Fixture<dyn KeyStore> {
    let folder = TempDir::new().unwrap();
    let keys = opened(&folder).await;
    Fixture::from(Arc::new(keys) as Arc<dyn KeyStore>).keeping(folder)
}

async fn opened(folder: &TempDir) -> SqlKeys {
    SqlKeys::new(database(folder).await)
}

pub(crate) async fn database(folder: &TempDir) -> Database {
    Database::sqlite(&folder.path().join("hub.db"), PoolSettings::default(), Migrate::Run).await.unwrap()
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

/// A client that hangs up drops the future at any of its waits. A transaction left open in the pool
/// would lock every other process out until somebody here happens to write again.
#[tokio::test]
async fn work_dropped_midway_locks_nobody_out() {
    let folder = TempDir::new().unwrap();
    let (keys, elsewhere) = (opened(&folder).await, opened(&folder).await);
    let new = new_key(account(), 0);
    keys.insert(new.clone()).await.unwrap();
    let (account, id) = (new.key.account, new.key.id);
    for turn in 0..24 {
        given_up(turn % 3, keys.update(account, id, KeyChange::default())).await;
        given_up(turn % 2, keys.find(&new.hash)).await;
        given_up(turn % 4, keys.list(account, PageRequest::first(1))).await;
        let mut change = KeyChange::default();
        change.name = Some(format!("after {turn}"));
        elsewhere.update(account, id, change).await.unwrap();
        assert!(keys.find(&new.hash).await.unwrap().is_some());
    }
}

/// A caller who leaves while a statement waits for another process's lock is not made to stay, and
/// the next one does not get the connection that is still at work.
#[tokio::test]
async fn a_caller_may_leave_a_statement_that_waits_for_a_lock() {
    let folder = TempDir::new().unwrap();
    let keys = opened(&folder).await;
    keys.insert(new_key(account(), 0)).await.unwrap();
    let mut other = SqliteConnection::establish(folder.path().join("hub.db").to_str().unwrap()).unwrap();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    let waiting = new_key(account(), 1);
    let left = tokio::time::timeout(Duration::from_millis(50), keys.insert(waiting.clone())).await;
    assert!(left.is_err(), "the lock is held elsewhere");
    other.batch_execute("COMMIT").unwrap();
    keys.insert(new_key(account(), 2)).await.unwrap();
    assert_eq!(*keys.find(&waiting.hash).await.unwrap().unwrap(), waiting.key, "what was begun is done as a whole");
}

/// Polls `work` once, lets others run for some turns, then drops it.
async fn given_up(turns: usize, work: impl Future) {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        drop(work.as_mut().poll(cx));
        Poll::Ready(())
    })
    .await;
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}
