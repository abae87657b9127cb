//! [`Idempotency`]: a request that is sent again under its `Idempotency-Key` gets the answer that the first one
//! got, and is charged once.
//!
//! | the key is | the answer |
//! |---|---|
//! | not there, or the request is no POST | as without this layer, at no cost |
//! | new | the request runs, and its answer is kept while it is passed on |
//! | one whose answer is kept | that answer again, streams too, with `idempotent-replayed: true` |
//! | one whose request runs | 409 `idempotency_key_in_use`, with a time to come back |
//! | one of another request | 422 `idempotency_key_reused` |
//! | one whose answer was larger than is kept | 409 `idempotent_answer_too_large` |
//! | one whose request was interrupted | 409 `idempotency_interrupted` |
//! | beyond the store's reach | refused, as the store says: a promise that cannot be kept is not given |
//!
//! Keys are an account's ([`Caller::account`]); the same request is one of the same method, path, query and
//! body, byte by byte.
//!
//! # Which answers are kept
//!
//! Every success, and every failure that the caller pays for or may have to: its call was sent upstream, and
//! is still there or has used something. What failed before that, or at no cost, is not kept, and the key is
//! free again: a caller who was refused for want of money pays and repeats, and one whose vendor was
//! overloaded repeats, too. What it cost is read off the call's [`Trail`], which the door hands over
//! ([`CallTrail`]).
//!
//! A request that was interrupted (its process died, it panicked, its caller left and did not come back in
//! time) is charged for what it had used until then, as a call whose caller left is. It is not done again
//! under its key: that would be a second charge. Its caller learns so, and uses a new key.
//!
//! # A caller who leaves
//!
//! Without a key, its call is cancelled. With a key it will come back for the answer: the request runs in a
//! task of its own, which reads the answer to its end for at most [`IdempotencyLayer::with_linger`] after the
//! caller has left. Then it is cancelled, and interrupted. A caller who reads slowly is waited for.
//!
//! The answer is kept before its last piece is handed on: who has all of it and repeats at once gets it again.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use std::sync::Arc;
//!
//! use aihub_core::Error;
//! use aihub_layers::IdempotencyLayer;
//! use aihub_layers::idempotency::AnswerBody;
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! # let (store, clock, caller) = (Arc::new(world::Drawer::default()), world::clock(), world::caller());
//! let handler = service_fn(|_: Request<Bytes>| async { Ok::<_, Error>(Response::new(AnswerBody::of("paid once"))) });
//! let service = IdempotencyLayer::new(store, clock, |body: AnswerBody| body).layer(handler);
//! let request = || {
//!     let request = Request::post("/v1/chat/completions").header("idempotency-key", "8e03978e");
//!     request.extension(Arc::clone(&caller)).body(Bytes::new()).unwrap()
//! };
//! let first = service.clone().oneshot(request()).await?;
//! # drop(http_body_util::BodyExt::collect(first.into_body()).await);
//! let second = service.oneshot(request()).await?;
//! assert_eq!(second.headers()["idempotent-replayed"], "true");
//! # Ok(())
//! # }
//! ```
//!
//! # Where it stands
//!
//! Below [`Authenticate`](crate::Authenticate), whose caller owns the key, and below
//! [`RateLimit`](crate::RateLimit): a repeat is a request as any other. Below [`Intake`](crate::Intake), since it
//! compares bodies; above the doors, so that a repeat makes no call, no hold and no record.
//!
//! # A wrong order
//!
//! Idempotency above `RateLimit` answers repeats without end to whoever sends them. On calls, below `Meter`, a
//! repeat would be recorded and charged.

mod answer;
mod running;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use aihub_core::idempotency::{Begun, Claim, Fingerprint, Kept};
use aihub_core::{CallId, Caller, Clock, Error, ErrorKind, IdempotencyKey, IdempotencyStore, Timestamp, Trail};
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, ErrInto, TryFutureExt as _};
use http::{HeaderName, Method, Request, Response};
use http_body::Body;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Layer, Service};

pub use answer::AnswerBody;

use crate::rescue::RequestId;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// When to come back for the answer of a request that runs: most answers take some seconds.
const COME_BACK: Duration = Duration::from_secs(2);

