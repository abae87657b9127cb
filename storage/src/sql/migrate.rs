//! Bringing a database's tables up to date, once, before anybody reads them.

use std::path::Path;

use aihub_core::{Error, ErrorKind, Result};
use diesel::connection::SimpleConnection as _;
use diesel::migration::MigrationSource;
use diesel::sqlite::Sqlite;
use diesel::{Connection as _, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Why the tables could not be brought up to date.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("it was written by a newer version of this program (it has the change {0})")]
    Newer(String),
    #[error("{0}")]
    Failed(Failure),
}

impl From<diesel::result::Error> for Refused {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Makes or updates the SQLite file, and gives back the name it is opened by.
///
/// On a connection of its own, closed afterwards, in a thread that may block: diesel's harness for
/// asynchronous connections works on multi-threaded runtimes only, and a library cannot ask for one.
pub(super) async fn prepare(file: &Path) -> Result<String> {
    let shown = file.display().to_string();
    // Absolute, so that no file name can be taken for one of SQLite's own (`:memory:`, `file:…`).
    let path = std::path::absolute(file).map_err(|error| unusable(&shown, &error.to_string()))?;
    let path = path.to_str().ok_or_else(|| unusable(&shown, "its name is not UTF-8"))?.to_owned();
    let target = path.clone();
    let done = tokio::task::spawn_blocking(move || update(&target)).await;
    match done {
        Ok(Ok(())) => Ok(path),
        Ok(Err(refused)) => Err(unusable(&shown, &refused.to_string()).with_source(refused)),
        Err(error) => Err(unusable(&shown, "the update did not end").with_source(error)),
    }
}

fn unusable(file: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("The database file {file} cannot be used: {why}"))
        .with_code("database_unusable")
        .with_alert()
}

fn update(path: &str) -> Result<(), Refused> {
    let mut conn = SqliteConnection::establish(path).map_err(|error| Refused::Failed(error.into()))?;
    // The mode of the journal is the file's, and cannot be changed inside a transaction.
    conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL;")?;
    // One transaction around looking and doing: of two processes that start together, the second
    // waits here and then finds nothing left to do.
    conn.immediate_transaction(|conn| {
        let known = versions(&SQLITE)?;
        let applied = conn.applied_migrations().map_err(Refused::Failed)?;
        if let Some(newer) = applied.iter().map(ToString::to_string).find(|version| !known.contains(version)) {
            return Err(Refused::Newer(newer));
        }
        conn.run_pending_migrations(SQLITE).map_err(Refused::Failed)?;
        Ok(())
    })
}

/// The versions of the changes that this program knows.
fn versions(source: &EmbeddedMigrations) -> Result<Vec<String>, Refused> {
    let migrations = MigrationSource::<Sqlite>::migrations(source).map_err(Refused::Failed)?;
    Ok(migrations.iter().map(|migration| migration.name().version().to_string()).collect())
}
