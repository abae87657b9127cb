//! Keys in memory.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aihub_core::key::{KeyChange, NewKey};
use aihub_core::page::{Page, PageRequest};
use aihub_core::{AccountId, ApiKey, KeyHash, KeyId, KeyStore, Result, Timestamp};
use async_trait::async_trait;
use dashmap::DashMap;

use crate::key::{apply, taken, unknown};
use crate::paging::{self, Window};

/// A [`KeyStore`] that forgets with the process.
///
/// Looking a key up takes one lock out of many; only changes and lists share one.
#[derive(Debug, Default)]
pub struct MemoryKeys {
    rows: DashMap<KeyHash, Arc<ApiKey>>,
    index: RwLock<Index>,
}

/// How rows are found other than by their hash. Its write lock is held over every change, so that
/// a row and its entry here cannot part; `find` never takes it.
#[derive(Debug, Default)]
struct Index {
    ids: HashSet<KeyId>,
    owned: BTreeMap<(AccountId, KeyId), KeyHash>,
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

    /// Replaces a row by what `change` makes of it.
    fn edit(&self, account: AccountId, id: KeyId, change: impl FnOnce(&mut ApiKey)) -> Result<Arc<ApiKey>> {
        let index = self.writing();
        let mut row = index.owned.get(&(account, id)).and_then(|hash| self.rows.get_mut(hash)).ok_or_else(unknown)?;
        change(Arc::make_mut(&mut row));
        Ok(Arc::clone(&row))
    }
}

#[async_trait]
impl KeyStore for MemoryKeys {
    async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<ApiKey>>> {
        Ok(self.rows.get(hash).map(|row| Arc::clone(&row)))
    }

    async fn insert(&self, new: NewKey) -> Result<()> {
        let NewKey { hash, key } = new;
        let mut index = self.writing();
        if self.rows.contains_key(&hash) || !index.ids.insert(key.id) {
            return Err(taken());
        }
        index.owned.insert((key.account, key.id), hash);
        self.rows.insert(hash, Arc::new(key));
        Ok(())
    }

    async fn update(&self, account: AccountId, id: KeyId, change: KeyChange) -> Result<Arc<ApiKey>> {
        self.edit(account, id, |key| apply(key, change))
    }

    async fn revoke(&self, account: AccountId, id: KeyId, at: Timestamp) -> Result<()> {
        self.edit(account, id, |key| key.revoked_at = key.revoked_at.or(Some(at))).map(drop)
    }

    async fn list(&self, account: AccountId, page: PageRequest<KeyId>) -> Result<Page<Arc<ApiKey>, KeyId>> {
        let window = Window::of(&page);
        let nil = KeyId::from_uuid(uuid::Uuid::nil());
        let last = KeyId::from_uuid(uuid::Uuid::max());
        let after = page.after.map_or(Bound::Included((account, nil)), |id| Bound::Excluded((account, id)));
        let index = self.reading();
        let hashes = index.owned.range((after, Bound::Included((account, last)))).map(|(_, hash)| hash);
        let rows =
            hashes.filter_map(|hash| self.rows.get(hash).map(|row| Arc::clone(&row))).take(window.fetch()).collect();
        Ok(paging::cut(rows, window, |key| key.id))
    }
}
