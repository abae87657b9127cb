//! Requests under keys in memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use aihub_core::idempotency::{Begun, Claim, Kept};
use aihub_core::{AccountId, IdempotencyKey, IdempotencyStore, Result, Timestamp};
use async_trait::async_trait;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

/// An [`IdempotencyStore`] that forgets with the process, and is that process's alone.
///
/// One lock out of many is taken for each key.
#[derive(Debug)]
pub struct MemoryIdempotency {
    known: DashMap<(AccountId, IdempotencyKey), Known>,
    /// Of the bodies that are kept.
    bytes: AtomicUsize,
    most_bytes: usize,
}

#[derive(Debug)]
struct Known {
    claim: Claim,
    /// `None` while it runs.
    kept: Option<Kept>,
}

impl Known {
    fn size(&self) -> usize {
        match &self.kept {
            Some(Kept::Answer(answer)) => answer.body.len(),
            _ => 0,
        }
    }

    fn seen_by(&self, claim: &Claim) -> Begun {
        match &self.kept {
            _ if self.claim.fingerprint != claim.fingerprint => Begun::Mismatch,
            Some(kept) => Begun::Done(kept.clone()),
            None if self.claim.running_until <= claim.at => Begun::Done(Kept::Interrupted),
            None => Begun::Running { since: self.claim.at },
        }
    }
}

impl Default for MemoryIdempotency {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryIdempotency {
    /// A store without requests, for at most 256 MiB of answers.
    pub fn new() -> Self {
        Self { known: DashMap::new(), bytes: AtomicUsize::new(0), most_bytes: 256 << 20 }
    }

    /// At most `bytes` of answers, all together. Of one that finds no room it is remembered only that it was
    /// given: to forget an older one instead would charge for that one twice.
    #[must_use]
    pub fn with_capacity(mut self, bytes: usize) -> Self {
        self.most_bytes = bytes;
        self
    }

    /// Changes what stands under this claim, if it runs still.
    fn of_running(
        &self,
        claim: &Claim,
        end: impl FnOnce(dashmap::OccupiedEntry<'_, (AccountId, IdempotencyKey), Known>),
    ) {
        if let Entry::Occupied(entry) = self.known.entry(name(claim))
            && entry.get().kept.is_none()
            && entry.get().claim.request == claim.request
        {
            end(entry);
        }
    }

    fn fits(&self, kept: Kept) -> Kept {
        let Kept::Answer(answer) = &kept else { return kept };
        let size = answer.body.len();
        if self.bytes.fetch_add(size, Ordering::Relaxed) + size <= self.most_bytes {
            return kept;
        }
        self.bytes.fetch_sub(size, Ordering::Relaxed);
        Kept::TooLarge
    }
}

fn name(claim: &Claim) -> (AccountId, IdempotencyKey) {
    (claim.account, claim.key.clone())
}

#[async_trait]
impl IdempotencyStore for MemoryIdempotency {
    async fn begin(&self, claim: &Claim) -> Result<Begun> {
        let new = Known { claim: claim.clone(), kept: None };
        match self.known.entry(name(claim)) {
            Entry::Vacant(free) => drop(free.insert(new)),
            Entry::Occupied(mut known) if known.get().claim.expires_at <= claim.at => {
                self.bytes.fetch_sub(known.insert(new).size(), Ordering::Relaxed);
            }
            Entry::Occupied(known) => return Ok(known.get().seen_by(claim)),
        }
        Ok(Begun::New)
    }

    async fn extend(&self, claim: &Claim, running_until: Timestamp) -> Result<()> {
        self.of_running(claim, |mut known| known.get_mut().claim.running_until = running_until);
        Ok(())
    }

    async fn finish(&self, claim: &Claim, kept: Kept) -> Result<()> {
        self.of_running(claim, |mut known| known.get_mut().kept = Some(self.fits(kept)));
        Ok(())
    }

    async fn abandon(&self, claim: &Claim) -> Result<()> {
        self.of_running(claim, |known| drop(known.remove()));
        Ok(())
    }

    /// Looks at all there is: a second map by time would cost every claim to spare a sweep.
    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<u64> {
        let old = self.known.iter().filter(|known| known.claim.expires_at <= now);
        let mut old: Vec<_> = old.map(|known| (known.claim.expires_at, known.key().clone())).collect();
        old.sort_unstable();
        let mut swept = 0;
        for (_, name) in old.into_iter().take(limit) {
            // It may have been claimed anew meanwhile.
            if let Some((_, known)) = self.known.remove_if(&name, |_, known| known.claim.expires_at <= now) {
                self.bytes.fetch_sub(known.size(), Ordering::Relaxed);
                swept += 1;
            }
        }
        Ok(swept)
    }
}
