//! Master keys, as they come from outside.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aihub_core::{Error, ErrorKind, Result};
use aws_lc_rs::aead::{AES_256_GCM, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

/// The number of a master key, counted from 1; a newer one has a greater number.
pub type KeyVersion = u32;

/// The length of a key, in bytes.
pub(super) const KEY: usize = 32;

/// Master keys by version: the newest wraps, all unwrap.
///
/// The newest is used as soon as it is there: a process that does not have it yet cannot read what others put
/// meanwhile, and says so. Give a new key to all of them before any goes on.
///
/// Cheap to clone; `Debug` shows versions only. What text and decoding leave behind here is wiped; the
/// library's own copy of a key lives as long as the ring.
#[derive(Clone)]
pub struct KeyRing {
    keys: Arc<BTreeMap<KeyVersion, RandomizedNonceKey>>,
    newest: KeyVersion,
}

impl KeyRing {
    /// Reads a ring: entries of the form `2:BASE64`, separated by commas or line ends, in any order. Blanks
    /// around an entry and empty lines do not matter; the key is 32 bytes in standard base64 (44 characters).
    ///
    /// ```
    /// use aihub_storage::secret::KeyRing;
    ///
    /// let old = "1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    /// let new = KeyRing::fresh_entry(2);
    /// # use aihub_core::secret::ExposeSecret as _;
    /// let ring = KeyRing::parse(&format!("{}\n{old}\n", new.expose_secret()))?;
    /// assert_eq!(ring.newest(), 2);
    /// # Ok::<(), aihub_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](aihub_core::ErrorKind::Invalid) when there is no key, an entry has another form or length,
    /// or a version or a key is there twice. The message counts the entries from 1 and repeats none of them.
    pub fn parse(text: &str) -> Result<Self> {
        let mut keys = BTreeMap::new();
        let mut seen: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        let entries = text.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
        for (place, entry) in (1..).zip(entries) {
            let wrong = |what: &str| ring_error(format!("entry {place} of the master keys {what}"));
            let (version, key) = entry
                .split_once(':')
                .and_then(|(version, key)| Some((version.trim().parse().ok()?, key.trim())))
                .filter(|(version, _): &(KeyVersion, _)| *version > 0)
                .ok_or_else(|| wrong("does not begin with its version: write `VERSION:BASE64`, such as `1:q83v…`"))?;
            // Enough room from the start: a buffer that grows leaves a copy behind.
            let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(key.len())]);
            let length = STANDARD.decode_slice(key, &mut bytes).ok();
            let length = length.ok_or_else(|| wrong("is not base64 after its version"))?;
            if length != KEY {
                return Err(wrong(&format!("has a key of {length} bytes, and a master key has {KEY}")));
            }
            let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes[..KEY]);
            let key = key.map_err(|_| wrong("is no key of AES-256"))?;
            if keys.insert(version, key).is_some() {
                return Err(wrong(&format!("is a second key of version {version}")));
            }
            // A rotation to it would end well, and replace nothing.
            if seen.iter().any(|known| known[..KEY] == bytes[..KEY]) {
                return Err(wrong("is the key of another version once more"));
            }
            seen.push(bytes);
        }
        let newest = keys.last_key_value().map(|(version, _)| *version);
        let newest = newest.ok_or_else(|| ring_error("there is no master key: write `1:BASE64`".to_owned()))?;
        Ok(Self { keys: Arc::new(keys), newest })
    }

    /// A fresh entry of this version, to be read by [`KeyRing::parse`]: the only copy of a new master key.
    ///
    /// # Panics
    ///
    /// When the operating system has no randomness: nothing secret could be made then.
    pub fn fresh_entry(version: KeyVersion) -> SecretString {
        let mut key = Zeroizing::new([0; KEY]);
        aws_lc_rs::rand::fill(&mut *key).expect("the operating system has randomness");
        let mut text = String::with_capacity(64);
        text.push_str(&version.to_string());
        text.push(':');
        STANDARD.encode_string(*key, &mut text);
        text.into()
    }

    /// A ring of one key that lives as long as this process: for tests, and for secrets in memory.
    ///
    /// # Panics
    ///
    /// As [`KeyRing::fresh_entry`].
    pub fn random() -> Self {
        Self::parse(Self::fresh_entry(1).expose_secret()).expect("a fresh entry is one")
    }

    /// The version that wraps.
    pub const fn newest(&self) -> KeyVersion {
        self.newest
    }

    /// All versions, the newest last.
    pub fn versions(&self) -> impl Iterator<Item = KeyVersion> + '_ {
        self.keys.keys().copied()
    }

    /// The key that wraps.
    pub(super) fn wrapping(&self) -> &RandomizedNonceKey {
        &self.keys[&self.newest]
    }

    /// The key that unwraps what `version` wrapped.
    pub(super) fn unwrapping(&self, version: KeyVersion) -> Result<&RandomizedNonceKey> {
        self.keys.get(&version).ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                format!("This secret is under master key {version}, which is not among the given ones: add it again"),
            )
            .with_code("master_key_missing")
            .with_alert()
        })
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

