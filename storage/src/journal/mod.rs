//! A [`Journal`] in files: what is written survives the process.
//!
//! # On disk
//!
//! A folder holds `node` (who writes here, for good), `lock` (held while somebody does) and segments, whose names are
//! their numbers. A segment has a head (`segment.rs`) and entries (`entry.rs`) up to its end. A process that opens the
//! folder begins a segment of its own: nobody ever writes behind what another one left. Segments are as large as
//! [`JournalSettings::segment_bytes`], and their room is taken when they are made, so that a full disk is found out before
//! a call is admitted and not when it ends.
//!
//! # What holds
//!
//! - An entry is in the hands of the operating system when it was written: it survives the process, whatever ends it.
//!   With [`Durability::Disk`] whoever writes also waits until the disk has it, together with all others who wait.
//! - What a killed process left half written at the end is cut. Damage anywhere else is not read over: opening fails and
//!   says where it is ([`Broken`]).
//! - [`admit`](aihub_core::Journal::admit) refuses when the disk is full, or the journal is as large as it may be. The
//!   room for the ends of calls that were admitted is set aside.
//! - A write that fails is never tried again in the same file. What could not be written is kept in memory, nothing is
//!   admitted, and a new segment is begun with it as soon as one can be.
//!
//! A SQLite file of its own was refused. It is as durable, but whoever writes has to hand over to the thread that owns it
//! and be woken again, twice in every call (`bench-storage --only journal` runs both).

mod backlog;
mod entry;
mod reader;
mod recovery;
mod scan;
mod segment;
mod shipper;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use aihub_core::journal::Position;
use aihub_core::journal::{Progress, Written, unavailable};
use aihub_core::quota::Window;
use aihub_core::{Clock, Error, ErrorKind, Journal, Result, UsageRecord};
use uuid::Uuid;

pub use crate::sink::Durability;
use backlog::Mending;
pub use entry::{Entry, Settled};
pub use reader::Reader;
pub use recovery::{Recovered, Unsettled};
pub use scan::Broken;
pub use shipper::Shipper;
use writer::Writer;

/// How a journal is kept.
#[derive(Debug, Clone)]
pub struct JournalSettings {
    /// The folder, made if it is not there; on a disk that stays with whoever is to recover it.
    pub folder: PathBuf,
    /// Bytes of a segment; default 64 MiB, about 100 000 calls.
    pub segment_bytes: u64,
    /// Bytes of all segments together at most; default 4 GiB. Reached only while nobody takes the journal over.
    pub most_bytes: u64,
    /// When an entry counts as written.
    pub durability: Durability,
}

impl JournalSettings {
    /// A journal in `folder`, with the defaults.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), segment_bytes: 64 << 20, most_bytes: 4 << 30, durability: Durability::Process }
    }
}

/// The journal of one process. Clones are the same.
#[derive(Debug, Clone)]
pub struct FileJournal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    node: Uuid,
    run: Uuid,
    begins_at: u64,
    durability: Durability,
    writer: Writer,
    mending: Mending,
    /// Admitted calls that have not ended.
    open: AtomicU64,
    /// Held for as long as this process writes here.
    _lock: File,
}

/// Bytes that are set aside for the end of a call.
const ROOM: u64 = 4_096;

/// After which time it is worth asking again.
const AGAIN: Duration = Duration::from_secs(1);

impl FileJournal {
    /// Opens the journal for this process alone, and says what earlier ones left.
    ///
    /// Reads all that is there once, which takes seconds where there are gigabytes. Starts a task on the current runtime,
    /// which keeps a segment in reserve.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) when another process has it, the disk refuses, or what is there cannot be
    /// trusted: [`Broken`] says where, and is the source.
    pub async fn open(settings: JournalSettings, clock: &dyn Clock) -> Result<(Self, Recovered)> {
        let run = *aihub_core::CallId::new(clock.now()).as_uuid();
        let shown = settings.folder.display().to_string();
        let opened = tokio::task::spawn_blocking(move || Shared::open(settings, run)).await;
        let (shared, recovered) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(unusable(&shown, &error.to_string(), error)),
            Err(error) => return Err(unusable(&shown, "the opening did not end", error)),
        };
        let shared = Arc::new(shared);
        backlog::keep_well(&shared);
        Ok((Self(shared), recovered))
    }

    /// Who writes here, for good.
    pub fn node(&self) -> Uuid {
        self.0.node
    }

    /// This process.
    pub fn run(&self) -> Uuid {
        self.0.run
    }

    /// The segment with which this process began.
    pub fn begins_at(&self) -> u64 {
        self.0.begins_at
    }

    /// Where the last entry ends: everything before it can be read.
    pub fn end(&self) -> Position {
        self.0.writer.end()
    }

    /// Reads from `position` on.
    pub fn read(&self, position: Position) -> Reader {
        Reader::new(self.0.folder.clone(), position)
    }

    /// Whether a call would be admitted.
    pub fn has_room(&self) -> bool {
        !self.0.mending.is_needed() && self.0.writer.left() >= (self.open_calls() + 1).saturating_mul(ROOM)
    }

    /// How many admitted calls have not ended.
    pub fn open_calls(&self) -> u64 {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Ends a call of an earlier process: what is said of it is `record`, and `held_by` that process.
    pub fn recover(&self, record: &UsageRecord, held_by: Uuid) -> Written {
        self.0.end_with(entry::settled(record, &[], Some(held_by)))
    }

    /// Deletes the segments before the one of this number. Idempotent.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub fn trim(&self, before: u64) -> io::Result<()> {
        self.0.writer.trim(&self.0.folder, before)
    }
}

