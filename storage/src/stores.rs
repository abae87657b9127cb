//! Opening whatever a URL names.

use std::path::Path;
use std::sync::Arc;

use aihub_core::{Clock, Error, KeyStore, QuotaPolicy, RateStore, Result};

use crate::memory::{MemoryKeys, MemoryQuota, MemoryRates};

/// What is remembered, by port. No trait over them all: who needs one of them takes that one.
#[derive(Debug, Clone)]
pub struct Stores {
    /// API keys, where the URL says. Not cached: see [`CachedKeys`](crate::CachedKeys).
    pub keys: Arc<dyn KeyStore>,
    /// Quotas. In memory, whichever the URL: they count from the start of the process.
    pub quota: Arc<dyn QuotaPolicy>,
    /// Rates. In memory, whichever the URL.
    pub rates: Arc<dyn RateStore>,
}

/// Opens what `url` names: `memory:`, or `sqlite://FILE` (`sqlite://aihub.db` beside the working
/// folder, `sqlite:///var/lib/aihub/aihub.db` from the root), made and brought up to date if need be.
///
/// # Errors
///
/// [`Invalid`](aihub_core::ErrorKind::Invalid) for a URL that names nothing this build can open:
/// another database is never put in its place. [`Unavailable`](aihub_core::ErrorKind::Unavailable)
/// when the database cannot be used, with the reason. No message repeats a URL, which may hold a
/// password.
pub async fn open(url: &str, clock: Arc<dyn Clock>) -> Result<Stores> {
    Ok(Stores { keys: keys(url).await?, quota: Arc::new(MemoryQuota::new()), rates: Arc::new(MemoryRates::new(clock)) })
}

const KNOWN: &str = "`memory:` or `sqlite://FILE`";

async fn keys(url: &str) -> Result<Arc<dyn KeyStore>> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(wrong(format!("a store is named by a URL: {KNOWN}")));
    };
    match scheme {
        "memory" if rest.is_empty() || rest == "//" => Ok(Arc::new(MemoryKeys::new())),
        "memory" => Err(wrong("a store in memory has no name: write `memory:`")),
        "sqlite" => sqlite(file(rest)?).await,
        "postgres" | "postgresql" => Err(wrong(format!(
            "this build cannot speak to Postgres yet, and does not keep the data elsewhere instead: use {KNOWN}"
        ))),
        // Only what looks like a scheme is repeated: a URL written wrongly may start with a secret.
        other if other.len() <= 16 && other.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'+') => {
            Err(wrong(format!("there is no kind of store named `{other}`: use {KNOWN}")))
        }
        _ => Err(wrong(format!("a store is named by a URL: {KNOWN}"))),
    }
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

#[cfg(feature = "sqlite")]
async fn sqlite(file: &Path) -> Result<Arc<dyn KeyStore>> {
    let database = crate::sql::Database::sqlite(file).await?;
    Ok(Arc::new(crate::sql::SqlKeys::new(database)))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_: &Path) -> std::future::Ready<Result<Arc<dyn KeyStore>>> {
    std::future::ready(Err(wrong("this build has no SQLite: build it with the feature `sqlite`, or use `memory:`")))
}

fn wrong(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::invalid("database_url", message).with_code("database_url")
}
