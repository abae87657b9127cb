//! Settings in, parts out: everything that `stack.rs` puts in order.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::commerce::{Alerts, Books, Standings, UsageQuery};
use aihub_core::model::FixedCatalogue;
use aihub_core::{
    Catalogue, Clock, Departures, Drains, KeyStore, Pepper, Plan, Plans, Provider, RateStore, SystemClock, Timestamp,
};
use aihub_layers::Providers;
use aihub_providers::UpstreamSettings;
use aihub_providers::catalogue::{self, Entry, Vendor};
use aihub_providers::gemini::{Gemini, GeminiSettings};
use aihub_providers::openai::OpenAi;
use aihub_providers::openrouter::OpenRouter;
use aihub_storage::lease::Lender;
use aihub_storage::redis::{Listening, Redis, RedisRates};
use aihub_storage::sql::KeyWatch;
use aihub_storage::{CachedKeys, Database};

use crate::idempotency::Idempotency;
use crate::settings::{self, Secrets, Settings, SettingsError, check};
use crate::store::{self, Shared};
use crate::{Stop, pepper};

/// Everything that the server is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) clock: Arc<dyn Clock>,
    /// What the store is called.
    pub(crate) store: String,
    /// The database behind it; `None` in memory.
    pub(crate) database: Option<Database>,
    pub(crate) keys: Arc<dyn KeyStore>,
    /// What replicas share, where there is such a thing.
    pub(crate) redis: Option<Redis>,
    /// Hear of keys that other replicas change: from the database, and from Redis.
    _watching: (Option<KeyWatch>, Option<Listening>),
    pub(crate) pepper: Pepper,
    pub(crate) plans: Arc<Plans>,
    pub(crate) books: Arc<dyn Books>,
    pub(crate) usage: Arc<dyn UsageQuery>,
    pub(crate) standings: Arc<dyn Standings>,
    pub(crate) alerts: Arc<dyn Alerts>,
    pub(crate) lender: Arc<dyn Lender>,
    pub(crate) rates: Arc<dyn RateStore>,
    pub(crate) idempotency: Idempotency,
    pub(crate) providers: Arc<Providers>,
    pub(crate) catalogue: Arc<dyn Catalogue>,
    /// What is done when callers leave.
    pub(crate) departures: Departures,
    /// The calls that run on without them.
    pub(crate) drains: Drains,
}

impl Parts {
    /// Opens and makes them all, or says which setting is in the way.
    pub(crate) async fn new(settings: &Settings) -> Result<Self, Stop> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let plans: Plans =
            settings.plans.iter().map(|(name, plan)| Plan { name: name.clone(), ..plan.clone() }).collect();
        let (providers, vendors) = providers(settings, &clock)?;
        let (catalogue, departures) = models(settings, &vendors, clock.now())?;
        let stores = store::open(settings, &clock).await?;
        let pepper = pepper::read(settings, stores.database.as_ref()).await?;
        let Shared { keys, redis, push } = Shared::over(stores.keys, settings).await?;
        let keys = Arc::new(CachedKeys::new(keys, Arc::clone(&clock)));
        let heard = push.map(|push| push.listen(Arc::clone(&keys)));
        let told = stores.database.as_ref().and_then(|database| database.watch_keys(Arc::clone(&keys)));
        let rates = redis.clone().map(|redis| Arc::new(RedisRates::new(redis)) as Arc<dyn RateStore>);
        Ok(Self {
            _watching: (told, heard),
            keys,
            redis,
            pepper,
            store: store::shown(stores.database.as_ref()),
            database: stores.database,
            plans: Arc::new(plans),
            books: stores.books,
            usage: stores.usage,
            standings: stores.standings,
            alerts: stores.alerts,
            lender: stores.lender,
            rates: rates.unwrap_or(stores.rates),
            idempotency: Idempotency::new(stores.idempotency, &clock, settings),
            providers: Arc::new(providers.into_iter().collect()),
            catalogue: Arc::new(catalogue),
            departures,
            drains: Drains::default(),
            clock,
        })
    }
}

type Enabled = (Vec<Arc<dyn Provider>>, Vec<(Arc<str>, Vendor)>);

