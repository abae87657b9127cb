//! The way to a vendor: one pooled hyper client, the vendor's keys, and time limits.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aihub_core::json::Segments;
use aihub_core::{Clock, Error, ErrorKind, Result, Usage};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use secrecy::SecretString;
use tokio::time::{Instant, Sleep};

use crate::keys::KeyRing;

/// The most bytes of an answer that is not streamed, and of one event of a stream.
pub(crate) const MOST_BYTES: usize = 64 << 20;

/// How long a key rests after the vendor refused it.
const REFUSED_KEY_RESTS: Duration = Duration::from_mins(1);

/// Where a vendor is and how it is spoken to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UpstreamSettings {
    /// The address that paths are appended to, version segment included, such as
    /// `https://openrouter.ai/api/v1`.
    pub base_url: String,
    /// The vendor's keys; several take turns.
    pub keys: Vec<SecretString>,
    /// How long a connection may take to be made. Default 5 s. Too low fails over on a slow
    /// handshake; too high keeps callers waiting for a dead host.
    pub connect_timeout: Duration,
    /// How long a stream may be silent between two pieces. Default 60 s. Too low cuts models that
    /// think long; too high holds dead connections.
    pub idle_timeout: Duration,
    /// Idle connections kept per host. Default 512; each is a socket.
    pub idle_connections: usize,
}

impl UpstreamSettings {
    /// The defaults for this address and these keys.
    pub fn new(base_url: impl Into<String>, keys: Vec<SecretString>) -> Self {
        Self {
            base_url: base_url.into(),
            keys,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_mins(1),
            idle_connections: 512,
        }
    }
}

/// A vendor's address with everything needed to send to it.
#[derive(Debug)]
pub(crate) struct Upstream {
    client: Client<HttpsConnector<HttpConnector>, OutBody>,
    base: String,
    key_name: HeaderName,
    keys: KeyRing,
    idle_timeout: Duration,
}

/// A request about to be sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Segments,
    /// The tokens that the vendor may bill for when nothing is heard of it any more.
    prompt_tokens: u64,
}

impl Outgoing {
    /// A request with a JSON body.
    pub(crate) fn post(uri: Uri, body: impl Into<Segments>) -> Self {
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { method: Method::POST, uri, headers, body: body.into(), prompt_tokens: 0 }
    }

    /// A request without a body.
    pub(crate) fn get(uri: Uri) -> Self {
        let headers = HeaderMap::with_capacity(4);
        Self { method: Method::GET, uri, headers, body: Segments::default(), prompt_tokens: 0 }
    }

    /// The same request, which the vendor bills for `prompt_tokens` once it has it.
    pub(crate) fn billing(mut self, prompt_tokens: u64) -> Self {
        self.prompt_tokens = prompt_tokens;
        self
    }
}

/// What it means that no answer came. A request that was not sent costs nothing; one that was may
/// be worked on and billed, and the same once more would be bought twice.
#[cold]
fn unanswered(error: hyper_util::client::legacy::Error, safe: bool, prompt_tokens: u64) -> Error {
    let unreached = error.is_connect();
    let what = if unreached {
        "The upstream could not be reached: try again"
    } else {
        "The connection to the upstream broke: try again"
    };
    let shown = Error::new(ErrorKind::BadUpstream, what).with_source(error);
    match (unreached || safe, prompt_tokens) {
        (true, _) => shown.with_transient(),
        (false, 0) => shown.with_failover(),
        (false, billed) => shown.with_failover().with_spent(Usage::estimate(billed, 0)),
    }
}

