//! API keys: what is known of them, and the port that keeps them.

mod secret;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{AccountId, KeyId};
use crate::model::ModelKind;
use crate::money::Money;
use crate::network::Network;
use crate::page::{Page, PageRequest};
use crate::plan::ModelAccess;
use crate::terms::Terms;
use crate::time::Timestamp;

pub use secret::{KeyHash, Pepper, PlainKey};

/// What a key may do.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum Permission {
    /// Read what exists: models, usage, invoices. No paid call.
    ReadOnly,
    /// Read, and make paid calls.
    #[default]
    ReadWrite,
    /// Also manage keys, webhooks and settings of the account.
    Manage,
}

/// Which operations a key may be used for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationAccess {
    /// All of them, those of later versions included.
    #[default]
    All,
    /// These alone.
    Only(Vec<ModelKind>),
}

impl OperationAccess {
    /// Whether `operation` is among them.
    pub fn permits(&self, operation: ModelKind) -> bool {
        match self {
            Self::All => true,
            Self::Only(operations) => operations.contains(&operation),
        }
    }
}

/// Limits of one key, beside those of its plan: of two limits of the same thing, both hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyLimits {
    /// Requests per minute, and as many at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Calls per month of its account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly_calls: Option<u64>,
    /// Tokens, in and out, per month of its account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly_tokens: Option<u64>,
    /// Money per month of its account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly_money: Option<Money>,
}

/// What is known of a key.
///
/// [`ApiKey::new`] makes one; what differs from its defaults is written beside it:
///
/// ```
/// use aihub_core::key::Permission;
/// use aihub_core::{AccountId, ApiKey, Clock as _, NewKey, Pepper, SystemClock};
///
/// let now = SystemClock::new().now();
/// let key = ApiKey {
///     permission: Permission::ReadOnly,
///     expires_at: Some(now + std::time::Duration::from_hours(24)),
///     ..ApiKey::new(AccountId::new(now), "reports", "free", now)
/// };
/// let (new, secret) = NewKey::issue("live", &Pepper::random(), key);
/// // `new` goes to `KeyStore::insert`; `secret.reveal()` to the owner, this once.
/// assert!(secret.reveal().starts_with("ahub_live_"));
/// assert_eq!(new.key.display_prefix, secret.display_prefix());
/// ```
///
/// It is open on purpose: a store that writes out every field does not compile when one is added,
/// rather than lose it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The key's id; stays when the secret is rotated.
    pub id: KeyId,
    /// Who pays for its calls.
    pub account: AccountId,
    /// What its owner calls it.
    pub name: String,
    /// What may be shown of the secret; [`NewKey::issue`] writes it.
    pub display_prefix: String,
    /// The name of the plan its calls are under.
    pub plan: String,
    /// What it may do.
    pub permission: Permission,
    /// What it may be used for.
    pub operations: OperationAccess,
    /// Which models it reaches, within what its plan reaches.
    pub models: ModelAccess,
    /// Where it may be used from; empty is anywhere.
    pub allowed_ips: Vec<Network>,
    /// Its own limits.
    pub limits: KeyLimits,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked; never undone.
    pub revoked_at: Option<Timestamp>,
    /// When the secret that it was found by stops, because the key has another one: see
    /// [`KeyStore::rotate`]. `None` for the newest secret, and wherever the key was not found by one.
    pub secret_ends_at: Option<Timestamp>,
    /// When its last call was admitted, as far as that has been written down ([`KeyStore::touch`]).
    pub last_used_at: Option<Timestamp>,
    /// The terms of its account, as the store that found it knows them; where a key is kept, they are not read.
    pub terms: Arc<Terms>,
}

impl ApiKey {
    /// A key of `account`, made at `now`, whose calls are under `plan`: it has an id of its own, reads
    /// and makes paid calls, reaches every model that its plan reaches, from anywhere, and has no end.
    ///
    /// It has no secret yet: [`NewKey::issue`] gives it one.
    pub fn new(account: AccountId, name: impl Into<String>, plan: impl Into<String>, now: Timestamp) -> Self {
        Self {
            id: KeyId::new(now),
            account,
            name: name.into(),
            display_prefix: String::new(),
            plan: plan.into(),
            permission: Permission::ReadWrite,
            operations: OperationAccess::All,
            models: ModelAccess::All,
            allowed_ips: Vec::new(),
            limits: KeyLimits::default(),
            created_at: now,
            expires_at: None,
            revoked_at: None,
            secret_ends_at: None,
            last_used_at: None,
            terms: Arc::default(),
        }
    }

    /// Whether the key holds at `now`; asked at every use, also of a cached key.
    ///
    /// # Errors
    ///
    /// [`Unauthenticated`](ErrorKind::Unauthenticated) when it is revoked or has expired, or the secret
    /// it was found by has.
    pub fn check(&self, now: Timestamp) -> Result<()> {
        if self.revoked_at.is_some() {
            return Err(Error::new(ErrorKind::Unauthenticated, "This API key was revoked: make a new one")
                .with_code("api_key_revoked"));
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::new(ErrorKind::Unauthenticated, "This API key has expired: make a new one")
                .with_code("api_key_expired"));
        }
        if self.secret_ends_at.is_some_and(|end| end <= now) {
            return Err(Error::new(ErrorKind::Unauthenticated, "This API key has a new secret: use that one")
                .with_code("api_key_rotated"));
        }
        Ok(())
    }
}

