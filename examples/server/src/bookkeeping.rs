//! What runs beside the calls so that the books are kept: the journal, its way into the books, and the slices of quotas.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aihub_analytics::{AlertWorker, LogAlerts};
use aihub_core::commerce::RunId;
use aihub_core::journal::Position;
use aihub_core::{BillingSink, Journal, QuotaPolicy};
use aihub_storage::journal::{FileJournal, JournalSettings, Recovered, Shipper};
use aihub_storage::lease::{LeasedQuota, Lender, Tick};
use aihub_storage::sink::{Durability, JsonLines, LastUse};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::parts::Parts;
use crate::settings::{self, Settings, SettingsError};
use crate::sinks::{self, Sinks};
use crate::{Stop, store};

/// How long to leave books or lenders alone that fail.
const PAUSE: Duration = Duration::from_secs(1);

/// Everything that keeps the books of this process.
#[derive(Debug)]
pub(crate) struct Bookkeeping {
    journal: FileJournal,
    quota: LeasedQuota,
    lender: Arc<dyn Lender>,
    shipping: JoinHandle<()>,
    ticking: JoinHandle<()>,
    sinks: Option<Sinks>,
    alerting: JoinHandle<()>,
    stop: CancellationToken,
    /// Where the journal is with `memory:`, which forgets everything.
    _folder: Option<TempDir>,
}

impl Bookkeeping {
    /// Opens the journal, settles what an earlier process left open, and starts.
    pub(crate) async fn start(settings: &Settings, parts: &Parts) -> Result<Self, Stop> {
        let sinks = sinks::made(settings, parts).await?;
        let (folder, temporary) = folder(settings)?;
        let wrong = |error: aihub_core::Error| {
            SettingsError(format!("the setting `journal.folder` = {} is wrong: {error}", folder.display()))
        };
        let opened = FileJournal::open(journal_settings(&settings.journal, &folder), &*parts.clock).await;
        let (journal, recovered) = opened.map_err(wrong)?;
        let mut shipper = Shipper::new(journal.clone(), Arc::clone(&parts.books), Arc::clone(&parts.clock)).await?;
        shipper = shipper.keeping_earlier();
        for copy in copies(settings, parts).await? {
            shipper = shipper.with_copy(copy);
        }
        let before = settle_open(&journal, &recovered);
        let stop = CancellationToken::new();
        let shipping = Shipping { shipper, lender: Arc::clone(&parts.lender), before, stop: stop.clone() };
        let (lender, clock) = (Arc::clone(&parts.lender), Arc::clone(&parts.clock));
        let quota = LeasedQuota::new(lender, clock, journal.run(), journal.node());
        let alerts = AlertWorker::new(Arc::clone(&parts.alerts), Arc::new(LogAlerts), Arc::clone(&parts.clock));
        Ok(Self {
            shipping: tokio::spawn(shipping.run()),
            ticking: tokio::spawn(tick(quota.clone(), stop.clone())),
            sinks: Sinks::start(sinks, parts, journal.node()),
            alerting: tokio::spawn(alerts.run(stop.clone())),
            journal,
            quota,
            lender: Arc::clone(&parts.lender),
            stop,
            _folder: temporary,
        })
    }

    pub(crate) fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(self.journal.clone())
    }

    pub(crate) fn file(&self) -> FileJournal {
        self.journal.clone()
    }

    pub(crate) fn quota(&self) -> Arc<dyn QuotaPolicy> {
        Arc::new(self.quota.clone())
    }

    /// Waits until what was written is in the books, and gives back what was borrowed; no longer than `within`. What is
    /// left is in the journal, and the next start goes on with it.
    pub(crate) async fn stop(self, within: Duration) {
        let all = async {
            // Calls whose callers are gone may still be on their way to the end. One that takes longer is left to the next
            // start, and must not take the time in which the others are booked.
            let ended = async {
                while self.journal.open_calls() > 0 {
                    tokio::time::sleep(Shipper::IDLE).await;
                }
            };
            drop(tokio::time::timeout(within / 2, ended).await);
            self.stop.cancel();
            drop(self.ticking.await);
            drop(self.alerting.await);
            drop(self.shipping.await);
            let mut given_back = self.quota.close().await;
            // What has not ended, or could not be written, the next start books first.
            if given_back.is_ok() && self.journal.open_calls() == 0 && self.journal.has_room() {
                // Also what was lent while the answer that it was got lost.
                given_back = self.lender.end(self.journal.run()).await;
            }
            if let Err(error) = given_back {
                tracing::warn!(%error, "what was borrowed of quotas is given back at the next start");
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!("not all that was written is in the books: the next start goes on with it");
        }
        // Last: what has just come into the books may still be delivered.
        if let Some(sinks) = self.sinks {
            sinks.stop().await;
        }
    }
}