/// What a vendor answered instead of 2xx.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Upstream {
    /// A client for `settings`; keys travel in header `key_name` as `{key_prefix}{key}`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) naming the setting that is wrong.
    pub(crate) fn new(
        settings: &UpstreamSettings,
        key_name: HeaderName,
        key_prefix: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let base = settings.base_url.trim_end_matches('/').to_owned();
        let parsed: Uri = base.parse().map_err(|_| wrong_address(&base))?;
        if !matches!(parsed.scheme_str(), Some("http" | "https")) || parsed.host().is_none() || parsed.query().is_some()
        {
            return Err(wrong_address(&base));
        }
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(settings.connect_timeout));
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| Error::new(ErrorKind::Internal, "TLS cannot be set up").with_source(error))?
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .pool_max_idle_per_host(settings.idle_connections)
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .build(tls);
        let keys = KeyRing::new(key_prefix, &settings.keys, clock)?;
        Ok(Self { client, base, key_name, keys, idle_timeout: settings.idle_timeout })
    }

    /// The address of `path` (which starts with a slash and is escaped already).
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when the path is none.
    pub(crate) fn uri(&self, path: &str) -> Result<Uri> {
        format!("{}{path}", self.base)
            .parse()
            .map_err(|_| Error::new(ErrorKind::Invalid, "The model's name cannot be part of an address"))
    }

    /// Sends a request and gives back a 2xx answer. What is not 2xx is explained by `explain`; when
    /// that blames our key (an alert, or a rate limit), the key rests and the next one is tried.
    pub(crate) async fn send(&self, mut outgoing: Outgoing, explain: impl Fn(Fault) -> Error) -> Result<Answer> {
        let mut tried = 1;
        loop {
            let (at, key) = self.keys.pick();
            let last = tried == self.keys.len();
            // Kept only for another key, of which most vendors have none.
            let sent = if last { std::mem::take(&mut outgoing) } else { outgoing.clone() };
            let answer = self.send_once(sent, key).await?;
            if answer.status.is_success() {
                return Ok(answer);
            }
            let (status, headers) = (answer.status, answer.headers.clone());
            let body = answer.bytes(1 << 20).await.unwrap_or_default();
            let error = explain(Fault { status, headers, body });
            let rests = match error.kind() {
                _ if error.needs_operator() => REFUSED_KEY_RESTS,
                ErrorKind::RateLimited => error.retry_after().unwrap_or(Duration::from_secs(1)).min(REFUSED_KEY_RESTS),
                _ => return Err(error),
            };
            self.keys.rest(at, rests);
            if last {
                return Err(error);
            }
            tried += 1;
        }
    }

    async fn send_once(&self, outgoing: Outgoing, key: HeaderValue) -> Result<Answer> {
        let (safe, prompt_tokens) = (outgoing.method.is_safe(), outgoing.prompt_tokens);
        let mut request = http::Request::new(OutBody::new(outgoing.body));
        *request.method_mut() = outgoing.method;
        *request.uri_mut() = outgoing.uri;
        *request.headers_mut() = outgoing.headers;
        request.headers_mut().insert(self.key_name.clone(), key);
        let response = self.client.request(request).await;
        let response = response.map_err(|error| unanswered(error, safe, prompt_tokens))?;
        let (head, body) = response.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body, idle_timeout: self.idle_timeout })
    }
}

fn wrong_address(base: &str) -> Error {
    // An address may carry a password: only what precedes it is shown.
    let shown = base.split('@').next_back().unwrap_or_default();
    Error::invalid("base_url", format!("`{shown}` is not an http or https address without a query"))
}

/// A vendor's answer, whose body is still to be read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    idle_timeout: Duration,
}

impl Answer {
    /// The whole body, at most `limit` bytes of it; not copied when it came in one piece.
    pub(crate) async fn bytes(self, limit: usize) -> Result<Bytes> {
        let known = self.body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
        let mut frames = self.frames();
        let first = frames.next().await.transpose()?.unwrap_or_default();
        if known == Some(first.len()) {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(known.unwrap_or(0).clamp(first.len(), limit));
        whole.extend_from_slice(&first);
        while let Some(frame) = frames.next().await {
            whole.extend_from_slice(&frame?);
            if whole.len() > limit {
                return Err(Error::new(ErrorKind::BadUpstream, "The upstream's answer is longer than is accepted"));
            }
        }
        Ok(whole.freeze())
    }

    /// The body as it comes, with a limit on silence.
    pub(crate) fn frames(self) -> Frames {
        Frames { body: self.body, idle_timeout: self.idle_timeout, last: Instant::now(), alarm: None }
    }
}

/// The pieces of a body as they come. Dropping it closes the request to the vendor.
#[derive(Debug)]
pub(crate) struct Frames {
    body: Incoming,
    idle_timeout: Duration,
    last: Instant,
    /// Set on the first wait and moved only when it rings: a timer that is reset for every piece
    /// would cost more than reading the piece.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Stream for Frames {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => {
                    let broken =
                        Error::new(ErrorKind::BadUpstream, "The upstream broke off in the middle of its answer");
                    return Poll::Ready(Some(Err(broken
                        .with_code("upstream_truncated")
                        .with_failover()
                        .with_source(error))));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    this.last = Instant::now();
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Pending => {
                    let due = this.last + this.idle_timeout;
                    let alarm = this.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
                    if alarm.is_elapsed() {
                        alarm.as_mut().reset(due);
                    }
                    ready!(alarm.as_mut().poll(cx));
                    if Instant::now() >= due {
                        let silent = Error::new(ErrorKind::UpstreamTimeout, "The upstream stopped answering");
                        return Poll::Ready(Some(Err(silent.with_failover())));
                    }
                }
            }
        }
    }
}

/// A request body in pieces, of known length.
#[derive(Debug)]
pub(crate) struct OutBody {
    parts: VecDeque<Bytes>,
    left: u64,
}

impl OutBody {
    fn new(segments: Segments) -> Self {
        let left = segments.size_bytes() as u64;
        Self { parts: segments.into_parts().into(), left }
    }
}

impl http_body::Body for OutBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            let Some(part) = self.parts.pop_front() else { return Poll::Ready(None) };
            if !part.is_empty() {
                self.left -= part.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(part))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
