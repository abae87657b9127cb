//! Postgres: one statement for a batch of any size, with an array for each column.
//!
//! COPY is faster still, but knows no ON CONFLICT: it would need a table of its own to copy into.

use std::sync::{Arc, LazyLock};

use aihub_core::UsageRecord;
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text};
use diesel_async::RunQueryDsl as _;

use super::Insert;
use crate::sql::connection::Postgres;
use crate::sql::usage::row::Row;
use crate::sql::values::{Document, Instant, Uuid};

/// Makes the statement and what is bound to it out of one list, so that they have one order.
macro_rules! columns {
    ($($name:literal: $kind:ty = |$row:ident| $value:expr;)*) => {
        /// One statement for every size of batch.
        static STATEMENT: LazyLock<String> = LazyLock::new(|| {
            let names = [$($name),*];
            let places: Vec<String> = (1..=names.len()).map(|place| format!("${place}")).collect();
            format!(
                "INSERT INTO usage_records ({}) SELECT * FROM unnest({}) ON CONFLICT DO NOTHING",
                names.map(|name| format!("\"{name}\"")).join(", "),
                places.join(", "),
            )
        });

        async fn insert(conn: &mut Postgres, rows: &[Row<'_>]) -> QueryResult<()> {
            let statement = diesel::sql_query(STATEMENT.as_str()).into_boxed::<Pg>();
            $(let statement = statement.bind::<Array<$kind>, _>(rows.iter().map(|$row| $value).collect::<Vec<_>>());)*
            statement.execute(conn).await.map(drop)
        }
    };
}

columns! {
    "call": Uuid = |row| row.call;
    "at": Instant = |row| row.at;
    "account": Uuid = |row| row.account;
    "key": Uuid = |row| row.key;
    "plan": Text = |row| &*row.plan;
    "operation": Text = |row| &*row.operation;
    "stream": Bool = |row| row.stream;
    "model": Text = |row| &*row.model;
    "provider": Nullable<Text> = |row| row.provider.as_deref();
    "served_model": Nullable<Text> = |row| row.served_model.as_deref();
    "input": BigInt = |row| row.usage.input;
    "cache_read": BigInt = |row| row.usage.cache_read;
    "cache_write": BigInt = |row| row.usage.cache_write;
    "audio_input": BigInt = |row| row.usage.audio_input;
    "image_input": BigInt = |row| row.usage.image_input;
    "tool_input": BigInt = |row| row.usage.tool_input;
    "output": BigInt = |row| row.usage.output;
    "reasoning": BigInt = |row| row.usage.reasoning;
    "audio_output": BigInt = |row| row.usage.audio_output;
    "image_output": BigInt = |row| row.usage.image_output;
    "searches": BigInt = |row| row.usage.searches;
    "estimated": Bool = |row| row.usage.estimated;
    "cost": Nullable<BigInt> = |row| row.money.cost;
    "cost_currency": Nullable<Text> = |row| row.money.cost_currency.as_deref();
    "vendor_cost": Nullable<BigInt> = |row| row.money.vendor_cost;
    "vendor_currency": Nullable<Text> = |row| row.money.vendor_currency.as_deref();
    "outcome": Text = |row| row.outcome;
    "status": Integer = |row| row.status;
    "duration_us": BigInt = |row| row.duration_us;
    "first_event_us": Nullable<BigInt> = |row| row.first_event_us;
    "detail": Document = |row| &row.detail;
}

impl Insert for Postgres {
    async fn insert(&mut self, records: Arc<[UsageRecord]>) -> QueryResult<()> {
        let rows: Vec<Row<'_>> = records.iter().map(Row::from).collect();
        insert(self, &rows).await
    }
}
