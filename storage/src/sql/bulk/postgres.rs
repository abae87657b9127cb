//! One statement for any number of rows.

use diesel::QueryResult;

use super::{Bulk, Put};
use crate::sql::connection::Postgres;

/// The statement that takes an array for each column.
pub(in crate::sql) fn statement(table: &str, names: &[&str], conflict: &str) -> String {
    let places: Vec<String> = (1..=names.len()).map(|place| format!("${place}")).collect();
    let (names, places) = (names.join(", "), places.join(", "));
    format!("INSERT INTO {table} ({names}) SELECT * FROM unnest({places}) ON CONFLICT {conflict}")
}

impl Put for Postgres {
    async fn put<B: Bulk>(&mut self, rows: Vec<B>) -> QueryResult<usize> {
        if rows.is_empty() { Ok(0) } else { B::postgres(&rows, self).await }
    }
}
