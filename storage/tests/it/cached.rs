//! Keys behind the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aihub_core::conformance::key_store::new_key;
use aihub_core::key::{KeyChange, NewKey, NewSecret};
use aihub_core::page::{Page, PageRequest};
use aihub_core::{
    AccountId, ApiKey, Clock, Error, ErrorKind, KeyHash, KeyId, KeyStore, ManualClock, Result, Timestamp,
};
use aihub_storage::{CachedKeys, MemoryKeys};
use async_trait::async_trait;
use tokio::sync::Semaphore;

mod over_memory {
    use std::sync::Arc;

    use aihub_core::{KeyStore, ManualClock, conformance};
    use aihub_storage::{CachedKeys, MemoryKeys};

    conformance::key_store!(async {
        let inner = Arc::new(MemoryKeys::new());
        Arc::new(CachedKeys::new(inner, Arc::new(ManualClock::default()))) as Arc<dyn KeyStore>
    });
}

#[cfg(feature = "sqlite")]
mod over_sqlite {
    use std::sync::Arc;

    use aihub_core::conformance::Fixture;
    use aihub_core::{KeyStore, ManualClock, conformance};
    use aihub_storage::CachedKeys;

    conformance::key_store!(async {
        let inner = crate::sqlite::fresh().await;
        let cached = CachedKeys::new(Arc::clone(&inner.subject), Arc::new(ManualClock::default()));
        Fixture::from(Arc::new(cached) as Arc<dyn KeyStore>).keeping(inner)
    });
}

/// A store whose answers can be held back after they were read, counted, and made to fail.
#[derive(Debug)]
struct Slow {
    inner: MemoryKeys,
    clock: Arc<ManualClock>,
    answers: Semaphore,
    asked: AtomicUsize,
    failing: AtomicBool,
    takes: Duration,
}

const OPEN: usize = 1_000_000;

impl Slow {
    fn new(clock: &Arc<ManualClock>) -> Self {
        Self {
            inner: MemoryKeys::new(),
            clock: Arc::clone(clock),
            answers: Semaphore::new(OPEN),
            asked: AtomicUsize::new(0),
            failing: AtomicBool::new(false),
            takes: Duration::ZERO,
        }
    }

    fn hold_back(&self) {
        self.answers.forget_permits(OPEN);
    }

    fn let_go(&self) {
        self.answers.add_permits(OPEN);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn was_asked(&self, times: usize) {
        while self.asked() < times {
            tokio::task::yield_now().await;
        }
    }

    async fn held_back(&self) {
        self.answers.acquire().await.unwrap().forget();
    }
}

#[async_trait]
impl KeyStore for Slow {
    async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<ApiKey>>> {
        let found = self.inner.find(hash).await;
        self.clock.advance(self.takes);
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.held_back().await;
        if self.failing.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "down").with_retry_after(Duration::from_secs(3)));
        }
        found
    }

    async fn insert(&self, key: NewKey) -> Result<()> {
        self.inner.insert(key).await
    }

    async fn update(&self, account: AccountId, id: KeyId, change: KeyChange) -> Result<Arc<ApiKey>> {
        self.inner.update(account, id, change).await
    }

    async fn revoke(&self, account: AccountId, id: KeyId, at: Timestamp) -> Result<()> {
        self.inner.revoke(account, id, at).await?;
        self.held_back().await;
        Ok(())
    }

    async fn rotate(&self, account: AccountId, id: KeyId, secret: NewSecret) -> Result<Arc<ApiKey>> {
        self.inner.rotate(account, id, secret).await
    }

    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<()> {
        self.inner.touch(uses).await
    }

    async fn list(&self, account: AccountId, page: PageRequest<KeyId>) -> Result<Page<Arc<ApiKey>, KeyId>> {
        self.inner.list(account, page).await
    }
}

struct Scene {
    clock: Arc<ManualClock>,
    store: Arc<Slow>,
    here: Arc<CachedKeys<Slow>>,
    key: NewKey,
}

