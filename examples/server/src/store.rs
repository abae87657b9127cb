//! The store that the settings name: opened, brought up to date, copied.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aihub_core::{Clock, ErrorKind, KeyStore, SystemClock};
use aihub_storage::redis::{KeyPush, Options, PushingKeys, Redis, RedisKeys};
use aihub_storage::{Database, Migrate, OpenSettings, PoolSettings, Stores};
use secrecy::ExposeSecret as _;

use crate::Stop;
use crate::settings::{self, Settings, SettingsError};

/// Opens the store that is named, and no other.
pub(crate) async fn open(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Stores, SettingsError> {
    let migrate = if settings.store.migrate { Migrate::Run } else { Migrate::Check };
    opened(settings, migrate, clock).await
}

/// Opens the store that is named, as `migrate` says.
pub(crate) async fn opened(
    settings: &Settings,
    migrate: Migrate,
    clock: &Arc<dyn Clock>,
) -> Result<Stores, SettingsError> {
    let store = &settings.store;
    let pool = PoolSettings {
        connections: store.connections,
        acquire: Duration::from_millis(store.acquire_timeout_ms),
        statement: Duration::from_millis(store.statement_timeout_ms),
    };
    let opened = aihub_storage::open(&store.url, OpenSettings { pool, migrate }, Arc::clone(clock)).await;
    opened.map_err(|error| {
        let what_to_do = match error.kind() {
            ErrorKind::Unavailable if store.url.starts_with("sqlite:") && error.code() == "database_unusable" => {
                "; name a file in a folder that exists and may be written"
            }
            _ => "",
        };
        SettingsError(format!("the setting `store.url` (DATABASE_URL) is wrong: {error}{what_to_do}"))
    })
}

/// Keys with what replicas tell each other of them: whoever changes keys does it through this, the command line too,
/// or the other replicas would go on with what they share.
pub(crate) struct Shared {
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) redis: Option<Redis>,
    pub(crate) push: Option<KeyPush>,
}

impl Shared {
    /// `keys`, and Redis if a setting names it. Telling stands above sharing: a replica that is told before a row is
    /// taken out would read the old one again.
    pub(crate) async fn over(mut keys: Arc<dyn KeyStore>, settings: &Settings) -> Result<Self, SettingsError> {
        let Some(redis) = redis(&settings.redis).await? else { return Ok(Self { keys, redis: None, push: None }) };
        if settings.redis.cache_keys {
            keys = Arc::new(RedisKeys::new(keys, redis.clone()));
        }
        let push = KeyPush::new(redis.clone());
        keys = Arc::new(PushingKeys::new(keys, push.clone()));
        Ok(Self { keys, redis: Some(redis), push: Some(push) })
    }
}

/// One that is away is no reason not to start, nor not to revoke a key: what holds without it holds from the start.
async fn redis(settings: &settings::Redis) -> Result<Option<Redis>, SettingsError> {
    let Some(url) = &settings.url else { return Ok(None) };
    let wrong = |error| SettingsError(format!("the setting `redis.url` (REDIS_URL) is wrong: {error}"));
    let deadline = Duration::from_millis(settings.deadline_ms);
    let options = Options::default().with_prefix(&settings.prefix).with_deadline(deadline);
    match options.clone().open(url.expose_secret()).await {
        Ok(redis) => Ok(Some(redis)),
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            tracing::warn!(%error, "Redis does not answer; going on without it until it does");
            options.open_lazily(url.expose_secret()).map(Some).map_err(wrong)
        }
        Err(error) => Err(wrong(error)),
    }
}

/// `aihub migrate`.
pub(crate) async fn migrate(settings: &Settings) -> Result<(), Stop> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let stores = opened(settings, Migrate::Run, &clock).await?;
    println!("the tables of {} are those of this version", shown(stores.database.as_ref()));
    Ok(())
}

/// `aihub backup`.
pub(crate) async fn backup(settings: &Settings, to: &Path) -> Result<(), Stop> {
    let Some(file) = file(settings) else {
        let message = "`aihub backup` copies SQLite files: for another store use what comes with it, such as pg_dump";
        return Err(SettingsError(message.to_owned()).into());
    };
    aihub_storage::sql::backup(&file, to).await?;
    println!("{} is a copy of {}", to.display(), file.display());
    println!("Without the secret that keys are hashed under (`keys.pepper_file`) none of them is found: keep both.");
    Ok(())
}

/// The SQLite file, if it is one.
pub(crate) fn file(settings: &Settings) -> Option<PathBuf> {
    let name = settings.store.url.strip_prefix("sqlite:")?;
    Some(PathBuf::from(name.strip_prefix("//").unwrap_or(name)))
}

/// Where things are kept, without a secret.
pub(crate) fn shown(database: Option<&Database>) -> String {
    database.map_or_else(|| "memory".to_owned(), ToString::to_string)
}
