//! [`Shed`]: a bounded number of calls in flight; what comes on top is refused at once.
//!
//! A call counts until its reply has ended or was dropped, so that the bound is one on open streams
//! and the memory they take. Nothing waits here: a queue in front of a server that has more to do than
//! it can serves everybody late instead of most in time.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use aihub_core::{Call, ChatRequest, Error};
//! use aihub_layers::ShedLayer;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! let vendor = service_fn(|_: Call<ChatRequest>| async { Ok::<_, Error>(world::answer()) });
//! let service = ShedLayer::new(1).layer(vendor);
//! let reply = service.clone().oneshot(world::call()).await?;
//! let error = service.clone().oneshot(world::call()).await.unwrap_err();
//! assert_eq!(error.code(), "overloaded");
//! drop(reply);
//! service.oneshot(world::call()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where it stands
//!
//! Below Meter and Access, so that a refusal is recorded and only calls that may run are counted;
//! above Quota, so that nothing is held for a call that is refused. It takes any request whose reply
//! is a [`Reply`], so that it bounds attempts at one upstream as well, around
//! [`Upstream`](crate::Upstream).
//!
//! # A wrong order
//!
//! Shed below Quota makes a round to the quota's store, and another one back, for every call of an
//! overload: exactly when there is no time for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aihub_core::{Error, ErrorKind, Reply};
use futures_util::future::BoxFuture;
use tower::{Layer, Service};

/// Makes [`Shed`]. All services made of one layer share its bound.
#[derive(Debug, Clone)]
pub struct ShedLayer {
    // Not a tokio semaphore: giving a permit back takes a lock there, which nobody here waits for.
    in_flight: Arc<AtomicUsize>,
    most: usize,
    retry_after: Duration,
}

impl ShedLayer {
    /// At most `most` calls at once. Too high lets memory run out; too low refuses what could be
    /// served.
    pub fn new(most: usize) -> Self {
        Self { in_flight: Arc::default(), most, retry_after: Duration::from_secs(1) }
    }

    /// How long a refused caller is told to wait; default 1 s.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = wait;
        self
    }

    /// How many calls there are at present.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn admit(&self) -> Option<Ticket> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Ticket(Arc::clone(&self.in_flight)))
    }
}

/// One call in flight, for as long as it lives.
#[derive(Debug)]
struct Ticket(Arc<AtomicUsize>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed { inner, bound: self.clone() }
    }
}

/// Refuses what is too much. See the [module](self).
#[derive(Debug, Clone)]
pub struct Shed<S> {
    inner: S,
    bound: ShedLayer,
}

impl<S, Req> Service<Req> for Shed<S>
where
    S: Service<Req, Error = Error>,
    S::Response: Reply,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = Error;
    type Future = BoxFuture<'static, Result<S::Response, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let Some(ticket) = self.bound.admit() else {
            let wait = self.bound.retry_after;
            return Box::pin(async move { Err(overloaded(wait)) });
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let reply = answer.await?;
            Ok(reply
                .watch(Box::new(move |_| {
                    drop(ticket);
                    Box::pin(std::future::ready(()))
                }))
                .await)
        })
    }
}

#[cold]
fn overloaded(wait: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, "There are more calls than can be served at present: try again shortly")
        .with_code("overloaded")
        .with_retry_after(wait)
}
