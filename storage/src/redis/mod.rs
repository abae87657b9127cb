//! What replicas share through Redis: counts of rates, news of changed keys, and keys.
//!
//! Nothing here is the truth about anything that has to last: a Redis that loses all it holds costs a
//! burst of each subject and some questions to the database, and never lets a revoked key in.
//!
//! | when Redis is down, slow or full | then |
//! |---|---|
//! | [`RedisRates`] | refuses with [`Unavailable`](ErrorKind::Unavailable), within the deadline |
//! | [`KeyPush`], [`PushingKeys`] | the change stands; other replicas see it within their own second |
//! | [`RedisKeys`] | asks the store behind it; a revocation waits a second before it is acknowledged |
//!
//! [`Redis`] is one connection that all of them share. How they stand above each other:
//!
//! ```text
//! CachedKeys          remembers for less than a second; KeyPush::listen tells it to forget
//!   PushingKeys       tells the others, once everything below has seen the change
//!     RedisKeys       what another replica has loaded already
//!       SqlKeys       the truth
//! ```
//!
//! `PushingKeys` below `RedisKeys` is wrong: a replica that is told first asks again at once, and gets
//! from Redis the row that has not been taken out yet.
//!
//! One server or one primary behind a name, Redis 5 or later. Redis Cluster is not spoken: its
//! redirections are errors here, and count as Redis being down.

mod connection;
mod key_cache;
mod key_push;
mod options;
mod rate;
mod row;

pub use connection::Redis;
pub use key_cache::RedisKeys;
pub use key_push::{KeyPush, Listening, PushingKeys};
pub use options::Options;
pub use rate::RedisRates;

use std::sync::Arc;
use std::time::Duration;

use aihub_core::{Error, ErrorKind};
use redis::{RedisError, ServerErrorKind};

/// What can go wrong with Redis. Texts are the server's or the system's, without the password.
#[derive(Debug, Clone, thiserror::Error)]
enum Failure {
    #[error("Redis did not answer within {0:?}")]
    Slow(Duration),
    #[error("no connection to Redis: {0}")]
    Unreachable(Arc<str>),
    #[error("Redis refused the user or the password")]
    Login,
    #[error("Redis answered with an error: {0}")]
    Answer(Arc<str>),
    /// As [`Failure::Answer`], by a server that will not serve this connection any better later.
    #[error("Redis does not take writes here: {0}")]
    Replica(Arc<str>),
}

impl Failure {
    /// What `error` is. No text may hold `password`: a server that does not know a command repeats it
    /// with its arguments.
    fn of(error: &RedisError, password: Option<&str>) -> Self {
        let mut text = error.to_string();
        if let Some(password) = password.filter(|password| !password.is_empty()) {
            text = text.replace(password, "…");
        }
        let login = ["NOAUTH", "WRONGPASS"];
        match error.kind() {
            redis::ErrorKind::AuthenticationFailed => Self::Login,
            _ if error.code().is_some_and(|code| login.contains(&code)) => Self::Login,
            redis::ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => {
                Self::Replica(text.into())
            }
            redis::ErrorKind::Server(_) | redis::ErrorKind::Extension => Self::Answer(text.into()),
            _ => Self::Unreachable(text.into()),
        }
    }

    /// Whether the same connection may serve the next call.
    fn leaves_connection(&self) -> bool {
        match self {
            Self::Answer(_) => true,
            Self::Slow(_) | Self::Unreachable(_) | Self::Login | Self::Replica(_) => false,
        }
    }
}

/// Whether the store behind has perhaps changed a key: also where it failed, unless it says that it could
/// not be done.
fn may_have_changed<T>(changed: &aihub_core::Result<T>) -> bool {
    let not_done = [ErrorKind::NotFound, ErrorKind::Conflict, ErrorKind::Invalid];
    changed.as_ref().map_or_else(|error| !not_done.contains(&error.kind()), |_| true)
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let error = Self::new(ErrorKind::Unavailable, "A shared store does not answer: try again later")
            .with_retry_after(Duration::from_secs(1));
        let error = if matches!(failure, Failure::Login) { error.with_alert() } else { error };
        error.with_source(failure)
    }
}
