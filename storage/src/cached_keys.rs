//! Keys remembered for a second, in front of any [`KeyStore`].

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aihub_core::key::{KeyChange, NewKey, NewSecret};
use aihub_core::page::{Page, PageRequest};
use aihub_core::{AccountId, ApiKey, Clock, Error, ErrorKind, KeyHash, KeyId, KeyStore, Result, Timestamp};
use async_trait::async_trait;
use moka::future::Cache;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;

/// A [`KeyStore`] that asks another one at most once a second for the same key.
///
/// - **Revoked means revoked.** An answer is used for less than [`CachedKeys::BOUND`], counted from
///   before the store was asked; there is no stale answer beyond it, also when the store fails.
///   Changes made through this value are seen at once, changes made elsewhere within the bound, or
///   at once where somebody who learned of them calls [`CachedKeys::forget`].
/// - **Single flight.** Callers who miss the same key together share one question and its answer,
///   also when it is an error.
/// - **No resurrection.** Every change takes a number, and an answer carries the number that stood
///   when its question was put; one that is older than the last change of its key is not used,
///   whenever it arrives. Removing the entry instead would lose against a load in flight, which
///   puts the revoked row back.
/// - **Unknown keys cost little.** They are remembered apart, at most [`CachedKeys::MOST_UNKNOWN`] of
///   them, so that guessing neither reaches the store twice nor displaces keys that exist.
///
/// A hit is one look-up, one reading of the clock and one more reference to the key.
#[derive(Debug)]
pub struct CachedKeys<K: ?Sized = dyn KeyStore> {
    clock: Arc<dyn Clock>,
    known: Cache<KeyHash, Known, BuildHasherDefault<Folded>>,
    unknown: Cache<KeyHash, Asked, BuildHasherDefault<Folded>>,
    changes: Changes,
    inner: Arc<K>,
}

/// When a question was put to the store, on both scales.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Duration,
    change: u64,
}

#[derive(Debug, Clone)]
struct Known {
    asked: Asked,
    key: Arc<ApiKey>,
}

/// Why a load brought nothing that is kept among the known keys.
#[derive(Debug, thiserror::Error)]
enum Missed {
    #[error("no such key")]
    Unknown(Asked),
    #[error("the store failed")]
    Failed(#[source] Error),
}

impl<K: KeyStore + ?Sized> CachedKeys<K> {
    /// How long an answer is used: the longest that a change made elsewhere goes unseen.
    pub const BOUND: Duration = Duration::from_secs(1);

    /// How many unknown keys are remembered.
    pub const MOST_UNKNOWN: u64 = 10_000;

    /// How many keys [`CachedKeys::new`] remembers: roughly 50 MB.
    pub const MOST_KNOWN: u64 = 100_000;

    /// Remembers what `inner` says, by `clock`.
    pub fn new(inner: Arc<K>, clock: Arc<dyn Clock>) -> Self {
        Self::with_capacity(inner, clock, Self::MOST_KNOWN)
    }

    /// Remembers up to `most` keys. Too few, and the store is asked more than once a second for keys
    /// in use; too many cost memory only.
    pub fn with_capacity(inner: Arc<K>, clock: Arc<dyn Clock>, most: u64) -> Self {
        // moka counts by the machine's clock, which no test can move, and from the insertion, which
        // is after the store was asked. So the bound is checked here; moka's only frees memory.
        let idle = Duration::from_mins(1);
        Self {
            clock,
            known: Cache::builder()
                .max_capacity(most)
                .time_to_idle(idle)
                .build_with_hasher(BuildHasherDefault::default()),
            unknown: Cache::builder()
                .max_capacity(Self::MOST_UNKNOWN)
                .time_to_live(idle)
                .eviction_policy(EvictionPolicy::lru())
                .build_with_hasher(BuildHasherDefault::default()),
            changes: Changes::default(),
            inner,
        }
    }

    /// Somebody else changed the key `id`: for who listens to the store's changes.
    pub fn forget(&self, id: KeyId) {
        self.changes.mark(of_id(id));
    }

    /// Changes may have been missed (a listener lost its connection): nothing remembered is used.
    pub fn forget_all(&self) {
        self.changes.mark_all();
    }

    /// How many keys are remembered, known and unknown, after the caches' own housekeeping.
    pub async fn remembered(&self) -> (u64, u64) {
        self.known.run_pending_tasks().await;
        self.unknown.run_pending_tasks().await;
        (self.known.entry_count(), self.unknown.entry_count())
    }

    /// Whether an answer to a question put `asked` serves a caller who came at `now`.
    ///
    /// By the caller's time of coming, not by the time of the answer: an answer that took longer
    /// than the bound would otherwise be thrown away and asked for again, for ever.
    fn serves(&self, asked: Asked, now: Duration, slot: usize) -> bool {
        now.saturating_sub(asked.at) < Self::BOUND && asked.change >= self.changes.last(slot)
    }

    fn known(&self, known: &Known, now: Duration) -> bool {
        self.serves(known.asked, now, of_id(known.key.id))
    }

