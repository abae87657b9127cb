//! Settings in, parts out: everything that `stack.rs` puts in order.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::model::FixedCatalogue;
use aihub_core::{Catalogue, Clock, KeyStore, Pepper, Plan, Plans, Provider, QuotaPolicy, RateStore, SystemClock};
use aihub_layers::Providers;
use aihub_providers::UpstreamSettings;
use aihub_providers::catalogue::{self, Vendor};
use aihub_providers::gemini::{Gemini, GeminiSettings};
use aihub_providers::openai::OpenAi;
use aihub_providers::openrouter::OpenRouter;
use aihub_storage::CachedKeys;

use crate::settings::{self, Secrets, Settings, SettingsError};
use crate::{Stop, pepper};

/// Everything that the server is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) pepper: Pepper,
    pub(crate) plans: Arc<Plans>,
    pub(crate) quota: Arc<dyn QuotaPolicy>,
    pub(crate) rates: Arc<dyn RateStore>,
    pub(crate) providers: Arc<Providers>,
    pub(crate) catalogue: Arc<dyn Catalogue>,
}

impl Parts {
    /// Opens and makes them all, or says which setting is in the way.
    pub(crate) async fn new(settings: &Settings) -> Result<Self, Stop> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let plans: Plans =
            settings.plans.iter().map(|(name, plan)| Plan { name: name.clone(), ..plan.clone() }).collect();
        if plans.get(&settings.keys.default_plan).is_none() {
            let message = format!(
                "the setting `keys.default_plan` = {:?} names no plan; there are {}",
                settings.keys.default_plan,
                plans.names().join(", ")
            );
            return Err(SettingsError(message).into());
        }
        let (providers, vendors) = providers(settings, &clock)?;
        let catalogue = models(&settings.catalogue, &vendors)?;
        let stores = aihub_storage::open(&settings.store.url, Arc::clone(&clock)).await;
        let stores = stores.map_err(|error| match error.kind() {
            aihub_core::ErrorKind::Invalid => {
                SettingsError(format!("the setting `store.url` (DATABASE_URL) is wrong: {error}")).into()
            }
            _ => Stop::Failed(error),
        })?;
        Ok(Self {
            keys: Arc::new(CachedKeys::new(stores.keys, Arc::clone(&clock))),
            pepper: pepper::read(settings)?,
            plans: Arc::new(plans),
            quota: stores.quota,
            rates: stores.rates,
            providers: Arc::new(providers.into_iter().collect()),
            catalogue: Arc::new(catalogue),
            clock,
        })
    }
}

type Enabled = (Vec<Arc<dyn Provider>>, Vec<(Arc<str>, Vendor)>);

/// The providers that have a key.
fn providers(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Enabled, Stop> {
    let mut enabled: Enabled = Default::default();
    for (name, provider) in &settings.providers {
        let wrong = |what: String| SettingsError(format!("the setting `providers.{name}` is wrong: {what}"));
        let keys = keys_of(provider).map_err(wrong)?;
        if keys.0.is_empty() {
            if settings::is_default_address(name, &provider.base_url) {
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
    Ok(keys)
}

/// What the enabled providers sell.
fn models(settings: &settings::Catalogue, vendors: &[(Arc<str>, Vendor)]) -> Result<FixedCatalogue, Stop> {
    let wrong = |what: String| SettingsError(format!("the setting `catalogue.{what}"));
    let mut entries = catalogue::shipped()?;
    if !settings.file.is_empty() {
        let text = std::fs::read_to_string(&settings.file)
            .map_err(|error| wrong(format!("file` = {:?} cannot be read: {error}", settings.file)))?;
        let own =
            catalogue::read(&text).map_err(|error| wrong(format!("file` = {:?} is wrong: {error}", settings.file)))?;
        entries.retain(|entry| own.iter().all(|over| over.id != entry.id));
        entries.extend(own);
    }
    for (name, id) in settings
        .aliases
        .iter()
        .chain(settings.fallbacks.iter().flat_map(|(id, others)| std::iter::repeat(id).zip(others)))
    {
        if entries.iter().all(|entry| entry.id != *id) {
            return Err(wrong(format!(
                "aliases` or `catalogue.fallbacks` of {name:?} names {id:?}, which is no model"
            ))
            .into());
        }
    }
    let mut models = Vec::with_capacity(entries.len());
    for entry in &entries {
        if let Some(mut model) = entry.model(vendors)? {
            model.fallbacks = settings.fallbacks.get(&*model.id).cloned().unwrap_or_default();
            models.push(model);
        }
    }
    let aliases: Vec<_> = settings.aliases.iter().map(|(alias, id)| (alias.clone(), id.clone())).collect();
    Ok(FixedCatalogue::new(models, &aliases))
}
