//! Logs.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::settings::{Log, LogFormat, SettingsError};

/// Starts logging to standard error: standard output belongs to what a command was asked for.
pub(crate) fn start(settings: &Log) -> Result<(), SettingsError> {
    let filter = EnvFilter::try_new(&settings.filter).map_err(|error| {
        SettingsError(format!("the setting `log.filter` = {:?} is wrong: {error}", settings.filter))
    })?;
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A line that cannot be written, such as to a file on a full disk, would be reported to the same place, and that
    // panics: the call that logged it would end without an answer.
    let lines = lines.log_internal_errors(false);
    match settings.format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
