//! Usage records in memory.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aihub_core::{BillingSink, CallId, Result, UsageRecord};
use async_trait::async_trait;

/// A [`BillingSink`] that keeps the newest records, each once: for tests, and for a service that
/// looks at its own usage.
///
/// Bounded, by default at 100,000 records (roughly 50 MB): the oldest is dropped for the next. What
/// must not be lost belongs into a sink that writes.
#[derive(Debug)]
pub struct MemorySink {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<UsageRecord>,
    calls: HashSet<CallId>,
}

impl MemorySink {
    /// A sink that keeps 100,000 records.
    pub fn new() -> Self {
        Self::with_capacity(100_000)
    }

    /// A sink that keeps `most` records.
    pub fn with_capacity(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    /// The records that are kept, oldest first.
    pub fn records(&self) -> Vec<UsageRecord> {
        self.lock().records.iter().cloned().collect()
    }

    /// Takes the records out, oldest first.
    pub fn take(&self) -> Vec<UsageRecord> {
        std::mem::take(&mut *self.lock()).records.into()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemorySink {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl BillingSink for MemorySink {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        let mut kept = self.lock();
        for record in records {
            if kept.calls.insert(record.call) {
                kept.records.push_back(record.clone());
            }
            if kept.records.len() > self.most
                && let Some(oldest) = kept.records.pop_front()
            {
                kept.calls.remove(&oldest.call);
            }
        }
        Ok(())
    }
}
