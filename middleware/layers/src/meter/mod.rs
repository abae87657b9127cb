//! [`Meter`]: exactly one [`UsageRecord`](aihub_core::UsageRecord) for every call, whatever becomes of it.
//!
//! A place in the queue is taken *before* the call goes on, so that the guard which writes the record
//! can always send it, also from `Drop`, where nothing can be awaited. When the queue is full because
//! the sink does not keep up, new calls are refused with 503 `metering_unavailable`: a call that
//! cannot be recorded is not made.
//!
//! Records gather into batches of up to [`MeterBuilder::with_batch`] that a task delivers to the
//! [`BillingSink`]. A sink that fails is asked again for as long as it takes, with the same batch:
//! nothing is ever dropped. At shutdown, [`MeterHandle::drain`] flushes and hands back what could not
//! be delivered.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use std::time::Duration;
//!
//! use aihub_core::{Call, ChatRequest, Error, Outcome};
//! use aihub_layers::MeterLayer;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! # let (sink, clock) = (std::sync::Arc::new(world::Books::default()), world::clock());
//! # let call = world::call();
//! let vendor = service_fn(|_: Call<ChatRequest>| async { Ok::<_, Error>(world::answer()) });
//! let (meter, handle) = MeterLayer::start(sink.clone(), clock);
//! let reply = meter.layer(vendor).oneshot(call).await?;
//! reply.collect().await?;
//! handle.drain(Duration::from_secs(5)).await.expect("the sink takes everything");
//! assert_eq!(sink.records()[0].outcome, Outcome::Completed);
//! # Ok(())
//! # }
//! ```
//!
//! # Where it stands
//!
//! Outermost of the layers on [`Call`] that refuse any, so that every call is recorded, the refused ones included. Only
//! [`Departure`](crate::Departure) is around it, which takes the record along when a call runs on without its caller.
//!
//! # A wrong order
//!
//! Meter below Quota does not compile: a hold is made for a routed call. It would see neither the calls
//! that Quota refuses nor, when the caller leaves while the hold is being made, the call at all.

mod batch;
mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aihub_core::journal::unavailable;
use aihub_core::{BillingSink, Call, Clock, Error, Journal, Operation, Reply as _};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tower::{Layer, Service};

pub use batch::{MeterHandle, Undelivered};
use record::{Item, Place, Record};

/// Makes [`Meter`]. All services made of one layer share its queue.
#[derive(Debug, Clone)]
pub struct MeterLayer {
    books: Books,
    clock: Arc<dyn Clock>,
}

/// Where records go.
#[derive(Debug, Clone)]
enum Books {
    Queue(mpsc::Sender<Item>, Option<Duration>),
    Journal(Arc<dyn Journal>),
}

impl Books {
    /// A place for one record, which is there until the record is.
    fn place(&self) -> Result<Place, Error> {
        match self {
            Self::Queue(queue, within) => {
                // Full, or closed by [`MeterHandle::drain`]: either way nothing would be recorded.
                let place = queue.clone().try_reserve_owned();
                place.map(|place| Place::Queue(place, *within)).map_err(|_| unavailable(Duration::from_secs(1)))
            }
            Self::Journal(journal) => journal.admit().map(|()| Place::Journal(Arc::clone(journal))),
        }
    }
}

/// How a [`MeterLayer`] is set up.
#[derive(Debug, Clone)]
pub struct MeterBuilder {
    sink: Arc<dyn BillingSink>,
    clock: Arc<dyn Clock>,
    queue: usize,
    batch: usize,
    gathering: Duration,
    longest_wait: Duration,
    confirm_within: Option<Duration>,
}

impl MeterBuilder {
    /// Places in the queue: calls that are running or wait to be delivered; default 16 384, about
    /// 6 MB when full. Too low refuses calls while the sink takes a breath; too high loses more in a
    /// crash.
    #[must_use]
    pub fn with_queue(mut self, places: usize) -> Self {
        self.queue = places.max(1);
        self
    }

    /// Records in one batch at most; default 512.
    #[must_use]
    pub fn with_batch(mut self, records: usize) -> Self {
        self.batch = records.max(1);
        self
    }

