//! Appending entries, one after the other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aihub_core::journal::Position;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use uuid::Uuid;

use super::segment::{self, HEAD, Head, Segment};

/// Writes on the thread that asks, under a lock that is held for one `pwrite` into the page cache, about a microsecond:
/// the kernel would keep one writer of a file waiting for the other anyway, and a thread that only writes would have to
/// be woken for every call.
#[derive(Debug)]
pub(super) struct Writer {
    run: Uuid,
    segment_bytes: u64,
    most_bytes: u64,
    active: Mutex<Active>,
    /// The number of the segment that is made next: no two are ever given the same name.
    number: AtomicU64,
    /// Bytes that can be written before a segment has to be made.
    left: AtomicU64,
    /// Entries written, and entries that the disk has.
    written: AtomicU64,
    synced: watch::Sender<u64>,
    syncing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Active {
    segment: Segment,
    /// Where the next entry goes.
    end: u64,
    spare: Option<Segment>,
    /// The segments that are there, oldest first; the last one is the active one.
    numbers: Vec<u64>,
    /// Rotated away, and perhaps not on the disk yet.
    unsynced: Vec<Arc<File>>,
}

impl Writer {
    /// Begins the segment `number`, behind those that are in `folder`.
    pub(super) fn open(folder: &Path, run: Uuid, number: u64, segment_bytes: u64, most_bytes: u64) -> io::Result<Self> {
        let segment = Segment::create(folder, Head { run, number }, segment_bytes)?;
        let numbers = segment::numbers(folder)?;
        let active = Active { segment, end: HEAD, spare: None, numbers, unsynced: Vec::new() };
        let left = AtomicU64::new(segment_bytes.saturating_sub(HEAD));
        Ok(Self {
            run,
            segment_bytes,
            most_bytes,
            active: Mutex::new(active),
            number: AtomicU64::new(number + 1),
            left,
            written: AtomicU64::new(0),
            synced: watch::channel(0).0,
            syncing: tokio::sync::Mutex::default(),
        })
    }

    fn active(&self) -> MutexGuard<'_, Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn left(&self) -> u64 {
        self.left.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) -> Position {
        let active = self.active();
        Position { segment: active.segment.head.number, offset: active.end }
    }

    /// Whether there is a segment in reserve.
    pub(super) fn has_spare(&self) -> bool {
        self.active().spare.is_some()
    }

    /// Appends `entry`, whole or not at all.
    pub(super) fn append(&self, folder: &Path, entry: &[u8]) -> io::Result<()> {
        let mut active = self.active();
        if active.end + entry.len() as u64 > self.segment_bytes {
            self.rotate(&mut active, folder)?;
        }
        if let Err(error) = active.segment.file.write_all_at(entry, active.end) {
            // What was written of it is cut off, or the next process would take it for damage.
            drop(active.segment.file.set_len(active.end));
            return Err(error);
        }
        active.end += entry.len() as u64;
        self.measure(&active);
        self.written.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Goes on in another segment: in the one in reserve, or in one that is made now.
    pub(super) fn next(&self, folder: &Path) -> io::Result<()> {
        let mut active = self.active();
        self.rotate(&mut active, folder)
    }

    fn rotate(&self, active: &mut Active, folder: &Path) -> io::Result<()> {
        let next = match active.spare.take() {
            Some(spare) => spare,
            None => self.make(folder)?,
        };
        active.numbers.push(next.head.number);
        let full = std::mem::replace(&mut active.segment, next);
        active.unsynced.push(Arc::new(full.file));
        active.end = HEAD;
        self.measure(active);
        Ok(())
    }

    fn make(&self, folder: &Path) -> io::Result<Segment> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        Segment::create(folder, Head { run: self.run, number }, self.segment_bytes)
    }

    fn measure(&self, active: &Active) {
        let spare = if active.spare.is_some() { self.segment_bytes.saturating_sub(HEAD) } else { 0 };
        self.left.store(self.segment_bytes.saturating_sub(active.end) + spare, Ordering::Release);
    }

    /// Makes a segment in reserve, if there is none and the journal may grow.
    pub(super) fn reserve(&self, folder: &Path) -> io::Result<()> {
        {
            let active = self.active();
            let bytes = (active.numbers.len() as u64 + 1).saturating_mul(self.segment_bytes);
            if active.spare.is_some() || bytes > self.most_bytes {
                return Ok(());
            }
        }
        // Without the lock: to make a file takes as long as the disk likes.
        let made = self.make(folder)?;
        let mut active = self.active();
        if active.spare.is_none() && active.segment.head.number < made.head.number {
            active.spare = Some(made);
            self.measure(&active);
            return Ok(());
        }
        // Somebody who could not wait has gone on in a later one.
        std::fs::remove_file(&made.path)
    }

    /// Deletes the segments before the one of this number, never the active one.
    pub(super) fn trim(&self, folder: &Path, before: u64) -> io::Result<()> {
        let gone: Vec<u64> = {
            let mut active = self.active();
            let before = before.min(active.segment.head.number);
            let kept = active.numbers.partition_point(|number| *number < before);
            active.numbers.drain(..kept).collect()
        };
        for number in gone {
            match std::fs::remove_file(path(folder, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends when the disk has everything that was written up to now. Whoever comes first has it synced for all.
    pub(super) fn synced(&self, shared: Arc<super::Shared>) -> BoxFuture<'static, ()> {
        let mine = self.written.load(Ordering::Acquire);
        Box::pin(async move {
            let writer = &shared.writer;
            let _turn = writer.syncing.lock().await;
            if *writer.synced.borrow() >= mine {
                return;
            }
            let upto = writer.written.load(Ordering::Acquire);
            let synced = tokio::task::spawn_blocking({
                let shared = Arc::clone(&shared);
                move || shared.writer.sync()
            });
            match synced.await {
                Ok(Ok(())) => {
                    writer.synced.send_replace(upto);
                }
                // Never again into the same file: the system may have forgotten what it could not write.
                Ok(Err(error)) => {
                    tracing::error!(%error, "the journal is not on the disk: nothing more is admitted");
                    shared.mending.need();
                }
                Err(error) => tracing::error!(%error, "the journal's sync did not end"),
            }
        })
    }

    fn sync(&self) -> io::Result<()> {
        let files: Vec<Arc<File>> = {
            let mut active = self.active();
            let current = active.segment.file.try_clone()?;
            let mut files = std::mem::take(&mut active.unsynced);
            files.push(Arc::new(current));
            files
        };
        files.iter().try_for_each(|file| file.sync_data())
    }
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(segment::name(number))
}
