//! [`Fallback`]: tries the offers of a call in order until one of them has a reply.
//!
//! Offers of the model come first, cheapest first as the catalogue sorts them; then those of the
//! models it falls back to. The next one is asked only when the error says that another upstream
//! may help ([`Error::may_fail_over`]) and, by the contract of a reply, only before the first event:
//! an answer that broke off is never continued by another model.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use aihub_core::{Attempt, ChatRequest};
//! use aihub_layers::{FallbackLayer, Routed};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! # let model = world::model("m", vec![world::offer("first", "1"), world::offer("second", "2")]);
//! # let routed = Routed::new(world::call(), std::sync::Arc::new(model));
//! let vendors = service_fn(|attempt: Attempt<ChatRequest>| async move {
//!     // The first vendor has an error from which one may fail over.
//!     if &*attempt.offer.provider == "first" { Err(world::failover()) } else { Ok(world::answer()) }
//! });
//! let service = FallbackLayer::new().with_attempts(3).layer(vendors);
//! service.oneshot(routed).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where it stands
//!
//! Below Quota, whose one hold covers whichever offer is taken; above Breaker, Retry, Timeout and
//! [`Upstream`](crate::Upstream), which all see one [`Attempt`] at one offer.
//!
//! # A wrong order
//!
//! Retry around Fallback does not compile with [`RetryPolicy`](crate::RetryPolicy). With another policy
//! it repeats the whole tour: three tries over three offers are nine requests to vendors.

use std::cmp::Ordering;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aihub_core::{Attempt, Clock, Error, ErrorKind, Operation};
use futures_util::future::BoxFuture;
use tower::{Layer, Service, ServiceExt as _};

use crate::access::Routed;

/// Makes [`Fallback`].
#[derive(Debug, Clone)]
pub struct FallbackLayer {
    settings: Settings,
}

#[derive(Debug, Clone)]
struct Settings {
    attempts: u32,
    deadline: Option<(Arc<dyn Clock>, Duration)>,
}

impl FallbackLayer {
    /// At most 6 requests to vendors per call, without a deadline.
    pub fn new() -> Self {
        Self { settings: Settings { attempts: 6, deadline: None } }
    }

    /// How many requests to vendors one call may cause, retries below included; default 6. Offers
    /// that a breaker skips are not requests. Too high lets a call that cannot succeed burden every
    /// vendor in turn; too low gives up while somebody could serve.
    #[must_use]
    pub fn with_attempts(mut self, most: u32) -> Self {
        self.settings.attempts = most;
        self
    }

    /// No further offer is tried when this long has passed since the call was admitted; default is
    /// no end. Does not cut the attempt that is running: that is Timeout's task, which knows whether
    /// it may have cost money.
    #[must_use]
    pub fn with_deadline(mut self, clock: Arc<dyn Clock>, after: Duration) -> Self {
        self.settings.deadline = Some((clock, after));
        self
    }
}

impl Default for FallbackLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for FallbackLayer {
    type Service = Fallback<S>;

    fn layer(&self, inner: S) -> Fallback<S> {
        Fallback { inner, settings: self.settings.clone() }
    }
}

/// Tries offers in order. See the [module](self).
#[derive(Debug, Clone)]
pub struct Fallback<S> {
    inner: S,
    settings: Settings,
}

impl<S, O> Service<Routed<O>> for Fallback<S>
where
    O: Operation,
    S: Service<Attempt<O>, Response = O::Reply, Error = Error> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = O::Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<O::Reply, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, routed: Routed<O>) -> Self::Future {
        // The service that was polled ready is the one that is called:
        // https://docs.rs/tower-service/latest/tower_service/trait.Service.html#be-careful-when-cloning-inner-services
        let other = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, other);
        let settings = self.settings.clone();
        Box::pin(async move {
            let mut best: Option<Error> = None;
            for (model, offer) in routed.offers() {
                if best.is_some() {
                    if settings.over(&routed) {
                        break;
                    }
                    inner.ready().await?;
                }
                let attempt = Attempt {
                    call: routed.call.clone(),
                    offer: offer.clone(),
                    // Vendors refuse to be asked for more than the model can give.
                    max_output_tokens: routed
                        .max_output_tokens
                        .map(|most| most.min(model.max_output_tokens.unwrap_or(most))),
                };
                match inner.call(attempt).await {
                    Ok(reply) => return Ok(reply),
                    Err(error) if !error.may_fail_over() => return Err(error),
                    Err(error) => {
                        tracing::debug!(call = %routed.call.id, provider = %offer.provider, model = %offer.model, kind = %error.kind(), "offer failed");
                        best = Some(match best {
                            Some(best) => better(best, error),
                            None => error,
                        });
                    }
                }
            }
            Err(best.unwrap_or_else(not_offered))
        })
    }
}

impl Settings {
    fn over<O>(&self, routed: &Routed<O>) -> bool {
        let late =
            |(clock, after): &(Arc<dyn Clock>, Duration)| clock.elapsed().saturating_sub(routed.call.started) >= *after;
        routed.call.trail.attempts() >= self.attempts || self.deadline.as_ref().is_some_and(late)
    }
}

/// Which of two failures tells the caller more about what to do: a fault of its own, which it can
/// correct; else the shortest wait; else what happened last.
fn better(earlier: Error, later: Error) -> Error {
    let rank = |error: &Error| match error.kind() {
        ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::UnsupportedMedia => 0,
        ErrorKind::RateLimited => 1,
        _ => 2,
    };
    let wait = |error: &Error| error.retry_after().unwrap_or(Duration::MAX);
    match rank(&earlier).cmp(&rank(&later)) {
        Ordering::Less => earlier,
        Ordering::Equal if rank(&later) == 1 && wait(&earlier) <= wait(&later) => earlier,
        Ordering::Greater | Ordering::Equal => later,
    }
}

