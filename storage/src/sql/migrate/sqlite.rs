//! The tables of a SQLite file.

use std::path::Path;

use aihub_core::Result;
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::{Migrate, Refused, unusable, update};

const CHANGES: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Makes or updates the SQLite file, and gives back the name it is opened by.
///
/// On a connection of its own, closed afterwards, in a thread that may block.
pub(in crate::sql) async fn sqlite(file: &Path, migrate: Migrate) -> Result<String> {
    let shown = format!("The database file {}", file.display());
    // Absolute, so that no file name can be taken for one of SQLite's own (`:memory:`, `file:…`).
    let path = std::path::absolute(file).map_err(|error| unusable(&shown, &error.to_string()))?;
    let path = path.to_str().ok_or_else(|| unusable(&shown, "its name is not UTF-8"))?.to_owned();
    if migrate == Migrate::Check && !file.exists() {
        return Err(unusable(&shown, "it is not there: run `aihub migrate`"));
    }
    let target = path.clone();
    match tokio::task::spawn_blocking(move || open(&target, migrate)).await {
        Ok(Ok(())) => Ok(path),
        Ok(Err(refused)) => Err(unusable(&shown, &refused.to_string()).with_source(refused)),
        Err(error) => Err(unusable(&shown, "the update did not end").with_source(error)),
    }
}

fn open(path: &str, migrate: Migrate) -> Result<(), Refused> {
    let mut conn = SqliteConnection::establish(path).map_err(|error| Refused::Failed(error.into()))?;
    // The mode of the journal is the file's, and cannot be changed inside a transaction.
    conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL;")?;
    // One transaction around looking and doing: of two processes that start together, the second
    // waits here and then finds nothing left to do.
    conn.immediate_transaction(|conn| update(conn, CHANGES, migrate))
}
