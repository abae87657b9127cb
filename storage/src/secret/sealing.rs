//! Encrypting before rows and decrypting behind them; replacing the master key of all.

use std::collections::BTreeMap;

use aihub_core::page::{Page, PageRequest};
use aihub_core::secret::{SecretSlice, check_length};
use aihub_core::{Result, SecretName, SecretOwner, SecretStore};
use async_trait::async_trait;

use super::envelope;
use super::ring::{KeyRing, KeyVersion};
use super::rows::{Place, Rewrap, SealedRows};

/// Rows that are wrapped anew in one go: their locks are held for so long.
const BATCH: usize = 100;

/// A [`SecretStore`] over rows, which see nothing but ciphertexts.
#[derive(Debug, Clone)]
pub struct Sealing<R> {
    ring: KeyRing,
    rows: R,
}

/// What came of a rotation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotated {
    /// Secrets whose data key was wrapped anew.
    pub rewrapped: u64,
    /// Secrets that are under the newest master key without that: from before, or put meanwhile.
    pub kept: u64,
    /// Secrets that are not under the newest master key, by the version that they are under; `None` for what
    /// is in no format that is known. While a version is in here, its master key is needed.
    pub left: BTreeMap<Option<KeyVersion>, u64>,
}

impl<R: SealedRows> Sealing<R> {
    /// Secrets in `rows`, under `ring`.
    pub const fn over(rows: R, ring: KeyRing) -> Self {
        Self { ring, rows }
    }

    /// Wraps every data key that is not under the newest master key of the ring under that one.
    ///
    /// No value is decrypted. Secrets can be read and written meanwhile, here and elsewhere: one that is put
    /// while its old data key is wrapped stays as it was put. Dropped midway, what was done stays done, and
    /// the next rotation does the rest; said again, it finds nothing to do. Any number may run at once.
    ///
    /// A master key may be taken out of the ring once no version of it is [left](Rotated::left) *and* no
    /// process that writes has an older ring: such a process still wraps under its own newest.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](aihub_core::ErrorKind::Unavailable) when the rows cannot be reached. A row that cannot
    /// be unwrapped, because its master key is not in the ring or somebody changed it, is no error: it is
    /// left, named in the log and counted, and does not keep the others from being done.
    pub async fn rotate(&self) -> Result<Rotated> {
        let newest = self.ring.newest();
        let mut done = Rotated::default();
        let mut after = None;
        loop {
            let batch = self.rows.not_under(newest, after.as_ref(), BATCH).await?;
            let Some((last, _)) = batch.last() else { break };
            after = Some(last.clone());
            let keys: Vec<_> = batch
                .into_iter()
                .filter_map(|(place, from)| match envelope::rewrap(&self.ring, &place, &from) {
                    Ok(to) => Some(Rewrap { place, from, to }),
                    Err(error) => {
                        tracing::warn!(owner = %place.owner, name = %place.name, %error, "a secret keeps its master key");
                        None
                    }
                })
                .collect();
            if !keys.is_empty() {
                done.rewrapped += self.rows.rewrap(keys).await?;
            }
        }
        done.left = self.not_under_newest().await?;
        let left: u64 = done.left.values().sum();
        // Others may remove rows between the counts: a number for people, which is not below nothing.
        done.kept = self.rows.count().await?.saturating_sub(done.rewrapped + left);
        Ok(done)
    }

    /// How many secrets are not under the newest master key, by version, as in [`Rotated::left`].
    ///
    /// # Errors
    ///
    /// [`Unavailable`](aihub_core::ErrorKind::Unavailable) when the rows cannot be reached.
    pub async fn not_under_newest(&self) -> Result<BTreeMap<Option<KeyVersion>, u64>> {
        let mut found = BTreeMap::new();
        let mut after = None;
        loop {
            let batch = self.rows.not_under(self.ring.newest(), after.as_ref(), BATCH).await?;
            for (_, key) in &batch {
                *found.entry(key.version()).or_default() += 1;
            }
            match batch.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(found),
            }
        }
    }
}

#[async_trait]
impl<R: SealedRows> SecretStore for Sealing<R> {
    async fn put(&self, owner: SecretOwner, name: &SecretName, plain: &SecretSlice<u8>) -> Result<()> {
        check_length(plain)?;
        let place = Place { owner, name: name.clone() };
        let sealed = envelope::seal(&self.ring, &place, plain)?;
        self.rows.put(place, sealed).await
    }

    async fn get(&self, owner: SecretOwner, name: &SecretName) -> Result<Option<SecretSlice<u8>>> {
        let place = Place { owner, name: name.clone() };
        let Some(sealed) = self.rows.get(&place).await? else { return Ok(None) };
        envelope::open(&self.ring, &place, &sealed).map(Some)
    }

    async fn remove(&self, owner: SecretOwner, name: &SecretName) -> Result<bool> {
        self.rows.remove(&Place { owner, name: name.clone() }).await
    }

    async fn names(&self, owner: SecretOwner, page: PageRequest<SecretName>) -> Result<Page<SecretName, SecretName>> {
        self.rows.names(owner, page).await
    }
}