/// The providers that have a key.
pub(crate) fn providers(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Enabled, Stop> {
    let mut enabled: Enabled = Default::default();
    for (name, provider) in &settings.providers {
        let wrong = |what: String| SettingsError(format!("the setting `providers.{name}` is wrong: {what}"));
        let keys = keys_of(provider).map_err(wrong)?;
        if keys.0.is_empty() {
            if settings::is_default(&format!("providers.{name}.base_url"), &provider.base_url) {
                continue;
            }
            let message = format!("`base_url` is set, but there is no key for it: set `providers.{name}.api_keys`");
            return Err(wrong(message).into());
        }
        let mut upstream = UpstreamSettings::new(&provider.base_url, keys.0);
        upstream.connect_timeout = Duration::from_millis(settings.upstream.connect_timeout_ms);
        upstream.idle_timeout = Duration::from_millis(settings.upstream.idle_timeout_ms);
        let clock = Arc::clone(clock);
        let made: Result<Arc<dyn Provider>, _> = match provider.kind {
            Vendor::OpenRouter => OpenRouter::new(name, &upstream, clock).map(|p| Arc::new(p) as _),
            Vendor::Gemini => {
                let mut settings = GeminiSettings::new(Vec::new());
                settings.name.clone_from(name);
                settings.upstream = upstream;
                Gemini::new(settings, clock).map(|p| Arc::new(p) as _)
            }
            Vendor::OpenAi => OpenAi::new(name, &upstream, clock).map(|p| Arc::new(p) as _),
            other => return Err(wrong(format!("no provider of kind `{other}` is built in")).into()),
        };
        enabled.0.push(made.map_err(|error| wrong(error.to_string()))?);
        enabled.1.push((Arc::from(&**name), provider.kind));
    }
    Ok(enabled)
}

fn keys_of(provider: &settings::Provider) -> Result<Secrets, String> {
    let mut keys = provider.api_keys.clone().unwrap_or_default();
    if let Some(file) = &provider.api_keys_file {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("`api_keys_file` {} cannot be read: {error}", file.display()))?;
        keys.0.extend(Secrets::split(&text, '\n').0);
    }
    if keys.0.is_empty() && (provider.api_keys.is_some() || provider.api_keys_file.is_some()) {
        return Err("its `api_keys` or `api_keys_file` is set, and holds no key".to_owned());
    }
    Ok(keys)
}

/// The shipped models under those of the operator's file, whose text this is.
pub(crate) fn entries(settings: &Settings, file: Option<&str>) -> Result<Vec<Entry>, Stop> {
    let mut entries = catalogue::shipped()?;
    if let Some(text) = file {
        let own = catalogue::read(text).map_err(|error| {
            SettingsError(format!("the setting `catalogue.file` = {:?} is wrong: {error}", settings.catalogue.file))
        })?;
        entries.retain(|entry| own.iter().all(|over| over.id != entry.id));
        entries.extend(own);
    }
    Ok(entries)
}

/// What the enabled providers sell, and what is done when their callers leave.
pub(crate) fn models(
    settings: &Settings,
    vendors: &[(Arc<str>, Vendor)],
    at: Timestamp,
) -> Result<(FixedCatalogue, Departures), Stop> {
    let over = &settings.catalogue;
    let wrong = |what: String| SettingsError(format!("the setting `catalogue.file` = {:?} {what}", over.file));
    let text = match &*over.file {
        "" => None,
        file => Some(std::fs::read_to_string(file).map_err(|error| wrong(format!("cannot be read: {error}")))?),
    };
    let entries = entries(settings, text.as_deref())?;
    check::offers(&entries, vendors)?;
    let mut models = Vec::with_capacity(entries.len());
    for entry in &entries {
        if let Some(mut model) = entry.model(vendors, at).map_err(|error| wrong(format!("is wrong: {error}")))? {
            model.fallbacks = over.fallbacks.get(&*model.id).cloned().unwrap_or_default();
            models.push(model);
        }
    }
    let aliases: Vec<_> = over.aliases.iter().map(|(alias, id)| (alias.clone(), id.clone())).collect();
    let sold = FixedCatalogue::new(models, &aliases);
    check::models(settings, &entries, &sold)?;
    Ok((sold, check::departures(settings, &entries, at)?))
}
