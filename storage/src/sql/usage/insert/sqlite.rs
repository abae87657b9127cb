//! SQLite: a statement for each row, prepared once, in one transaction and one visit to a thread that may
//! block.

use std::sync::Arc;

use aihub_core::UsageRecord;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use diesel::sqlite::Sqlite as Backend;

use super::{Insert, columns};
use crate::sql::connection::Sqlite;
use crate::sql::usage::row::Row;
use crate::sql::values::{Document, Instant, Uuid};

/// One row to be inserted. diesel's own statement is found among the prepared ones by its text, which is
/// written anew for every row; this one is found by its type.
struct One<'a>(Row<'a>);

impl QueryId for One<'_> {
    type QueryId = One<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<SqliteConnection> for One<'_> {}

macro_rules! of_values {
    ($($name:literal: $kind:ty = $($field:ident).+;)*) => {
        impl QueryFragment<Backend> for One<'_> {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Backend>) -> QueryResult<()> {
                let mut first = true;
                out.push_sql("INSERT INTO usage_records (");
                $(
                    out.push_sql(comma(&mut first));
                    out.push_sql($name);
                )*
                first = true;
                out.push_sql(") VALUES (");
                $(
                    out.push_sql(comma(&mut first));
                    out.push_bind_param::<$kind, _>(&self.0.$($field).+)?;
                )*
                out.push_sql(") ON CONFLICT DO NOTHING");
                Ok(())
            }
        }
    };
}

columns!(of_values);

fn comma(first: &mut bool) -> &'static str {
    if std::mem::take(first) { "" } else { ", " }
}

impl Insert for Sqlite {
    async fn insert(&mut self, records: Arc<[UsageRecord]>) -> QueryResult<()> {
        self.spawn_blocking(move |conn| conn.immediate_transaction(|conn| all(conn, &records))).await
    }
}

fn all(conn: &mut SqliteConnection, records: &[UsageRecord]) -> QueryResult<()> {
    records.iter().try_for_each(|record| One(Row::from(record)).execute(conn).map(drop))
}