impl Scene {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(Slow::new(&clock));
        Self::over(store, clock).await
    }

    async fn over(store: Arc<Slow>, clock: Arc<ManualClock>) -> Self {
        let key = new_key(AccountId::new(clock.now()), 0);
        store.insert(key.clone()).await.unwrap();
        let here = Arc::new(CachedKeys::new(Arc::clone(&store), Arc::clone(&clock) as Arc<dyn Clock>));
        Self { clock, store, here, key }
    }

    /// Revoked by another replica: past the cache.
    async fn revoke_elsewhere(&self) {
        self.store.inner.revoke(self.key.key.account, self.key.key.id, self.clock.now()).await.unwrap();
    }

    async fn revoke(&self) {
        self.here.revoke(self.key.key.account, self.key.key.id, self.clock.now()).await.unwrap();
    }

    async fn seen_revoked(&self) -> bool {
        self.here.find(&self.key.hash).await.unwrap().unwrap().revoked_at.is_some()
    }

    fn look_up(&self) -> tokio::task::JoinHandle<Result<Option<Arc<ApiKey>>>> {
        let (here, hash) = (Arc::clone(&self.here), self.key.hash);
        tokio::spawn(async move { here.find(&hash).await })
    }
}

fn unknown() -> KeyHash {
    new_key(AccountId::new(ManualClock::default().now()), 0).hash
}

#[tokio::test]
async fn a_revocation_elsewhere_is_seen_within_a_second() {
    let it = Scene::new().await;
    assert!(!it.seen_revoked().await);
    it.revoke_elsewhere().await;
    it.clock.advance(Duration::from_micros(999_999));
    assert!(!it.seen_revoked().await);
    assert_eq!(it.store.asked(), 1, "within the bound the store is asked once");
    it.clock.advance(Duration::from_micros(1));
    assert!(it.seen_revoked().await);
}

#[tokio::test]
async fn a_key_in_steady_use_is_asked_for_again_each_second() {
    let it = Scene::new().await;
    for _ in 0..100 {
        it.here.find(&it.key.hash).await.unwrap();
        it.clock.advance(Duration::from_millis(100));
    }
    assert_eq!(it.store.asked(), 10, "use does not prolong an answer");
}

#[tokio::test]
async fn what_is_forgotten_is_asked_for_at_once() {
    let it = Scene::new().await;
    assert!(!it.seen_revoked().await);
    it.revoke_elsewhere().await;
    it.here.forget(it.key.key.id);
    assert!(it.seen_revoked().await);

    let it = Scene::new().await;
    assert!(!it.seen_revoked().await);
    it.revoke_elsewhere().await;
    it.here.forget_all();
    assert!(it.seen_revoked().await);
}

#[tokio::test]
async fn a_load_in_flight_does_not_bring_a_revoked_key_back() {
    let it = Scene::new().await;
    it.store.hold_back();
    let before = it.look_up();
    it.store.was_asked(1).await;
    // The load has read the key as it was; now it is revoked, and only then the answer arrives.
    let (here, account, id, now) = (Arc::clone(&it.here), it.key.key.account, it.key.key.id, it.clock.now());
    let revocation = tokio::spawn(async move { here.revoke(account, id, now).await });
    while it.store.inner.find(&it.key.hash).await.unwrap().unwrap().revoked_at.is_none() {
        tokio::task::yield_now().await;
    }
    it.store.let_go();
    revocation.await.unwrap().unwrap();
    assert!(it.seen_revoked().await);
    before.await.unwrap().unwrap().unwrap();
    assert!(it.seen_revoked().await);
}

#[tokio::test]
async fn who_comes_after_a_revocation_does_not_share_an_older_answer() {
    let it = Scene::new().await;
    it.store.hold_back();
    let before = it.look_up();
    it.store.was_asked(1).await;
    it.revoke_elsewhere().await;
    it.here.forget(it.key.key.id);
    let after = it.look_up();
    tokio::task::yield_now().await;
    it.store.let_go();
    assert!(after.await.unwrap().unwrap().unwrap().revoked_at.is_some());
    assert!(before.await.unwrap().unwrap().unwrap().revoked_at.is_some(), "asked again, since the key had changed");
}

#[tokio::test]
async fn a_revocation_whose_caller_left_counts() {
    let it = Scene::new().await;
    assert!(!it.seen_revoked().await);
    it.store.hold_back();
    let leaving = tokio::time::timeout(Duration::ZERO, it.revoke()).await;
    assert!(leaving.is_err(), "the store has not answered");
    it.store.let_go();
    assert!(it.seen_revoked().await);
}