impl Shared {
    fn open(
        settings: JournalSettings,
        run: Uuid,
    ) -> Result<(Self, Recovered), Box<dyn std::error::Error + Send + Sync>> {
        let JournalSettings { folder, segment_bytes, most_bytes, durability } = settings;
        std::fs::create_dir_all(&folder)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(folder.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::Error(error) => error,
            std::fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another process writes it")
            }
        })?;
        let node = node(&folder, run)?;
        let (recovered, begins_at) = recovery::recover(&folder)?;
        let writer = Writer::open(&folder, run, begins_at, segment_bytes, most_bytes)?;
        let (mending, open) = (Mending::default(), AtomicU64::new(0));
        Ok((Self { folder, node, run, begins_at, durability, writer, mending, open, _lock: lock }, recovered))
    }

    /// Writes the end of a call, or keeps it until it can be written.
    fn end_with(self: &Arc<Self>, entry: Vec<u8>) -> Written {
        if self.mending.is_needed() {
            return self.mending.keep(entry);
        }
        match self.writer.append(&self.folder, &entry) {
            Ok(()) => self.durable(),
            Err(error) => {
                tracing::error!(%error, folder = %self.folder.display(), "the journal cannot be written: nothing more is admitted");
                self.mending.keep(entry)
            }
        }
    }

    /// What to wait for until the disk has what was written up to now.
    fn durable(self: &Arc<Self>) -> Written {
        match self.durability {
            Durability::Process => None,
            Durability::Disk => Some(self.writer.synced(Arc::clone(self))),
        }
    }
}

impl Journal for FileJournal {
    fn admit(&self) -> Result<()> {
        let open = self.0.open.fetch_add(1, Ordering::AcqRel) + 1;
        if !self.0.mending.is_needed() && self.0.writer.left() >= open.saturating_mul(ROOM) {
            return Ok(());
        }
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.mending.wake();
        Err(unavailable(AGAIN))
    }

    fn dispatched(&self, draft: &UsageRecord) -> Result<Written> {
        let entry = entry::dispatched(draft);
        let aside = self.0.open.load(Ordering::Acquire).saturating_mul(ROOM);
        if self.0.mending.is_needed() || self.0.writer.left() < aside.saturating_add(entry.len() as u64) {
            return Err(unavailable(AGAIN));
        }
        match self.0.writer.append(&self.0.folder, &entry) {
            Ok(()) => Ok(self.0.durable()),
            Err(error) => {
                self.0.mending.need();
                Err(unavailable(AGAIN).with_source(error))
            }
        }
    }

    fn progressed(&self, mark: &Progress) {
        let entry = entry::progressed(mark);
        let aside = self.0.open.load(Ordering::Acquire).saturating_mul(ROOM);
        if !self.0.mending.is_needed()
            && self.0.writer.left() >= aside.saturating_add(entry.len() as u64)
            && let Err(error) = self.0.writer.append(&self.0.folder, &entry)
        {
            tracing::warn!(%error, call = %mark.call, "how far an answer has come could not be written down");
            self.0.mending.need();
        }
    }

    fn settled(&self, record: &UsageRecord, windows: &[Window]) -> Written {
        let written = self.0.end_with(entry::settled(record, windows, None));
        // One that was never admitted gives back no room of others.
        let _ = self.0.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| open.checked_sub(1));
        written
    }
}

/// Who writes in `folder`: made once, by the first who does.
fn node(folder: &Path, new: Uuid) -> io::Result<Uuid> {
    let path = folder.join("node");
    let mut text = String::new();
    match File::open(&path) {
        Ok(mut file) => {
            file.read_to_string(&mut text)?;
            let message = "its file `node` is damaged: restore it, or the calls that were not taken over are lost";
            text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, message))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let unfinished = folder.join("node.new");
            let mut file = File::create(&unfinished)?;
            writeln!(file, "{new}")?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)?;
            File::open(folder)?.sync_all()?;
            Ok(new)
        }
        Err(error) => Err(error),
    }
}

fn unusable(folder: &str, why: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Unavailable, format!("The journal {folder} cannot be used: {why}"))
        .with_code("journal_unusable")
        .with_alert()
        .with_source(source)
}
