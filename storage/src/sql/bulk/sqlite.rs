//! A statement for each row, in one visit to a thread that may block.

use diesel::QueryResult;
use diesel::query_builder::AstPass;
use diesel::sqlite::Sqlite as Backend;

use super::{Bulk, Put};
use crate::sql::connection::Sqlite;

pub(in crate::sql) fn list(names: &[&str], out: &mut AstPass<'_, '_, Backend>) {
    let mut first = true;
    for name in names {
        out.push_sql(comma(&mut first));
        out.push_sql(name);
    }
}

pub(in crate::sql) fn comma(first: &mut bool) -> &'static str {
    if std::mem::take(first) { "" } else { ", " }
}

impl Put for Sqlite {
    async fn put<B: Bulk>(&mut self, rows: Vec<B>) -> QueryResult<usize> {
        if rows.is_empty() {
            return Ok(0);
        }
        self.spawn_blocking(move |conn| rows.iter().map(|row| row.sqlite(conn)).sum()).await
    }
}
