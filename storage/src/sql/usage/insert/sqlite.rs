//! SQLite: a statement for each row, prepared once, in one transaction and one visit to a thread that may
//! block.

use std::sync::Arc;

use aihub_core::UsageRecord;
use diesel::prelude::*;

use super::Insert;
use crate::sql::connection::Sqlite;
use crate::sql::schema::usage_records;
use crate::sql::usage::row::Row;

impl Insert for Sqlite {
    async fn insert(&mut self, records: Arc<[UsageRecord]>) -> QueryResult<()> {
        self.spawn_blocking(move |conn| conn.immediate_transaction(|conn| all(conn, &records))).await
    }
}

fn all(conn: &mut SqliteConnection, records: &[UsageRecord]) -> QueryResult<()> {
    for record in records {
        let row = Row::from(record);
        let insert = diesel::insert_into(usage_records::table).values(row).on_conflict_do_nothing();
        RunQueryDsl::execute(insert, conn)?;
    }
    Ok(())
}
