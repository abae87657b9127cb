//! Encrypted secrets in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aihub_core::page::{Page, PageRequest};
use aihub_core::{Result, SecretName, SecretOwner};
use async_trait::async_trait;

use crate::paging::{self, Window};
use crate::secret::{KeyRing, KeyVersion, Place, Rewrap, Sealed, SealedRows, Sealing, WrappedKey};

/// Secrets that are forgotten with the process. Encrypted all the same, though their keys are in the same
/// memory: what holds here holds in a database, rotation and its failures included.
pub type MemorySecrets = Sealing<MemoryRows>;

/// The rows of [`MemorySecrets`]: under one lock, which is held for no longer than a walk over a map. Clones
/// share them.
#[derive(Clone, Default)]
pub struct MemoryRows(Arc<RwLock<BTreeMap<Place, Sealed>>>);

impl MemorySecrets {
    /// A store without secrets, under `ring`.
    pub fn new(ring: KeyRing) -> Self {
        Self::over(MemoryRows::default(), ring)
    }
}

impl MemoryRows {
    fn reading(&self) -> RwLockReadGuard<'_, BTreeMap<Place, Sealed>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> RwLockWriteGuard<'_, BTreeMap<Place, Sealed>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for MemoryRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryRows").field("rows", &self.reading().len()).finish()
    }
}

#[async_trait]
impl SealedRows for MemoryRows {
    async fn put(&self, place: Place, sealed: Sealed) -> Result<()> {
        self.writing().insert(place, sealed);
        Ok(())
    }

    async fn get(&self, place: &Place) -> Result<Option<Sealed>> {
        Ok(self.reading().get(place).cloned())
    }

    async fn remove(&self, place: &Place) -> Result<bool> {
        Ok(self.writing().remove(place).is_some())
    }

    async fn names(&self, owner: SecretOwner, page: PageRequest<SecretName>) -> Result<Page<SecretName, SecretName>> {
        let window = Window::of(&page);
        let rows = self.reading();
        let names = rows.keys().filter(|place| place.owner == owner).map(|place| &place.name);
        let after = names.filter(|name| page.after.as_ref().is_none_or(|after| *name > after));
        Ok(paging::cut(after.take(window.fetch()).cloned().collect(), window, SecretName::clone))
    }

    async fn not_under(
        &self,
        version: KeyVersion,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<(Place, WrappedKey)>> {
        let rows = self.reading();
        let rest = rows.range::<Place, _>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let others = rest.filter(|(_, sealed)| sealed.key.version() != Some(version));
        Ok(others.take(limit).map(|(place, sealed)| (place.clone(), sealed.key.clone())).collect())
    }

    async fn rewrap(&self, keys: Vec<Rewrap>) -> Result<u64> {
        let mut rows = self.writing();
        let mut done = 0;
        for Rewrap { place, from, to } in keys {
            if let Some(sealed) = rows.get_mut(&place).filter(|sealed| sealed.key == from) {
                sealed.key = to;
                done += 1;
            }
        }
        Ok(done)
    }

    async fn count(&self) -> Result<u64> {
        Ok(self.reading().len() as u64)
    }
}
