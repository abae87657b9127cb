//! The books in a database: usage, quotas, ledger and rollups, moved by one transaction.

mod audit;
mod lend;
mod lock;
mod post;
mod rows;
mod settle;
mod standing;

use aihub_core::Result;
use aihub_core::commerce::{Books, Posting, Settled, Settlement};
use aihub_core::journal::Position;
use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

pub use audit::Check;

use super::SqlError;
use super::connection::{Database, on};
use super::schema::{journals, usage_records};
use super::values::Id;

/// [`Books`] over the tables of the migration `books`.
#[derive(Debug, Clone)]
pub struct SqlBooks {
    pub(super) database: Database,
}

impl SqlBooks {
    /// The books in `database`.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// How many records there are.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](aihub_core::ErrorKind::Unavailable) when the database does not answer.
    pub async fn count(&self) -> Result<u64> {
        Ok(self.counted().await?.unsigned_abs())
    }

    async fn counted(&self) -> Result<i64, SqlError> {
        Ok(on!(self.database.read, |conn| RunQueryDsl::get_result(usage_records::table.count(), conn))?)
    }

    async fn reached(&self, node: Uuid) -> Result<Position, SqlError> {
        let query = journals::table.find(Id(node)).select((journals::segment, journals::place));
        let reached: Option<(i64, i64)> = on!(self.database.read, |conn| query.first(conn)).optional()?;
        Ok(reached.map(position).unwrap_or_default())
    }
}

/// As it is kept: no number of a segment, and no length of a file, is as large as half of 64 bits.
fn place(position: Position) -> (i64, i64) {
    let column = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    (column(position.segment), column(position.offset))
}

fn position((segment, place): (i64, i64)) -> Position {
    Position { segment: segment.unsigned_abs(), offset: place.unsigned_abs() }
}

#[async_trait]
impl Books for SqlBooks {
    async fn position(&self, node: Uuid) -> Result<Position> {
        Ok(self.reached(node).await?)
    }

    async fn settle(&self, settlement: Settlement) -> Result<Settled> {
        Ok(self.take_over(settlement).await?)
    }

    async fn post(&self, posting: Posting) -> Result<bool> {
        Ok(self.book(posting).await?)
    }
}
