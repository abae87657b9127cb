//! Which databases there are, and one query for all of them.
//!
//! A further database is one more variant of [`Connections`], one more arm in each of the two
//! macros, its values and its migrations; no query changes.

use std::path::Path;
use std::time::Duration;

use aihub_core::Result;
use deadpool::Runtime;
use deadpool::managed::{Manager, Object};
use diesel::{Connection as _, ConnectionError, SqliteConnection};
use diesel_async::SimpleAsyncConnection as _;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use tracing::Instrument as _;

use super::{SqlError, migrate};

/// An open database. Cheap to clone: clones share the connections.
#[derive(Debug, Clone)]
pub struct Database {
    pub(super) read: Connections,
    pub(super) write: Connections,
}

/// Connections to one kind of database.
#[derive(Clone)]
pub(super) enum Connections {
    Sqlite(Pool<SyncConnectionWrapper<SqliteConnection>>),
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(pool) => f.debug_tuple("Sqlite").field(&pool.status()).finish(),
        }
    }
}

/// One statement, on whichever database there is. Dropped midway it is done as a whole, or not at all.
///
/// On SQLite the work is a task of its own, which goes on when its caller leaves: dropping a
/// statement of diesel-async's SQLite midway blocks the thread until it has ended, for as long as
/// another process holds the lock, and panics on a runtime of one thread.
macro_rules! on {
    ($connections:expr, |$conn:ident| $query:expr) => {
        match &$connections {
            $crate::sql::connection::Connections::Sqlite(pool) => {
                let pool = pool.clone();
                $crate::sql::connection::finished(async move {
                    let mut held = $crate::sql::connection::Held::new(pool.get().await?);
                    let $conn = held.conn();
                    let done = $query.await;
                    held.release();
                    Ok(done)
                })
                .await?
            }
        }
    };
}

/// Several statements, all or none; dropped midway likewise. On SQLite the transaction begins as a
/// writing one: one that began by reading could not be made to wait for another writer, and would
/// fail instead.
macro_rules! transact {
    ($connections:expr, |$conn:ident| $body:expr) => {
        match &$connections {
            $crate::sql::connection::Connections::Sqlite(pool) => {
                let pool = pool.clone();
                $crate::sql::connection::finished(async move {
                    let mut held = $crate::sql::connection::Held::new(pool.get().await?);
                    let done =
                        held.conn().immediate_transaction::<_, $crate::sql::SqlError, _>(async |$conn| $body).await;
                    held.release();
                    done
                })
                .await
            }
        }
    };
}

/// What comes of `work`, which goes on also when nobody waits for it any more.
pub(super) async fn finished<T: Send + 'static>(
    work: impl Future<Output = Result<T, SqlError>> + Send + 'static,
) -> Result<T, SqlError> {
    tokio::spawn(work.in_current_span()).await?
}

pub(super) use {on, transact};

/// A connection that goes back to the pool only when the work on it has ended.
///
/// Dropped midway, by a panic or with the runtime, it is closed, and the database rolls back at
/// once. Giving it back instead leaves an open transaction with its locks in the pool, until
/// somebody happens to take it out again.
pub(super) struct Held<M: Manager>(Option<Object<M>>);

impl<M: Manager> Held<M> {
    pub(super) fn new(conn: Object<M>) -> Self {
        Self(Some(conn))
    }

    pub(super) fn conn(&mut self) -> &mut M::Type {
        self.0.as_mut().expect("it is held until it is released")
    }

    pub(super) fn release(mut self) {
        drop(self.0.take());
    }
}

impl<M: Manager> Drop for Held<M> {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take() {
            drop(Object::take(conn));
        }
    }
}

/// How long a statement waits for another process's write, and a caller for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// SQLite writes one at a time: a second writing connection would only fail more often.
const WRITERS: usize = 1;

/// Reads go on beside each other and beside the writer; more than this only queue on the disk.
const READERS: usize = 4;

impl Database {
    /// Opens a SQLite file, made if it is not there, and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](aihub_core::ErrorKind::Unavailable) when the file cannot be opened or
    /// written, is no database, or was written by a newer version of this program.
    pub async fn sqlite(file: &Path) -> Result<Self> {
        let path = migrate::prepare(file).await?;
        // A revocation must survive the machine's power, and keys change rarely: FULL, not NORMAL.
        let write = pool(&path, WRITERS, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;");
        let read = pool(&path, READERS, "PRAGMA query_only = ON;");
        Ok(Self { read, write })
    }
}

/// Opened lazily, one by one, when they are needed.
fn pool(path: &str, size: usize, pragmas: &'static str) -> Connections {
    let mut config = ManagerConfig::default();
    // The default asks the database a question at every checkout; a file does not go away.
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |path| {
        let path = path.to_owned();
        Box::pin(async move {
            let sync = tokio::task::spawn_blocking(move || SqliteConnection::establish(&path)).await;
            let sync = sync.map_err(|error| ConnectionError::BadConnection(error.to_string()))??;
            let mut conn = SyncConnectionWrapper::new(sync);
            let setup = format!("PRAGMA busy_timeout = {}; {pragmas}", PATIENCE.as_millis());
            conn.batch_execute(&setup).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(conn)
        })
    });
    let pool = Pool::builder(AsyncDieselConnectionManager::new_with_config(path, config))
        .max_size(size)
        .wait_timeout(Some(PATIENCE))
        .create_timeout(Some(PATIENCE))
        .runtime(Runtime::Tokio1)
        .build()
        .expect("building fails only for timeouts without a runtime, and there is one");
    Connections::Sqlite(pool)
}

#[cfg(test)]
mod tests {
    use diesel_async::RunQueryDsl;

    use super::*;

    #[tokio::test]
    async fn a_transaction_that_panics_is_rolled_back_at_once() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("hub.db");
        let (here, elsewhere) = (Database::sqlite(&file).await.unwrap(), Database::sqlite(&file).await.unwrap());
        assert!(matches!(panics(&here).await, Err(SqlError::Stopped(_))));
        // Not in five seconds, when the lock's patience ends, and without another write from here.
        assert_eq!(writes(&elsewhere).await.unwrap(), 0, "nothing of it was kept");
    }

    async fn panics(database: &Database) -> Result<(), SqlError> {
        transact!(database.write, |conn| {
            let insert = diesel::sql_query("INSERT INTO __diesel_schema_migrations (version) VALUES ('half')");
            RunQueryDsl::execute(insert, conn).await?;
            panic!("in the middle of a transaction")
        })
    }

    async fn writes(database: &Database) -> Result<usize, SqlError> {
        let delete = diesel::sql_query("DELETE FROM __diesel_schema_migrations WHERE version = 'half'");
        Ok(on!(database.write, |conn| delete.execute(conn))?)
    }
}