/// The trail of the call that a door makes of a request, in the request's extensions where the request has a
/// key: by it [`Idempotency`] knows what a failure has cost. A door that makes no call leaves it alone; where
/// nobody follows a call, failures are taken to cost nothing.
#[derive(Debug, Clone, Default)]
pub struct CallTrail(Arc<OnceLock<Arc<Trail>>>);

impl CallTrail {
    /// This is the call's. Of several the first one counts.
    pub fn follow(&self, trail: &Arc<Trail>) {
        self.0.get_or_init(|| Arc::clone(trail));
    }

    /// Whether the caller pays for the call, or may have to.
    fn may_cost(&self) -> bool {
        let Some(trail) = self.0.get() else { return false };
        // A failure before there is a reply is let off, whatever it has cost the house.
        trail.concluded().map_or(trail.in_flight(), |ended| !ended.waived && !ended.usage.is_zero())
    }
}

/// Makes [`Idempotency`]. All services made of one layer share its running requests.
#[derive(Debug)]
pub struct IdempotencyLayer<B> {
    store: Arc<dyn IdempotencyStore>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    running: TaskTracker,
    stop: CancellationToken,
    body: fn(AnswerBody) -> B,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    keep: Duration,
    max_bytes: usize,
    linger: Duration,
    patience: Duration,
}

impl<B> IdempotencyLayer<B> {
    /// Keeps answers in `store`; `body` makes the service's own body of one that is kept or repeated (such as
    /// `axum::body::Body::new`), so that answers without a key are passed on as they are.
    pub fn new(store: Arc<dyn IdempotencyStore>, clock: Arc<dyn Clock>, body: fn(AnswerBody) -> B) -> Self {
        let limits = Limits {
            keep: Duration::from_hours(24),
            max_bytes: 1 << 20,
            linger: Duration::from_mins(1),
            patience: Duration::from_mins(2),
        };
        Self { store, clock, limits, running: TaskTracker::new(), stop: CancellationToken::new(), body }
    }

    /// How long a key is remembered; default 24 hours. Too short charges twice who repeats late; too long
    /// keeps answers that nobody asks for.
    #[must_use]
    pub fn with_keep(mut self, keep: Duration) -> Self {
        self.limits.keep = keep;
        self
    }

    /// The longest answer that is kept, in bytes; default 1 MiB. Too high fills the store, and the memory
    /// while answers run; too low refuses the repeats of long ones.
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: usize) -> Self {
        self.limits.max_bytes = max_bytes;
        self
    }

    /// How long an answer is read on after its caller has left; default 60 s. Too long pays for answers that
    /// nobody comes back for; too short interrupts those that somebody does.
    #[must_use]
    pub fn with_linger(mut self, linger: Duration) -> Self {
        self.limits.linger = linger;
        self
    }

    /// How long a request of which nothing is heard is waited for; default 2 minutes. One that runs is heard
    /// of three times in that time, so that only those of a process that died are not. Too short takes slow
    /// stores for dead processes; too long has the callers of a dead one wait for nothing.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.limits.patience = patience;
        self
    }

    /// Waits until no request under a key runs any more; after `within`, interrupts those that still do. For
    /// a stop in good order, beside the end of the connections: what runs on without one is not lost with the
    /// process.
    pub async fn drain(&self, within: Duration) {
        self.running.close();
        if tokio::time::timeout(within, self.running.wait()).await.is_err() {
            self.stop.cancel();
            self.running.wait().await;
        }
    }
}

// By hand: derived, it would ask that the body be `Clone`.
impl<B> Clone for IdempotencyLayer<B> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            limits: self.limits,
            running: self.running.clone(),
            stop: self.stop.clone(),
            body: self.body,
        }
    }
}

impl<S, B> Layer<S> for IdempotencyLayer<B> {
    type Service = Idempotency<S, B>;

    fn layer(&self, inner: S) -> Idempotency<S, B> {
        Idempotency { inner, layer: Arc::new(self.clone()) }
    }
}

/// Answers once. See the [module](self).
#[derive(Debug)]
pub struct Idempotency<S, B> {
    inner: S,
    /// Shared, so that a request without a key, too, costs no more than a count to be cloned for.
    layer: Arc<IdempotencyLayer<B>>,
}

