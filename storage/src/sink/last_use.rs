//! When keys were used last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aihub_core::{BillingSink, Clock, KeyId, KeyStore, Result, Timestamp, UsageRecord};
use async_trait::async_trait;

/// A [`BillingSink`] that tells a [`KeyStore`] when each key was used last ([`KeyStore::touch`]).
///
/// It costs a call nothing: what it says is read off the records that are written anyway. Many calls of a key are
/// one row, and a batch of records after the last time is said [`LastUse::EVERY`] later at the earliest: the last calls
/// before a silence or a stop may go unsaid. It is said by a task of its own, one at a time, so that a store that is
/// slow or away never holds up the books; what could not be said comes again.
#[derive(Debug)]
pub struct LastUse(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    keys: Arc<dyn KeyStore>,
    clock: Arc<dyn Clock>,
    unsaid: Mutex<Unsaid>,
}

#[derive(Debug, Default)]
struct Unsaid {
    uses: BTreeMap<KeyId, Timestamp>,
    /// Not before this instant of the clock.
    next: Duration,
    /// Whether somebody is at it.
    busy: bool,
}

impl LastUse {
    /// How often uses are written down.
    pub const EVERY: Duration = Duration::from_secs(10);

    /// Tells `keys`, by `clock`.
    pub fn new(keys: Arc<dyn KeyStore>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared { keys, clock, unsaid: Mutex::default() }))
    }
}

impl Shared {
    fn unsaid(&self) -> MutexGuard<'_, Unsaid> {
        self.unsaid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what `records` say, and gives back all that is due.
    fn due(&self, records: &[UsageRecord]) -> Vec<(KeyId, Timestamp)> {
        let mut unsaid = self.unsaid();
        unsaid.add(records.iter().map(|record| (record.key, record.at)));
        if unsaid.busy || unsaid.uses.is_empty() || self.clock.elapsed() < unsaid.next {
            return Vec::new();
        }
        unsaid.busy = true;
        std::mem::take(&mut unsaid.uses).into_iter().collect()
    }
}

impl Unsaid {
    fn add(&mut self, uses: impl IntoIterator<Item = (KeyId, Timestamp)>) {
        for (key, at) in uses {
            self.uses.entry(key).and_modify(|known| *known = (*known).max(at)).or_insert(at);
        }
    }
}

/// Uses on their way to the store; those that are still here when it is dropped come again.
struct Saying {
    shared: Arc<Shared>,
    uses: Vec<(KeyId, Timestamp)>,
}

impl Saying {
    async fn say(mut self) {
        match self.shared.keys.touch(&self.uses).await {
            Ok(()) => self.uses.clear(),
            Err(error) => {
                let keys = self.uses.len();
                tracing::warn!(%error, keys, "when keys were used last could not be written down; trying again");
            }
        }
    }
}

impl Drop for Saying {
    fn drop(&mut self) {
        let mut unsaid = self.shared.unsaid();
        unsaid.add(self.uses.drain(..));
        // From the end: a store that takes long is not asked without a pause.
        unsaid.next = self.shared.clock.elapsed() + LastUse::EVERY;
        unsaid.busy = false;
    }
}

#[async_trait]
impl BillingSink for LastUse {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        let uses = self.0.due(records);
        if !uses.is_empty() {
            tokio::spawn(Saying { shared: Arc::clone(&self.0), uses }.say());
        }
        Ok(())
    }
}