/// A key about to be stored.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What it is found by.
    pub hash: KeyHash,
    /// Everything else; `revoked_at`, `secret_ends_at` and `last_used_at` are `None`.
    pub key: ApiKey,
}

impl NewKey {
    /// Gives `key` a fresh secret for `env` (`live`, `test`): what to store, and the only copy of the
    /// secret. Issued again, the same key has another secret.
    ///
    /// # Panics
    ///
    /// When `env` is not 1 to 16 letters from `a` to `z`, as [`PlainKey::generate`].
    pub fn issue(env: &str, pepper: &Pepper, mut key: ApiKey) -> (Self, PlainKey) {
        let plain = PlainKey::generate(env);
        key.display_prefix = plain.display_prefix();
        (Self { hash: pepper.hash(&plain), key }, plain)
    }
}

/// A further secret of a key that exists, about to be stored.
#[derive(Debug, Clone)]
pub struct NewSecret {
    /// What the key is found by from now on.
    pub hash: KeyHash,
    /// What may be shown of it.
    pub display_prefix: String,
    /// When it was made.
    pub at: Timestamp,
    /// Until when the secret before it holds, too; no later than `at` ends that one at once.
    pub overlap_until: Timestamp,
}

impl NewSecret {
    /// A fresh secret for `env` (`live`, `test`), made at `at`, beside which the one before it holds for
    /// `overlap` longer: what to store, and the only copy of the secret.
    ///
    /// # Panics
    ///
    /// When `env` is not 1 to 16 letters from `a` to `z`, as [`PlainKey::generate`].
    pub fn issue(env: &str, pepper: &Pepper, at: Timestamp, overlap: Duration) -> (Self, PlainKey) {
        let plain = PlainKey::generate(env);
        let overlap_until = at.checked_add(overlap).unwrap_or(Timestamp::MAX);
        (Self { hash: pepper.hash(&plain), display_prefix: plain.display_prefix(), at, overlap_until }, plain)
    }
}

/// What may be changed of a key; an absent field stays as it is.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct KeyChange {
    /// A new name.
    pub name: Option<String>,
    /// Another plan.
    pub plan: Option<String>,
    /// Other permissions.
    pub permission: Option<Permission>,
    /// Other operations.
    pub operations: Option<OperationAccess>,
    /// Other models.
    pub models: Option<ModelAccess>,
    /// Other addresses.
    pub allowed_ips: Option<Vec<Network>>,
    /// Other limits, all of them.
    pub limits: Option<KeyLimits>,
    /// Another end, or none.
    pub expires_at: Option<Option<Timestamp>>,
}

/// Where keys are kept.
///
/// Implementations keep hashes only and are proved by `conformance::key_store` (feature
/// `conformance`). Every method names the account, so that no key of another tenant can be reached
/// by its id; only [`KeyStore::find`] does not, since it is how the account is found out.
///
/// Dropping a future of this trait leaves the store either unchanged or changed as a whole.
#[async_trait]
pub trait KeyStore: fmt::Debug + Send + Sync + 'static {
    /// The key of this hash, revoked and expired ones included: the caller asks [`ApiKey::check`],
    /// and says which of the two it was.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) when the store does not answer; never `Ok(None)`
    /// for that, since a key that cannot be looked up is not an unknown key.
    async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<ApiKey>>>;

    /// Keeps a new key. Seen by every later [`KeyStore::find`].
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) when the hash or the id is there already.
    async fn insert(&self, key: NewKey) -> Result<()>;

    /// Changes a key of `account` and gives back what it is now. Idempotent.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) when `account` has no such key.
    async fn update(&self, account: AccountId, id: KeyId, change: KeyChange) -> Result<Arc<ApiKey>>;

    /// Revokes a key of `account` at `at`. Idempotent: the first instant stays.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) when `account` has no such key.
    async fn revoke(&self, account: AccountId, id: KeyId, at: Timestamp) -> Result<()>;

    /// Gives a key of `account` another secret. It stays the same key, with one id, one usage and one
    /// set of limits: by the new secret it is found from now on, and by the one before it until
    /// [`NewSecret::overlap_until`], with [`ApiKey::secret_ends_at`] saying so. Secrets that were replaced
    /// before end when they were to end, and may be forgotten once they have.
    ///
    /// Gives back the key as the new secret finds it. Not idempotent: whoever did not learn whether it was
    /// done makes another secret, since the one that was lost is of no use.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) when `account` has no such key, [`Conflict`](ErrorKind::Conflict)
    /// when it is revoked or the hash is there already.
    async fn rotate(&self, account: AccountId, id: KeyId, secret: NewSecret) -> Result<Arc<ApiKey>>;

    /// Writes down when keys were used last; of two instants of a key the later stays. Keys that are not
    /// there are passed over. Idempotent; seen by a cached look-up only when it asks again. Of many uses some may be
    /// written down and others not, where it fails or is dropped midway.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) when the store does not answer; all of it may be said again.
    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<()>;

    /// The keys of `account`, oldest first, revoked ones included.
    async fn list(&self, account: AccountId, page: PageRequest<KeyId>) -> Result<Page<Arc<ApiKey>, KeyId>>;
}

const _: fn(&dyn KeyStore) = |_| {};

#[cfg(test)]
mod tests;
