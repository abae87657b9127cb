//! One line about a setting that cannot be read: its name, its value, where it was set, what is right.

use std::collections::BTreeSet;

use figment::error::Kind;
use figment::value::Value;
use figment::{Figment, Metadata, Source};

use super::SettingsError;
use super::load::WELL_KNOWN;

/// Names less alike than this are no typing errors of each other.
const ALIKE: f64 = 0.85;

pub(super) fn explain(figment: &Figment, error: &figment::Error, known: &BTreeSet<String>) -> SettingsError {
    let mut path = error.path.clone();
    if let Kind::UnknownField(field, _) = &error.kind
        && path.last() != Some(field)
    {
        path.push(field.clone());
    }
    let path = path.join(".");
    let from = origin(figment.find_metadata(&path).or(error.metadata.as_ref()), &path);
    let set = from.as_ref().map(|from| format!(" (set by {from})")).unwrap_or_default();
    if path.is_empty() {
        let from = from.unwrap_or_else(|| "the settings".to_owned());
        return SettingsError(format!("{from} cannot be read: {}", right(&error.kind)));
    }
    if !matches!(error.kind, Kind::UnknownField(..)) {
        return SettingsError(format!(
            "the setting `{path}`{}{set} is wrong: {}",
            shown(figment, &path),
            right(&error.kind)
        ));
    }
    let hint = if path == "config" {
        "a file of settings is given by `--config FILE`".to_owned()
    } else {
        let alike = known.iter().map(|name| (strsim::jaro_winkler(name, &path), name));
        match alike.max_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((likeness, name)) if likeness >= ALIKE => format!("the nearest is `{name}`"),
            _ => "`aihub settings` shows all of them".to_owned(),
        }
    };
    SettingsError(format!("there is no setting `{path}`{}{set}; {hint}", shown(figment, &path)))
}

/// Where a setting comes from: a file, or the variable of its name.
fn origin(metadata: Option<&Metadata>, path: &str) -> Option<String> {
    let metadata = metadata?;
    Some(match &metadata.source {
        Some(Source::File(file)) => file.display().to_string(),
        Some(Source::Code(_)) => WELL_KNOWN.iter().find(|(_, setting)| *setting == path)?.0.to_owned(),
        _ if metadata.name.contains("environment") => format!("AIHUB_{}", path.replace('.', "__").to_uppercase()),
        _ => return None,
    })
}

/// What would be right, in one line and without the value, which may be a secret.
fn right(kind: &Kind) -> String {
    match kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => match expected.as_str() {
            "u32" | "u64" | "usize" => "it has to be a whole number that is not negative".to_owned(),
            "i64" => "it has to be a whole number".to_owned(),
            table if table.starts_with("struct") => "it has to be a table of settings".to_owned(),
            other => format!("it has to be {other}"),
        },
        Kind::UnknownVariant(_, all) => format!("it has to be one of {}", all.join(", ")),
        // A parser of TOML draws the line and points at the place: the words around the drawing say enough.
        Kind::Message(text) => {
            let words = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains('|'));
            words.collect::<Vec<_>>().join(": ")
        }
        other => other.to_string(),
    }
}

/// The value of a setting, unless it could be a secret. A small number is none.
fn shown(figment: &Figment, path: &str) -> String {
    let name = path.strip_prefix("keys.").unwrap_or(path);
    let secret = ["key", "pepper", "secret", "password", "token", "url"].iter().any(|word| name.contains(word));
    match figment.find_value(path) {
        Ok(Value::Dict(..)) | Err(_) => String::new(),
        Ok(value) if secret && value.to_u128().is_none_or(|number| number > u32::MAX.into()) => " = …".to_owned(),
        Ok(value) => serde_json::to_string(&value).map_or_else(|_| String::new(), |text| format!(" = {text}")),
    }
}
