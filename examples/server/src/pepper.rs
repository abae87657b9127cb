//! The secret under which keys are hashed: from the environment, or from a file beside the database.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use aihub_core::Pepper;
use rand::RngExt as _;
use secrecy::ExposeSecret as _;

use crate::settings::{Settings, SettingsError};
use crate::{Stop, store};

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
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(&file).map_err(|error| wrong(&error))?,
        Err(error) => return Err(wrong(&error).into()),
    };
    let pepper = Pepper::new(text.trim().as_bytes());
    pepper.map_err(|error| wrong(&error).into())
}

fn file(settings: &Settings) -> Option<PathBuf> {
    if !settings.keys.pepper_file.is_empty() {
        return Some(PathBuf::from(&settings.keys.pepper_file));
    }
    let mut name = store::file(settings)?.into_os_string();
    name.push(".pepper");
    Some(name.into())
}

/// Makes the file as a whole or not at all; when another process was faster, its file stands.
fn make(file: &Path) -> std::io::Result<String> {
    let secret: [u8; 32] = rand::rng().random();
    let mut text = String::with_capacity(64);
    for byte in secret {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
    }
    let mut draft = file.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut open = options.open(&draft)?;
    open.write_all(text.as_bytes())?;
    open.sync_all()?;
    let linked = std::fs::hard_link(&draft, file);
    std::fs::remove_file(&draft)?;
    match linked {
        Ok(()) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => std::fs::read_to_string(file),
        Err(error) => Err(error),
    }
}