    /// The answer of the store, shared by everybody who waits for it.
    async fn load(&self, hash: &KeyHash, now: Duration) -> Result<Known, Arc<Missed>> {
        // Only a stale entry makes way; a fresh one that somebody loaded meanwhile stays.
        let stale = |entry: Option<moka::Entry<KeyHash, Known>>| {
            let stale = entry.is_some_and(|entry| !self.known(entry.value(), now));
            std::future::ready(if stale { Op::Remove } else { Op::Nop })
        };
        self.known.entry_by_ref(hash).and_compute_with(stale).await;
        let ask = async {
            let asked = Asked { at: self.clock.elapsed(), change: self.changes.newest() };
            match self.inner.find(hash).await {
                Ok(Some(key)) => Ok(Known { asked, key }),
                Ok(None) => {
                    self.unknown.insert(*hash, asked).await;
                    Err(Missed::Unknown(asked))
                }
                Err(error) => Err(Missed::Failed(error)),
            }
        };
        self.known.try_get_with_by_ref(hash, ask).await
    }
}

#[async_trait]
impl<K: KeyStore + ?Sized> KeyStore for CachedKeys<K> {
    async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<ApiKey>>> {
        let now = self.clock.elapsed();
        if let Some(known) = self.known.get(hash).await
            && self.known(&known, now)
        {
            return Ok(Some(known.key));
        }
        // Boxed: the path of a miss must not make the future of every hit large.
        Box::pin(self.find_missed(hash, now)).await
    }

    async fn insert(&self, key: NewKey) -> Result<()> {
        let _marked = self.changes.mark_when_done(of_hash(&key.hash));
        self.inner.insert(key).await
    }

    async fn update(&self, account: AccountId, id: KeyId, change: KeyChange) -> Result<Arc<ApiKey>> {
        let _marked = self.changes.mark_when_done(of_id(id));
        self.inner.update(account, id, change).await
    }

    async fn revoke(&self, account: AccountId, id: KeyId, at: Timestamp) -> Result<()> {
        let _marked = self.changes.mark_when_done(of_id(id));
        self.inner.revoke(account, id, at).await
    }

    async fn rotate(&self, account: AccountId, id: KeyId, secret: NewSecret) -> Result<Arc<ApiKey>> {
        // Two marks: the new secret may be remembered as unknown, and the key under the one it replaces.
        let _marked = (self.changes.mark_when_done(of_hash(&secret.hash)), self.changes.mark_when_done(of_id(id)));
        self.inner.rotate(account, id, secret).await
    }

    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<()> {
        // Nothing is marked: when a key was used last decides nothing.
        self.inner.touch(uses).await
    }

    async fn list(&self, account: AccountId, page: PageRequest<KeyId>) -> Result<Page<Arc<ApiKey>, KeyId>> {
        self.inner.list(account, page).await
    }
}

impl<K: KeyStore + ?Sized> CachedKeys<K> {
    async fn find_missed(&self, hash: &KeyHash, now: Duration) -> Result<Option<Arc<ApiKey>>> {
        loop {
            if let Some(asked) = self.unknown.get(hash).await
                && self.serves(asked, now, of_hash(hash))
            {
                return Ok(None);
            }
            // An answer that does not serve was asked for by somebody who came earlier. Asking again
            // ends: a question put from here on is younger than this caller, and only a change of
            // this very key makes it old.
            match self.load(hash, now).await {
                Ok(known) if self.known(&known, now) => return Ok(Some(known.key)),
                Err(missed) => match &*missed {
                    Missed::Unknown(asked) if self.serves(*asked, now, of_hash(hash)) => return Ok(None),
                    Missed::Unknown(_) => {}
                    Missed::Failed(_) => return Err(shared(missed)),
                },
                Ok(_) => {}
            }
        }
    }
}

/// The failure of the one who asked, for each who waited for it.
fn shared(missed: Arc<Missed>) -> Error {
    let Missed::Failed(error) = &*missed else {
        return Error::new(ErrorKind::Unavailable, "The key could not be looked up: try again");
    };
    let mut copy = Error::new(error.kind(), error.message().to_owned()).with_code(error.code().to_owned());
    if let Some(after) = error.retry_after() {
        copy = copy.with_retry_after(after);
    }
    copy.with_source(missed)
}

/// Which change each key has seen last, by slots that several keys share.
///
/// A slot per key would have to be cleared away some day, and could then be missed; with a thousand
/// of them a change costs the store one more question for a thousandth of the keys in use.
#[derive(Debug)]
struct Changes {
    newest: AtomicU64,
    slots: Box<[AtomicU64]>,
}

const SLOTS: u64 = 1_024;

impl Default for Changes {
    fn default() -> Self {
        Self { newest: AtomicU64::new(0), slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Changes {
    fn newest(&self) -> u64 {
        self.newest.load(Ordering::SeqCst)
    }

    fn last(&self, slot: usize) -> u64 {
        self.slots[slot].load(Ordering::SeqCst)
    }

    fn mark(&self, slot: usize) {
        let number = self.newest.fetch_add(1, Ordering::SeqCst) + 1;
        self.slots[slot].fetch_max(number, Ordering::SeqCst);
    }

    fn mark_all(&self) {
        let number = self.newest.fetch_add(1, Ordering::SeqCst) + 1;
        for slot in &self.slots {
            slot.fetch_max(number, Ordering::SeqCst);
        }
    }

    /// Marks `slot` once the change has been made, or has perhaps been made: also when the future
    /// that makes it fails or is dropped, since the store may have gone through with it.
    fn mark_when_done(&self, slot: usize) -> impl Drop + '_ {
        Marking(self, slot)
    }
}

struct Marking<'a>(&'a Changes, usize);

impl Drop for Marking<'_> {
    fn drop(&mut self) {
        self.0.mark(self.1);
    }
}

fn of_id(id: KeyId) -> usize {
    slot(id.as_uuid().as_u64_pair().1)
}

fn of_hash(hash: &KeyHash) -> usize {
    slot(hash.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes))
}

fn slot(random: u64) -> usize {
    usize::try_from(random % SLOTS).unwrap_or(0)
}

/// Takes the first bytes of a key's hash for the map's: they are a keyed hash already, which nobody
/// can choose, and hashing them again would be the dearest part of a hit.
#[derive(Debug, Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(head) = bytes.first_chunk() {
            self.0 = self.0.rotate_left(5) ^ u64::from_le_bytes(*head);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
