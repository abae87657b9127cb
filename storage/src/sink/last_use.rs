//! When keys were used last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aihub_core::{BillingSink, Clock, KeyId, KeyStore, Result, Timestamp, UsageRecord};
use async_trait::async_trait;

/// A [`BillingSink`] that tells a [`KeyStore`] when each key was used last ([`KeyStore::touch`]).
///
/// It costs a call nothing: what it says is read off the records that are written anyway. Many calls of a key are
/// one row, at most once in [`LastUse::EVERY`]; what came since is said with the first batch after that, so that
/// the last calls before a silence may go unsaid until the next. A store that fails is tried again with the next
/// batch and never holds up the books: a batch is always taken.
#[derive(Debug)]
pub struct LastUse {
    keys: Arc<dyn KeyStore>,
    clock: Arc<dyn Clock>,
    unsaid: Mutex<Unsaid>,
}

#[derive(Debug, Default)]
struct Unsaid {
    uses: BTreeMap<KeyId, Timestamp>,
    /// Not before this instant of the clock.
    next: Duration,
}

impl LastUse {
    /// How often uses are written down.
    pub const EVERY: Duration = Duration::from_secs(10);

    /// Tells `keys`, by `clock`.
    pub fn new(keys: Arc<dyn KeyStore>, clock: Arc<dyn Clock>) -> Self {
        Self { keys, clock, unsaid: Mutex::default() }
    }

    /// Adds what `records` say, and gives back all that is due.
    fn due(&self, records: &[UsageRecord]) -> Vec<(KeyId, Timestamp)> {
        let mut unsaid = self.unsaid.lock().unwrap_or_else(PoisonError::into_inner);
        unsaid.add(records.iter().map(|record| (record.key, record.at)));
        let now = self.clock.elapsed();
        if now < unsaid.next || unsaid.uses.is_empty() {
            return Vec::new();
        }
        unsaid.next = now + Self::EVERY;
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

#[async_trait]
impl BillingSink for LastUse {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        let uses = self.due(records);
        if uses.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.keys.touch(&uses).await {
            tracing::warn!(%error, keys = uses.len(), "when keys were used last could not be written down; trying again");
            self.unsaid.lock().unwrap_or_else(PoisonError::into_inner).add(uses);
        }
        Ok(())
    }
}
