//! What could not be written, and the task that writes it as soon as it can be.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aihub_core::journal::Written;
use tokio::sync::Notify;

use super::Shared;

/// Looks at what is missing at least this often: a disk does not say when there is room on it again.
const LOOK: Duration = Duration::from_millis(500);

/// Whether the journal is in trouble, and what waits until it is not.
#[derive(Debug, Default)]
pub(super) struct Mending {
    needed: AtomicBool,
    entries: Mutex<Vec<Vec<u8>>>,
    wake: Notify,
}

impl Mending {
    pub(super) fn is_needed(&self) -> bool {
        self.needed.load(Ordering::Acquire)
    }

    pub(super) fn need(&self) {
        self.needed.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Keeps `entry`. Bounded by the calls that were admitted: no other entry is kept.
    pub(super) fn keep(&self, entry: Vec<u8>) -> Written {
        self.entries().push(entry);
        self.need();
        None
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a segment in reserve, and mends the journal when it is in trouble, for as long as there is one.
pub(super) fn keep_well(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    tokio::spawn(async move { while look(&weak).await {} });
}

async fn look(journal: &Weak<Shared>) -> bool {
    {
        let Some(shared) = journal.upgrade() else { return false };
        let worked = tokio::task::spawn_blocking(move || work(&shared)).await;
        if !matches!(worked, Ok(true)) {
            tokio::time::sleep(LOOK).await;
            return true;
        }
    }
    // Not while it is held: a journal that nobody uses any more is to be let go of.
    tokio::time::sleep(LOOK / 10).await;
    true
}

/// `false` when something could not be done.
fn work(shared: &Shared) -> bool {
    if shared.mending.is_needed() && !mend(shared) {
        return false;
    }
    if !shared.writer.has_spare()
        && let Err(error) = shared.writer.reserve(&shared.folder)
    {
        tracing::warn!(%error, folder = %shared.folder.display(), "there is no room for another segment of the journal");
        return false;
    }
    true
}

/// Begins a new segment with everything that waits. The lock is held throughout, so that what comes meanwhile goes
/// behind it.
fn mend(shared: &Shared) -> bool {
    let mut entries = shared.mending.entries();
    let mut written = 0;
    let mended = shared.writer.next(&shared.folder).and_then(|()| {
        entries.iter().try_for_each(|entry| {
            shared.writer.append(&shared.folder, entry)?;
            written += 1;
            Ok(())
        })
    });
    // What is in the new segment is not written twice, should a later one fail.
    entries.drain(..written);
    match mended {
        Ok(()) => {
            tracing::info!(folder = %shared.folder.display(), "the journal can be written again");
            shared.mending.needed.store(false, Ordering::Release);
            true
        }
        Err(error) => {
            tracing::warn!(%error, waiting = entries.len(), "the journal still cannot be written");
            false
        }
    }
}
