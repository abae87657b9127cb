//! Delivery: one task for each sink, which reads the feed at its own pace.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aihub_core::feed::{DeadLetter, Lag};
use aihub_core::{BillingSink, Clock, Error, ErrorKind, Feed, Result, Timestamp, UsageRecord};
use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How records are delivered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeliverySettings {
    /// The most records of a batch. Default 500.
    pub batch: usize,
    /// How long to wait when there is nothing to deliver. Default 1 s. Too low asks an idle feed for nothing; too high
    /// is how late a sink hears of a call.
    pub poll: Duration,
    /// How long one delivery may take, whatever limits the sink has of its own. Default 2 min. Too low delivers again
    /// what a slow sink would have taken.
    pub time_limit: Duration,
    /// The first wait after a failure; each one after it is twice as long, up to `longest_wait`, and as much again is
    /// added by chance. Default 1 s.
    pub first_wait: Duration,
    /// Default 5 min: how late a sink that was away hears that it is back. A sink that asks for a longer wait gets it,
    /// up to an hour.
    pub longest_wait: Duration,
    /// Where the chance begins. Set it in tests alone: replicas that share it return to a sink all at once.
    pub seed: Option<u64>,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            batch: 500,
            poll: Duration::from_secs(1),
            time_limit: Duration::from_mins(2),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_mins(5),
            seed: None,
        }
    }
}

/// The longest wait that a sink may ask for.
const LONGEST_ASKED: Duration = Duration::from_hours(1);

/// How a sink is doing, since the start of this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryStatus {
    /// Its name.
    pub sink: Arc<str>,
    /// The records that it has taken.
    pub delivered: u64,
    /// The records that were put aside.
    pub dead_letters: u64,
    /// The failures in a row; 0 when the last delivery went well.
    pub failures: u32,
    /// The last failure, and when it was.
    pub last_error: Option<(Timestamp, String)>,
    /// When the last batch was taken.
    pub last_delivered: Option<Timestamp>,
}

/// Delivers a [`Feed`] to sinks, to each from its own place and at its own pace, until it is stopped.
///
/// Promise: a record is passed when its sink has taken it, or when it is among the dead letters. Delivery is at least
/// once: what was under way when a process ended comes again. A sink that fails, hangs or panics holds up nobody else.
/// A batch that is [rejected](Error::is_rejection) is halved until the records are found that it was rejected for;
/// those are put aside, and the others delivered.
///
/// Dropped, it ends at once; [`Deliveries::stop`] ends in good order.
#[derive(Debug)]
pub struct Deliveries {
    feed: Arc<dyn Feed>,
    stop: watch::Sender<bool>,
    tasks: Vec<(Arc<Mutex<DeliveryStatus>>, JoinHandle<()>)>,
}

impl Deliveries {
    /// Starts a task for each of `sinks`, on the runtime of the caller.
    pub fn start(
        feed: Arc<dyn Feed>,
        sinks: impl IntoIterator<Item = (Arc<str>, Arc<dyn BillingSink>)>,
        clock: &Arc<dyn Clock>,
        settings: &DeliverySettings,
    ) -> Self {
        let stop = watch::Sender::new(false);
        let begin = |(name, sink): (Arc<str>, _)| {
            let status = DeliveryStatus { sink: Arc::clone(&name), ..DeliveryStatus::default() };
            let status = Arc::new(Mutex::new(status));
            let delivery = Delivery {
                name,
                feed: Arc::clone(&feed),
                sink,
                clock: Arc::clone(clock),
                waits: waits(settings),
                settings: settings.clone(),
                status: Arc::clone(&status),
                stopped: stop.subscribe(),
            };
            (status, tokio::spawn(delivery.run()))
        };
        let tasks = sinks.into_iter().map(begin).collect();
        Self { feed, stop, tasks }
    }

    /// How every sink is doing.
    pub fn status(&self) -> Vec<DeliveryStatus> {
        self.tasks.iter().map(|(status, _)| lock(status).clone()).collect()
    }

    /// How far every sink is behind, in the order of [`Deliveries::status`].
    ///
    /// # Errors
    ///
    /// When the feed cannot tell.
    pub async fn lag(&self) -> Result<Vec<Lag>> {
        let mut lags = Vec::with_capacity(self.tasks.len());
        for status in self.status() {
            lags.push(self.feed.lag(&status.sink).await?);
        }
        Ok(lags)
    }

    /// Ends: no delivery is begun any more, and one that is under way may end within `patience`. Nothing is lost either
    /// way: what a sink has not passed comes again.
    pub async fn stop(mut self, patience: Duration) {
        self.stop.send_replace(true);
        let ended = async {
            for (_, task) in &mut self.tasks {
                // A panic has been printed, and what it held comes again.
                let _ended = task.await;
            }
        };
        if tokio::time::timeout(patience, ended).await.is_err() {
            tracing::warn!("a sink was still busy at the stop: its batch comes again");
        }
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        for (_, task) in &self.tasks {
            task.abort();
        }
    }
}

/// The delivery to one sink.
struct Delivery {
    name: Arc<str>,
    feed: Arc<dyn Feed>,
    sink: Arc<dyn BillingSink>,
    clock: Arc<dyn Clock>,
    waits: ExponentialBackoff,
    settings: DeliverySettings,
    status: Arc<Mutex<DeliveryStatus>>,
    stopped: watch::Receiver<bool>,
}

