//! Keys in memory.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aihub_core::key::{KeyChange, NewKey, NewSecret};
use aihub_core::page::{Page, PageRequest};
use aihub_core::{AccountId, ApiKey, KeyHash, KeyId, KeyStore, Result, Timestamp};
use async_trait::async_trait;
use dashmap::DashMap;

use crate::key::{apply, revoked, taken, unknown};
use crate::paging::{self, Window};

/// A [`KeyStore`] that forgets with the process.
///
/// Looking a key up takes one lock out of many; only changes and lists share one.
#[derive(Debug, Default)]
pub struct MemoryKeys {
    /// By every secret that a key has.
    found: DashMap<KeyHash, Arc<ApiKey>>,
    index: RwLock<Index>,
}

/// The keys themselves, and what finds each. Its write lock is held over every change, so that a key
/// and what is found of it cannot part; `find` never takes it.
#[derive(Debug, Default)]
struct Index {
    owners: HashMap<KeyId, AccountId>,
    owned: BTreeMap<(AccountId, KeyId), Kept>,
}

#[derive(Debug)]
struct Kept {
    key: Arc<ApiKey>,
    /// Oldest first, each with its end.
    secrets: Vec<(KeyHash, Option<Timestamp>)>,
}

impl MemoryKeys {
    /// A store without keys.
    pub fn new() -> Self {
        Self::default()
    }

    fn reading(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows under every secret of a key what it is now.
    fn show(&self, kept: &Kept) {
        for (hash, ends_at) in &kept.secrets {
            let key = match ends_at {
                None => Arc::clone(&kept.key),
                ends_at => Arc::new(ApiKey { secret_ends_at: *ends_at, ..ApiKey::clone(&kept.key) }),
            };
            self.found.insert(*hash, key);
        }
    }

    /// Makes of a key what `change` makes of it.
    fn edit(&self, account: AccountId, id: KeyId, change: impl FnOnce(&mut ApiKey)) -> Result<Arc<ApiKey>> {
        let mut index = self.writing();
        let kept = index.owned.get_mut(&(account, id)).ok_or_else(unknown)?;
        change(Arc::make_mut(&mut kept.key));
        self.show(kept);
        Ok(Arc::clone(&kept.key))
    }
}

#[async_trait]
impl KeyStore for MemoryKeys {
    async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<ApiKey>>> {
        Ok(self.found.get(hash).map(|key| Arc::clone(&key)))
    }

    async fn insert(&self, new: NewKey) -> Result<()> {
        let NewKey { hash, key } = new;
        let mut index = self.writing();
        if self.found.contains_key(&hash) || index.owners.contains_key(&key.id) {
            return Err(taken());
        }
        index.owners.insert(key.id, key.account);
        let place = (key.account, key.id);
        let kept = Kept { key: Arc::new(key), secrets: vec![(hash, None)] };
        self.show(&kept);
        index.owned.insert(place, kept);
        Ok(())
    }

    async fn update(&self, account: AccountId, id: KeyId, change: KeyChange) -> Result<Arc<ApiKey>> {
        self.edit(account, id, |key| apply(key, change))
    }

    async fn revoke(&self, account: AccountId, id: KeyId, at: Timestamp) -> Result<()> {
        self.edit(account, id, |key| key.revoked_at = key.revoked_at.or(Some(at))).map(drop)
    }

    async fn rotate(&self, account: AccountId, id: KeyId, secret: NewSecret) -> Result<Arc<ApiKey>> {
        let mut index = self.writing();
        let kept = index.owned.get_mut(&(account, id)).ok_or_else(unknown)?;
        if kept.key.revoked_at.is_some() {
            return Err(revoked());
        }
        if self.found.contains_key(&secret.hash) {
            return Err(taken());
        }
        kept.secrets.retain(|(hash, ends_at)| {
            let over = ends_at.is_some_and(|end| end <= secret.at);
            if over {
                self.found.remove(hash);
            }
            !over
        });
        for (_, ends_at) in &mut kept.secrets {
            *ends_at = ends_at.or(Some(secret.overlap_until));
        }
        kept.secrets.push((secret.hash, None));
        Arc::make_mut(&mut kept.key).display_prefix = secret.display_prefix;
        self.show(kept);
        Ok(Arc::clone(&kept.key))
    }

    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<()> {
        let mut index = self.writing();
        for (id, at) in uses {
            let Some(account) = index.owners.get(id).copied() else { continue };
            if let Some(kept) = index.owned.get_mut(&(account, *id)) {
                let key = Arc::make_mut(&mut kept.key);
                key.last_used_at = key.last_used_at.max(Some(*at));
                self.show(kept);
            }
        }
        Ok(())
    }

    async fn list(&self, account: AccountId, page: PageRequest<KeyId>) -> Result<Page<Arc<ApiKey>, KeyId>> {
        let window = Window::of(&page);
        let nil = KeyId::from_uuid(uuid::Uuid::nil());
        let last = KeyId::from_uuid(uuid::Uuid::max());
        let after = page.after.map_or(Bound::Included((account, nil)), |id| Bound::Excluded((account, id)));
        let index = self.reading();
        let kept = index.owned.range((after, Bound::Included((account, last)))).map(|(_, kept)| kept);
        let rows = kept.map(|kept| Arc::clone(&kept.key)).take(window.fetch()).collect();
        Ok(paging::cut(rows, window, |key| key.id))
    }
}
