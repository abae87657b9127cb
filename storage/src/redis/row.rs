//! A key as Redis keeps it.

use std::sync::Arc;

use aihub_core::key::{KeyLimits, OperationAccess, Permission};
use aihub_core::plan::ModelAccess;
use aihub_core::{AccountId, ApiKey, KeyHash, KeyId, Network, Terms, Timestamp};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Every field of an [`ApiKey`]. One that is added there does not compile here until it is added in
/// three places: this list and both conversions below.
#[derive(Serialize, Deserialize)]
struct Row {
    id: KeyId,
    account: AccountId,
    name: String,
    display_prefix: String,
    plan: String,
    permission: String,
    operations: OperationAccess,
    models: ModelAccess,
    allowed_ips: Vec<Network>,
    limits: KeyLimits,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    secret_ends_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    terms: Arc<Terms>,
}

impl From<ApiKey> for Row {
    fn from(key: ApiKey) -> Self {
        let ApiKey {
            id,
            account,
            name,
            display_prefix,
            plan,
            permission,
            operations,
            models,
            allowed_ips,
            limits,
            created_at,
            expires_at,
            revoked_at,
            secret_ends_at,
            last_used_at,
            terms,
        } = key;
        let permission = permission.to_string();
        Self {
            id,
            account,
            name,
            display_prefix,
            plan,
            permission,
            operations,
            models,
            allowed_ips,
            limits,
            created_at,
            expires_at,
            revoked_at,
            secret_ends_at,
            last_used_at,
            terms,
        }
    }
}

impl Row {
    /// The key. `None` for a permission that a newer version knows.
    fn key(self) -> Option<ApiKey> {
        let Self {
            id,
            account,
            name,
            display_prefix,
            plan,
            permission,
            operations,
            models,
            allowed_ips,
            limits,
            created_at,
            expires_at,
            revoked_at,
            secret_ends_at,
            last_used_at,
            terms,
        } = self;
        let permission: Permission = permission.parse().ok()?;
        Some(ApiKey {
            id,
            account,
            name,
            display_prefix,
            plan,
            permission,
            operations,
            models,
            allowed_ips,
            limits,
            created_at,
            expires_at,
            revoked_at,
            secret_ends_at,
            last_used_at,
            terms,
        })
    }
}

/// How many bytes of a sealed row are its seal.
const SEAL: usize = 32;

/// `key` as bytes that nobody can write who does not know `hash`: Redis never sees it, and is kept
/// less well than a database. `context` is what else has to be as it was when the row was sealed.
///
/// `None` for a key that cannot be written, which is then not kept.
pub(super) fn seal(hash: &KeyHash, context: &[u8], key: &ApiKey) -> Option<Vec<u8>> {
    let row = serde_json::to_vec(&Row::from(key.clone())).ok()?;
    let mut sealed = mac(hash, context, &row)?.finalize().into_bytes().to_vec();
    sealed.extend_from_slice(&row);
    Some(sealed)
}

/// The key that was sealed. `None` when anything is not as it was, and when it was sealed by a version
/// with other fields: what this one would leave out, or add, may be a limit.
pub(super) fn open(hash: &KeyHash, context: &[u8], sealed: &[u8]) -> Option<ApiKey> {
    let (seal, bytes) = sealed.split_at_checked(SEAL)?;
    mac(hash, context, bytes)?.verify_slice(seal).ok()?;
    let row: Row = serde_json::from_slice(bytes).ok()?;
    // serde would pass over a field that it does not know, and take a missing option for none.
    if serde_json::to_vec(&row).ok()? != bytes {
        return None;
    }
    row.key()
}

/// Of the context with its length before it, so that none of it can be taken for the row's.
fn mac(hash: &KeyHash, context: &[u8], row: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(hash.as_bytes()).ok()?;
    mac.update(&context.len().to_be_bytes());
    mac.update(context);
    mac.update(row);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use aihub_core::{Clock as _, ManualClock};

    use super::*;

    const HASH: KeyHash = KeyHash::from_bytes([7; 32]);

    fn key() -> ApiKey {
        let now = ManualClock::default().now();
        ApiKey {
            permission: Permission::Manage,
            models: ModelAccess::Only(vec!["vendor/*".to_owned()]),
            allowed_ips: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
            revoked_at: Some(now),
            id: KeyId::from_uuid(uuid::Uuid::from_u128(1)),
            ..ApiKey::new(AccountId::from_uuid(uuid::Uuid::from_u128(2)), "Schlüssel 🔑", "basic", now)
        }
    }

    /// Seals the row with `from` put as `to`, as another version may have written it.
    fn written(from: &str, to: &str) -> Vec<u8> {
        let row = serde_json::to_string(&Row::from(key())).unwrap();
        assert!(row.contains(from), "{row} has no {from}");
        let bytes = row.replacen(from, to, 1).into_bytes();
        let mut sealed = mac(&HASH, b"c", &bytes).unwrap().finalize().into_bytes().to_vec();
        sealed.extend(bytes);
        sealed
    }

    #[test]
    fn what_is_opened_is_what_was_sealed() {
        let sealed = seal(&HASH, b"c", &key()).unwrap();
        assert_eq!(open(&HASH, b"c", &sealed), Some(key()));
    }

    #[test]
    fn nothing_opens_that_was_changed_or_belongs_elsewhere() {
        let sealed = seal(&HASH, b"c", &key()).unwrap();
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(open(&HASH, b"c", &changed), None, "a change at {place} passed");
        }
        assert_eq!(open(&KeyHash::from_bytes([8; 32]), b"c", &sealed), None);
        assert_eq!(open(&HASH, b"d", &sealed), None);
        assert_eq!(open(&HASH, b"c", &sealed[..SEAL - 1]), None);
        assert_eq!(open(&HASH, b"c", &[]), None);
    }

    #[test]
    fn a_row_of_another_version_is_not_used() {
        assert_eq!(open(&HASH, b"c", &written("", "")), Some(key()));
        for (from, to) in [
            ("\"plan\"", "\"monthly_limit\":5,\"plan\""),
            ("\"expires_at\":null,", ""),
            ("\"manage\"", "\"own\""),
            ("\"name\"", "\"title\""),
        ] {
            assert_eq!(open(&HASH, b"c", &written(from, to)), None, "{from} as {to}");
        }
    }
}
