//! API keys: what the caller holds, what the store holds, and the port that keeps them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::RngExt as _;
use secrecy::zeroize::Zeroize as _;
use sha2::Sha256;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{AccountId, KeyId};
use crate::page::{Page, PageRequest};
use crate::plan::ModelAccess;
use crate::time::Timestamp;

const BRAND: &str = "ahub_";
const RANDOM: usize = 43;
const CHECK: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key as its owner holds it: `ahub_<env>_<random><checksum>`.
///
/// 43 characters of base 62 carry 256 random bits; the last six are the CRC-32 of everything
/// before them, so that scanners and typing errors are told apart without a look-up. Never printed
/// by `Debug`, wiped on drop; shown once, by [`PlainKey::reveal`].
pub struct PlainKey(String);

impl PlainKey {
    /// A fresh key for `env` (`live`, `test`), from the operating system's randomness.
    ///
    /// # Panics
    ///
    /// When `env` is not 1 to 16 letters from `a` to `z`: nobody could ever use such a key, since it
    /// does not parse.
    pub fn generate(env: &str) -> Self {
        assert!(is_environment(env), "`{env}` is no environment of keys: it is 1 to 16 letters from a to z");
        let mut rng = rand::rng();
        let random = (0..RANDOM).map(|_| char::from(BASE62[rng.random_range(0..BASE62.len())]));
        let mut text: String = BRAND.chars().chain(env.chars()).chain(['_']).chain(random).collect();
        text.push_str(&checksum(&text));
        Self(text)
    }

    /// The key itself. Show it to its owner once and keep it nowhere.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What may be shown later: brand, environment, first and last four random characters.
    pub fn display_prefix(&self) -> String {
        let start = self.0.len() - RANDOM - CHECK;
        format!("{}…{}", &self.0[..start + 4], &self.0[self.0.len() - CHECK - 4..self.0.len() - CHECK])
    }
}

impl FromStr for PlainKey {
    type Err = Error;

    /// Reads a key and proves its checksum.
    fn from_str(text: &str) -> Result<Self> {
        let malformed = || {
            Error::new(
                ErrorKind::Unauthenticated,
                "This is not an API key of this service: check that it was copied whole",
            )
            .with_code("invalid_api_key")
        };
        let rest = text.strip_prefix(BRAND).ok_or_else(malformed)?;
        let (env, secret) = rest.split_once('_').ok_or_else(malformed)?;
        let plain = is_environment(env)
            && secret.len() == RANDOM + CHECK
            && secret.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !plain || checksum(&text[..text.len() - CHECK]) != text[text.len() - CHECK..] {
            return Err(malformed());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlainKey({})", self.display_prefix())
    }
}

impl Drop for PlainKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn is_environment(env: &str) -> bool {
    (1..=16).contains(&env.len()) && env.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECK];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    String::from_utf8_lossy(&digits).into_owned()
}

/// HMAC-SHA256 of a key under the server's pepper: all that a store ever sees of it.
///
/// Keyed and fast on purpose. Keyed, because whoever can write the table must not be able to plant
/// a key of their own; fast, because 256 random bits need no slow hash, which would only be a way
/// to wear the server out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash as the store keeps it.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash that the store kept.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// The server's secret under which keys are hashed.
#[derive(Clone)]
pub struct Pepper(Hmac<Sha256>);

impl Pepper {
    /// A pepper of at least 32 bytes. It must outlive the keys: without it none of them is found.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when it is shorter.
    pub fn new(secret: &[u8]) -> Result<Self> {
        if secret.len() < 32 {
            return Err(Error::invalid("pepper", "the pepper has to be at least 32 bytes long"));
        }
        Ok(Self(Hmac::new_from_slice(secret).map_err(|error| Error::invalid("pepper", error.to_string()))?))
    }

    /// A pepper that lives as long as this process.
    pub fn random() -> Self {
        // As many bytes as a block of SHA-256: a key of this size is taken as it is.
        let secret: [u8; 64] = rand::rng().random();
        Self(Hmac::new(&secret.into()))
    }

