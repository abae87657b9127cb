//! Opening whatever a URL names.

use std::path::Path;
use std::sync::Arc;

use aihub_core::{Clock, Error, IdempotencyStore, KeyStore, RateStore, Result};

use crate::memory::{MemoryIdempotency, MemoryKeys, MemoryRates};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::sql::{Database, Migrate, PoolSettings, SqlBooks, SqlIdempotency, SqlKeys, SqlUsage};

/// What is remembered, by port. No trait over them all: who needs one of them takes that one.
#[derive(Debug, Clone)]
pub struct Stores {
    /// API keys, where the URL says. Not cached: see [`CachedKeys`](crate::CachedKeys).
    pub keys: Arc<dyn KeyStore>,
    /// Usage, quotas and ledger, where the URL says.
    #[cfg(feature = "journal")]
    pub books: Arc<dyn aihub_core::commerce::Books>,
    /// What was used, for those who ask.
    #[cfg(feature = "journal")]
    pub usage: Arc<dyn aihub_core::commerce::UsageQuery>,
    /// How the windows of quotas stand.
    #[cfg(feature = "journal")]
    pub standings: Arc<dyn aihub_core::commerce::Standings>,
    /// Windows of which little is left.
    #[cfg(feature = "journal")]
    pub alerts: Arc<dyn aihub_core::commerce::Alerts>,
    /// Who lends slices of the quotas that the books count: see [`LeasedQuota`](crate::lease::LeasedQuota).
    #[cfg(feature = "journal")]
    pub lender: Arc<dyn crate::lease::Lender>,
    /// Rates. In memory, whichever the URL; for several replicas together see `RedisRates` (feature `redis`).
    pub rates: Arc<dyn RateStore>,
    /// Requests that may be sent again, where the URL says.
    pub idempotency: Arc<dyn IdempotencyStore>,
    /// The database behind the keys, for what else it keeps; `None` in memory.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub database: Option<Database>,
}

/// How [`open`] treats a database.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenSettings {
    /// Its connections.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub pool: PoolSettings,
    /// What to do with tables of an older version.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub migrate: Migrate,
}

/// Opens what `url` names: `memory:`, `sqlite://FILE` (`sqlite://aihub.db` beside the working folder,
/// `sqlite:///var/lib/aihub/aihub.db` from the root), made if need be, or
/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE` (`Database::postgres` says what may follow).
///
/// # Errors
///
/// [`Invalid`](aihub_core::ErrorKind::Invalid) for a URL that names nothing this build can open:
/// another database is never put in its place. [`Unavailable`](aihub_core::ErrorKind::Unavailable)
/// when the database cannot be used, with the reason. No message repeats a URL, which may hold a
/// password.
pub async fn open(url: &str, settings: OpenSettings, clock: Arc<dyn Clock>) -> Result<Stores> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(wrong(format!("a store is named by a URL: {KNOWN}")));
    };
    match scheme {
        "memory" if rest.is_empty() || rest == "//" => Ok(memory(clock)),
        "memory" => Err(wrong("a store in memory has no name: write `memory:`")),
        "sqlite" => {
            let file = file(rest)?;
            #[cfg(feature = "sqlite")]
            return Ok(kept(Database::sqlite(file, settings.pool, settings.migrate).await?, clock));
            #[cfg(not(feature = "sqlite"))]
            return Err(not_built((file, settings), "SQLite", "sqlite"));
        }
        "postgres" | "postgresql" => {
            #[cfg(feature = "postgres")]
            return Ok(kept(Database::postgres(url, settings.pool, settings.migrate).await?, clock));
            #[cfg(not(feature = "postgres"))]
            return Err(not_built(settings, "Postgres", "postgres"));
        }
        // Only what looks like a scheme is repeated: a URL written wrongly may start with a secret.
        other if other.len() <= 16 && other.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'+') => {
            Err(wrong(format!("there is no kind of store named `{other}`: use {KNOWN}")))
        }
        _ => Err(wrong(format!("a store is named by a URL: {KNOWN}"))),
    }
}

const KNOWN: &str = "`memory:`, `sqlite://FILE` or `postgres://USER:PASSWORD@HOST/DATABASE`";

fn memory(clock: Arc<dyn Clock>) -> Stores {
    #[cfg(feature = "journal")]
    let books = Arc::new(crate::memory::MemoryBooks::new());
    Stores {
        keys: Arc::new(MemoryKeys::new()),
        #[cfg(feature = "journal")]
        books: Arc::clone(&books) as _,
        #[cfg(feature = "journal")]
        usage: Arc::clone(&books) as _,
        #[cfg(feature = "journal")]
        standings: Arc::clone(&books) as _,
        #[cfg(feature = "journal")]
        alerts: Arc::clone(&books) as _,
        #[cfg(feature = "journal")]
        lender: books,
        rates: Arc::new(MemoryRates::new(clock)),
        idempotency: Arc::new(MemoryIdempotency::new()),
        #[cfg(any(feature = "postgres", feature = "sqlite"))]
        database: None,
    }
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn kept(database: Database, clock: Arc<dyn Clock>) -> Stores {
    let books = Arc::new(SqlBooks::new(database.clone()));
    Stores {
        keys: Arc::new(SqlKeys::new(database.clone())),
        books: Arc::clone(&books) as _,
        usage: Arc::new(SqlUsage::new(database.clone())),
        standings: Arc::clone(&books) as _,
        alerts: Arc::clone(&books) as _,
        lender: books,
        idempotency: Arc::new(SqlIdempotency::new(database.clone())),
        database: Some(database),
        ..memory(clock)
    }
}

/// Another database is never put in the place of one that is not built in.
#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
fn not_built<T>(_: T, name: &str, feature: &str) -> Error {
    wrong(format!(
        "this build cannot speak to {name}, and keeps nothing elsewhere instead: build it with the feature `{feature}`"
    ))
}

fn file(rest: &str) -> Result<&Path> {
    let name = rest.strip_prefix("//").unwrap_or(rest);
    let host = name.split('/').next().unwrap_or_default();
    if name.is_empty() {
        Err(wrong("the file is missing: write `sqlite://FILE`"))
    } else if name.starts_with(':') {
        // SQLite's own word gives every connection a database to itself.
        Err(wrong("a database in memory is `memory:`"))
    } else if host.contains(':') || host.contains('@') {
        Err(wrong("SQLite is a file, without host, port, user or password: write `sqlite://FILE`"))
    } else if name.contains(['?', '#']) {
        Err(wrong("a SQLite URL takes no options: write `sqlite://FILE`"))
    } else {
        Ok(Path::new(name))
    }
}

fn wrong(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::invalid("database_url", message).with_code("database_url")
}