#[cold]
pub(crate) fn not_offered() -> Error {
    Error::new(ErrorKind::Unavailable, "No upstream serves this model at present: use another model")
        .with_code("no_upstream")
        .with_alert()
}

#[cfg(test)]
mod tests {
    use aihub_core::{Call, ChatReply, ChatRequest, ManualClock};
    use tower_test::mock;

    use super::*;
    use crate::world;

    fn routed(providers: &[&str]) -> Routed<ChatRequest> {
        let call = Call::new(world::caller(), world::request(""), &ManualClock::default());
        Routed::new(call, Arc::new(world::model("m", providers.iter().map(|name| world::offer(name, "1")).collect())))
    }

    /// What comes of a tour on which each offer fails in its way, and how many were asked.
    async fn tour(
        layer: FallbackLayer,
        routed: Routed<ChatRequest>,
        failures: Vec<Error>,
    ) -> (Result<ChatReply, Error>, usize) {
        let (vendor, mut asked) = mock::pair::<Attempt<ChatRequest>, ChatReply>();
        let vendor = vendor.map_err(|error| *error.downcast::<Error>().expect("the mock fails with our errors"));
        let answer = tokio::spawn(layer.layer(vendor).oneshot(routed));
        let mut count = 0;
        let mut failures = failures.into_iter();
        asked.allow(100);
        while let Some((attempt, answer)) = asked.next_request().await {
            count += 1;
            attempt.call.trail.attempt(&attempt.offer);
            match failures.next() {
                Some(error) => answer.send_error(error),
                None => answer.send_response(world::answer()),
            }
        }
        (answer.await.unwrap(), count)
    }

    fn wait(seconds: u64) -> Error {
        Error::new(ErrorKind::RateLimited, "wait").with_failover().with_retry_after(Duration::from_secs(seconds))
    }

    #[tokio::test]
    async fn the_first_reply_wins() {
        let (answer, asked) = tour(FallbackLayer::new(), routed(&["a", "b", "c"]), vec![world::failover()]).await;
        assert!(answer.is_ok());
        assert_eq!(asked, 2);
    }

    #[tokio::test]
    async fn an_error_that_no_other_upstream_mends_is_final() {
        let (answer, asked) = tour(FallbackLayer::new(), routed(&["a", "b"]), vec![Error::invalid("n", "no")]).await;
        assert_eq!((answer.unwrap_err().kind(), asked), (ErrorKind::Invalid, 1));
    }

    #[tokio::test]
    async fn the_error_given_back_says_most_about_what_to_do() {
        let invalid = || Error::invalid("n", "no").with_failover();
        for (failures, kind, after) in [
            (vec![wait(9), invalid(), world::failover()], ErrorKind::Invalid, None),
            (vec![wait(9), wait(3), wait(5)], ErrorKind::RateLimited, Some(3)),
            (vec![world::failover(), wait(9), world::transient()], ErrorKind::RateLimited, Some(9)),
            (vec![world::failover(), world::failover(), world::transient()], ErrorKind::BadUpstream, None),
        ] {
            let (answer, asked) = tour(FallbackLayer::new(), routed(&["a", "b", "c"]), failures).await;
            let error = answer.unwrap_err();
            assert_eq!((error.kind(), error.retry_after(), asked), (kind, after.map(Duration::from_secs), 3));
        }
    }

    #[tokio::test]
    async fn goes_on_to_other_models_whose_answers_may_be_shorter() {
        let mut routed = routed(&["a"]);
        routed.max_output_tokens = Some(100);
        let mut other = world::model("other", vec![world::offer("b", "1")]);
        other.max_output_tokens = Some(64);
        routed.fallbacks.push(Arc::new(other));
        let bounds = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = Arc::clone(&bounds);
        let fallback = FallbackLayer::new().layer(tower::service_fn(move |attempt: Attempt<ChatRequest>| {
            seen.lock().unwrap().push((attempt.offer.provider.to_string(), attempt.max_output_tokens));
            async { Err::<ChatReply, _>(world::failover()) }
        }));
        fallback.oneshot(routed).await.unwrap_err();
        assert_eq!(*bounds.lock().unwrap(), [("a".to_owned(), Some(100)), ("b".to_owned(), Some(64))]);
    }

    #[tokio::test]
    async fn attempts_and_time_are_bounded() {
        let failures = || (0..9).map(|_| world::failover()).collect();
        let many = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        assert_eq!(tour(FallbackLayer::new(), routed(&many), failures()).await.1, 6);
        assert_eq!(tour(FallbackLayer::new().with_attempts(2), routed(&many), failures()).await.1, 2);
        let clock = world::clock();
        let layer = FallbackLayer::new().with_deadline(clock.clone(), Duration::from_secs(5));
        clock.advance(Duration::from_secs(5));
        assert_eq!(tour(layer, routed(&many), failures()).await.1, 1, "the first is tried in any case");
    }

    #[tokio::test]
    async fn a_model_without_offers_is_the_operators_to_mend() {
        let (answer, asked) = tour(FallbackLayer::new(), routed(&[]), Vec::new()).await;
        let error = answer.unwrap_err();
        assert_eq!((error.kind(), error.needs_operator(), asked), (ErrorKind::Unavailable, true, 0));
    }
}
