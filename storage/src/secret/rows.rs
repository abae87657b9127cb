//! What encrypted secrets are kept in.

use std::fmt;

use aihub_core::page::{Page, PageRequest};
use aihub_core::{Result, SecretName, SecretOwner};
use async_trait::async_trait;

use super::envelope::{Sealed, WrappedKey};
use super::ring::KeyVersion;

/// Where a secret is kept: one row for each owner and name. Sorts as rows do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Whose it is.
    pub owner: SecretOwner,
    /// What it is called.
    pub name: SecretName,
}

/// A data key that is to be wrapped by another master key.
#[derive(Debug, Clone)]
pub struct Rewrap {
    /// Where it is.
    pub place: Place,
    /// The bytes that were read: when others are there, the row was written meanwhile, and stays.
    pub from: WrappedKey,
    /// The bytes that take their place.
    pub to: WrappedKey,
}

/// Rows of encrypted secrets, which know no key and look into nothing but [`WrappedKey::bounds`].
///
/// Made a [`SecretStore`](aihub_core::SecretStore) by [`Sealing`](super::Sealing), whose suite proves both. Dropping a
/// future of this trait leaves the rows either unchanged or changed as a whole; every method fails with
/// [`Unavailable`](aihub_core::ErrorKind::Unavailable) when they cannot be reached, and may be called again.
#[async_trait]
pub trait SealedRows: fmt::Debug + Send + Sync + 'static {
    /// Writes a row, both its parts at once, in the place of the one before it.
    async fn put(&self, place: Place, sealed: Sealed) -> Result<()>;

    /// A row, both its parts as one put wrote them, but for what [`SealedRows::rewrap`] did.
    async fn get(&self, place: &Place) -> Result<Option<Sealed>>;

    /// Deletes a row, and says whether there was one.
    async fn remove(&self, place: &Place) -> Result<bool>;

    /// The names of `owner`, sorted by their bytes.
    async fn names(&self, owner: SecretOwner, page: PageRequest<SecretName>) -> Result<Page<SecretName, SecretName>>;

    /// At most `limit` rows after `after` whose key is not under `version`, in the order of their places.
    async fn not_under(
        &self,
        version: KeyVersion,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<(Place, WrappedKey)>>;

    /// Replaces each key that is still there as it was read, all at once or none, and counts them. The
    /// values are not touched.
    async fn rewrap(&self, keys: Vec<Rewrap>) -> Result<u64>;

    /// How many rows there are.
    async fn count(&self) -> Result<u64>;
}
