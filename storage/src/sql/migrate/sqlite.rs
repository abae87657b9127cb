//! The tables of a SQLite file.

use std::path::Path;

use aihub_core::Result;
use diesel::connection::SimpleConnection as _;
use diesel::sqlite::Sqlite;
use diesel::{Connection as _, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::{DONE, Done, Migrate, Refused, look, unusable, update};

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
    match tokio::task::spawn_blocking(move || open(&target, migrate).map_err(told_apart)).await {
        Ok(Ok(())) => Ok(path),
        Ok(Err(damaged @ Refused::Damaged(_))) => {
            Err(unusable(&shown, &damaged.to_string()).with_code("database_damaged").with_source(damaged))
        }
        Ok(Err(refused)) => Err(unusable(&shown, &refused.to_string()).with_source(refused)),
        Err(error) => Err(unusable(&shown, "the update did not end").with_source(error)),
    }
}

/// What SQLite says of a file whose pages contradict each other; it has these words in English only.
fn told_apart(refused: Refused) -> Refused {
    match refused {
        Refused::Failed(failure) if failure.to_string().contains("malformed") => Refused::Damaged(failure.to_string()),
        other => other,
    }
}

fn open(path: &str, migrate: Migrate) -> Result<(), Refused> {
    use diesel::RunQueryDsl as _;

    let mut conn = SqliteConnection::establish(path).map_err(|error| Refused::Failed(error.into()))?;
    conn.batch_execute("PRAGMA busy_timeout = 5000;")?;
    if migrate == Migrate::Check {
        let table = "SELECT name AS version FROM sqlite_master WHERE name = '__diesel_schema_migrations'";
        let there: Vec<Done> = diesel::sql_query(table).load(&mut conn)?;
        let done: Vec<Done> = if there.is_empty() { there } else { diesel::sql_query(DONE).load(&mut conn)? };
        return look::<Sqlite>(&CHANGES, &done.into_iter().map(|done| done.version).collect::<Vec<_>>());
    }
    // The mode of the journal is the file's, and cannot be changed inside a transaction.
    conn.batch_execute("PRAGMA journal_mode = WAL;")?;
    // One transaction around looking and doing: of two processes that start together, the second
    // waits here and then finds nothing left to do.
    conn.immediate_transaction(|conn| update(conn, CHANGES))
}
