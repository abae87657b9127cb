//! Taking a journal over into the books, stretch by stretch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aihub_core::commerce::{Books, Settled, SettledCall, Settlement};
use aihub_core::journal::Position;
use aihub_core::{BillingSink, CallId, Clock, Error, ErrorKind, Result};
use foldhash::fast::RandomState;

use super::entry::Entry;
use super::{FileJournal, Reader};

/// Takes one journal over. There is one for each journal: two would hinder each other, and do no harm.
#[derive(Debug)]
pub struct Shipper {
    journal: FileJournal,
    books: Arc<dyn Books>,
    copies: Vec<Arc<dyn BillingSink>>,
    clock: Arc<dyn Clock>,
    reader: Reader,
    /// Where the books have come to.
    reached: Position,
    /// The calls that were sent and have not ended, and in which segment they began.
    open: HashMap<CallId, u64, RandomState>,
    /// Whether the segments of earlier processes stay.
    keeps_earlier: bool,
}

impl Shipper {
    /// Calls that are taken over at once, at most. More make transactions long; fewer make them dear.
    pub const STRETCH: usize = 1_024;

    /// How long to wait when there was nothing to take over.
    pub const IDLE: Duration = Duration::from_millis(50);

    /// Takes `journal` over into `books`, from where they have come to.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) when the books do not say. [`Conflict`](ErrorKind::Conflict) when they are
    /// ahead of the journal: it was put back from a copy, and what it would say was said already.
    pub async fn new(journal: FileJournal, books: Arc<dyn Books>, clock: Arc<dyn Clock>) -> Result<Self> {
        let reached = books.position(journal.node()).await?;
        if reached.segment >= journal.begins_at() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "The books have come to {reached} with this journal, which begins at segment {:016x}: it was put back \
                     from a copy. Move its folder away to begin a new one",
                    journal.begins_at()
                ),
            )
            .with_alert());
        }
        let reader = journal.read(reached);
        Ok(Self {
            journal,
            books,
            copies: Vec::new(),
            clock,
            reader,
            reached,
            open: HashMap::default(),
            keeps_earlier: false,
        })
    }

    /// Also hands every stretch to `copy`, before the books have it: so that it has every record, some of them more than
    /// once. While it fails, nothing is taken over.
    #[must_use]
    pub fn with_copy(mut self, copy: Arc<dyn BillingSink>) -> Self {
        self.copies.push(copy);
        self
    }

    /// Keeps the segments of earlier processes, taken over or not, until [`Shipper::forget_earlier`]: they are all that
    /// says who has written here, and so what these have borrowed.
    #[must_use]
    pub const fn keeping_earlier(mut self) -> Self {
        self.keeps_earlier = true;
        self
    }

    /// What earlier processes had borrowed was given back: their segments may go.
    pub const fn forget_earlier(&mut self) {
        self.keeps_earlier = false;
    }

    /// Takes over what there is, up to [`Shipper::STRETCH`] calls; how many those were.
    ///
    /// # Errors
    ///
    /// Those of the books and of the disk. Nothing is lost by them: the next tick begins where the books are.
    pub async fn tick(&mut self) -> Result<usize> {
        let read = self.read_on().await;
        let settled = match read {
            Ok((calls, to)) if calls.is_empty() => {
                // Nothing that the books have to know: on, without a transaction.
                self.trim(to);
                return Ok(0);
            }
            Ok((calls, to)) => {
                let count = calls.len();
                self.settle(calls, to).await.map(|settled| (settled, to, count))
            }
            Err(error) => Err(error),
        };
        match settled {
            Ok((Settled::Now { .. }, to, count)) => {
                self.reached = to;
                self.trim(to);
                Ok(count)
            }
            Ok((Settled::Elsewhere(reached), ..)) => {
                tracing::info!(%reached, "the books were elsewhere with this journal: going on from there");
                self.restart(reached);
                Ok(0)
            }
            Err(error) => {
                self.restart(self.reached);
                Err(error)
            }
        }
    }

    async fn settle(&self, calls: Vec<SettledCall>, to: Position) -> Result<Settled> {
        if !self.copies.is_empty() {
            let records: Vec<_> = calls.iter().map(|call| call.record.clone()).collect();
            for copy in &self.copies {
                copy.record(&records).await?;
            }
        }
        let (node, at) = (self.journal.node(), self.clock.now());
        self.books.settle(Settlement { node, from: self.reached, to, calls, at }).await
    }

    /// Before this everything that the books have to know is in them. Further than what they say themselves where
    /// nothing has ended since.
    pub const fn reached(&self) -> Position {
        self.reader.position()
    }

    /// Whether all that is in the journal is in the books.
    pub fn is_done(&self) -> bool {
        self.reader.position() >= self.journal.end()
    }

    fn restart(&mut self, reached: Position) {
        self.reached = reached;
        self.reader = self.journal.read(reached);
    }

    /// Reads on a thread that may block.
    async fn read_on(&mut self) -> Result<(Vec<SettledCall>, Position)> {
        let end = self.journal.end();
        if self.reader.position() >= end {
            return Ok((Vec::new(), self.reader.position()));
        }
        let mut reader = std::mem::replace(&mut self.reader, self.journal.read(self.reached));
        let read = tokio::task::spawn_blocking(move || {
            let mut entries = Vec::new();
            let mut ends = 0;
            while ends < Self::STRETCH {
                let segment = reader.position().segment;
                match reader.next(end) {
                    Ok(Some(entry)) => {
                        ends += usize::from(matches!(entry, Entry::Settled(_)));
                        let segment = segment.max(reader.position().segment);
                        entries.push((segment, reader.run(), entry));
                    }
                    Ok(None) => break,
                    Err(error) => return Err(error),
                }
            }
            Ok((reader, entries))
        });
        let (reader, entries) = match read.await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return Err(unreadable(error)),
            Err(error) => return Err(unreadable(error)),
        };
        let to = reader.position();
        self.reader = reader;
        let mut calls = Vec::new();
        for (segment, run, entry) in entries {
            match entry {
                Entry::Dispatched(draft) => {
                    self.open.entry(draft.call).or_insert(segment);
                }
                Entry::Progressed(_) => {}
                Entry::Settled(end) => {
                    self.open.remove(&end.record.call);
                    let run = end.held_by.or(run).unwrap_or_else(|| self.journal.run());
                    calls.push(SettledCall { record: end.record, windows: end.windows, run });
                }
            }
        }
        Ok((calls, to))
    }

    /// Deletes the segments that nobody needs: the books have them, and no call began in them that has not ended.
    fn trim(&mut self, reached: Position) {
        if self.keeps_earlier {
            return;
        }
        let needed = self.open.values().copied().min().unwrap_or(u64::MAX).min(reached.segment);
        if let Err(error) = self.journal.trim(needed) {
            tracing::warn!(%error, "segments of the journal that are in the books could not be deleted");
        }
    }
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, "The journal cannot be read").with_alert().with_source(error)
}
