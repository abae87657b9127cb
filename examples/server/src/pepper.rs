//! The secret under which keys are hashed: from the environment, or from a file beside the database.

use std::path::PathBuf;

use aihub_core::Pepper;
use rand::RngExt as _;
use secrecy::ExposeSecret as _;

use crate::settings::{Settings, SettingsError};
use crate::{Stop, secret_file};

/// Reads the pepper; makes its file where there is none yet.
pub(crate) fn read(settings: &Settings) -> Result<Pepper, Stop> {
    if let Some(secret) = &settings.keys.pepper {
        let pepper = Pepper::new(secret.expose_secret().as_bytes());
        return pepper.map_err(|error| SettingsError(format!("the setting `keys.pepper` is wrong: {error}")).into());
    }
    let Some(file) = file(settings) else {
        if settings.store.url.starts_with("memory:") {
            // Keys in memory are gone with the process, and so may be what they were hashed under.
            return Ok(Pepper::random());
        }
        let message = "keys in Postgres are hashed under a secret that every replica needs: set AIHUB_KEYS__PEPPER (at \
                       least 32 characters, such as `openssl rand -hex 32` prints), or `keys.pepper_file`";
        return Err(SettingsError(message.to_owned()).into());
    };
    let wrong = |error: &dyn std::fmt::Display| {
        let file = file.display();
        SettingsError(format!("the setting `keys.pepper_file` names {file}, which cannot be used: {error}"))
    };
    let text = match secret_file::read(&file).map_err(|error| wrong(&error))? {
        Some(text) => text,
        None => secret_file::make(&file, &fresh()).map_err(|error| wrong(&error))?,
    };
    let pepper = Pepper::new(text.trim().as_bytes());
    pepper.map_err(|error| wrong(&error).into())
}

fn file(settings: &Settings) -> Option<PathBuf> {
    if settings.keys.pepper_file.is_empty() {
        return secret_file::beside_database(settings, "pepper");
    }
    Some(PathBuf::from(&settings.keys.pepper_file))
}

fn fresh() -> String {
    let secret: [u8; 32] = rand::rng().random();
    let mut text = String::with_capacity(64);
    for byte in secret {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
    }
    text
}
