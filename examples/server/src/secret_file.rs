//! Files that hold secrets of this server: beside the database, made once, readable by their owner only.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::settings::Settings;
use crate::store;

/// `FILE.ending` of a database that is a SQLite file.
pub(crate) fn beside_database(settings: &Settings, ending: &str) -> Option<PathBuf> {
    let mut name = store::file(settings)?.into_os_string();
    name.push(format!(".{ending}"));
    Some(name.into())
}

/// What `file` says; `None` where there is none.
pub(crate) fn read(file: &Path) -> std::io::Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the file as a whole or not at all, and gives back what it says: when another process was faster, its
/// file stands.
pub(crate) fn make(file: &Path, text: &str) -> std::io::Result<String> {
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
        Ok(()) => Ok(text.to_owned()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => std::fs::read_to_string(file),
        Err(error) => Err(error),
    }
}
