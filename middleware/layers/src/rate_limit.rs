//! [`RateLimit`]: requests per minute of one key, as its plan and its own limits say: the lower holds.
//!
//! Answers say where the caller stands, in the headers of the `OpenAI` API:
//! `x-ratelimit-limit-requests`, `x-ratelimit-remaining-requests`, `x-ratelimit-reset-requests` (how
//! long until the full rate is free again, such as `1s` or `6m0s`), and in those that the IETF is
//! agreeing on (draft-ietf-httpapi-ratelimit-headers-10): `ratelimit-policy: "requests";q=60;w=60`
//! and `ratelimit: "requests";r=59;t=1`. Without a rate nothing is limited and nothing said. When
//! the rate cannot be evaluated, the request is refused.
//!
//! Of tokens nothing is said here: how many are left is known once they are booked, or where they
//! are lent, and neither is asked on the way of a call.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use std::sync::Arc;
//!
//! use aihub_core::Error;
//! use aihub_layers::RateLimitLayer;
//! use http::{Request, Response};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! # let (store, clock) = (Arc::new(world::Turnstile(9.into())), world::clock());
//! # let mut caller = aihub_core::Caller::clone(&world::caller());
//! # let mut plan = world::plan();
//! # plan.requests_per_minute = Some(60);
//! # caller.plan = Arc::new(plan);
//! # let caller = Arc::new(caller);
//! let handler = service_fn(|_: Request<()>| async { Ok::<_, Error>(Response::new(())) });
//! let service = RateLimitLayer::new(store, clock).layer(handler);
//! let request = Request::builder().extension(caller).body(()).unwrap();
//! let response = service.oneshot(request).await?;
//! assert_eq!(response.headers()["x-ratelimit-limit-requests"], "60");
//! # Ok(())
//! # }
//! ```
//!
//! # Where it stands
//!
//! Below [`Authenticate`](crate::Authenticate), whose [`Caller`] it counts by; above everything that
//! costs more than a look-up, such as [`Intake`](crate::Intake).
//!
//! # A wrong order
//!
//! `RateLimit` below the reading of bodies spends memory and bandwidth on requests that it then refuses.

use std::fmt::Write as _;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aihub_core::error::Refusal;
use aihub_core::rate::RateDecision;
use aihub_core::{Caller, Clock, Error, ErrorKind, Rate, RateStore};
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response};
use tower::{Layer, Service};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// Makes [`RateLimit`].
#[derive(Debug, Clone)]
pub struct RateLimitLayer {
    store: Arc<dyn RateStore>,
    clock: Arc<dyn Clock>,
}

impl RateLimitLayer {
    /// Counts in `store`; `clock` says when a refusal is over.
    pub fn new(store: Arc<dyn RateStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit { inner, limit: self.clone() }
    }
}

/// Refuses what comes too often. See the [module](self).
#[derive(Debug, Clone)]
pub struct RateLimit<S> {
    inner: S,
    limit: RateLimitLayer,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RateLimit<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Error: Into<Error>,
    S::Future: Send + 'static,
    ReqBody: Send + 'static,
{
    type Response = Response<ResBody>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<ResBody>, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let rate = match request.extensions().get::<Arc<Caller>>() {
            Some(caller) => per_minute(caller).map(|per_minute| (Arc::clone(caller), per_minute)),
            None => return Box::pin(async { Err(unauthenticated()) }),
        };
        let Some((caller, per_minute)) = rate else {
            let answer = self.inner.call(request);
            return Box::pin(async move { answer.await.map_err(Into::into) });
        };
        // The service that was polled ready is the one that is called:
        // https://docs.rs/tower-service/latest/tower_service/trait.Service.html#be-careful-when-cloning-inner-services
        let other = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, other);
        let limit = self.limit.clone();
        Box::pin(async move {
            let decision = limit.decide(&caller, per_minute).await?;
            let mut response = inner.call(request).await.map_err(Into::into)?;
            let headers = response.headers_mut();
            headers.insert(LIMIT, per_minute.into());
            headers.insert(REMAINING, decision.remaining.into());
            headers.insert(RESET, span(decision.reset_after));
            headers.insert(POLICY, policy(per_minute));
            headers.insert(STANDING, standing(decision));
            Ok(response)
        })
    }
}

fn per_minute(caller: &Caller) -> Option<u32> {
    let (plan, key) = (caller.plan.requests_per_minute, caller.key.limits.requests_per_minute);
    plan.into_iter().chain(key).min()
}

impl RateLimitLayer {
    async fn decide(&self, caller: &Caller, per_minute: u32) -> Result<RateDecision, Error> {
        let refuse = |remaining: u32, after: Duration| {
            let refusal = Refusal::new(
                "key_requests_per_minute",
                format!("{per_minute} requests"),
                format!("{remaining} requests"),
            );
            Error::new(ErrorKind::RateLimited, "This API key sends more requests per minute than it may: send fewer")
                .with_retry_after(after)
                .with_refusal(match self.clock.now().checked_add(after) {
                    Ok(at) => refusal.with_reset(at),
                    Err(_) => refusal,
                })
        };
        // A rate of 0 is a plan that allows none, which no store can express.
        let Some(rate) = Rate::per_minute(per_minute) else { return Err(refuse(0, Duration::from_mins(1))) };
        let mut subject = String::with_capacity(30);
        // Writing to a string cannot fail.
        let _ = write!(subject, "{}", caller.key.id);
        let decision = self.store.take(&subject, rate).await?;
        if decision.allowed { Ok(decision) } else { Err(refuse(decision.remaining, decision.reset_after)) }
    }
}