/// What earlier processes left: calls, which are settled now as far as they had come, and what they had borrowed, which
/// goes back once the books have come to the position.
fn settle_open(journal: &FileJournal, recovered: &Recovered) -> (Vec<RunId>, Position) {
    for call in &recovered.unsettled {
        // Nobody waits for these: they are in the journal, and that is what counts.
        drop(journal.recover(&call.record(), call.run));
    }
    if !recovered.unsettled.is_empty() || recovered.torn_bytes > 0 {
        let (calls, torn_bytes) = (recovered.unsettled.len(), recovered.torn_bytes);
        tracing::warn!(
            calls,
            torn_bytes,
            "an earlier process was cut off: its open calls are settled as far as they had come"
        );
    }
    (recovered.runs.clone(), journal.end())
}

/// Carries the journal into the books.
struct Shipping {
    shipper: Shipper,
    lender: Arc<dyn Lender>,
    before: (Vec<RunId>, Position),
    stop: CancellationToken,
}

impl Shipping {
    async fn run(mut self) {
        loop {
            let pause = match self.shipper.tick().await {
                Ok(calls) if calls >= Shipper::STRETCH => continue,
                // What gathers meanwhile goes in one transaction.
                Ok(_) => Shipper::IDLE,
                Err(error) => {
                    tracing::warn!(?error, "the journal could not be taken over into the books; trying again");
                    PAUSE
                }
            };
            if self.shipper.reached() >= self.before.1 {
                self.end_earlier().await;
            }
            if self.stop.is_cancelled() && self.shipper.is_done() {
                return;
            }
            tokio::select! {
                () = self.stop.cancelled(), if !self.stop.is_cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// What earlier processes have used is in the books: the rest of what they had borrowed goes back.
    async fn end_earlier(&mut self) {
        while let Some(run) = self.before.0.last() {
            if let Err(error) = self.lender.end(*run).await {
                tracing::warn!(?error, "what an earlier process had borrowed could not be given back; trying again");
                return;
            }
            self.before.0.pop();
        }
        self.shipper.forget_earlier();
    }
}

async fn tick(quota: LeasedQuota, stop: CancellationToken) {
    let mut away = false;
    while !stop.is_cancelled() {
        let ticked = quota.tick().await;
        if let Err(error) = &ticked
            && !away
        {
            tracing::warn!(?error, "the store of quotas does not answer: calls go on with what was borrowed");
        }
        away = ticked.is_err();
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(if away { PAUSE } else { Tick::EVERY }) => {}
        }
    }
}

fn journal_settings(settings: &settings::Journal, folder: &Path) -> JournalSettings {
    JournalSettings {
        folder: folder.to_owned(),
        segment_bytes: settings.segment_mib << 20,
        most_bytes: settings.most_mib << 20,
        durability: settings.durability.into(),
    }
}

impl From<settings::Durability> for Durability {
    fn from(durability: settings::Durability) -> Self {
        match durability {
            settings::Durability::Process => Self::Process,
            settings::Durability::Disk => Self::Disk,
        }
    }
}

fn folder(settings: &Settings) -> Result<(PathBuf, Option<TempDir>), Stop> {
    if !settings.journal.folder.is_empty() {
        return Ok((PathBuf::from(&settings.journal.folder), None));
    }
    if let Some(file) = store::file(settings) {
        let mut name = file.into_os_string();
        name.push(".journal");
        return Ok((name.into(), None));
    }
    if settings.store.url.starts_with("memory:") {
        let made = tempfile::tempdir();
        let made =
            made.map_err(|error| Stop::Io { what: "a folder for the journal could not be made".to_owned(), error })?;
        return Ok((made.path().join("journal"), Some(made)));
    }
    Ok((PathBuf::from("aihub.journal"), None))
}

/// Who else is told of every record.
async fn copies(settings: &Settings, parts: &Parts) -> Result<Vec<Arc<dyn BillingSink>>, SettingsError> {
    let mut copies: Vec<Arc<dyn BillingSink>> = Vec::new();
    if !settings.store.usage_file.is_empty() {
        let file = JsonLines::open(&settings.store.usage_file, Durability::Process).await;
        let wrong = |error| SettingsError(format!("the setting `store.usage_file` is wrong: {error}"));
        copies.push(Arc::new(file.map_err(wrong)?));
    }
    copies.push(Arc::new(LastUse::new(Arc::clone(&parts.keys), Arc::clone(&parts.clock))));
    Ok(copies)
}
