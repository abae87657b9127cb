//! What replicas share, on a real Redis.

mod faults;
mod key_cache;
mod key_push;
mod rate;
mod server;
mod wire;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aihub_core::conformance::key_store::new_key;
use aihub_core::key::{KeyChange, NewKey, NewSecret};
use aihub_core::page::{Page, PageRequest};
use aihub_core::{AccountId, ApiKey, Clock, KeyHash, KeyId, KeyStore, ManualClock, Result, Timestamp};
use aihub_storage::MemoryKeys;
use aihub_storage::redis::{Options, Redis};
use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// The server that all tests share, each under a prefix of its own.
fn url() -> String {
    crate::servers::variable("AIHUB_TEST_REDIS_URL")
}

fn prefix() -> String {
    format!("test-{:016x}:", rand::random::<u64>())
}

/// Patient, since the machine may be busy: how long a call takes is the matter of tests of its own.
fn options(prefix: &str) -> Options {
    let patience = Duration::from_secs(10);
    Options::default().with_prefix(prefix).with_deadline(patience).with_connect_timeout(patience)
}

async fn opened(prefix: &str) -> Redis {
    options(prefix).open(&url()).await.unwrap()
}

/// The server without what is tested.
async fn bare(url: &str) -> MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// All that is kept under `prefix`.
async fn names(on: &mut MultiplexedConnection, prefix: &str) -> Vec<String> {
    redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(on).await.unwrap()
}

/// Asks until it is so, for half a minute at most.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "not within half a minute: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The database that replicas share: counts what it is asked, and can hold answers back after they
/// were read.
#[derive(Debug)]
struct Truth {
    keys: MemoryKeys,
    asked: AtomicUsize,
    answers: Semaphore,
}

const OPEN: usize = 1_000_000;

impl Truth {
    fn new() -> Arc<Self> {
        Arc::new(Self { keys: MemoryKeys::new(), asked: AtomicUsize::new(0), answers: Semaphore::new(OPEN) })
    }

    /// A key that is in it.
    async fn key(&self) -> NewKey {
        let new = new_key(AccountId::new(ManualClock::default().now()), 0);
        self.keys.insert(new.clone()).await.unwrap();
        new
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn hold_back(&self) {
        self.answers.forget_permits(OPEN);
    }

    fn let_go(&self) {
        self.answers.add_permits(OPEN);
    }
}

#[async_trait]
impl KeyStore for Truth {
    async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<ApiKey>>> {
        let found = self.keys.find(hash).await;
        self.asked.fetch_add(1, Ordering::SeqCst);
        drop(self.answers.acquire().await.unwrap());
        found
    }

    async fn insert(&self, key: NewKey) -> Result<()> {
        self.keys.insert(key).await
    }

    async fn update(&self, account: AccountId, id: KeyId, change: KeyChange) -> Result<Arc<ApiKey>> {
        self.keys.update(account, id, change).await
    }

    async fn revoke(&self, account: AccountId, id: KeyId, at: Timestamp) -> Result<()> {
        self.keys.revoke(account, id, at).await
    }

    async fn rotate(&self, account: AccountId, id: KeyId, secret: NewSecret) -> Result<Arc<ApiKey>> {
        self.keys.rotate(account, id, secret).await
    }

    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<()> {
        self.keys.touch(uses).await
    }

    async fn list(&self, account: AccountId, page: PageRequest<KeyId>) -> Result<Page<Arc<ApiKey>, KeyId>> {
        self.keys.list(account, page).await
    }
}

async fn revoke(store: &impl KeyStore, key: &NewKey) {
    store.revoke(key.key.account, key.key.id, key.key.created_at).await.unwrap();
}

async fn is_revoked(store: &impl KeyStore, key: &NewKey) -> bool {
    store.find(&key.hash).await.unwrap().unwrap().revoked_at.is_some()
}
