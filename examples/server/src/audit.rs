//! `aihub audit`.

use aihub_core::{Clock as _, SystemClock};
use aihub_storage::{Migrate, SqlBooks};

use crate::settings::{Settings, SettingsError};
use crate::{Stop, store};

/// Rows that are printed of one check.
const SHOWN: usize = 20;

/// Checks the books, and prints what is off.
pub(crate) async fn run(settings: &Settings) -> Result<(), Stop> {
    let clock = std::sync::Arc::new(SystemClock::new());
    let now = clock.now();
    let stores = store::opened(settings, Migrate::Check, &(clock as _)).await?;
    let Some(database) = stores.database else {
        let message = "the setting `store.url` (DATABASE_URL) is `memory:`, whose books nobody else can read";
        return Err(SettingsError(message.to_owned()).into());
    };
    let mut off = 0;
    for check in SqlBooks::new(database).audit(now).await? {
        println!("{:<5} {}", if check.drift.is_empty() { "ok" } else { "DRIFT" }, check.name);
        for row in check.drift.iter().take(SHOWN) {
            println!("      {row}");
        }
        if check.drift.len() > SHOWN {
            println!("      … and {} more", check.drift.len() - SHOWN);
        }
        off += check.drift.len();
    }
    if off == 0 { Ok(()) } else { Err(Stop::Drift(off)) }
}