    /// How long the first record of a batch waits for others; default 50 ms. Too low makes the sink
    /// write record by record, which costs more than the calls; too high loses more in a crash. Where
    /// callers wait for their records ([`MeterBuilder::with_confirmation`]), none is kept waiting.
    #[must_use]
    pub fn with_gathering(mut self, time: Duration) -> Self {
        self.gathering = time;
        self
    }

    /// The longest wait between two attempts to deliver a batch; default 10 s. Too low burdens a sink
    /// that is recovering; too high refuses calls for longer than the sink was away.
    #[must_use]
    pub fn with_longest_wait(mut self, wait: Duration) -> Self {
        self.longest_wait = wait;
        self
    }

    /// Keeps the last piece of an answer back until the sink has taken its record, so that nothing is
    /// answered in full that a crash could forget; for a sink that is quick and local, such as a
    /// journal. Default is not to wait. After `within` the answer goes out all the same; too high makes
    /// callers wait for a sink in trouble.
    #[must_use]
    pub fn with_confirmation(mut self, within: Duration) -> Self {
        self.confirm_within = Some(within);
        self
    }

    /// Starts the task that delivers, on the current runtime.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use = "the handle flushes the queue at shutdown"]
    pub fn start(self) -> (MeterLayer, MeterHandle) {
        let (queue, items) = mpsc::channel(self.queue);
        let gathering = if self.confirm_within.is_some() { Duration::ZERO } else { self.gathering };
        let handle = MeterHandle::start(self.sink, items, self.batch, gathering, self.longest_wait);
        (MeterLayer { books: Books::Queue(queue, self.confirm_within), clock: self.clock }, handle)
    }
}

impl MeterLayer {
    /// Sets up a meter that delivers to `sink`.
    pub fn builder(sink: Arc<dyn BillingSink>, clock: Arc<dyn Clock>) -> MeterBuilder {
        MeterBuilder {
            sink,
            clock,
            queue: 16_384,
            batch: 512,
            gathering: Duration::from_millis(50),
            longest_wait: Duration::from_secs(10),
            confirm_within: None,
        }
    }

    /// A meter with the defaults, started on the current runtime.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use = "the handle flushes the queue at shutdown"]
    pub fn start(sink: Arc<dyn BillingSink>, clock: Arc<dyn Clock>) -> (Self, MeterHandle) {
        Self::builder(sink, clock).start()
    }

    /// A meter that writes each record into `journal` before its answer is whole, and keeps none in memory; stand a
    /// [`JournalLayer`](crate::JournalLayer) with the same journal next to the vendors.
    pub fn journaled(journal: Arc<dyn Journal>, clock: Arc<dyn Clock>) -> Self {
        Self { books: Books::Journal(journal), clock }
    }
}

impl<S> Layer<S> for MeterLayer {
    type Service = Meter<S>;

    fn layer(&self, inner: S) -> Meter<S> {
        Meter { inner, books: self.books.clone(), clock: Arc::clone(&self.clock) }
    }
}

/// Records every call. See the [module](self).
#[derive(Debug, Clone)]
pub struct Meter<S> {
    inner: S,
    books: Books,
    clock: Arc<dyn Clock>,
}

impl<S, O> Service<Call<O>> for Meter<S>
where
    O: Operation,
    S: Service<Call<O>, Response = O::Reply, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = O::Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<O::Reply, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call<O>) -> Self::Future {
        let place = match self.books.place() {
            Ok(place) => place,
            Err(refused) => return Box::pin(std::future::ready(Err(refused))),
        };
        // The guard is there before the future is: one that is dropped without ever being polled is
        // recorded like any other.
        let record = Record::open(place, Arc::clone(&self.clock), &call);
        let answer = self.inner.call(call);
        Box::pin(async move {
            match answer.await {
                Ok(reply) => Ok(reply.watch(record.into_hook()).await),
                Err(error) => {
                    if let Some(written) = record.failed(&error) {
                        written.await;
                    }
                    Err(error)
                }
            }
        })
    }
}
