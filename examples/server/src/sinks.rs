//! The sinks of the settings, each of which gets every record from the books, at its own pace.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aihub_core::{AccountId, BillingSink, Clock, Feed, Timestamp};
use aihub_storage::sink::{
    Deliveries, DeliverySettings, Durability, HttpSettings, HttpSink, JsonLines, NatsSettings, NatsSink, Reach,
    StripeMeasure, StripeSettings, StripeSink,
};
use aihub_storage::sql::SqlFeed;
use secrecy::SecretString;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::parts::Parts;
use crate::settings::{self, Measure, Secrets, Settings, SettingsError, Sink};

/// How often it is said which sinks are behind, and how old the oldest record has to be for that.
const TELL: Duration = Duration::from_mins(1);

/// How long a delivery may go on when all the rest has stopped: what it does not end comes again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sinks that are ready, by name.
pub(crate) type Made = Vec<(Arc<str>, Arc<dyn BillingSink>)>;

/// Deliveries that run.
#[derive(Debug)]
pub(crate) struct Sinks {
    deliveries: Deliveries,
    telling: JoinHandle<()>,
}

/// Makes all sinks, or says which setting is in the way.
pub(crate) async fn made(settings: &Settings, parts: &Parts) -> Result<Made, SettingsError> {
    let mut sinks = made_but_files(settings, parts).await?;
    for (name, sink) in &settings.sinks {
        let Sink::File { path, durability } = sink else { continue };
        let file = JsonLines::open(path, Durability::from(*durability)).await;
        sinks.push((Arc::from(&**name), Arc::new(file.map_err(|error| wrong(name, error))?)));
    }
    Ok(sinks)
}

/// What [`made`] does, without opening the files: those are for the process that serves alone.
pub(crate) async fn made_but_files(settings: &Settings, parts: &Parts) -> Result<Made, SettingsError> {
    let mut sinks = Made::new();
    for (name, sink) in &settings.sinks {
        if parts.database.is_none() {
            let right =
                "the store is `memory:`, and forgets what a sink has not taken yet: name a database in `store.url`";
            return Err(wrong(name, right));
        }
        let clock = Arc::clone(&parts.clock);
        let sink: Arc<dyn BillingSink> = match sink {
            Sink::File { .. } => continue,
            Sink::Http { url, secrets, secrets_file, reach } => {
                let mut all = secrets.clone().unwrap_or_default().0;
                all.extend(listed(secrets_file.as_ref()).map_err(|error| wrong(name, error))?);
                let mut all = all.into_iter();
                let first = all.next().ok_or_else(|| wrong(name, missing(name, "secrets")))?;
                let mut settings = HttpSettings::new(url, first);
                settings.secrets.extend(all);
                settings.reach = (*reach).into();
                Arc::new(HttpSink::new(&settings, clock).map_err(|error| wrong(name, error))?)
            }
            Sink::Stripe { key, key_file, event_name, measure, customers, base_url, reach } => {
                let key = one(name, "key", key.as_ref(), key_file.as_ref())?;
                let mut settings = StripeSettings::new(key, event_name, (*measure).into());
                settings.base_url = base_url.clone().unwrap_or(settings.base_url);
                settings.reach = (*reach).into();
                let customers: HashMap<AccountId, Arc<str>> =
                    customers.iter().map(|(account, customer)| (*account, Arc::from(&**customer))).collect();
                let customer = Arc::new(move |account| customers.get(&account).cloned());
                Arc::new(StripeSink::new(&settings, customer, clock).map_err(|error| wrong(name, error))?)
            }
            Sink::Nats { url, url_file, subject } => {
                let url = one(name, "url", url.as_ref(), url_file.as_ref())?;
                let mut settings = NatsSettings::new(url);
                settings.subject = subject.clone().unwrap_or(settings.subject);
                Arc::new(NatsSink::open(&settings).await.map_err(|error| wrong(name, error))?)
            }
        };
        sinks.push((Arc::from(&**name), sink));
    }
    Ok(sinks)
}

impl Sinks {
    /// Begins to deliver, in the name of the journal of this node; nothing where there is nothing to deliver to.
    pub(crate) fn start(sinks: Made, parts: &Parts, node: Uuid) -> Option<Self> {
        let database = parts.database.clone().filter(|_| !sinks.is_empty())?;
        let feed: Arc<dyn Feed> = Arc::new(SqlFeed::new(database, Arc::clone(&parts.clock), node));
        let names = sinks.iter().map(|(name, _)| Arc::clone(name)).collect();
        let telling = tokio::spawn(tell(Arc::clone(&feed), names, Arc::clone(&parts.clock)));
        let deliveries = Deliveries::start(feed, sinks, &parts.clock, &DeliverySettings::default());
        Some(Self { deliveries, telling })
    }

    /// Ends in good order; the next start goes on where this one has come to.
    pub(crate) async fn stop(self) {
        self.telling.abort();
        self.deliveries.stop(PATIENCE).await;
    }
}

/// Says which sinks are behind. Readiness does not depend on it: a receiver that is away is no reason to sell nothing.
async fn tell(feed: Arc<dyn Feed>, sinks: Vec<Arc<str>>, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(TELL).await;
        for sink in &sinks {
            match feed.lag(sink).await {
                Ok(lag) if lag.since.is_some_and(|since| is_late(since, clock.now())) => {
                    let since = lag.since.map(tracing::field::display);
                    tracing::warn!(%sink, records = lag.records, since, "a sink is behind: its records wait for it");
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%sink, %error, "it cannot be told how far a sink is behind"),
            }
        }
    }
}

fn is_late(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since).unsigned_abs() > TELL && since < now
}

/// The secrets of a file, one in a line.
fn listed(file: Option<&PathBuf>) -> Result<Vec<SecretString>, String> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    Ok(Secrets::split(&text, '\n').0)
}

/// The one secret that `field` is, or its file holds.
fn one(
    name: &str,
    field: &str,
    set: Option<&SecretString>,
    file: Option<&PathBuf>,
) -> Result<SecretString, SettingsError> {
    let mut found = listed(file).map_err(|error| wrong(name, error))?;
    found.extend(set.cloned());
    match <[SecretString; 1]>::try_from(found) {
        Ok([secret]) => Ok(secret),
        Err(none) if none.is_empty() => Err(wrong(name, missing(name, field))),
        Err(_) => Err(wrong(name, format!("`{field}` is one, and not several: set it, or name a file with one line"))),
    }
}

fn missing(name: &str, field: &str) -> String {
    let variable = format!("AIHUB_SINKS__{}__{}", name.to_uppercase(), field.to_uppercase());
    format!("its `{field}` is missing: set {variable}, or name a file in `{field}_file`")
}

fn wrong(name: &str, why: impl std::fmt::Display) -> SettingsError {
    SettingsError(format!("the setting `sinks.{name}` is wrong: {why}"))
}

impl From<settings::Reach> for Reach {
    fn from(reach: settings::Reach) -> Self {
        match reach {
            settings::Reach::Public => Self::Public,
            settings::Reach::Private => Self::Private,
            settings::Reach::Loopback => Self::Loopback,
        }
    }
}

impl From<Measure> for StripeMeasure {
    fn from(measure: Measure) -> Self {
        match measure {
            Measure::Calls => Self::Calls,
            Measure::Tokens => Self::Tokens,
            Measure::Charge(currency) => Self::Charge(currency),
        }
    }
}
