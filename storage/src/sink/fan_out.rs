//! Several sinks for the same records.

use std::sync::Arc;

use aihub_core::{BillingSink, Result, UsageRecord};
use async_trait::async_trait;

/// A [`BillingSink`] that hands each batch to several others, and has taken it when all of them have.
///
/// They are asked one after the other, in the order given, up to the first that fails; the batch is
/// then delivered again, whole, to those too which had taken it: what a sink that adds up has to
/// bear anyway. Put the one that matters most first. Without sinks, every batch is taken and dropped.
#[derive(Debug, Clone, Default)]
pub struct FanOut {
    sinks: Vec<Arc<dyn BillingSink>>,
}

impl FanOut {
    /// Hands everything to `sinks`.
    pub fn new(sinks: impl IntoIterator<Item = Arc<dyn BillingSink>>) -> Self {
        Self { sinks: sinks.into_iter().collect() }
    }
}

#[async_trait]
impl BillingSink for FanOut {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        for sink in &self.sinks {
            sink.record(records).await?;
        }
        Ok(())
    }
}
