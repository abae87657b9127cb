//! Another master key for secrets that are in use.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use aihub_core::page::{Page, PageRequest};
use aihub_core::{Result, SecretName, SecretOwner, SecretStore};
use aihub_storage::secret::{KeyVersion, Place, Rewrap, Rotated, Sealed, SealedRows, SealedValue, Sealing, WrappedKey};
use async_trait::async_trait;
use tokio::sync::Notify;

use super::{HOUSE, account, got, name, place, ring, value};

on_every_rows! {
    a_master_key_is_replaced_without_touching_values
    a_rotation_dropped_between_batches_is_taken_up_again
    a_rotation_dropped_anywhere_is_taken_up_again
    a_put_beside_a_rotation_is_not_lost
    puts_and_rotations_at_once_lose_nothing
    what_cannot_be_unwrapped_is_left_and_counted
}

/// More than two batches.
const MANY: usize = 230;

async fn filled<R: SealedRows + Clone>(rows: &R) -> Vec<SecretOwner> {
    let old = Sealing::over(rows.clone(), ring(&['1']));
    let owners = vec![HOUSE, account(), account()];
    for number in 0..MANY {
        let owner = owners[number % owners.len()];
        old.put(owner, &name(&format!("n{number}")), &value(&format!("value {number}"))).await.unwrap();
    }
    owners
}

async fn all_there<R: SealedRows>(secrets: &Sealing<R>, owners: &[SecretOwner]) {
    for number in 0..MANY {
        let owner = owners[number % owners.len()];
        assert_eq!(got(secrets, owner, &format!("n{number}")).await, format!("value {number}"));
    }
}

fn outcome(rotated: Rotated) -> (u64, u64, BTreeMap<Option<KeyVersion>, u64>) {
    (rotated.rewrapped, rotated.kept, rotated.left)
}

async fn a_master_key_is_replaced_without_touching_values(rows: impl SealedRows + Clone) {
    let owners = filled(&rows).await;
    let both = Sealing::over(rows.clone(), ring(&['1', '2']));
    all_there(&both, &owners).await;
    both.put(HOUSE, &name("new"), &value("already")).await.unwrap();
    let watched = place(HOUSE, "n0");
    let before = rows.get(&watched).await.unwrap().unwrap();
    assert_eq!(both.not_under_newest().await.unwrap(), [(Some(1), MANY as u64)].into());
    assert_eq!(outcome(both.rotate().await.unwrap()), (MANY as u64, 1, BTreeMap::new()));
    let after = rows.get(&watched).await.unwrap().unwrap();
    assert_eq!((after.value, after.key.version()), (before.value, Some(2)));
    assert_eq!(outcome(both.rotate().await.unwrap()), (0, MANY as u64 + 1, BTreeMap::new()), "nothing left to do");
    let new = Sealing::over(rows.clone(), ring(&['2']));
    all_there(&new, &owners).await;
    assert_eq!(got(&new, HOUSE, "new").await, "already");
    let old = Sealing::over(rows, ring(&['1']));
    assert_eq!(old.get(HOUSE, &name("n0")).await.unwrap_err().code(), "master_key_missing");
}

/// Rows on which something else happens before keys are replaced.
struct Meanwhile<R, F> {
    inner: R,
    before_rewrap: F,
}

