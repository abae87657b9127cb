//! The two ciphertexts of a secret; their bytes are laid out in the documentation of the module above.

use std::fmt;

use aihub_core::secret::{ExposeSecret as _, SecretSlice};
use aihub_core::{Error, ErrorKind, Result};
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use secrecy::zeroize::Zeroizing;

use super::ring::{KEY, KeyRing, KeyVersion};
use super::rows::Place;

const FORMAT: u8 = 1;
const NONCE: usize = 12;
const TAG: usize = 16;

/// What a wrapped key begins with: format and version of the master key.
const HEAD: usize = 1 + size_of::<KeyVersion>();

/// Which of the two ciphertexts.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// A data key under the master key of this version.
    Key(KeyVersion),
    Value,
}

/// A data key under a master key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WrappedKey(Vec<u8>);

/// A secret as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The key that the value is under.
    pub key: WrappedKey,
    /// The encrypted value.
    pub value: SealedValue,
}

/// A value under its data key.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedValue(Vec<u8>);

impl WrappedKey {
    /// The bytes as they are kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes that were kept; whether they are of any use turns out when the secret is read.
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The version that these bytes say; authentic only once the key was unwrapped. `None` when they are of
    /// no format that is known here.
    pub fn version(&self) -> Option<KeyVersion> {
        match self.0.split_first_chunk::<HEAD>() {
            Some(([FORMAT, version @ ..], _)) => Some(KeyVersion::from_be_bytes(*version)),
            _ => None,
        }
    }

    /// The least bytes that are under `version`, and the least that are beyond: what lies between them, as
    /// bytes are ordered, is exactly what [`WrappedKey::version`] says is under it.
    ///
    /// So stores find what is left to be wrapped anew. A column for the version was refused: it could say
    /// something else than the bytes do, which are authenticated.
    pub fn bounds(version: KeyVersion) -> (Vec<u8>, Vec<u8>) {
        let beyond = version.checked_add(1).map_or_else(|| vec![FORMAT + 1], head);
        (head(version), beyond)
    }
}

impl SealedValue {
    /// The bytes as they are kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes that were kept; whether they are of any use turns out when the secret is read.
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

// Ciphertexts are no secrets, and nothing that a log is better for.
impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey(under {:?})", self.version())
    }
}

impl fmt::Debug for SealedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedValue({} bytes)", self.0.len())
    }
}

/// Encrypts `plain` for `place` under a data key of its own.
pub(super) fn seal(ring: &KeyRing, place: &Place, plain: &SecretSlice<u8>) -> Result<Sealed> {
    let mut key = Zeroizing::new([0; KEY]);
    aws_lc_rs::rand::fill(&mut *key).map_err(|_| cannot())?;
    let under = RandomizedNonceKey::new(&AES_256_GCM, &*key).map_err(|_| cannot())?;
    let value = encrypt(&under, &[FORMAT], &bound(place, Part::Value), plain.expose_secret())?;
    Ok(Sealed { key: wrap(ring, place, &key)?, value: SealedValue(value) })
}

/// The value of what is kept at `place`.
pub(super) fn open(ring: &KeyRing, place: &Place, sealed: &Sealed) -> Result<SecretSlice<u8>> {
    let key = unwrap(ring, place, &sealed.key)?;
    let under = RandomizedNonceKey::new(&AES_256_GCM, &*key).map_err(|_| cannot())?;
    let rest = sealed.value.0.strip_prefix(&[FORMAT]).ok_or_else(damaged)?;
    decrypt(&under, &bound(place, Part::Value), rest, |plain| plain.to_vec().into()).ok_or_else(damaged)
}

/// The same data key under the newest master key.
pub(super) fn rewrap(ring: &KeyRing, place: &Place, key: &WrappedKey) -> Result<WrappedKey> {
    wrap(ring, place, &*unwrap(ring, place, key)?)
}

fn wrap(ring: &KeyRing, place: &Place, key: &[u8; KEY]) -> Result<WrappedKey> {
    let version = ring.newest();
    encrypt(ring.wrapping(), &head(version), &bound(place, Part::Key(version)), key).map(WrappedKey)
}

fn unwrap(ring: &KeyRing, place: &Place, key: &WrappedKey) -> Result<Zeroizing<[u8; KEY]>> {
    let version = key.version().ok_or_else(damaged)?;
    let mut data_key = Zeroizing::new([0; KEY]);
    let fits = decrypt(ring.unwrapping(version)?, &bound(place, Part::Key(version)), &key.0[HEAD..], |plain| {
        let fits = plain.len() == KEY;
        if fits {
            data_key.copy_from_slice(plain);
        }
        fits
    });
    if fits == Some(true) { Ok(data_key) } else { Err(damaged()) }
}

fn head(version: KeyVersion) -> Vec<u8> {
    [&[FORMAT][..], &version.to_be_bytes()].concat()
}

/// What is authenticated beside a ciphertext. Every length is written out: no owner and name read as another pair.
fn bound(place: &Place, part: Part) -> Vec<u8> {
    let (part, version) = match part {
        Part::Key(version) => (b'k', version),
        Part::Value => (b'v', 0),
    };
    let mut bound = b"aihub.secret".to_vec();
    bound.extend([FORMAT, part]);
    bound.extend(version.to_be_bytes());
    for text in [place.owner.to_string().as_str(), place.name.as_str()] {
        let length = u16::try_from(text.len()).expect("owners and names are shorter than 64 KiB");
        bound.extend(length.to_be_bytes());
        bound.extend(text.as_bytes());
    }
    bound
}

/// `head`, nonce, ciphertext and tag. Encrypted in place of a buffer that is as long as all of it from the
/// start: one that grows leaves a copy of the plain bytes behind.
fn encrypt(key: &RandomizedNonceKey, head: &[u8], bound: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    let start = head.len() + NONCE;
    let mut out = Vec::with_capacity(start + plain.len() + TAG);
    out.extend(head);
    out.extend([0; NONCE]);
    out.extend(plain);
    let sealed = key.seal_in_place_separate_tag(Aad::from(bound), &mut out[start..]);
    let (nonce, tag) = sealed.map_err(|_| cannot())?;
    out[head.len()..start].copy_from_slice(nonce.as_ref());
    out.extend(tag.as_ref());
    Ok(out)
}

/// What `take` makes of the plain bytes of nonce, ciphertext and tag; `None` when they are not authentic.
fn decrypt<T>(key: &RandomizedNonceKey, bound: &[u8], sealed: &[u8], take: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let (nonce, ciphertext) = sealed.split_at_checked(NONCE)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let plain = key.open_in_place(nonce, Aad::from(bound), &mut buffer).ok()?;
    Some(take(plain))
}

fn cannot() -> Error {
    Error::new(ErrorKind::Internal, "The secret could not be encrypted or decrypted: ask the operator").with_alert()
}

/// Which of the reasons it is, nobody can tell; whose it is and what it is called, the caller knows.
fn damaged() -> Error {
    Error::new(
        ErrorKind::Internal,
        "This secret is not as it was written, or its master key is another one of the same version: set it again",
    )
    .with_code("secret_damaged")
    .with_alert()
}

#[cfg(test)]
mod tests;
