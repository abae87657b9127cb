//! [`Breaker`]: spares an upstream that keeps failing, and the callers the wait for it.
//!
//! There is one circuit for each provider and model. It opens when enough calls of a sliding window
//! have failed, and enough of a share of them; then attempts fail at once, with an error that says that
//! another upstream may do and when to come back. While all failures are of one key, it takes twice as
//! many: it may be the requests of that key that break. After a rest, one attempt at a time probes.
//!
//! Only faults of the vendor count ([`Error::is_upstream_fault`]) and streams that break off. A request
//! that the vendor refuses, as the caller's fault or for want of a feature, proves that the vendor is well.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use std::time::Duration;
//!
//! use aihub_core::{Attempt, ChatReply, ChatRequest};
//! use aihub_layers::BreakerLayer;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! # let clock = world::clock();
//! let vendor = service_fn(|_: Attempt<ChatRequest>| async { Err::<ChatReply, _>(world::failover()) });
//! let service = BreakerLayer::new(clock).with_rest(Duration::from_secs(30)).layer(vendor);
//! for _ in 0..5 {
//!     service.clone().oneshot(world::attempt()).await.unwrap_err();
//! }
//! let error = service.oneshot(world::attempt()).await.unwrap_err();
//! assert_eq!(error.code(), "upstream_unavailable");
//! assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
//! # Ok(())
//! # }
//! ```
//!
//! # Where it stands
//!
//! Below Fallback, which goes on to the next offer at once; above Retry, so that a fault that a retry
//! mended is none.
//!
//! # A wrong order
//!
//! Retry around Breaker compiles: the breaker opens in the middle of a series, the retries that follow
//! are refused by it, and each of them waited in vain.

mod circuit;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aihub_core::{Attempt, Clock, Ending, Error, ErrorKind, Offer, Operation, Outcome, Reply as _};
use dashmap::DashMap;
use foldhash::fast::RandomState;
use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use circuit::{Admission, Circuit, Settings};

/// By provider and model. Read on every call and written once for each of them.
type Circuits = DashMap<(Arc<str>, Arc<str>), Arc<Circuit>, RandomState>;

/// Makes [`Breaker`]. All services made of one layer share its circuits.
#[derive(Debug, Clone)]
pub struct BreakerLayer {
    circuits: Arc<Circuits>,
    clock: Arc<dyn Clock>,
    settings: Settings,
}

impl BreakerLayer {
    /// Opens for 15 s when at least 5 calls of the last 30 s failed, and half of all.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let settings =
            Settings { failures: 5, percent: 50, window: Duration::from_secs(30), rest: Duration::from_secs(15) };
        Self { circuits: Arc::default(), clock, settings }
    }

    /// How many failures of the window open it, and how many of a hundred calls they have to be;
    /// default 5 and 50. Too low gives up an upstream for a hiccup; too high keeps asking a dead one.
    #[must_use]
    pub fn with_threshold(mut self, failures: u32, percent: u32) -> Self {
        (self.settings.failures, self.settings.percent) = (failures.max(1), percent);
        self
    }

    /// How far back failures count; default 30 s.
    #[must_use]
    pub fn with_window(mut self, window: Duration) -> Self {
        self.settings.window = window;
        self
    }

    /// How long it rests before it probes; default 15 s.
    #[must_use]
    pub fn with_rest(mut self, rest: Duration) -> Self {
        self.settings.rest = rest;
        self
    }

    fn circuit(&self, offer: &Offer) -> Arc<Circuit> {
        let key = (Arc::clone(&offer.provider), Arc::clone(&offer.model));
        if let Some(circuit) = self.circuits.get(&key) {
            return Arc::clone(&circuit);
        }
        Arc::clone(&self.circuits.entry(key).or_default())
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = Breaker<S>;

    fn layer(&self, inner: S) -> Breaker<S> {
        Breaker { inner, layer: self.clone() }
    }
}

/// Refuses attempts at upstreams that keep failing. See the [module](self).
#[derive(Debug, Clone)]
pub struct Breaker<S> {
    inner: S,
    layer: BreakerLayer,
}

impl<S, O> Service<Attempt<O>> for Breaker<S>
where
    O: Operation,
    S: Service<Attempt<O>, Response = O::Reply, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = O::Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<O::Reply, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, attempt: Attempt<O>) -> Self::Future {
        let circuit = self.layer.circuit(&attempt.offer);
        let probe = match circuit.admit(self.layer.clock.elapsed()) {
            Admission::Pass => false,
            Admission::Probe => true,
            Admission::Refused { retry_after } => return Box::pin(async move { Err(open(retry_after)) }),
        };
        let key = attempt.call.caller.key.id.as_uuid().as_u64_pair().1;
        let mut passage =
            Passage { circuit, clock: Arc::clone(&self.layer.clock), settings: self.layer.settings, probe, key };
        let answer = self.inner.call(attempt);
        Box::pin(async move {
            match answer.await {
                Ok(reply) => {
                    passage.ended(false);
                    Ok(reply
                        .watch(Box::new(move |ending: &Ending| {
                            if ending.outcome == Outcome::UpstreamFailed {
                                passage.circuit.broke_off(&passage.settings, passage.clock.elapsed(), passage.key);
                            }
                            None
                        }))
                        .await)
                }
                Err(error) => {
                    passage.ended(error.is_upstream_fault());
                    Err(error)
                }
            }
        })
    }
}

/// A call on its way through a circuit. Dropped before it has ended, as a probe, it frees the place of
/// the probe; else it says nothing: a caller who leaves is no fault of the upstream.
struct Passage {
    circuit: Arc<Circuit>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    probe: bool,
    /// Random bits of the caller's key, enough to tell it from others.
    key: u64,
}

impl Passage {
    fn ended(&mut self, failed: bool) {
        let now = self.clock.elapsed();
        if std::mem::take(&mut self.probe) {
            self.circuit.probed(&self.settings, now, failed);
        } else {
            self.circuit.count(&self.settings, now, failed.then_some(self.key));
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.probe {
            self.circuit.abandoned();
        }
    }
}

#[cold]
fn open(retry_after: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, "The upstream of this model keeps failing: try again later, or another model")
        .with_code("upstream_unavailable")
        .with_failover()
        .with_retry_after(retry_after)
}