fn ring_error(message: String) -> Error {
    Error::invalid("keys", message).with_code("master_keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_1: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const KEY_2: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

    #[test]
    fn a_ring_is_read_in_any_order_from_a_line_or_from_a_file() {
        for text in [
            format!("2:{KEY_2},1:{KEY_1}"),
            format!("1:{KEY_1}, 2:{KEY_2}"),
            format!("\n 1 : {KEY_1}\r\n\r\n2:{KEY_2}\r\n"),
        ] {
            let ring = KeyRing::parse(&text).unwrap();
            assert_eq!((ring.newest(), ring.versions().collect::<Vec<_>>()), (2, vec![1, 2]), "{text:?}");
        }
        assert_eq!(KeyRing::random().newest(), 1);
        assert_ne!(KeyRing::fresh_entry(7).expose_secret(), KeyRing::fresh_entry(7).expose_secret());
    }

    #[test]
    fn a_wrong_ring_is_told_in_one_line_without_its_keys() {
        let short = STANDARD.encode([7; 31]);
        let long = STANDARD.encode([7; 33]);
        let cases = [
            (String::new(), "no master key"),
            (" ,\n, ".to_owned(), "no master key"),
            (KEY_1.to_owned(), "entry 1 of the master keys does not begin with its version"),
            (format!("0:{KEY_1}"), "does not begin with its version"),
            (format!("-1:{KEY_1}"), "does not begin with its version"),
            (format!("4294967296:{KEY_1}"), "does not begin with its version"),
            (format!("1:{short}"), "31 bytes"),
            (format!("2:{KEY_2},1:{long}"), "entry 2 of the master keys has a key of 33 bytes"),
            ("1:".to_owned(), "0 bytes"),
            (format!("1:{}", &KEY_1[..43]), "not base64"),
            (format!("1:{}*", &KEY_1[..43]), "not base64"),
            (format!("1:{KEY_1},1:{KEY_2}"), "entry 2 of the master keys is a second key of version 1"),
            (format!("1:{KEY_1},2:{KEY_1}"), "entry 2 of the master keys is the key of another version once more"),
        ];
        for (text, words) in cases {
            let error = KeyRing::parse(&text).unwrap_err();
            let said = format!("{error} {error:?}");
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(said.contains(words) && !error.to_string().contains('\n'), "{text}: {said}");
            assert!(!said.contains("MDEy") && !said.contains("ZmVk") && !said.contains("BwcH"), "{said}");
        }
    }

    #[test]
    fn a_ring_prints_its_versions_only() {
        let ring = KeyRing::parse(&format!("2:{KEY_2},1:{KEY_1}")).unwrap();
        assert_eq!(format!("{ring:?}"), "{1, 2}");
    }
}
