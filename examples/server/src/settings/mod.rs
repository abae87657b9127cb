//! Settings: embedded defaults (which are the manual), a file, the environment.

pub(crate) mod check;
mod departure;
mod explain;
mod load;
mod secret;
mod sink;
mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use aihub_core::Network;
use aihub_core::Plan;
use aihub_providers::catalogue::Vendor;
use secrecy::SecretString;
use serde::Deserialize;

pub(crate) use departure::Departure;
pub(crate) use load::{DEFAULTS, SettingsError, is_default, load};
pub(crate) use secret::Secrets;
pub(crate) use sink::{Measure, Reach, Sink};
use value::{networks, positive};

/// Everything that can be set; explained in `config.default.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) server: Server,
    pub(crate) store: Store,
    pub(crate) journal: Journal,
    pub(crate) redis: Redis,
    pub(crate) keys: Keys,
    pub(crate) secrets: MasterKeys,
    #[serde(default)]
    pub(crate) sinks: BTreeMap<String, Sink>,
    pub(crate) providers: BTreeMap<String, Provider>,
    pub(crate) upstream: Upstream,
    pub(crate) idempotency: Idempotency,
    pub(crate) catalogue: Catalogue,
    pub(crate) plans: BTreeMap<String, Plan>,
    pub(crate) log: Log,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) listen: SocketAddr,
    pub(crate) workers: usize,
    #[serde(deserialize_with = "positive")]
    pub(crate) max_body_bytes: usize,
    #[serde(deserialize_with = "positive")]
    pub(crate) body_timeout_s: u64,
    pub(crate) drain_timeout_s: u64,
    #[serde(deserialize_with = "positive")]
    pub(crate) write_timeout_s: u64,
    #[serde(deserialize_with = "positive")]
    pub(crate) max_calls_in_flight: usize,
    #[serde(deserialize_with = "positive")]
    pub(crate) max_calls_per_key: usize,
    #[serde(deserialize_with = "networks")]
    pub(crate) trusted_proxies: Vec<Network>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Store {
    pub(crate) url: StoreUrl,
    pub(crate) migrate: bool,
    #[serde(deserialize_with = "positive")]
    pub(crate) connections: usize,
    #[serde(deserialize_with = "positive")]
    pub(crate) acquire_timeout_ms: u64,
    #[serde(deserialize_with = "positive")]
    pub(crate) statement_timeout_ms: u64,
    pub(crate) usage_file: String,
}

/// Where a store is; it may hold a password, and is not shown.
#[derive(Deserialize)]
pub(crate) struct StoreUrl(String);

impl std::ops::Deref for StoreUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreUrl(…)")
    }
}

/// What is written down of calls until the books have it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Journal {
    pub(crate) folder: String,
    pub(crate) durability: Durability,
    #[serde(deserialize_with = "positive")]
    pub(crate) segment_mib: u64,
    #[serde(deserialize_with = "positive")]
    pub(crate) most_mib: u64,
}

/// When something counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    Process,
    Disk,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redis {
    /// With its password, which is why it is a secret.
    #[serde(default)]
    pub(crate) url: Option<SecretString>,
    pub(crate) prefix: String,
    #[serde(deserialize_with = "positive")]
    pub(crate) deadline_ms: u64,
    pub(crate) cache_keys: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    #[serde(default)]
    pub(crate) pepper: Option<SecretString>,
    pub(crate) pepper_file: String,
    pub(crate) default_plan: String,
    pub(crate) expire_after_days: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MasterKeys {
    #[serde(default)]
    pub(crate) keys: Option<SecretString>,
    pub(crate) keys_file: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    pub(crate) kind: Vendor,
    pub(crate) base_url: String,
    #[serde(default)]
    pub(crate) api_keys: Option<Secrets>,
    #[serde(default)]
    pub(crate) api_keys_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    #[serde(deserialize_with = "positive")]
    pub(crate) first_event_timeout_ms: u64,
    #[serde(deserialize_with = "positive")]
    pub(crate) answer_timeout_ms: u64,
    #[serde(deserialize_with = "positive")]
    pub(crate) connect_timeout_ms: u64,
    #[serde(deserialize_with = "positive")]
    pub(crate) idle_timeout_ms: u64,
    pub(crate) retries: u32,
    #[serde(deserialize_with = "positive")]
    pub(crate) breaker_failures: u32,
    #[serde(deserialize_with = "positive")]
    pub(crate) breaker_window_s: u64,
    #[serde(deserialize_with = "positive")]
    pub(crate) breaker_pause_s: u64,
    pub(crate) departures: Vec<Departure>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Idempotency {
    #[serde(deserialize_with = "positive")]
    pub(crate) keep_hours: u64,
    #[serde(deserialize_with = "positive")]
    pub(crate) max_answer_bytes: usize,
    #[serde(deserialize_with = "positive")]
    pub(crate) read_on_s: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Catalogue {
    pub(crate) file: String,
    pub(crate) default_model: String,
    pub(crate) aliases: BTreeMap<String, String>,
    pub(crate) fallbacks: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}
