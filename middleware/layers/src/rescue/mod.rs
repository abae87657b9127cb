//! [`Rescue`]: the one place where errors become responses.
//!
//! Services below give their errors up as errors: as the `Err` of a service or, in frameworks whose
//! handlers have to answer with a response, as a [`failure`] that carries the error in its extensions.
//! Both end here as the envelope
//! `{"error":{"message","type","code","param","request_id"}}`, with the limit that refused beside it
//! where one did, and both are logged here, once.
//!
//! Every request gets its id here ([`RequestId`], in the extensions), and every response says it
//! (`x-request-id`); the call made of the request takes the same id, so that the header, the log, the
//! usage record and the ledger speak of one thing.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use aihub_core::{Error, ErrorKind};
//! use aihub_layers::RescueLayer;
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! # let clock = world::clock();
//! let fails = service_fn(|_: Request<()>| async {
//!     Err::<Response<Full<Bytes>>, _>(Error::new(ErrorKind::NotFound, "There is no such thing"))
//! });
//! let Ok(response) = RescueLayer::new(clock).layer(fails).oneshot(Request::new(())).await;
//! assert_eq!(response.status(), 404);
//! assert!(response.headers().contains_key("x-request-id"));
//! # Ok(())
//! # }
//! ```
//!
//! # Where it stands
//!
//! Outermost of the layers on [`http::Request`]. A panic below is an error like any other: the caller
//! gets its envelope, and the connection lives on.
//!
//! # A wrong order
//!
//! Authenticate around Rescue: a missing key then ends the connection as an unhandled error
//! instead of answering 401.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aihub_core::{CallId, Clock, Error, ErrorKind};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use serde::Serialize;
use tower::{Layer, Service};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The id of a request, in its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(pub CallId);

/// The error of a response that is to be rendered, in its extensions. See [`failure`].
#[derive(Debug, Clone)]
pub struct Failure(Arc<Error>);

impl Failure {
    /// The error.
    pub fn error(&self) -> &Error {
        &self.0
    }
}

/// A response without a body that carries `error` to [`Rescue`]: what a handler's `IntoResponse`
/// gives back.
pub fn failure<B: Default>(error: impl Into<Error>) -> Response<B> {
    let error = error.into();
    let mut response = Response::new(B::default());
    *response.status_mut() = status(&error);
    response.extensions_mut().insert(Failure(Arc::new(error)));
    response
}

/// The envelope of `error` as JSON: the body of a response, or the data of an error event in a
/// stream.
#[expect(clippy::missing_panics_doc, reason = "there is no error whose envelope is no JSON")]
pub fn envelope(error: &Error, request_id: Option<CallId>) -> Bytes {
    let refusal = error.refusal();
    let envelope = Envelope {
        error: Body {
            message: error.message(),
            kind: error.kind().label(),
            code: error.code(),
            param: error.param(),
            request_id,
            refused: refusal.map(|refusal| Refused {
                limit_source: &refusal.limit_source,
                limit: &refusal.limit,
                remaining: &refusal.remaining,
                resets_at: refusal.resets_at,
            }),
        },
    };
    serde_json::to_vec(&envelope).expect("strings and a timestamp are plain JSON").into()
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    code: &'a str,
    param: Option<&'a str>,
    request_id: Option<CallId>,
    #[serde(flatten)]
    refused: Option<Refused<'a>>,
}

#[derive(Serialize)]
struct Refused<'a> {
    limit_source: &'a str,
    limit: &'a str,
    remaining: &'a str,
    resets_at: Option<aihub_core::Timestamp>,
}

/// Makes [`Rescue`].
#[derive(Debug, Clone)]
pub struct RescueLayer {
    clock: Arc<dyn Clock>,
}

impl RescueLayer {
    /// Stamps request ids by this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl<S> Layer<S> for RescueLayer {
    type Service = Rescue<S>;

    fn layer(&self, inner: S) -> Rescue<S> {
        Rescue { inner, clock: Arc::clone(&self.clock), unready: None }
    }
}

