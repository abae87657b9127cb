//! A vendor's keys, used in turn; one that fails rests while the others work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use aihub_core::{Clock, Error, Result};
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};

/// The keys of one vendor. They are never shown: neither by `Debug` nor in any error.
pub(crate) struct KeyRing {
    keys: Vec<Key>,
    next: AtomicUsize,
    clock: Arc<dyn Clock>,
}

struct Key {
    header: HeaderValue,
    /// Until when it rests, in milliseconds of [`Clock::elapsed`]; 0 is not at all.
    rests_until_ms: AtomicU64,
}

impl KeyRing {
    /// A ring of `keys`, each sent as a header value of the form `{prefix}{key}`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](aihub_core::ErrorKind::Invalid) when there is none or one cannot be sent in a
    /// header; the error does not show it.
    pub(crate) fn new(prefix: &str, keys: &[SecretString], clock: Arc<dyn Clock>) -> Result<Self> {
        let keys = keys.iter().enumerate().map(|(at, key)| {
            let mut header =
                HeaderValue::from_str(&format!("{prefix}{}", key.expose_secret().trim())).map_err(|_| {
                    Error::invalid(format!("keys[{at}]"), "A vendor key holds characters that no header can carry")
                })?;
            header.set_sensitive(true);
            Ok(Key { header, rests_until_ms: AtomicU64::new(0) })
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            return Err(Error::invalid("keys", "A vendor needs at least one key"));
        }
        Ok(Self { keys, next: AtomicUsize::new(0), clock })
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The next key in turn that does not rest; where all rest, the next in turn: a bad key is
    /// better than no answer, since the vendor may have mended what was wrong.
    pub(crate) fn pick(&self) -> (usize, HeaderValue) {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let turn = (0..self.keys.len()).map(|step| (start + step) % self.keys.len());
        let now = self.now_ms();
        let at = turn.clone().find(|at| self.keys[*at].rests_until_ms.load(Ordering::Relaxed) <= now);
        let at = at.unwrap_or(start % self.keys.len());
        (at, self.keys[at].header.clone())
    }

    /// Lets a key rest.
    pub(crate) fn rest(&self, at: usize, time: Duration) {
        let until = self.now_ms() + u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2);
        self.keys[at].rests_until_ms.store(until, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyRing({} keys)", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use aihub_core::ManualClock;

    use super::*;

    #[test]
    fn keys_take_turns_and_rest() {
        let clock = Arc::new(ManualClock::default());
        let ring = KeyRing::new("Bearer ", &["a".into(), "b".into()], clock.clone()).unwrap();
        assert_ne!(ring.pick().0, ring.pick().0);
        ring.rest(0, Duration::from_secs(30));
        assert_eq!([ring.pick().0, ring.pick().0], [1, 1]);
        clock.advance(Duration::from_secs(30));
        assert_ne!(ring.pick().0, ring.pick().0);
    }

    #[test]
    fn a_ring_shows_nothing_of_its_keys() {
        let clock = Arc::new(ManualClock::default());
        let ring = KeyRing::new("Bearer ", &["sk-secret".into()], clock.clone()).unwrap();
        assert!(!format!("{ring:?} {:?}", ring.pick()).contains("sk-secret"));
        let error = KeyRing::new("", &["sk-\nsecret".into()], clock).unwrap_err();
        assert!(!format!("{error:?}").contains("secret"));
    }
}