impl<R: std::fmt::Debug, F> std::fmt::Debug for Meanwhile<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl<R, F, Fut> SealedRows for Meanwhile<R, F>
where
    R: SealedRows,
    F: Fn(Vec<Place>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    async fn put(&self, place: Place, sealed: Sealed) -> Result<()> {
        self.inner.put(place, sealed).await
    }

    async fn get(&self, place: &Place) -> Result<Option<Sealed>> {
        self.inner.get(place).await
    }

    async fn remove(&self, place: &Place) -> Result<bool> {
        self.inner.remove(place).await
    }

    async fn names(&self, owner: SecretOwner, page: PageRequest<SecretName>) -> Result<Page<SecretName, SecretName>> {
        self.inner.names(owner, page).await
    }

    async fn not_under(
        &self,
        version: KeyVersion,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<(Place, WrappedKey)>> {
        self.inner.not_under(version, after, limit).await
    }

    async fn rewrap(&self, keys: Vec<Rewrap>) -> Result<u64> {
        (self.before_rewrap)(keys.iter().map(|key| key.place.clone()).collect()).await;
        self.inner.rewrap(keys).await
    }

    async fn count(&self) -> Result<u64> {
        self.inner.count().await
    }
}

async fn a_rotation_dropped_between_batches_is_taken_up_again(rows: impl SealedRows + Clone) {
    let owners = filled(&rows).await;
    let (batches, stuck) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let before_rewrap = {
        let (batches, stuck) = (Arc::clone(&batches), Arc::clone(&stuck));
        move |_| {
            let (batches, stuck) = (Arc::clone(&batches), Arc::clone(&stuck));
            async move {
                if batches.fetch_add(1, Ordering::SeqCst) == 1 {
                    stuck.notify_one();
                    std::future::pending::<()>().await;
                }
            }
        }
    };
    let stopping = Sealing::over(Meanwhile { inner: rows.clone(), before_rewrap }, ring(&['1', '2']));
    tokio::select! {
        done = stopping.rotate() => panic!("it was to be stuck: {done:?}"),
        () = stuck.notified() => {}
    }
    let both = Sealing::over(rows.clone(), ring(&['1', '2']));
    let left = both.not_under_newest().await.unwrap()[&Some(1)];
    assert!(0 < left && left < MANY as u64, "the first batch is done, and the second is not: {left}");
    all_there(&both, &owners).await;
    assert_eq!(outcome(both.rotate().await.unwrap()), (left, MANY as u64 - left, BTreeMap::new()));
    all_there(&Sealing::over(rows, ring(&['2'])), &owners).await;
}

/// Polls `work` some times, letting others run between them, then drops it.
async fn given_up(polls: usize, work: impl Future) {
    let mut work = pin!(work);
    for _ in 0..polls {
        let done = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx).is_ready())).await;
        if done {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn a_rotation_dropped_anywhere_is_taken_up_again(rows: impl SealedRows + Clone) {
    let owners = filled(&rows).await;
    let both = Sealing::over(rows.clone(), ring(&['1', '2']));
    for polls in 1..40 {
        given_up(polls, both.rotate()).await;
    }
    all_there(&both, &owners).await;
    let rotated = both.rotate().await.unwrap();
    assert_eq!((rotated.rewrapped + rotated.kept, rotated.left), (MANY as u64, BTreeMap::new()));
    all_there(&Sealing::over(rows, ring(&['2'])), &owners).await;
}

/// Between a row being read and its key being replaced, two processes put: one that has the new master key,
/// and one that does not have it yet. A third removes.
async fn a_put_beside_a_rotation_is_not_lost(rows: impl SealedRows + Clone) {
    let secrets = Sealing::over(rows.clone(), ring(&['1']));
    for called in ["old", "new", "gone", "still"] {
        secrets.put(HOUSE, &name(called), &value("before")).await.unwrap();
    }
    let elsewhere = rows.clone();
    let before_rewrap = move |places: Vec<Place>| {
        let rows = elsewhere.clone();
        async move {
            assert_eq!(places.len(), 4);
            let old = Sealing::over(rows.clone(), ring(&['1']));
            old.put(HOUSE, &name("old"), &value("put by an older ring")).await.unwrap();
            let new = Sealing::over(rows, ring(&['1', '2']));
            new.put(HOUSE, &name("new"), &value("put by the newer ring")).await.unwrap();
            assert!(new.remove(HOUSE, &name("gone")).await.unwrap());
        }
    };
    let rotating = Sealing::over(Meanwhile { inner: rows.clone(), before_rewrap }, ring(&['1', '2']));
    assert_eq!(outcome(rotating.rotate().await.unwrap()), (1, 1, [(Some(1), 1)].into()), "what is left is told");
    let both = Sealing::over(rows, ring(&['1', '2']));
    assert_eq!(got(&both, HOUSE, "old").await, "put by an older ring");
    assert_eq!(got(&both, HOUSE, "new").await, "put by the newer ring");
    assert_eq!(got(&both, HOUSE, "still").await, "before");
    assert!(both.get(HOUSE, &name("gone")).await.unwrap().is_none());
    assert_eq!(outcome(both.rotate().await.unwrap()), (1, 2, BTreeMap::new()));
}

async fn puts_and_rotations_at_once_lose_nothing(rows: impl SealedRows + Clone) {
    let owners = filled(&rows).await;
    let both = Sealing::over(rows.clone(), ring(&['1', '2']));
    let rotations: Vec<_> = (0..3)
        .map(|_| {
            let both = both.clone();
            tokio::spawn(async move { both.rotate().await.unwrap() })
        })
        .collect();
    let puts: Vec<_> = (0..2)
        .map(|turn| {
            let (rows, owners) = (rows.clone(), owners.clone());
            tokio::spawn(async move {
                let secrets = Sealing::over(rows, if turn == 0 { ring(&['1']) } else { ring(&['1', '2']) });
                for number in (turn..MANY).step_by(4) {
                    let owner = owners[number % owners.len()];
                    secrets.put(owner, &name(&format!("n{number}")), &value(&format!("put {number}"))).await.unwrap();
                }
            })
        })
        .collect();
    for put in puts {
        put.await.unwrap();
    }
    for rotation in rotations {
        rotation.await.unwrap();
    }
    assert_eq!(both.rotate().await.unwrap().left, BTreeMap::new());
    let new = Sealing::over(rows, ring(&['2']));
    for number in 0..MANY {
        let written = if number % 4 < 2 { "put" } else { "value" };
        let owner = owners[number % owners.len()];
        assert_eq!(got(&new, owner, &format!("n{number}")).await, format!("{written} {number}"));
    }
}

/// Rows under a master key that is not there, changed rows, and rows of no known format: none of them keeps
/// the others from being done, and none is taken for done.
async fn what_cannot_be_unwrapped_is_left_and_counted(rows: impl SealedRows + Clone) {
    let put = async |versions: &[char], called: &str| {
        Sealing::over(rows.clone(), ring(versions)).put(HOUSE, &name(called), &value(called)).await.unwrap();
    };
    put(&['1'], "a-lost").await;
    put(&['2'], "b-changed").await;
    put(&['2'], "c-fine").await;
    put(&['3'], "d-done").await;
    let changed = rows.get(&place(HOUSE, "b-changed")).await.unwrap().unwrap();
    let mut bytes = changed.key.as_bytes().to_vec();
    bytes[20] ^= 1;
    rows.put(place(HOUSE, "b-changed"), Sealed { key: WrappedKey::from_bytes(bytes), ..changed }).await.unwrap();
    let alien = Sealed { key: WrappedKey::from_bytes(vec![9; 65]), value: SealedValue::from_bytes(vec![9]) };
    rows.put(place(HOUSE, "e-alien"), alien).await.unwrap();
    let secrets = Sealing::over(rows.clone(), ring(&['2', '3']));
    let left: BTreeMap<_, _> = [(None, 1), (Some(1), 1), (Some(2), 1)].into();
    assert_eq!(outcome(secrets.rotate().await.unwrap()), (1, 1, left));
    let new = Sealing::over(rows, ring(&['3']));
    assert_eq!(
        (got(&new, HOUSE, "c-fine").await, got(&new, HOUSE, "d-done").await),
        ("c-fine".into(), "d-done".into())
    );
}
