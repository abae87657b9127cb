//! Bringing a database's tables up to date, once, before anybody reads them.
//!
//! The changes are part of the program, one folder for each kind of database. A change expands first (a new
//! column, a new table), and what it replaces is dropped by a change of a later version: replicas of two
//! versions work on the same tables while one takes over from the other.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use aihub_core::{Error, ErrorKind};
use diesel::backend::Backend;
use diesel::migration::MigrationSource;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

#[cfg(feature = "postgres")]
pub(super) use postgres::postgres;
#[cfg(feature = "sqlite")]
pub(super) use sqlite::sqlite;

/// What to do with tables of an older version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Migrate {
    /// Bring them up to date. Any number of processes may start at once: one does it, the others wait.
    #[default]
    Run,
    /// Leave them, and refuse to open the database.
    Check,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Why the tables could not be brought up to date.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("it was written by a newer version of this program (it has the change {0})")]
    Newer(String),
    #[error("its tables are older than this program (the change {0} is missing): run `aihub migrate`")]
    Older(String),
    #[cfg(feature = "sqlite")]
    #[error("it is damaged ({0}): restore it from a backup")]
    Damaged(String),
    #[cfg(feature = "postgres")]
    #[error("another process has been changing its tables for {0:?}: wait until it has ended")]
    Busy(std::time::Duration),
    #[error("{0}")]
    Failed(Failure),
}

impl From<diesel::result::Error> for Refused {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Does what is missing. The caller has made sure that nobody else does at the same time.
fn update<DB: Backend>(conn: &mut impl MigrationHarness<DB>, changes: EmbeddedMigrations) -> Result<(), Refused>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    let done = conn.applied_migrations().map_err(Refused::Failed)?;
    match compare::<DB>(&changes, &done.iter().map(ToString::to_string).collect::<Vec<_>>())? {
        None => Ok(()),
        Some(_) => conn.run_pending_migrations(changes).map(drop).map_err(Refused::Failed),
    }
}

/// Only looks, at what was `done`: the rights of whoever opens need not go further.
fn look<DB: Backend>(changes: &EmbeddedMigrations, done: &[String]) -> Result<(), Refused>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    compare::<DB>(changes, done)?.map_or(Ok(()), |missing| Err(Refused::Older(missing)))
}

/// The first change that was not done; refuses one that is not known.
fn compare<DB: Backend>(changes: &EmbeddedMigrations, done: &[String]) -> Result<Option<String>, Refused>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    let known = MigrationSource::<DB>::migrations(changes).map_err(Refused::Failed)?;
    let known: Vec<String> = known.iter().map(|change| change.name().version().to_string()).collect();
    if let Some(newer) = done.iter().find(|version| !known.contains(version)) {
        return Err(Refused::Newer(newer.clone()));
    }
    Ok(known.into_iter().find(|version| !done.contains(version)))
}

/// A row of the table of changes, which is diesel's own.
#[derive(Debug, diesel::QueryableByName)]
struct Done {
    #[diesel(sql_type = diesel::sql_types::Text)]
    version: String,
}

const DONE: &str = "SELECT version FROM __diesel_schema_migrations";

/// `what` names the database without a secret.
fn unusable(what: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{what} cannot be used: {why}"))
        .with_code("database_unusable")
        .with_alert()
}
