//! [`Timeout`]: how long one attempt may take until its reply exists.
//!
//! The reply to a stream exists once its first event does, so this bounds the wait for the first token,
//! not the length of an answer: a stream that flows is never cut here. The reply to a request that asks
//! for a whole exists when all of it was written, so that one has a longer limit of its own.
//!
//! An attempt that is cut may have cost money that nobody will report. Its prompt is counted among
//! what the call discarded, as an estimate, and not among what the caller used: it got nothing.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use std::time::Duration;
//!
//! use aihub_core::{Attempt, ChatReply, ChatRequest, Error, ErrorKind};
//! use aihub_layers::TimeoutLayer;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! let hangs = service_fn(|_: Attempt<ChatRequest>| std::future::pending::<Result<ChatReply, Error>>());
//! let service = TimeoutLayer::new(Duration::from_secs(60)).layer(hangs);
//! let error = service.oneshot(world::attempt()).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::UpstreamTimeout);
//! # Ok(())
//! # }
//! ```
//!
//! # Where it stands
//!
//! Below Retry and Fallback, directly above [`Upstream`](crate::Upstream), so that each attempt has
//! its own time. The error says that another upstream may do.
//!
//! # A wrong order
//!
//! Timeout around Retry compiles, and gives all attempts together the time of one: the waits between
//! them use it up.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aihub_core::{Attempt, Error, ErrorKind, Operation, Usage};
use futures_util::future::BoxFuture;
use tower::{Layer, Service};

/// Makes [`Timeout`].
#[derive(Debug, Clone, Copy)]
pub struct TimeoutLayer {
    first_event: Duration,
    whole: Duration,
}

impl TimeoutLayer {
    /// Gives each attempt this long until its first event. Too high lets a vendor that hangs hold up
    /// the call; too low cuts models that think before they speak, which costs their prompt.
    pub const fn new(first_event: Duration) -> Self {
        Self { first_event, whole: Duration::from_mins(10) }
    }

    /// Gives each attempt this long whose answer does not come piece by piece; default 600 s, which is
    /// what the vendors' SDKs wait. Too high lets a vendor that hangs hold up the call; too low cuts
    /// long answers that are being written, which costs all of what was written.
    #[must_use]
    pub const fn with_whole(mut self, whole: Duration) -> Self {
        self.whole = whole;
        self
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout { inner, limits: *self }
    }
}

/// Cuts attempts that take too long. See the [module](self).
#[derive(Debug, Clone)]
pub struct Timeout<S> {
    inner: S,
    limits: TimeoutLayer,
}

impl<S, O> Service<Attempt<O>> for Timeout<S>
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
        let after = if attempt.call.operation.streams() { self.limits.first_event } else { self.limits.whole };
        let trail = Arc::clone(&attempt.call.trail);
        let prompt_tokens = attempt.call.operation.demand().prompt_tokens;
        let answer = self.inner.call(attempt);
        Box::pin(async move {
            if let Ok(answer) = tokio::time::timeout(after, answer).await {
                return answer;
            }
            // The attempt was dropped with the future that held it.
            if trail.in_flight() {
                trail.failed(Some(&Usage::estimate(prompt_tokens, 0)));
            }
            Err(too_slow(after))
        })
    }
}

#[cold]
fn too_slow(after: Duration) -> Error {
    let message = format!("The upstream did not answer within {after:?}: try again, or another model");
    Error::new(ErrorKind::UpstreamTimeout, message).with_failover()
}

#[cfg(test)]
mod tests {
    use aihub_core::{ChatReply, ChatRequest};
    use futures_util::StreamExt as _;
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::world;

    fn streamed() -> Attempt<ChatRequest> {
        let mut attempt = world::attempt();
        attempt.call.operation = world::request(r#","stream":true"#);
        attempt
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_attempt_has_cost_its_prompt_and_the_caller_nothing() {
        let attempt = streamed();
        let trail = Arc::clone(&attempt.call.trail);
        let prompt = attempt.call.operation.demand().prompt_tokens;
        let hangs = service_fn(|attempt: Attempt<ChatRequest>| async move {
            attempt.call.trail.attempt(&attempt.offer);
            std::future::pending::<Result<ChatReply, Error>>().await
        });
        let started = tokio::time::Instant::now();
        let error = TimeoutLayer::new(Duration::from_secs(3)).layer(hangs).oneshot(attempt).await.unwrap_err();
        assert_eq!(started.elapsed().as_secs(), 3);
        assert!(error.spent().is_none() && error.may_fail_over() && !error.is_transient());
        assert_eq!((trail.in_flight(), trail.discarded()), (false, Usage::estimate(prompt, 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_has_begun_may_take_as_long_as_it_takes() {
        let slow = service_fn(|_: Attempt<ChatRequest>| async {
            let later = futures_util::stream::once(async {
                tokio::time::sleep(Duration::from_mins(5)).await;
                world::finish()
            });
            Ok::<_, Error>(ChatReply::from_events(1, futures_util::stream::iter([world::piece()]).chain(later)))
        });
        let reply = TimeoutLayer::new(Duration::from_secs(3)).layer(slow).oneshot(streamed()).await.unwrap();
        world::read(reply).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_answer_has_a_longer_time_of_its_own() {
        let writes = |seconds| {
            service_fn(move |_: Attempt<ChatRequest>| async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok::<_, Error>(world::answer())
            })
        };
        let layer = TimeoutLayer::new(Duration::from_secs(3));
        layer.layer(writes(599)).oneshot(world::attempt()).await.unwrap();
        for (layer, seconds) in [(layer, 601), (layer.with_whole(Duration::from_secs(9)), 10)] {
            let error = layer.layer(writes(seconds)).oneshot(world::attempt()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UpstreamTimeout);
        }
    }
}
