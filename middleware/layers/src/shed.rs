//! [`Shed`]: a bounded number of calls in flight, in all and for each key; what comes on top is refused
//! at once.
//!
//! A call counts until its reply has ended or was dropped, so that the bound is one on open streams
//! and the memory they take. Nothing waits here: a queue in front of a server that has more to do than
//! it can serves everybody late instead of most in time.
//!
//! A key has a share of the bound: whoever asks for more than that is told so (429), and the others
//! find a place. When the bound itself is reached, everybody is told to come back (503).
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
//! above Quota, so that nothing is held for a call that is refused. It takes any request that is
//! [`Keyed`] and whose reply is a [`Reply`], so that it bounds attempts at one upstream as well, around
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

use aihub_core::{Attempt, Call, Error, ErrorKind, KeyId, Refusal, Reply};
use dashmap::DashMap;
use foldhash::fast::RandomState;
use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use crate::access::Routed;

/// A request that says whose it is.
pub trait Keyed {
    /// The key it came with.
    fn key(&self) -> KeyId;
}

impl<O> Keyed for Call<O> {
    fn key(&self) -> KeyId {
        self.caller.key.id
    }
}

impl<O> Keyed for Routed<O> {
    fn key(&self) -> KeyId {
        self.call.key()
    }
}

impl<O> Keyed for Attempt<O> {
    fn key(&self) -> KeyId {
        self.call.key()
    }
}

/// Makes [`Shed`]. All services made of one layer share its bound.
#[derive(Debug, Clone)]
pub struct ShedLayer {
    load: Arc<Load>,
    most: usize,
    share: usize,
    retry_after: Duration,
}

impl ShedLayer {
    /// At most `most` calls at once, and a quarter of them of one key. Too high lets memory run out;
    /// too low refuses what could be served.
    pub fn new(most: usize) -> Self {
        Self { load: Arc::default(), most, share: (most / 4).max(1), retry_after: Duration::from_secs(1) }
    }

    /// At most `per_key` calls at once of one key; default a quarter of the bound, at least 1. Too
    /// high lets one key shut out the others; too low refuses a key while there is room.
    #[must_use]
    pub fn with_share(mut self, per_key: usize) -> Self {
        self.share = per_key;
        self
    }

    /// How long a refused caller is told to wait; default 1 s.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = wait;
        self
    }

    /// How many calls there are at present.
    pub fn in_flight(&self) -> usize {
        self.load.in_flight.load(Ordering::Relaxed)
    }

    fn admit(&self, key: KeyId) -> Result<Ticket, Error> {
        if self.load.in_flight.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
            return Err(overloaded(self.retry_after));
        }
        // From here on it is counted: the ticket gives back whatever was taken.
        let ticket = Ticket { load: Arc::clone(&self.load), key };
        let of_key = {
            let mut of_key = self.load.of_key.entry(key).or_default();
            *of_key += 1;
            *of_key
        };
        if of_key > self.share { Err(too_many(self.share, self.retry_after)) } else { Ok(ticket) }
    }
}

/// The calls there are. Not a tokio semaphore: giving a permit back takes a lock there that all calls
/// share, which nobody here waits for.
#[derive(Debug, Default)]
struct Load {
    in_flight: AtomicUsize,
    /// Of the keys that have any.
    of_key: DashMap<KeyId, usize, RandomState>,
}

/// One call in flight, for as long as it lives.
#[derive(Debug)]
struct Ticket {
    load: Arc<Load>,
    key: KeyId,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.load.of_key.remove_if_mut(&self.key, |_, of_key| {
            *of_key -= 1;
            *of_key == 0
        });
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
    Req: Keyed,
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
        let ticket = match self.bound.admit(request.key()) {
            Ok(ticket) => ticket,
            Err(refused) => return Box::pin(std::future::ready(Err(refused))),
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let reply = answer.await?;
            Ok(reply
                .watch(Box::new(move |_| {
                    drop(ticket);
                    None
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

#[cold]
fn too_many(share: usize, wait: Duration) -> Error {
    let message = format!("This key has {share} calls running, which is its share: let some of them end first");
    Error::new(ErrorKind::RateLimited, message)
        .with_code("too_many_concurrent_calls")
        .with_refusal(Refusal::new("key_concurrent_calls", format!("{share} calls"), "0 calls"))
        .with_retry_after(wait)
}

#[cfg(test)]
mod tests {
    use aihub_core::{ChatReply, ChatRequest, ManualClock};
    use tower::util::BoxCloneService;
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::world;

    #[tokio::test]
    async fn one_key_takes_its_share_and_no_other_is_shut_out() {
        let (greedy, other) = (world::caller(), world::caller());
        let layer = ShedLayer::new(8);
        let vendor = service_fn(|_: Call<ChatRequest>| async { Ok::<_, Error>(world::answer()) });
        let service = BoxCloneService::new(layer.layer(vendor));
        let ask = |caller: &Arc<aihub_core::Caller>| {
            let call = Call::new(Arc::clone(caller), world::request(""), &ManualClock::default());
            service.clone().oneshot(call)
        };
        let mut replies: Vec<ChatReply> = vec![ask(&greedy).await.unwrap(), ask(&greedy).await.unwrap()];
        for _ in 0..10 {
            let error = ask(&greedy).await.unwrap_err();
            assert_eq!((error.kind(), error.code()), (ErrorKind::RateLimited, "too_many_concurrent_calls"));
            assert!(error.retry_after().is_some() && error.refusal().is_some());
        }
        assert_eq!(layer.in_flight(), 2, "what was refused is not counted");
        replies.push(ask(&other).await.unwrap());
        replies.truncate(1);
        replies.push(ask(&greedy).await.unwrap());
        drop(replies);
        assert_eq!((layer.in_flight(), layer.load.of_key.len()), (0, 0), "nothing is kept of keys that rest");
    }
}
