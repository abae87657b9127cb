//! Writing many records at once: the one thing that each database has a way of its own for.
//!
//! What `diesel` does with a list of rows was refused on both: a statement as long as the batch, which is
//! prepared anew every time, and limited to 65,535 values on one and 32,766 on the other.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::sync::Arc;

use aihub_core::UsageRecord;
use diesel::QueryResult;

/// Inserts records, all or none; those of calls that are there stay as they are.
pub(super) trait Insert {
    fn insert(&mut self, records: Arc<[UsageRecord]>) -> impl Future<Output = QueryResult<()>> + Send;
}
