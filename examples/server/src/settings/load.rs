//! Reading settings, and saying in one line what is wrong with them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::value::{Dict, Value};
use figment::{Figment, Source};

use super::Settings;

pub(crate) const DEFAULTS: &str = include_str!("../../config.default.toml");

/// Variables that mean the same everywhere, and the setting that each of them is.
const WELL_KNOWN: [(&str, &str); 3] = [
    ("DATABASE_URL", "store.url"),
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
    if std::env::var("REDIS_URL").is_ok_and(|url| !url.is_empty()) {
        return Err(SettingsError("REDIS_URL is set, but this build keeps no state in Redis: unset it".to_owned()));
    }
    figment = figment.merge(Env::prefixed("AIHUB_").split("__"));
    figment.extract().map_err(|error| explain(&figment, &error, &known))
}

/// Whether `address` is the one that provider `name` has by default.
pub(crate) fn is_default_address(name: &str, address: &str) -> bool {
    let default = Figment::from(Toml::string(DEFAULTS)).extract_inner::<String>(&format!("providers.{name}.base_url"));
    default.is_ok_and(|default| default == address)
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
    found.extend(["keys.pepper".to_owned(), "providers.openrouter.api_keys_file".to_owned()]);
    if let Ok(dict) = figment.extract::<Dict>() {
        walk("", &dict, &mut found);
    }
    found
}

fn explain(figment: &Figment, error: &figment::Error, known: &BTreeSet<String>) -> SettingsError {
    let mut path = error.path.join(".");
    let source = error.metadata.as_ref().map(|metadata| match &metadata.source {
        Some(Source::File(file)) => file.display().to_string(),
        _ => metadata.name.to_string(),
    });
    let from = source.map(|name| format!(" (set by {name})")).unwrap_or_default();
    if let Kind::UnknownField(field, _) = &error.kind {
        if error.path.last().map(String::as_str) != Some(field) {
            path = [error.path.clone(), vec![field.clone()]].concat().join(".");
        }
        let value = shown(figment, &path);
        let nearest =
            known.iter().max_by(|a, b| strsim::jaro_winkler(a, &path).total_cmp(&strsim::jaro_winkler(b, &path)));
        let hint = nearest.map(|name| format!("; the nearest is `{name}`")).unwrap_or_default();
        return SettingsError(format!("there is no setting `{path}`{value}{from}{hint}"));
    }
    let value = shown(figment, &path);
    SettingsError(format!("the setting `{path}`{value}{from} is wrong: {}", error.kind))
}

/// The value of a setting, unless it could be a secret.
fn shown(figment: &Figment, path: &str) -> String {
    let secret = ["key", "pepper", "secret", "password", "token", "url"].iter().any(|word| path.contains(word));
    match figment.find_value(path) {
        Ok(_) if secret => " = …".to_owned(),
        Ok(Value::Dict(..)) | Err(_) => String::new(),
        Ok(value) => serde_json::to_string(&value).map_or_else(|_| String::new(), |text| format!(" = {text}")),
    }
}
