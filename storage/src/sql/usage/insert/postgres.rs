//! Postgres: one statement for a batch of any size, with an array for each column.
//!
//! COPY is faster still, but knows no ON CONFLICT: it would need a table of its own to copy into.

use std::sync::{Arc, LazyLock};

use aihub_core::UsageRecord;
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text};
use diesel_async::RunQueryDsl as _;

use super::{Insert, columns};
use crate::sql::connection::Postgres;
use crate::sql::usage::row::Row;
use crate::sql::values::{Document, Instant, Uuid};

macro_rules! of_arrays {
    ($($name:literal: $kind:ty = $($field:ident).+;)*) => {
        static STATEMENT: LazyLock<String> = LazyLock::new(|| {
            let names = [$($name),*];
            let places: Vec<String> = (1..=names.len()).map(|place| format!("${place}")).collect();
            format!(
                "INSERT INTO usage_records ({}) SELECT * FROM unnest({}) ON CONFLICT DO NOTHING",
                names.join(", "),
                places.join(", "),
            )
        });

        async fn insert(conn: &mut Postgres, rows: &[Row<'_>]) -> QueryResult<()> {
            let statement = diesel::sql_query(STATEMENT.as_str()).into_boxed::<Pg>();
            $(
                let column: Vec<_> = rows.iter().map(|row| &row.$($field).+).collect();
                let statement = statement.bind::<Array<$kind>, _>(column);
            )*
            statement.execute(conn).await.map(drop)
        }
    };
}

columns!(of_arrays);

impl Insert for Postgres {
    async fn insert(&mut self, records: Arc<[UsageRecord]>) -> QueryResult<()> {
        let rows: Vec<Row<'_>> = records.iter().map(Row::from).collect();
        insert(self, &rows).await
    }
}
