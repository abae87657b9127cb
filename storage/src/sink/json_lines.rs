//! Usage records in a file, one JSON object per line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aihub_core::json::write_flat;
use aihub_core::{BillingSink, Error, ErrorKind, Result, UsageRecord};
use async_trait::async_trait;

/// When a batch counts as taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the operating system has it: survives the process, not the machine's power.
    #[default]
    Process,
    /// When the disk has it: survives the power, and costs a disk's wait per batch.
    Disk,
}

/// A [`BillingSink`] that appends to a file: one record per line, as JSON, in the order they came.
///
/// A record delivered again is written again; readers tell by `call`. What is left of a batch that
/// failed is cut off before the next, and half a line after a process that was killed at the next
/// opening, so that every line of a file in use is a record. One process writes a file, which is locked for that; to
/// rotate it, rename it and open anew.
#[derive(Debug, Clone)]
pub struct JsonLines {
    shared: Arc<Shared>,
    durability: Durability,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    written: Mutex<Written>,
}

/// The file, and where its last whole batch ends.
#[derive(Debug)]
struct Written {
    file: File,
    end: u64,
}

impl JsonLines {
    /// Opens the file, made if it is not there, to append to it.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) when it cannot be opened or written, or another
    /// process writes it.
    pub async fn open(path: impl Into<PathBuf>, durability: Durability) -> Result<Self> {
        let path = path.into();
        let shown = path.display().to_string();
        let opened = tokio::task::spawn_blocking(move || {
            open(&path).map(|written| Shared { path, written: Mutex::new(written) })
        })
        .await;
        match opened {
            Ok(Ok(shared)) => Ok(Self { shared: Arc::new(shared), durability }),
            Ok(Err(error)) => Err(unusable(&shown, &error.to_string()).with_source(error)),
            Err(error) => Err(unusable(&shown, "the opening did not end").with_source(error)),
        }
    }

    /// Where the records are.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }
}

#[async_trait]
impl BillingSink for JsonLines {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        let mut lines = Vec::with_capacity(records.len() * 512);
        for record in records {
            write_flat(&mut lines, record).map_err(|error| {
                Error::new(ErrorKind::Internal, "A usage record is not JSON").with_alert().with_source(error)
            })?;
            lines.push(b'\n');
        }
        // A thread that may block, which goes on when the caller leaves: half a batch is never left.
        let (shared, durability) = (Arc::clone(&self.shared), self.durability);
        let written = tokio::task::spawn_blocking(move || shared.append(&lines, durability)).await;
        let shown = || self.shared.path.display().to_string();
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(unusable(&shown(), &error.to_string()).with_source(error)),
            Err(error) => Err(unusable(&shown(), "the writing did not end").with_source(error)),
        }
    }
}

impl Shared {
    fn append(&self, lines: &[u8], durability: Durability) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let Written { file, end } = &mut *written;
        let found = file.seek(SeekFrom::End(0))?;
        if found > *end {
            // What is left of a batch that failed; it comes again, whole.
            file.set_len(*end)?;
        } else {
            // Somebody who rotates by copying may have cut the file.
            *end = found;
        }
        file.write_all(lines)?;
        if durability == Durability::Disk {
            file.sync_data()?;
        }
        *end += lines.len() as u64;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<Written> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    file.try_lock().map_err(|error| match error {
        std::fs::TryLockError::Error(error) => error,
        std::fs::TryLockError::WouldBlock => io::Error::new(io::ErrorKind::ResourceBusy, "another process writes it"),
    })?;
    let end = cut_half_a_line(&mut file)?;
    Ok(Written { file, end })
}

/// Cuts what follows the last end of a line: a process was ended in the middle of writing it. Gives
/// back where the file ends then.
fn cut_half_a_line(file: &mut File) -> io::Result<u64> {
    let found = file.seek(SeekFrom::End(0))?;
    let mut end = found;
    let mut block = [0; 8_192];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let length = usize::try_from(end - start).unwrap_or(block.len());
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block[..length])?;
        if let Some(last) = block[..length].iter().rposition(|byte| *byte == b'\n') {
            end = start + last as u64 + 1;
            break;
        }
        end = start;
    }
    if end < found {
        file.set_len(end)?;
    }
    Ok(end)
}

fn unusable(file: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("The usage file {file} cannot be written: {why}"))
        .with_code("usage_file_unusable")
        .with_alert()
}