impl<S: Clone, B> Clone for Idempotency<S, B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: Arc::clone(&self.layer) }
    }
}

impl<S, B> Service<Request<Bytes>> for Idempotency<S, B>
where
    S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<Error>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    type Response = Response<B>;
    type Error = Error;
    type Future = Either<ErrInto<S::Future, Error>, BoxFuture<'static, Result<Response<B>, Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        if request.method() != Method::POST || !request.headers().contains_key(KEY) {
            return Either::Left(self.inner.call(request).err_into());
        }
        // The service that was polled ready is the one that is called:
        // https://docs.rs/tower-service/latest/tower_service/trait.Service.html#be-careful-when-cloning-inner-services
        let other = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, other);
        let layer = Arc::clone(&self.layer);
        Either::Right(Box::pin(async move {
            let claim = layer.claim(&request)?;
            layer.answer(claim, inner, request).await
        }))
    }
}

impl<B> IdempotencyLayer<B> {
    fn claim(&self, request: &Request<Bytes>) -> Result<Claim, Error> {
        let caller = request.extensions().get::<Arc<Caller>>().ok_or_else(unauthenticated)?;
        let mut keys = request.headers().get_all(KEY).iter();
        let key = keys.next().and_then(|key| key.to_str().ok()).unwrap_or_default();
        if keys.next().is_some() {
            let message = "There are several idempotency keys: send one";
            return Err(Error::invalid("Idempotency-Key", message).with_code("invalid_idempotency_key"));
        }
        let key: IdempotencyKey = key.parse()?;
        let path = request.uri().path_and_query().map_or("", |path| path.as_str());
        let at = self.clock.now();
        let request_id = request.extensions().get::<RequestId>();
        Ok(Claim {
            account: caller.account(),
            key,
            fingerprint: Fingerprint::of(request.method().as_str(), path, request.body()),
            request: request_id.map_or_else(|| CallId::new(at), |id| id.0),
            at,
            running_until: after(at, self.limits.patience),
            expires_at: after(at, self.limits.keep),
        })
    }
}

/// Beyond every calendar is as good as its end.
fn after(at: Timestamp, time: Duration) -> Timestamp {
    at.checked_add(time).unwrap_or(Timestamp::MAX)
}

/// What there is under the key, as the answer to a repeat. `None`: nothing, and the request is to be done.
fn repeated<B>(begun: Begun, body: fn(AnswerBody) -> B) -> Option<Result<Response<B>, Error>> {
    match begun {
        Begun::New => None,
        Begun::Done(Kept::Answer(stored)) => Some(answer::replay(stored).map(|answer| answer.map(body))),
        Begun::Running { .. } => Some(Err(in_use())),
        Begun::Done(Kept::TooLarge) => Some(Err(too_large())),
        Begun::Done(Kept::Interrupted) => Some(Err(interrupted())),
        Begun::Mismatch => Some(Err(reused())),
    }
}

#[cold]
fn in_use() -> Error {
    let message = "The request under this idempotency key still runs: come back for its answer";
    Error::new(ErrorKind::Conflict, message).with_code("idempotency_key_in_use").with_retry_after(COME_BACK)
}

#[cold]
fn reused() -> Error {
    let message = "This idempotency key was used for another request: use a new key for every new request";
    Error::new(ErrorKind::Contradiction, message).with_code("idempotency_key_reused").with_param("Idempotency-Key")
}

#[cold]
fn too_large() -> Error {
    let message = "The request under this idempotency key was answered and charged, and its answer is too large to be \
                   repeated: use a new key to have it done, and charged, again";
    Error::new(ErrorKind::Conflict, message).with_code("idempotent_answer_too_large")
}

#[cold]
fn interrupted() -> Error {
    let message = "The request under this idempotency key was interrupted, and what it had used may be charged: use a new \
                   key to have it done, and charged, again";
    Error::new(ErrorKind::Conflict, message).with_code("idempotency_interrupted")
}

#[cold]
fn unauthenticated() -> Error {
    Error::new(ErrorKind::Internal, "Something failed here that is not your fault: try again later")
        .with_source("Idempotency found no Caller: it has to stand below Authenticate")
}
