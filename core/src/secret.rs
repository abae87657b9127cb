//! Secrets that have to be read again: webhook secrets, seeds of one-time passwords, keys of vendors.
//!
//! What only has to be recognised is hashed instead, as API keys are ([`KeyHash`](crate::KeyHash)), and
//! does not belong here.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
/// The values of secrets are in the types of `secrecy`, which wipes them when they are dropped and prints
/// nothing of them: who calls a store takes them from here, and so never from another version.
pub use secrecy::{ExposeSecret, SecretSlice};

use crate::error::{Error, ErrorKind, Result};
use crate::id::AccountId;
use crate::page::{Page, PageRequest};

/// Whose secret it is.
///
/// Its text form is what a store keeps it by and binds the value to: `house`, or the id of an account. An
/// id of zeros in the place of the house was refused: it can be written as an account's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SecretOwner {
    /// The operator's own, such as the keys of vendors. No account reaches it.
    House,
    /// An account's, such as the secrets of its webhooks.
    Account(AccountId),
}

const HOUSE: &str = "house";

impl fmt::Display for SecretOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::House => f.write_str(HOUSE),
            Self::Account(id) => fmt::Display::fmt(id, f),
        }
    }
}

impl FromStr for SecretOwner {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == HOUSE { Ok(Self::House) } else { text.parse().map(Self::Account) }
    }
}

impl From<AccountId> for SecretOwner {
    fn from(account: AccountId) -> Self {
        Self::Account(account)
    }
}

/// What a secret is called: 1 to 200 letters of ASCII, digits and `.` `_` `-` `:` `/`, for example
/// `webhook/wh_01j9` or `totp`. Upper and lower case are told apart, and names sort by their bytes.
///
/// A name is no secret: lists, logs and errors show it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName(Box<str>);

impl SecretName {
    /// The longest name, in bytes.
    pub const LONGEST: usize = 200;

    /// The name as the store keeps it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
        if (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(known) {
            return Ok(Self(text.into()));
        }
        // Not repeated: what was meant to be a value is mistaken for a name sooner or later.
        Err(Error::invalid("name", "a secret is called by 1 to 200 letters of ASCII, digits and `.` `_` `-` `:` `/`"))
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest value, in bytes.
///
/// Enough for any key, seed, certificate or password; what is longer is a document, and slows down a table
/// that is read on the way of calls.
pub const LONGEST_SECRET: usize = 65_536;

/// Where secrets are kept, so that whoever reads the store without its keys learns their owners, their
/// names and their lengths, and nothing else.
///
/// Implementations encrypt before anything is written, and are proved by `conformance::secret_store`
/// (feature `conformance`). Every method names the owner: no secret of another one is reached by its name.
/// A value is bytes, the empty ones included, and is given back as it came.
///
/// Dropping a future of this trait leaves the store either unchanged or changed as a whole.
///
/// Any method fails with [`Unavailable`](ErrorKind::Unavailable) when the store does not answer, and may
/// then be called again.
#[async_trait]
pub trait SecretStore: fmt::Debug + Send + Sync + 'static {
    /// Keeps `plain` as the secret of this owner and name, in the place of the one before it, if there is
    /// one. Seen by every later [`SecretStore::get`]; of several at once one stays, as a whole. Idempotent.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](ErrorKind::TooLarge) when `plain` is longer than [`LONGEST_SECRET`]; the one before it
    /// stays.
    async fn put(&self, owner: SecretOwner, name: &SecretName, plain: &SecretSlice<u8>) -> Result<()>;

    /// The secret of this owner and name, or `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`Internal`](ErrorKind::Internal), with an alert, for one that is there and cannot be read: changed
    /// by somebody else than this store, or written under a key that is not at hand. Never `None` for that.
    async fn get(&self, owner: SecretOwner, name: &SecretName) -> Result<Option<SecretSlice<u8>>>;

    /// Forgets the secret of this owner and name, and says whether there was one. Idempotent. One that
    /// cannot be read can be forgotten.
    async fn remove(&self, owner: SecretOwner, name: &SecretName) -> Result<bool>;

    /// The names of the secrets of `owner`, sorted by their bytes; no value is read for it.
    async fn names(&self, owner: SecretOwner, page: PageRequest<SecretName>) -> Result<Page<SecretName, SecretName>>;
}

const _: fn(&dyn SecretStore) = |_| {};

/// What every store answers to a value that is too long.
///
/// # Errors
///
/// [`TooLarge`](ErrorKind::TooLarge) when `plain` is longer than [`LONGEST_SECRET`].
pub fn check_length(plain: &SecretSlice<u8>) -> Result<()> {
    if plain.expose_secret().len() > LONGEST_SECRET {
        return Err(Error::new(ErrorKind::TooLarge, format!("A secret has at most {LONGEST_SECRET} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_written_and_read_without_being_taken_for_another() {
        let account = SecretOwner::from(AccountId::new(jiff::Timestamp::UNIX_EPOCH));
        let zeros = SecretOwner::from(AccountId::from_uuid(uuid::Uuid::nil()));
        for owner in [SecretOwner::House, account, zeros] {
            assert_eq!(owner.to_string().parse::<SecretOwner>().unwrap(), owner);
        }
        assert_ne!(zeros.to_string(), SecretOwner::House.to_string());
        assert!("House".parse::<SecretOwner>().is_err() && "".parse::<SecretOwner>().is_err());
    }

    #[test]
    fn a_name_is_short_and_plain() {
        for right in ["totp", "webhook/wh_01.A-b:2", &"n".repeat(200)] {
            assert_eq!(right.parse::<SecretName>().unwrap().to_string(), right);
        }
        for wrong in ["", " totp", "to tp", "tötp", "a\nb", "a\0b", &"n".repeat(201)] {
            let error = wrong.parse::<SecretName>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong:?}");
            assert!(wrong.is_empty() || !error.message().contains(wrong), "{error}");
        }
    }
}