/// The end was asked for in the middle of something.
struct Stopped;

impl Delivery {
    async fn run(mut self) {
        loop {
            let done = match self.tick().await {
                Ok(true) => Ok(()),
                Ok(false) => self.wait(self.settings.poll).await,
                Err(Stopped) => Err(Stopped),
            };
            if done.is_err() {
                return;
            }
        }
    }

    /// Delivers the next batch. Whether there was one.
    async fn tick(&mut self) -> Result<bool, Stopped> {
        let batch = loop {
            match self.feed.next(&self.name, self.settings.batch).await {
                Ok(Some(batch)) => break batch,
                Ok(None) => {
                    self.well();
                    return Ok(false);
                }
                Err(error) => self.failed(&error).await?,
            }
        };
        let letters = self.deliver(&batch.records).await?;
        if !letters.is_empty() {
            while let Err(error) = self.feed.dead_letter(&self.name, &letters).await {
                self.failed(&error).await?;
            }
        }
        while let Err(error) = self.feed.advance(&self.name, batch.position).await {
            self.failed(&error).await?;
        }
        let mut status = lock(&self.status);
        status.dead_letters += letters.len() as u64;
        status.delivered += (batch.records.len() - letters.len()) as u64;
        status.last_delivered = Some(self.clock.now());
        Ok(true)
    }

    /// Delivers these records, and gives back those that the sink will never take.
    async fn deliver(&mut self, records: &[UsageRecord]) -> Result<Vec<DeadLetter>, Stopped> {
        let mut letters = Vec::new();
        // What is still to be delivered, the first on top.
        let mut parts = if records.is_empty() { Vec::new() } else { vec![records] };
        while let Some(part) = parts.pop() {
            match (self.attempt(part).await?, part) {
                (Ok(()), _) => self.well(),
                (Err(error), [record]) if error.is_rejection() => {
                    tracing::error!(sink = %self.name, call = %record.call, %error, source = ?std::error::Error::source(&error),
                        "a usage record was rejected and put aside");
                    letters.push(DeadLetter { call: record.call, reason: reason(&error) });
                }
                (Err(error), part) if error.is_rejection() => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                (Err(error), part) => {
                    self.failed(&error).await?;
                    parts.push(part);
                }
            }
        }
        Ok(letters)
    }

    /// Hands a part over once. A sink that panics has failed, and one that hangs has after a while.
    async fn attempt(&mut self, part: &[UsageRecord]) -> Result<Result<()>, Stopped> {
        if *self.stopped.borrow() {
            return Err(Stopped);
        }
        let handed = AssertUnwindSafe(self.sink.record(part)).catch_unwind();
        Ok(match tokio::time::timeout(self.settings.time_limit, handed).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(Error::new(ErrorKind::Internal, "The sink panicked").with_alert()),
            Err(late) => Err(Error::new(ErrorKind::Unavailable, "The sink did not answer in time").with_source(late)),
        })
    }

    /// Notes a failure and waits.
    async fn failed(&mut self, error: &Error) -> Result<(), Stopped> {
        let wait = self.note(error);
        self.wait(wait).await
    }

    /// Tells of a failure, and how long to wait now.
    fn note(&mut self, error: &Error) -> Duration {
        let asked = error.retry_after().unwrap_or_default().min(LONGEST_ASKED);
        let wait = self.waits.next().unwrap_or(self.settings.longest_wait).max(asked);
        let mut status = lock(&self.status);
        status.failures = status.failures.saturating_add(1);
        status.last_error = Some((self.clock.now(), error.to_string()));
        let (failures, source) = (status.failures, std::error::Error::source(error));
        if error.needs_operator() {
            tracing::error!(sink = %self.name, %error, ?source, failures, ?wait, "usage records cannot be delivered");
        } else {
            tracing::warn!(sink = %self.name, %error, ?source, failures, ?wait, "usage records cannot be delivered");
        }
        wait
    }

    /// Forgets the failures: it goes well again.
    fn well(&mut self) {
        let mut status = lock(&self.status);
        if status.failures > 0 {
            tracing::info!(sink = %self.name, failures = status.failures, "usage records are delivered again");
            status.failures = 0;
            self.waits = waits(&self.settings);
        }
    }

    async fn wait(&mut self, duration: Duration) -> Result<(), Stopped> {
        // One who is gone has stopped, too.
        match tokio::time::timeout(duration, self.stopped.wait_for(|stop| *stop)).await {
            Ok(_) => Err(Stopped),
            Err(_) => Ok(()),
        }
    }
}

/// Why a record was rejected, with what the other side said: the operator reads it, and nobody else.
fn reason(error: &Error) -> String {
    let said = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", said.unwrap_or_default()).chars().take(500).collect()
}

fn waits(settings: &DeliverySettings) -> ExponentialBackoff {
    let waits = ExponentialBuilder::new()
        .with_min_delay(settings.first_wait)
        .with_max_delay(settings.longest_wait)
        .with_factor(2.0)
        .without_max_times()
        .with_jitter();
    settings.seed.into_iter().fold(waits, ExponentialBuilder::with_jitter_seed).build()
}

fn lock(status: &Mutex<DeliveryStatus>) -> MutexGuard<'_, DeliveryStatus> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}