/// Gives requests their id and turns errors into responses. See the [module](self).
#[derive(Debug, Clone)]
pub struct Rescue<S> {
    inner: S,
    clock: Arc<dyn Clock>,
    /// Why the inner service is not ready, to be answered by the next call: a readiness that failed
    /// would end the connection of every request on it.
    unready: Option<Failure>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Rescue<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Error: Into<Error>,
    S::Future: Send + 'static,
    ResBody: From<Bytes>,
{
    type Response = Response<ResBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<ResBody>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.unready = ready!(self.inner.poll_ready(cx)).err().map(|error| Failure(Arc::new(error.into())));
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let id = CallId::new(self.clock.now());
        request.extensions_mut().insert(RequestId(id));
        if let Some(Failure(error)) = self.unready.take() {
            return Box::pin(async move { Ok(render(&error, id, Response::new(()))) });
        }
        let called = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        Box::pin(async move {
            let answered = match called {
                Ok(answer) => AssertUnwindSafe(answer).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            let mut response = match answered {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => return Ok(render(&error.into(), id, Response::new(()))),
                // What it said was printed by the panic hook; the caller learns that it was not his fault.
                Err(_) => return Ok(render(&panicked(), id, Response::new(()))),
            };
            if let Some(Failure(error)) = response.extensions_mut().remove() {
                // What layers in between have said in headers stays.
                return Ok(render(&error, id, response.map(drop)));
            }
            response.headers_mut().insert(REQUEST_ID, text(id));
            Ok(response)
        })
    }
}

#[cold]
fn panicked() -> Error {
    Error::new(ErrorKind::Internal, "The service failed internally: try again")
}

fn render<B: From<Bytes>>(error: &Error, id: CallId, response: Response<()>) -> Response<B> {
    log(error, id);
    let (mut parts, ()) = response.into_parts();
    parts.status = status(error);
    let headers = &mut parts.headers;
    headers.remove(CONTENT_LENGTH);
    headers.remove(CONTENT_ENCODING);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REQUEST_ID, text(id));
    if let Some(after) = error.retry_after() {
        headers.insert(RETRY_AFTER, after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)).into());
        headers.insert(RETRY_AFTER_MS, u64::try_from(after.as_millis()).unwrap_or(u64::MAX).into());
    }
    match error.kind() {
        ErrorKind::Unauthenticated => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // The same request fails the same way, which SDKs do not know of a 400 that a proxy might have
        // made up, nor of a 402 at all.
        ErrorKind::PaymentRequired | ErrorKind::Invalid | ErrorKind::Contradiction => {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        // SDKs take it for a lock that is let go of in a moment, which then has a time to come back.
        ErrorKind::Conflict if error.retry_after().is_none() => {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        _ => {}
    }
    Response::from_parts(parts, B::from(envelope(error, Some(id))))
}

fn status(error: &Error) -> StatusCode {
    StatusCode::from_u16(error.kind().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn text(id: CallId) -> HeaderValue {
    let mut text = String::with_capacity(CallId::PREFIX.len() + 26);
    // Writing to a string cannot fail.
    let _ = write!(text, "{id}");
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("call_"))
}

/// The causes of an error, nearest first, written only if somebody reads the log line.
struct Causes<'a>(&'a Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut next = std::error::Error::source(self.0);
        let mut between = "";
        while let Some(cause) = next {
            write!(f, "{between}{cause}")?;
            between = ": ";
            next = cause.source();
        }
        Ok(())
    }
}

/// Logs a failure: an error for the operator to act on, a warning for what went wrong here or
/// upstream, else only for whoever debugs. An event takes its level at compile time, hence three.
fn log(error: &Error, id: CallId) {
    let (kind, status, causes) = (error.kind(), error.kind().status(), Causes(error));
    if error.needs_operator() || kind == ErrorKind::Internal {
        tracing::error!(request.id = %id, %kind, code = error.code(), status, %causes, "{}", error.message());
    } else if status >= 500 {
        tracing::warn!(request.id = %id, %kind, code = error.code(), status, %causes, "{}", error.message());
    } else {
        tracing::debug!(request.id = %id, %kind, code = error.code(), status, %causes, "{}", error.message());
    }
}
