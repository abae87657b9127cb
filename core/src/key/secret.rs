//! Secrets of keys: what the owner holds, and the keyed hash that a store holds.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::RngExt as _;
use secrecy::zeroize::Zeroize as _;
use sha2::Sha256;

use crate::error::{Error, ErrorKind, Result};

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
