//! The task that carries records to the sink.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use aihub_core::{BillingSink, Error, ErrorKind, UsageRecord};
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::record::Item;

const FIRST_WAIT: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// No new call is taken; what there is, is delivered.
    Draining,
    /// Patience is over: what is left is handed back.
    GivenUp,
}

/// Stops a meter in good order. Dropped instead, the task goes on until the last service of its layer
/// and the last call are gone, and flushes then.
#[derive(Debug)]
pub struct MeterHandle {
    phase: watch::Sender<Phase>,
    task: JoinHandle<Vec<UsageRecord>>,
}

/// Records that the sink did not take before the deadline: write them where they can be read in
/// again. That they are handed back, and not logged, is because they may be thousands.
#[derive(Debug)]
#[must_use = "each of these records is a call that somebody pays for"]
pub struct Undelivered {
    /// The records, oldest first.
    pub records: Vec<UsageRecord>,
}

impl MeterHandle {
    pub(super) fn start(
        sink: Arc<dyn BillingSink>,
        items: mpsc::Receiver<Item>,
        batch: usize,
        gathering: Duration,
        longest_wait: Duration,
    ) -> Self {
        let (phase, now) = watch::channel(Phase::Running);
        let batcher = Batcher { sink, items, batch, gathering, longest_wait, phase: now };
        Self { phase, task: tokio::spawn(batcher.run()) }
    }

    /// Takes no further call, waits for those that run, and delivers everything.
    ///
    /// Ends as soon as everything is delivered, or after `within`; calls that are still running then
    /// go unrecorded by this meter, so stop the listener and let them finish first.
    ///
    /// # Errors
    ///
    /// [`Undelivered`] with the records that the sink did not take in time.
    pub async fn drain(self, within: Duration) -> Result<(), Undelivered> {
        self.phase.send_replace(Phase::Draining);
        let mut task = self.task;
        let joined = if let Ok(joined) = tokio::time::timeout(within, &mut task).await {
            joined
        } else {
            self.phase.send_replace(Phase::GivenUp);
            task.await
        };
        match joined {
            Ok(records) if records.is_empty() => Ok(()),
            Ok(records) => Err(Undelivered { records }),
            Err(panicked) => {
                tracing::error!(error = %panicked, "the task that delivers usage records failed: what was queued is lost");
                Err(Undelivered { records: Vec::new() })
            }
        }
    }
}

struct Batcher {
    sink: Arc<dyn BillingSink>,
    items: mpsc::Receiver<Item>,
    batch: usize,
    gathering: Duration,
    longest_wait: Duration,
    phase: watch::Receiver<Phase>,
}

/// Records on their way to the sink, and who waits for them.
struct Batch {
    records: Vec<UsageRecord>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Batch {
    fn add(&mut self, item: Item) {
        self.records.push(item.record);
        self.waiting.extend(item.taken);
    }

    /// The sink has it.
    fn taken(&mut self) {
        self.records.clear();
        for waits in self.waiting.drain(..) {
            // Whoever does not wait any more has left; the record is taken all the same.
            let _ = waits.send(());
        }
    }
}

impl Batcher {
    async fn run(mut self) -> Vec<UsageRecord> {
        let mut batch = Batch { records: Vec::with_capacity(self.batch), waiting: Vec::new() };
        while let Some(first) = self.first().await {
            // Asleep, and not woken by every record: at full speed that would cost more than the records do.
            self.ripen().await;
            batch.add(first);
            while !batch.records.is_empty() {
                while batch.records.len() < self.batch
                    && let Ok(item) = self.items.try_recv()
                {
                    batch.add(item);
                }
                if !self.deliver(&batch.records).await {
                    return self.left(batch);
                }
                batch.taken();
                // What came meanwhile has waited long enough.
                if let Ok(item) = self.items.try_recv() {
                    batch.add(item);
                }
            }
        }
        self.left(batch)
    }

    /// What is not delivered when patience is over.
    fn left(mut self, mut batch: Batch) -> Vec<UsageRecord> {
        self.items.close();
        while let Ok(item) = self.items.try_recv() {
            batch.add(item);
        }
        batch.records
    }

    /// Waits for a record; `None` when none will come any more.
    async fn first(&mut self) -> Option<Item> {
        loop {
            tokio::select! {
                // In this order, so that a stream of records cannot keep a stop waiting.
                biased;
                () = reached(self.phase.clone(), Phase::Draining), if !self.items.is_closed() => self.items.close(),
                () = reached(self.phase.clone(), Phase::GivenUp) => return None,
                item = self.items.recv() => return item,
            }
        }
    }

    /// Lets others join the first of a batch, unless a stop is asked for.
    async fn ripen(&self) {
        if !self.gathering.is_zero() {
            tokio::select! {
                () = reached(self.phase.clone(), Phase::Draining) => {}
                () = tokio::time::sleep(self.gathering) => {}
            }
        }
    }

    /// Delivers the batch, however long it takes; `false` when the handle has run out of patience.
    async fn deliver(&self, batch: &[UsageRecord]) -> bool {
        let mut wait = FIRST_WAIT;
        loop {
            // A sink that panics must not take the queue with it: to panic is to fail.
            let delivery = AssertUnwindSafe(self.sink.record(batch)).catch_unwind();
            let error = tokio::select! {
                biased;
                delivered = delivery => match delivered {
                    Ok(Ok(())) => return true,
                    Ok(Err(error)) => error,
                    Err(_) => Error::new(ErrorKind::Internal, "the billing sink panicked"),
                },
                () = reached(self.phase.clone(), Phase::GivenUp) => return false,
            };
            tracing::warn!(?error, records = batch.len(), ?wait, "the billing sink failed; trying again");
            tokio::select! {
                biased;
                () = reached(self.phase.clone(), Phase::GivenUp) => return false,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(self.longest_wait);
        }
    }
}

/// Ends when `phase` is reached; never when the handle was dropped before.
async fn reached(mut now: watch::Receiver<Phase>, phase: Phase) {
    if now.wait_for(|now| *now >= phase).await.is_err() {
        std::future::pending::<()>().await;
    }
}
