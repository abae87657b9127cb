//! Reading settings: defaults, file and environment over each other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::value::{Dict, Value};

use super::explain::explain;
use super::{Settings, check};

pub(crate) const DEFAULTS: &str = include_str!("../../config.default.toml");

/// Variables of this name that are not the server's: what this repository's suites and their clients
/// read may stand in the same environment; and whatever `AIHUB_TEST_…` says of the servers they run against.
const OF_TOOLS: [&str; 6] = ["api_key", "base_url", "free_key", "vendors_bin", "vendors_url", "wire_samples"];

/// Variables that mean the same everywhere, and the setting that each of them is.
pub(super) const WELL_KNOWN: [(&str, &str); 4] = [
    ("DATABASE_URL", "store.url"),
    ("REDIS_URL", "redis.url"),
    ("OPENROUTER_API_KEY", "providers.openrouter.api_keys"),
    ("GEMINI_API_KEY", "providers.gemini.api_keys"),
];

/// A setting that stops the start: which one, where it was set, and what would be right.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SettingsError(pub(crate) String);

/// Reads the defaults, `file` and the environment over each other.
pub(crate) fn load(file: Option<&Path>) -> Result<Settings, SettingsError> {
    let mut figment = Figment::from(Toml::string(DEFAULTS));
    let known = keys(&figment);
    if let Some(file) = file {
        if !file.is_file() {
            return Err(SettingsError(format!("--config {}: there is no such file", file.display())));
        }
        figment = figment.merge(Toml::file_exact(PathBuf::from(file)));
    }
    for (variable, setting) in WELL_KNOWN {
        // Read as text: a key of digits only is no number.
        if let Ok(value) = std::env::var(variable)
            && !value.is_empty()
        {
            figment = figment.merge(Serialized::default(setting, value));
        }
    }
    let ours = Env::prefixed("AIHUB_").filter(|name| !name.starts_with("test_")).ignore(&OF_TOOLS);
    figment = figment.merge(ours.split("__"));
    let settings = figment.extract().map_err(|error| explain(&figment, &error, &known))?;
    check::settings(&settings)?;
    Ok(settings)
}

/// Whether `value` is what `setting` is by default.
pub(crate) fn is_default(setting: &str, value: &str) -> bool {
    default::<String>(setting).is_some_and(|default| default == value)
}

/// What `setting` is by default.
pub(crate) fn default<T: serde::de::DeserializeOwned>(setting: &str) -> Option<T> {
    Figment::from(Toml::string(DEFAULTS)).extract_inner(setting).ok()
}

/// Every setting that there is, as a path with dots.
fn keys(figment: &Figment) -> BTreeSet<String> {
    fn walk(prefix: &str, dict: &Dict, into: &mut BTreeSet<String>) {
        for (name, value) in dict {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            if let Value::Dict(_, inner) = value {
                walk(&path, inner, into);
            }
            into.insert(path);
        }
    }
    let mut found: BTreeSet<_> = WELL_KNOWN.iter().map(|(_, setting)| (*setting).to_owned()).collect();
    found.extend(["keys.pepper", "secrets.keys", "providers.openrouter.api_keys_file"].map(str::to_owned));
    if let Ok(dict) = figment.extract::<Dict>() {
        walk("", &dict, &mut found);
    }
    found
}
