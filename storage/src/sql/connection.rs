//! Which databases there are, and one query for all of them.
//!
//! A further database is one more variant of [`Connections`], one more arm in each of the two
//! macros, its values and its migrations; no query changes.

use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Manager, Object};
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolableConnection, RecyclingMethod, SetupCallback,
};
use tracing::Instrument as _;

use super::SqlError;

/// An open database. Cheap to clone: clones share the connections.
#[derive(Debug, Clone)]
pub struct Database {
    pub(super) read: Connections,
    pub(super) write: Connections,
    /// What it is called, without a secret.
    pub(super) shown: Arc<str>,
    /// Where news of changes come from, where the database carries any.
    #[cfg(feature = "postgres")]
    pub(super) server: Option<super::postgres::Server>,
}

/// Host and database, or the file; never a user or a password.
impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

/// A connection to Postgres.
#[cfg(feature = "postgres")]
pub(super) type Postgres = diesel_async::AsyncPgConnection;

/// A connection to SQLite, whose work is done by threads that may block.
#[cfg(feature = "sqlite")]
pub(super) type Sqlite = diesel_async::sync_connection_wrapper::SyncConnectionWrapper<diesel::SqliteConnection>;

/// Connections to one kind of database.
#[derive(Clone)]
pub(super) enum Connections {
    #[cfg(feature = "postgres")]
    Postgres(Pool<Postgres>, Duration),
    #[cfg(feature = "sqlite")]
    Sqlite(Pool<Sqlite>),
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(pool, _) => f.debug_tuple("Postgres").field(&pool.status()).finish(),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(pool) => f.debug_tuple("Sqlite").field(&pool.status()).finish(),
        }
    }
}

/// How many connections there are, and how long anybody waits for one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSettings {
    /// Connections to Postgres at most; default 16. Too few make callers queue; too many wear out the
    /// server, which has to serve every replica. SQLite has one that writes and four that read.
    pub connections: usize,
    /// The longest wait for a free connection, or for a new one; default 5 s. Too short refuses calls
    /// that a moment would have served; too long keeps callers waiting for a database that is gone.
    pub acquire: Duration,
    /// The longest that a statement may take, the wait for another one's lock included; default 10 s.
    pub statement: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { connections: 16, acquire: Duration::from_secs(5), statement: Duration::from_secs(10) }
    }
}

/// One statement, on whichever database there is. Dropped midway it is done as a whole, or not at all.
///
/// The work is a task of its own, which goes on when its caller leaves. Dropping a statement of
/// diesel-async's SQLite midway blocks the thread until it has ended, for as long as another process
/// holds the lock, and panics on a runtime of one thread; dropping one of Postgres costs the connection.
macro_rules! on {
    ($connections:expr, |$conn:ident| $query:expr) => {
        match &$connections {
            #[cfg(feature = "postgres")]
            $crate::sql::connection::Connections::Postgres(pool, patience) => {
                let (pool, patience) = (pool.clone(), *patience);
                $crate::sql::connection::finished($crate::sql::connection::within(patience, async move {
                    let mut held = $crate::sql::connection::Held::new(pool.get().await?);
                    let $conn = held.conn();
                    let done = $query.await;
                    held.release();
                    Ok(done)
                }))
                .await?
            }
            #[cfg(feature = "sqlite")]
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
/// fail instead. On Postgres it reads what is committed: what it read before it wrote, it has to lock.
macro_rules! transact {
    ($connections:expr, |$conn:ident| $body:expr) => {
        match &$connections {
            #[cfg(feature = "postgres")]
            $crate::sql::connection::Connections::Postgres(pool, patience) => {
                use diesel_async::AsyncConnection as _;
                let (pool, patience) = (pool.clone(), *patience);
                $crate::sql::connection::finished($crate::sql::connection::within(patience, async move {
                    let mut held = $crate::sql::connection::Held::new(pool.get().await?);
                    let done = held.conn().transaction::<_, $crate::sql::SqlError, _>(async |$conn| $body).await;
                    held.release();
                    done
                }))
                .await
            }
            #[cfg(feature = "sqlite")]
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

/// What comes of `work` in this time. A server that stopped answering is not waited for: its own
/// timeouts hold only as long as it runs.
#[cfg(feature = "postgres")]
pub(super) async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    tokio::time::timeout(patience, work).await.unwrap_or(Err(SqlError::Silent(patience)))
}

pub(super) use {on, transact};

/// A connection that goes back to the pool only when the work on it has ended.
///
/// Dropped midway, by a panic, a deadline or with the runtime, it is closed, and the database rolls back
/// at once. Giving it back instead leaves an open transaction with its locks in the pool, until
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

/// A pool of connections to `url`, each made by `setup` when it is needed.
pub(super) fn pool<C>(url: &str, size: usize, acquire: Duration, setup: SetupCallback<C>) -> Pool<C>
where
    C: PoolableConnection + Send + 'static,
    AsyncDieselConnectionManager<C>: Manager<Type = C>,
{
    let mut config = ManagerConfig::default();
    // The default asks the database a question at every checkout. A connection that is known to be closed
    // is not given out all the same, and one that turns out to be is a failed query, as it would be later.
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = setup;
    Pool::builder(AsyncDieselConnectionManager::new_with_config(url, config))
        .max_size(size)
        .wait_timeout(Some(acquire))
        .create_timeout(Some(acquire))
        .runtime(Runtime::Tokio1)
        .build()
        .expect("building fails only for timeouts without a runtime, and there is one")
}