/// So many requests in the 60 seconds of a minute.
fn policy(per_minute: u32) -> HeaderValue {
    HeaderValue::try_from(format!("\"requests\";q={per_minute};w=60")).expect("quotes, letters and digits are a header")
}

/// How many are left, and in how many seconds all of them are: the part of a second counts as one.
fn standing(decision: RateDecision) -> HeaderValue {
    let seconds = decision.reset_after.as_millis().div_ceil(1_000);
    HeaderValue::try_from(format!("\"requests\";r={};t={seconds}", decision.remaining))
        .expect("quotes, letters and digits are a header")
}

/// A duration as the `OpenAI` API writes it: `12ms`, `1s`, `6m0s`, `1h0m0s`.
fn span(duration: Duration) -> HeaderValue {
    let mut text = String::with_capacity(12);
    let (ms, s) = (duration.as_millis(), duration.as_secs());
    // Writing to a string cannot fail.
    let _ = match s {
        0 => write!(text, "{ms}ms"),
        1..60 => write!(text, "{s}s"),
        60..3600 => write!(text, "{}m{}s", s / 60, s % 60),
        _ => write!(text, "{}h{}m{}s", s / 3600, s / 60 % 60, s % 60),
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("0s"))
}

#[cold]
fn unauthenticated() -> Error {
    Error::new(ErrorKind::Internal, "Something failed here that is not your fault: try again later")
        .with_source("RateLimit found no Caller: it has to stand below Authenticate")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::world::{self, Turnstile};

    async fn ask(per_minute: Option<u32>, left: u32) -> Result<Response<()>, Error> {
        let mut plan = world::plan();
        plan.requests_per_minute = per_minute;
        let caller = Caller::new(world::key(), plan);
        let mut request = Request::new(());
        request.extensions_mut().insert(Arc::new(caller));
        let layer = RateLimitLayer::new(Arc::new(Turnstile(AtomicU32::new(left))), world::clock());
        layer.layer(service_fn(|_| async { Ok::<_, Error>(Response::new(())) })).oneshot(request).await
    }

    #[tokio::test]
    async fn answers_say_where_the_caller_stands() {
        let response = ask(Some(60), 7).await.unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-ratelimit-limit-requests"), "60");
        assert_eq!(header("x-ratelimit-remaining-requests"), "6");
        assert_eq!(header("x-ratelimit-reset-requests"), "1s");
        assert_eq!(header("ratelimit-policy"), "\"requests\";q=60;w=60");
        assert_eq!(header("ratelimit"), "\"requests\";r=6;t=2");
        assert!(ask(None, 0).await.unwrap().headers().is_empty(), "no rate, no limit");
    }

    #[test]
    fn the_lower_of_two_rates_holds() {
        let rate = |of_plan, of_key| {
            let (mut plan, mut key) = (world::plan(), world::key());
            (plan.requests_per_minute, key.limits.requests_per_minute) = (of_plan, of_key);
            per_minute(&Caller::new(key, plan))
        };
        assert_eq!((rate(Some(60), Some(5)), rate(Some(5), Some(60))), (Some(5), Some(5)));
        assert_eq!((rate(Some(60), None), rate(None, Some(5)), rate(None, None)), (Some(60), Some(5), None));
    }

    #[tokio::test]
    async fn a_refusal_names_the_limit_and_its_end() {
        let error = ask(Some(60), 0).await.unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(Duration::from_millis(1_500))));
        let refusal = error.refusal().unwrap();
        assert_eq!(
            (&*refusal.limit_source, &*refusal.limit, &*refusal.remaining),
            ("key_requests_per_minute", "60 requests", "0 requests")
        );
        assert_eq!(refusal.resets_at, Some(world::clock().now() + Duration::from_millis(1_500)));
        assert_eq!(ask(Some(0), 9).await.unwrap_err().kind(), ErrorKind::RateLimited);
    }

    #[tokio::test]
    async fn a_rate_that_cannot_be_evaluated_refuses() {
        #[derive(Debug)]
        struct Away;
        #[async_trait::async_trait]
        impl RateStore for Away {
            async fn take(&self, _: &str, _: Rate) -> Result<RateDecision, Error> {
                Err(Error::new(ErrorKind::Unavailable, "away"))
            }
        }
        let layer = RateLimitLayer::new(Arc::new(Away), world::clock());
        let mut plan = world::plan();
        plan.requests_per_minute = Some(1);
        let caller = Caller::new(world::key(), plan);
        assert_eq!(layer.decide(&caller, 1).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn durations_are_written_as_sdks_read_them() {
        for (ms, text) in
            [(0, "0ms"), (12, "12ms"), (1_000, "1s"), (59_999, "59s"), (360_000, "6m0s"), (3_661_000, "1h1m1s")]
        {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }
}