#[tokio::test]
async fn who_misses_together_asks_once() {
    let it = Scene::new().await;
    for round in 1..=3 {
        it.store.hold_back();
        let many: Vec<_> = (0..100).map(|_| it.look_up()).collect();
        it.store.was_asked(round).await;
        it.store.let_go();
        for each in many {
            each.await.unwrap().unwrap().unwrap();
        }
        assert_eq!(it.store.asked(), round);
        it.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn who_misses_together_shares_the_error_and_nobody_keeps_it() {
    let it = Scene::new().await;
    assert!(!it.seen_revoked().await);
    it.clock.advance(Duration::from_secs(1));
    it.store.failing.store(true, Ordering::SeqCst);
    it.store.hold_back();
    let many: Vec<_> = (0..100).map(|_| it.look_up()).collect();
    it.store.was_asked(2).await;
    tokio::task::yield_now().await;
    it.store.let_go();
    for each in many {
        let error = each.await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "down"));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    }
    assert_eq!(it.store.asked(), 2, "and no answer older than the bound was used instead");
    it.store.failing.store(false, Ordering::SeqCst);
    it.here.find(&it.key.hash).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_take_the_load_with_it() {
    let it = Scene::new().await;
    it.store.hold_back();
    let first = it.look_up();
    it.store.was_asked(1).await;
    let second = it.look_up();
    tokio::task::yield_now().await;
    first.abort();
    it.store.let_go();
    second.await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_store_slower_than_the_bound_is_asked_once_for_each_caller() {
    let clock = Arc::new(ManualClock::default());
    let slow = Slow { takes: Duration::from_secs(5), ..Slow::new(&clock) };
    let it = Scene::over(Arc::new(slow), clock).await;
    for asked in 1..=3 {
        assert!(!it.seen_revoked().await);
        assert_eq!(it.store.asked(), asked);
    }
}

#[tokio::test]
async fn an_unknown_key_is_remembered_for_as_long() {
    let it = Scene::new().await;
    let later = new_key(it.key.key.account, 1);
    for _ in 0..10 {
        assert_eq!(it.here.find(&later.hash).await.unwrap(), None);
    }
    assert_eq!(it.store.asked(), 1);
    it.store.inner.insert(later.clone()).await.unwrap();
    assert_eq!(it.here.find(&later.hash).await.unwrap(), None);
    it.clock.advance(Duration::from_secs(1));
    assert!(it.here.find(&later.hash).await.unwrap().is_some());
}

#[tokio::test]
async fn an_unknown_key_in_flight_does_not_hide_one_just_made() {
    let it = Scene::new().await;
    let later = new_key(it.key.key.account, 1);
    it.store.hold_back();
    let (here, hash) = (Arc::clone(&it.here), later.hash);
    let before = tokio::spawn(async move { here.find(&hash).await });
    it.store.was_asked(1).await;
    it.here.insert(later.clone()).await.unwrap();
    it.store.let_go();
    assert!(it.here.find(&later.hash).await.unwrap().is_some());
    assert!(before.await.unwrap().unwrap().is_some());
}

#[tokio::test]
async fn guessing_keys_is_remembered_within_a_cap_and_displaces_no_key() {
    let it = Scene::new().await;
    assert!(!it.seen_revoked().await);
    for _ in 0..15_000 {
        assert_eq!(it.here.find(&unknown()).await.unwrap(), None);
    }
    let (known, unknown) = it.here.remembered().await;
    assert_eq!(known, 1);
    assert!(unknown <= CachedKeys::<Slow>::MOST_UNKNOWN, "{unknown} unknown keys are remembered");
    let asked = it.store.asked();
    assert!(!it.seen_revoked().await);
    assert_eq!(it.store.asked(), asked, "the key in use is still remembered");
}

#[tokio::test]
async fn a_stranger_neither_changes_a_key_nor_learns_of_it() {
    let it = Scene::new().await;
    assert!(!it.seen_revoked().await);
    let stranger = AccountId::new(it.clock.now());
    let error = it.here.revoke(stranger, it.key.key.id, it.clock.now()).await.unwrap_err();
    let other = it.here.revoke(stranger, KeyId::new(it.clock.now()), it.clock.now()).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (other.kind(), other.message()), "existing or not, the same answer");
    assert!(!it.seen_revoked().await);
    assert!(it.here.list(stranger, PageRequest::first(10)).await.unwrap().rows.is_empty());
}
