//! Databases: every query is written once, as plain diesel, for whichever database there is.
//!
//! `connection` knows which databases exist and expands a query for each of them; `values` are
//! column types with a form in each; `schema` is the tables. The other modules know none by name.
//! Functions generic over the connection were refused: each would need bounds longer than its query.

mod analytics;
mod books;
mod bulk;
mod connection;
mod feed;
mod idempotency;
mod key;
mod migrate;
mod notify;
#[cfg(feature = "postgres")]
mod postgres;
mod schema;
#[cfg(feature = "secrets")]
mod secret;
#[cfg(feature = "sqlite")]
mod sqlite;
mod terms;
mod usage;
mod values;

pub use books::{Check, SqlBooks};
pub use connection::{Database, PoolSettings};
pub use feed::SqlFeed;
pub use idempotency::SqlIdempotency;
pub use key::SqlKeys;
pub use migrate::Migrate;
#[cfg(feature = "postgres")]
pub use postgres::KeyWatch;
#[cfg(feature = "secrets")]
pub use secret::{SqlRows, SqlSecrets};
#[cfg(feature = "sqlite")]
pub use sqlite::{backup, verify};
pub use terms::SqlTerms;
pub use usage::SqlUsage;

use aihub_core::{Error, ErrorKind};
use diesel::result::DatabaseErrorKind;
use diesel_async::pooled_connection::deadpool::PoolError;

/// What can go wrong with a query.
#[derive(Debug, thiserror::Error)]
enum SqlError {
    #[error("no connection to the database")]
    Connection(#[from] PoolError),
    #[error("the database refused the query")]
    Query(#[from] diesel::result::Error),
    #[cfg(feature = "postgres")]
    #[error("the database has not answered for {0:?}")]
    Silent(std::time::Duration),
    #[error("the work on the database did not end")]
    Stopped(#[from] tokio::task::JoinError),
    #[error("{0}")]
    Ours(Error),
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        use diesel::result::Error as Query;
        match error {
            SqlError::Ours(error) => error,
            SqlError::Query(Query::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
                Self::new(ErrorKind::Conflict, "This is there already").with_source(error)
            }
            // Another row would be read just as badly: nothing to try again, somebody has to look.
            SqlError::Query(
                Query::DeserializationError(_) | Query::SerializationError(_) | Query::QueryBuilderError(_),
            ) => Self::new(ErrorKind::Internal, "A stored row could not be read: ask the operator")
                .with_alert()
                .with_source(error),
            // Full, damaged, read-only, without a table …: it answers, and somebody has to look.
            SqlError::Query(Query::DatabaseError(ref kind, _)) if !gone(*kind) => {
                Self::new(ErrorKind::Unavailable, "The database failed at this: try again later")
                    .with_alert()
                    .with_source(error)
            }
            error => {
                Self::new(ErrorKind::Unavailable, "The database does not answer: try again later").with_source(error)
            }
        }
    }
}

fn gone(kind: DatabaseErrorKind) -> bool {
    matches!(kind, DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection)
}
