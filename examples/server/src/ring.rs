//! The master keys of secrets: from the environment, from a file that is named, or from one beside the database.

use std::path::Path;

use aihub_storage::KeyRing;
use aihub_storage::secret::{KeyVersion, SealedRows};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use crate::settings::{Settings, SettingsError};
use crate::{Stop, secret_file};

/// Reads the master keys of what is in `rows`; where nothing is there yet, makes the file beside a SQLite
/// database with the first one.
///
/// Only that file, and only then: replicas that each make a file of their own could not read each other's
/// secrets, and a new key for old secrets hides that the old one is lost.
pub(crate) async fn read(settings: &Settings, rows: &impl SealedRows) -> Result<KeyRing, Stop> {
    // Before the file is looked for: secrets of a process that makes it in this moment come after it.
    let kept = rows.count().await?;
    if let Some(ring) = given(settings)? {
        return Ok(ring);
    }
    let Some(file) = secret_file::beside_database(settings, "secrets") else {
        let message = "secrets in Postgres are under master keys that every replica needs: set AIHUB_SECRETS__KEYS \
                       (`aihub secrets new-key` prints one), or `secrets.keys_file`";
        return Err(SettingsError(message.to_owned()).into());
    };
    if kept > 0 {
        let message = format!(
            "secrets are kept ({kept}), and {}, which held their master keys, is gone: put it back, or set \
             AIHUB_SECRETS__KEYS",
            file.display()
        );
        return Err(SettingsError(message).into());
    }
    let entry = KeyRing::fresh_entry(1);
    let first = Zeroizing::new(format!("{}\n", entry.expose_secret()));
    let text = secret_file::make(&file, &first).map_err(|error| unusable(&file, &error))?;
    Ok(parse(&file, &Zeroizing::new(text))?)
}

/// A fresh entry for the ring, one version after the newest.
pub(crate) fn next_entry(settings: &Settings) -> Result<SecretString, Stop> {
    let next = match given(settings)? {
        None => 1,
        Some(ring) => ring.newest().checked_add(1).ok_or_else(|| {
            SettingsError(format!("there is no version after {}: number the master keys anew", KeyVersion::MAX))
        })?,
    };
    Ok(KeyRing::fresh_entry(next))
}

/// The master keys that are there, wherever that is.
fn given(settings: &Settings) -> Result<Option<KeyRing>, SettingsError> {
    let secrets = &settings.secrets;
    if let Some(keys) = &secrets.keys {
        return check(keys).map(Some);
    }
    let named = !secrets.keys_file.is_empty();
    let file =
        if named { Some(secrets.keys_file.as_str().into()) } else { secret_file::beside_database(settings, "secrets") };
    let Some(file) = file else { return Ok(None) };
    match secret_file::read(&file).map_err(|error| unusable(&file, &error))? {
        Some(text) => parse(&file, &Zeroizing::new(text)).map(Some),
        None if named => {
            Err(unusable(&file, &"there is no such file; `aihub secrets new-key` prints what belongs into it"))
        }
        None => Ok(None),
    }
}

/// The master keys of the setting `secrets.keys`.
pub(crate) fn check(keys: &SecretString) -> Result<KeyRing, SettingsError> {
    KeyRing::parse(keys.expose_secret())
        .map_err(|error| SettingsError(format!("the setting `secrets.keys` (AIHUB_SECRETS__KEYS) is wrong: {error}")))
}

fn parse(file: &Path, text: &str) -> Result<KeyRing, SettingsError> {
    KeyRing::parse(text).map_err(|error| unusable(file, &error))
}

fn unusable(file: &Path, error: &dyn std::fmt::Display) -> SettingsError {
    SettingsError(format!("the master keys of secrets in {} cannot be used: {error}", file.display()))
}
