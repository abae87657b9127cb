//! SQLite: a file of this machine, and nothing to install.

use std::path::Path;
use std::time::Duration;

use aihub_core::Result;
use diesel::{Connection as _, ConnectionError, SqliteConnection};
use diesel_async::SimpleAsyncConnection as _;

use super::connection::{Connections, Database, PoolSettings, Sqlite, pool};
use super::migrate::{self, Migrate};

/// SQLite writes one at a time. Its own waiting is by trying again, which is not fair: here all who write
/// queue for one connection, and only another process is waited for in its way.
const WRITERS: usize = 1;

/// Reads go on beside each other and beside the writer; more than this only queue on the disk.
const READERS: usize = 4;

impl Database {
    /// Opens a SQLite file, made if it is not there.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](aihub_core::ErrorKind::Unavailable) when the file cannot be opened or written, is
    /// damaged or no database, was written by a newer version of this program, or by an older one and
    /// `migrate` says to leave it.
    pub async fn sqlite(file: &Path, settings: PoolSettings, migrate: Migrate) -> Result<Self> {
        let path = migrate::sqlite(file, migrate).await?;
        // A revocation must survive the machine's power, and keys change rarely: FULL, not NORMAL.
        // The log is carried over every 16 MiB instead of every 4, which made batches of usage records a fifth
        // faster: each changes pages all over the indexes, and the same ones again and again.
        let write = connections(
            &path,
            WRITERS,
            settings,
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 4000;",
        );
        let read = connections(&path, READERS, settings, "PRAGMA query_only = ON;");
        Ok(Self { read, write })
    }
}

/// Opened lazily, one by one, when they are needed.
fn connections(path: &str, size: usize, settings: PoolSettings, pragmas: &'static str) -> Connections {
    let PoolSettings { acquire, statement, .. } = settings;
    Connections::Sqlite(pool(
        path,
        size,
        acquire,
        Box::new(move |path| {
            let path = path.to_owned();
            Box::pin(async move { connect(path, statement, pragmas).await })
        }),
    ))
}

async fn connect(path: String, statement: Duration, pragmas: &str) -> diesel::ConnectionResult<Sqlite> {
    let sync = tokio::task::spawn_blocking(move || SqliteConnection::establish(&path)).await;
    let sync = sync.map_err(|error| ConnectionError::BadConnection(error.to_string()))??;
    let mut conn = Sqlite::new(sync);
    let setup = format!("PRAGMA busy_timeout = {}; {pragmas}", statement.as_millis());
    conn.batch_execute(&setup).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}
