//! Learning at once of keys that other processes change.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aihub_core::{KeyId, KeyStore};
use diesel_async::SimpleAsyncConnection as _;
use futures_util::StreamExt as _;
use rand::RngExt as _;
use tokio::task::JoinHandle;

use super::Server;
use crate::CachedKeys;
use crate::sql::connection::{Database, Postgres};
use crate::sql::notify::Channel;

/// How long nothing may be heard before the connection is asked whether it is still one.
const BEAT: Duration = Duration::from_secs(5);

/// The wait after a connection was lost, doubled up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(100);

/// The longest of these waits; each is taken in part, by chance, so that replicas do not return all at once.
const LONGEST: Duration = Duration::from_secs(5);

/// Hears of changed keys for as long as it is kept. See [`Database::watch_keys`].
#[derive(Debug)]
#[must_use = "dropped, nothing is heard any more"]
pub struct KeyWatch(JoinHandle<()>);

impl Drop for KeyWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Database {
    /// Makes `cached` forget every key that another process changes in this database, within milliseconds, for as
    /// long as what is given back is kept. On a connection of its own beside the pool.
    ///
    /// A hint, not the promise: the bound of [`CachedKeys`] holds without it. What was missed while the connection
    /// was away is made good by forgetting everything when it is back. `None` for a database that carries no news
    /// (SQLite), where only the bound holds between processes.
    pub fn watch_keys<K: KeyStore + ?Sized>(&self, cached: Arc<CachedKeys<K>>) -> Option<KeyWatch> {
        let server = self.server.clone()?;
        Some(KeyWatch(tokio::spawn(async move { watch(&server, &cached).await })))
    }
}

async fn watch<K: KeyStore + ?Sized>(server: &Server, cached: &CachedKeys<K>) {
    let mut wait = SHORTEST;
    loop {
        match listen(server).await {
            Ok(mut conn) => {
                // From here on changes are heard; those of before may have been missed.
                cached.forget_all();
                let begun = tokio::time::Instant::now();
                let why = hear(&mut conn, cached).await;
                // Only a connection that held: one that is cut again and again would make everything be forgotten as
                // often, and the database be asked for it.
                if begun.elapsed() >= LONGEST {
                    wait = SHORTEST;
                }
                tracing::warn!(why, "the connection that hears of changed keys was lost; connecting again");
            }
            Err(error) => tracing::warn!(%error, ?wait, "changed keys are not heard of at once; connecting again"),
        }
        let part = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(wait.mul_f64(part)).await;
        wait = (wait * 2).min(LONGEST);
    }
}

async fn listen(server: &Server) -> diesel::ConnectionResult<Postgres> {
    let mut conn = server.connect().await?;
    let listen = format!("LISTEN {}", Channel::Keys.name());
    conn.batch_execute(&listen).await.map_err(diesel::ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

/// Hears until the connection is no more; gives back how that showed.
async fn hear<K: KeyStore + ?Sized>(conn: &mut Postgres, cached: &CachedKeys<K>) -> String {
    loop {
        let heard = tokio::time::timeout(BEAT, pin!(conn.notifications_stream()).next()).await;
        match heard {
            Ok(Some(Ok(news))) => match news.payload.parse::<KeyId>() {
                Ok(id) => cached.forget(id),
                Err(_) => cached.forget_all(),
            },
            Ok(Some(Err(error))) => return error.to_string(),
            Ok(None) => return "it was closed".to_owned(),
            // Half of a connection can be gone without a sign.
            Err(_) => match tokio::time::timeout(BEAT, conn.batch_execute("SELECT 1")).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return format!("it has not answered for {BEAT:?}"),
            },
        }
    }
}
