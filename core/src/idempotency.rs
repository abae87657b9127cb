//! Requests that may be sent again: the same key and the same request have one answer, and one charge.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::id::{AccountId, CallId};
use crate::time::Timestamp;

/// What a caller names a request by, to be able to send it again: 1 to 255 visible characters of ASCII, such
/// as a UUID. It is one account's: two accounts may use the same text.
///
/// A key is no secret, and shows nothing to whoever guesses it: the request has to be the same as well.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// The longest key, in bytes.
    pub const LONGEST: usize = 255;

    /// The key as the store keeps it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.into()));
        }
        let message = "An idempotency key is 1 to 255 visible characters of ASCII: send a UUID, for example";
        Err(Error::invalid("Idempotency-Key", message).with_code("invalid_idempotency_key"))
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// By what a request is known to be the same again: the SHA-256 of its method, its path and its body.
///
/// Byte by byte: two JSON texts of one meaning are two requests. A canonical form would have to be that of
/// every parser on the way, vendors' included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of this request; `path` with its query.
    pub fn of(method: &str, path: &str, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        // With their lengths before them, so that nothing of one can pass for the beginning of the next.
        for part in [method.as_bytes(), path.as_bytes(), body] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The fingerprint as the store keeps it.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The fingerprint that the store kept.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// One request under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose key it is.
    pub account: AccountId,
    /// The key.
    pub key: IdempotencyKey,
    /// What is asked under it.
    pub fingerprint: Fingerprint,
    /// Who asks: the id of this one request, by which its claim is told from any other.
    pub request: CallId,
    /// When it is asked, in whole microseconds.
    pub at: Timestamp,
    /// From when on it is taken for interrupted, if nothing more is heard of it: whoever ran it is gone.
    pub running_until: Timestamp,
    /// From when on it is forgotten, and the key is as good as new.
    pub expires_at: Timestamp,
}

/// An answer to be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// Its HTTP status.
    pub status: u16,
    /// The headers that make sense of its body, by their names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body, whole; of a stream all its events.
    pub body: Bytes,
}

/// What is kept of a request that has ended, and may have cost something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Its answer.
    Answer(StoredAnswer),
    /// That it was answered, by more than is kept.
    TooLarge,
    /// That it did not get to its end, or that nothing was heard of it in its time.
    Interrupted,
}

/// What there is under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Nothing: the claim stands, and whoever made it does what was asked.
    New,
    /// The same request, which runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// The same request, which has ended.
    Done(Kept),
    /// Another request.
    Mismatch,
}

/// Where requests under keys are kept until they expire, so that none is done twice.
///
/// Proved by `conformance::idempotency_store` (feature `conformance`). Dropping a future of this trait leaves
/// the store either unchanged or changed as a whole.
///
/// Any method fails with [`Unavailable`](crate::ErrorKind::Unavailable) when the store does not answer; a
/// request that cannot be claimed is refused.
#[async_trait]
pub trait IdempotencyStore: fmt::Debug + Send + Sync + 'static {
    /// Claims a key, or says what there is under it at [`Claim::at`]. Of any number of claims of one key at
    /// once, in whichever process, exactly one is [`Begun::New`].
    ///
    /// An interrupted request is not claimed anew before it expires: nobody knows what it has cost, and the
    /// promise is one charge.
    async fn begin(&self, claim: &Claim) -> Result<Begun>;

    /// The request of this claim runs still, and is not taken for interrupted before `running_until`. Without
    /// effect as [`IdempotencyStore::finish`]. Idempotent.
    async fn extend(&self, claim: &Claim, running_until: Timestamp) -> Result<()>;

    /// Keeps how the request of this claim has ended. Without effect when the claim does not stand any more,
    /// or never did: because it has ended before, or because the key is another one's. Idempotent.
    async fn finish(&self, claim: &Claim, kept: Kept) -> Result<()>;

    /// Gives the key back: what was asked cost nothing, and may be asked again. Without effect as
    /// [`IdempotencyStore::finish`]. Idempotent.
    async fn abandon(&self, claim: &Claim) -> Result<()>;

    /// Forgets what has expired at `now`, the oldest first, about `limit` of it at once, and says how much it
    /// was: 0 when nothing is left. What has expired is unseen before it is forgotten.
    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<u64>;
}

const _: fn(&dyn IdempotencyStore) = |_| {};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_key_is_short_and_visible() {
        for right in ["a", "8e03978e-40d5-43dd-bc93-6894a57f9324", "\"quoted\"", &"k".repeat(255)] {
            assert_eq!(right.parse::<IdempotencyKey>().unwrap().to_string(), right);
        }
        for wrong in ["", " ", "a b", "a\n", "\u{7f}", "schlüssel", &"k".repeat(256)] {
            let error = wrong.parse::<IdempotencyKey>().unwrap_err();
            assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "invalid_idempotency_key"), "{wrong:?}");
        }
    }

    #[test]
    fn a_fingerprint_tells_requests_apart() {
        let of = Fingerprint::of;
        assert_eq!(of("POST", "/v1/chat", b"{}"), of("POST", "/v1/chat", b"{}"));
        let others = [("PUT", "/v1/chat", "{}"), ("POST", "/v1/chat2", "{}"), ("POST", "/v1/chat", "{ }")];
        let moved = [("POS", "T/v1/chat", "{}"), ("POST", "/v1/chat{", "}"), ("POST", "/v1/chat", "")];
        for (method, path, body) in others.into_iter().chain(moved) {
            assert_ne!(of(method, path, body.as_bytes()), of("POST", "/v1/chat", b"{}"), "{method} {path} {body}");
        }
    }
}
