//! The secret under which keys are hashed: from the environment, or from a file beside the database.

use std::path::PathBuf;

use aihub_core::Pepper;
use aihub_storage::{Database, SqlKeys};
use rand::RngExt as _;
use secrecy::ExposeSecret as _;

use crate::settings::{Settings, SettingsError};
use crate::{Stop, secret_file, store};

/// Reads the pepper under which the keys in `database` are hashed; makes its file where no key is kept yet.
///
/// Only then, and never for Postgres: another pepper hides that the right one is lost, since no key is found any more.
pub(crate) async fn read(settings: &Settings, database: Option<&Database>) -> Result<Pepper, Stop> {
    if let Some(secret) = &settings.keys.pepper {
        let pepper = Pepper::new(secret.expose_secret().as_bytes());
        return pepper.map_err(|error| SettingsError(format!("the setting `keys.pepper` is wrong: {error}")).into());
    }
    // Keys in memory are gone with the process, and so may be what they were hashed under.
    let Some(file) = file(settings) else { return Ok(Pepper::random()) };
    let wrong = |error: &dyn std::fmt::Display| {
        let file = file.display();
        SettingsError(format!("the setting `keys.pepper_file` names {file}, which cannot be used: {error}"))
    };
    let text = match (secret_file::read(&file).map_err(|error| wrong(&error))?, database) {
        (Some(text), _) => text,
        (None, Some(_)) if store::file(settings).is_none() => {
            return Err(wrong(
                &"it is not there. Every replica needs the same: put it there, such as `openssl rand -hex 32` prints",
            )
            .into());
        }
        (None, Some(database)) if !SqlKeys::new(database.clone()).is_empty().await? => {
            return Err(wrong(&"it is gone, and the keys that are kept were hashed under it: put it back").into());
        }
        (None, _) => secret_file::make(&file, &fresh()).map_err(|error| wrong(&error))?,
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