    /// The hash that a store looks `key` up by.
    pub fn hash(&self, key: &PlainKey) -> KeyHash {
        let mut mac = self.0.clone();
        mac.update(key.0.as_bytes());
        KeyHash(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(…)")
    }
}

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
    /// Which models it reaches, within what its plan reaches.
    pub models: ModelAccess,
    /// Where it may be used from; empty is anywhere.
    pub allowed_ips: Vec<IpAddr>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked; never undone.
    pub revoked_at: Option<Timestamp>,
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
            models: ModelAccess::All,
            allowed_ips: Vec::new(),
            created_at: now,
            expires_at: None,
            revoked_at: None,
        }
    }

    /// Whether the key holds at `now`; asked at every use, also of a cached key.
    ///
    /// # Errors
    ///
    /// [`Unauthenticated`](ErrorKind::Unauthenticated) when it is revoked or has expired.
    pub fn check(&self, now: Timestamp) -> Result<()> {
        if self.revoked_at.is_some() {
            return Err(Error::new(ErrorKind::Unauthenticated, "This API key was revoked: make a new one")
                .with_code("api_key_revoked"));
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::new(ErrorKind::Unauthenticated, "This API key has expired: make a new one")
                .with_code("api_key_expired"));
        }
        Ok(())
    }
}

/// A key about to be stored.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What it is found by.
    pub hash: KeyHash,
    /// Everything else; `revoked_at` is `None`.
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
    /// Other models.
    pub models: Option<ModelAccess>,
    /// Other addresses.
    pub allowed_ips: Option<Vec<IpAddr>>,
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

    /// The keys of `account`, oldest first, revoked ones included.
    async fn list(&self, account: AccountId, page: PageRequest<KeyId>) -> Result<Page<Arc<ApiKey>, KeyId>>;
}

const _: fn(&dyn KeyStore) = |_| {};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_parses_and_a_damaged_one_does_not() {
        let key = PlainKey::generate("live");
        assert_eq!(key.reveal().len(), 5 + 5 + 43 + 6);
        assert!(key.reveal().parse::<PlainKey>().is_ok());
        for place in 0..key.reveal().len() {
            let mut damaged = key.reveal().to_owned();
            let other = if damaged.as_bytes()[place] == b'x' { "y" } else { "x" };
            damaged.replace_range(place..=place, other);
            assert!(damaged.parse::<PlainKey>().is_err(), "a change at {place} passed");
        }
        assert!("".parse::<PlainKey>().is_err());
        assert!("ahub_live_é".parse::<PlainKey>().is_err());
    }

    #[test]
    fn an_issued_key_is_found_by_its_secret_and_holds() {
        let (pepper, now) = (Pepper::random(), Timestamp::UNIX_EPOCH);
        let key = ApiKey::new(AccountId::new(now), "mine", "free", now);
        let (new, secret) = NewKey::issue("test", &pepper, key.clone());
        assert_eq!(new.hash, pepper.hash(&secret.reveal().parse().unwrap()));
        assert_eq!(new.key, ApiKey { display_prefix: secret.display_prefix(), ..key.clone() });
        assert!(new.key.check(now).is_ok());
        assert_ne!(NewKey::issue("test", &pepper, key).0.hash, new.hash, "a secret came twice");
    }

    #[test]
    fn a_key_that_could_not_be_used_is_not_made() {
        for env in ["", "Live", "live_1", "seventeenlettersx"] {
            assert!(std::panic::catch_unwind(|| PlainKey::generate(env)).is_err(), "{env}");
        }
    }

    #[test]
    fn nothing_printable_holds_the_secret() {
        let key = PlainKey::generate("live");
        let secret = &key.reveal()[14..key.reveal().len() - 10];
        assert!(!format!("{key:?}").contains(secret));
        assert!(!format!("{:?}", Pepper::random().hash(&key)).contains("0x"));
    }

    #[test]
    fn another_pepper_gives_another_hash() {
        let key = PlainKey::generate("test");
        assert_ne!(Pepper::random().hash(&key), Pepper::random().hash(&key));
        assert!(Pepper::new(b"short").is_err());
    }
}
