//! The way to a receiver: one checked address, a pooled hyper client, and time limits.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aihub_core::network::is_public;
use aihub_core::time::http_date;
use aihub_core::{Error, ErrorKind, Result, Timestamp};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::Service;

/// Where a receiver may be. Whoever chooses its address chooses what this process connects to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reach {
    /// On the public network, by `https`: every address of its name is public, when it is connected to.
    #[default]
    Public,
    /// Anywhere, by `https`: also in a network of the operator's own.
    Private,
    /// On this machine, also without TLS: beside the server, and in tests.
    Loopback,
}

impl Reach {
    fn permits(self, address: IpAddr) -> bool {
        match self {
            Self::Public => is_public(address),
            Self::Private => true,
            Self::Loopback => address.to_canonical().is_loopback(),
        }
    }
}

/// The longest answer that is read; nothing in it is needed but why a request was refused.
const MOST_ANSWER_BYTES: usize = 64 << 10;

/// One address, and everything needed to send to it. No redirect is followed and no proxy used.
#[derive(Debug)]
pub(super) struct Receiver {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    uri: Uri,
    time_limit: Duration,
}

/// What a receiver answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Receiver {
    /// A way to `url`; `setting` is what it is called where it is wrong.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when `url` is no address, or one that is out of reach.
    pub(super) fn new(setting: &'static str, url: &str, reach: Reach, time_limit: Duration) -> Result<Self> {
        // An address may carry a secret: only where it leads is ever shown.
        let wrong = |why: &str| Error::invalid(setting, format!("`{setting}` {why}"));
        let uri: Uri = url.parse().map_err(|_| wrong("is not an address"))?;
        let host = uri.host().ok_or_else(|| wrong("is not an address with a host"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("holds a name or a password: leave them out"));
        }
        match (uri.scheme_str(), reach) {
            (Some("https"), _) | (Some("http"), Reach::Loopback) => {}
            _ => return Err(wrong("has to begin with https:// (http:// is for a receiver on this machine alone)")),
        }
        // hyper asks no resolver for these.
        let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        if literal.is_some_and(|address| !reach.permits(address)) {
            return Err(wrong("leads to an address that is out of reach: see what `reach` allows"));
        }
        let mut connector = HttpConnector::new_with_resolver(Resolver(reach));
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(time_limit));
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| Error::new(ErrorKind::Internal, "TLS cannot be set up").with_source(error))?
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(tls);
        Ok(Self { client, uri, time_limit })
    }

    /// Posts a body and reads the answer, whatever it is.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) when there is none within the time limit. Whether the body arrived is
    /// unknown then.
    pub(super) async fn post(&self, headers: HeaderMap, body: Bytes) -> Result<Answer> {
        let mut request = http::Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("aihub"));
        let answered = async {
            let (head, body) = self.client.request(request).await.map_err(no_answer)?.into_parts();
            let body = Limited::new(body, MOST_ANSWER_BYTES).collect().await;
            // A status says what there is to say, also when its body is endless or breaks.
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(self.time_limit, answered)
            .await
            .unwrap_or_else(|late| Err(unavailable("The receiver did not answer in time").with_source(late)))
    }
}

impl Answer {
    /// Why this is not 2xx, in terms of what whoever delivers may do about it.
    ///
    /// A refusal that is about what was sent is a rejection. One that is about the address or a credential is none:
    /// with a wrong setting everything would be put aside that a right one could deliver.
    pub(super) fn error(&self, now: Timestamp) -> Error {
        let said = format!("The receiver answered {}", self.status.as_u16());
        let error = match self.status.as_u16() {
            401 | 403 | 404 | 405 | 407 | 300..400 => {
                Error::new(ErrorKind::Unavailable, format!("{said}: correct its address or its secret")).with_alert()
            }
            413 => Error::new(ErrorKind::TooLarge, said),
            408 | 425 | 429 => Error::new(ErrorKind::Unavailable, said),
            400..500 => Error::new(ErrorKind::Invalid, said),
            _ => Error::new(ErrorKind::Unavailable, said),
        };
        let error = error.with_source(String::from_utf8_lossy(&self.body[..self.body.len().min(1_024)]).into_owned());
        self.retry_after(now).into_iter().fold(error, Error::with_retry_after)
    }

    fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let text = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
        let seconds = text.parse().ok().map(Duration::from_secs);
        seconds.or_else(|| http_date(text)?.duration_since(now).try_into().ok())
    }
}

fn unavailable(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}

fn no_answer(error: hyper_util::client::legacy::Error) -> Error {
    let what = if error.is_connect() { "The receiver could not be reached" } else { "The receiver broke off" };
    unavailable(what).with_source(error)
}

/// hyper asks this, and connects to what it answers: a name that changes its answer after a check gains nothing.
#[derive(Debug, Clone, Copy)]
struct Resolver(Reach);

type Resolved = std::vec::IntoIter<SocketAddr>;

impl Service<Name> for Resolver {
    type Response = Resolved;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Resolved>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.0;
        Box::pin(async move {
            let all: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // One bad address condemns the name: a mixed answer is how rebinding begins.
            if all.is_empty() || !all.iter().all(|address| reach.permits(address.ip())) {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the name has an address out of reach"));
            }
            Ok(all.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(url: &str, reach: Reach) -> Result<Receiver> {
        Receiver::new("url", url, reach, Duration::from_secs(1))
    }

    #[test]
    fn an_address_is_judged_by_its_reach() {
        for (url, reach) in [
            ("https://example.com/usage", Reach::Public),
            ("https://1.1.1.1/", Reach::Public),
            ("https://10.0.0.1/", Reach::Private),
            ("https://[fd00::1]/", Reach::Private),
            ("http://127.0.0.1:8080/", Reach::Loopback),
            ("http://[::1]:8080/", Reach::Loopback),
            ("http://localhost/", Reach::Loopback),
        ] {
            assert!(made(url, reach).is_ok(), "{url} {reach:?}");
        }
        for (url, reach) in [
            ("", Reach::Public),
            ("/usage", Reach::Private),
            ("ftp://example.com/", Reach::Private),
            ("http://example.com/", Reach::Public),
            ("http://10.0.0.1/", Reach::Private),
            ("https://10.0.0.1/", Reach::Public),
            ("https://[::ffff:127.0.0.1]/", Reach::Public),
            ("https://169.254.169.254/", Reach::Public),
            ("https://1.1.1.1/", Reach::Loopback),
            ("https://user:password@example.com/", Reach::Private),
        ] {
            let error = made(url, reach).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
            assert!(!error.to_string().contains("password@"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_its_addresses() {
        let error = made("https://localhost/", Reach::Public).unwrap().post(HeaderMap::new(), Bytes::new()).await;
        let error = error.unwrap_err();
        assert_eq!(error.message(), "The receiver could not be reached");
        let mut source = std::error::Error::source(&error);
        let mut chain = String::new();
        while let Some(cause) = source {
            chain.push_str(&cause.to_string());
            source = cause.source();
        }
        assert!(chain.contains("out of reach"), "{chain}");
    }

    #[test]
    fn refusals_are_told_apart_by_what_may_be_done() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let judged = |status: u16, after: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.extend(after.map(|after| (header::RETRY_AFTER, HeaderValue::from_static(after))));
            Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::new() }.error(now)
        };
        for status in [400, 409, 410, 413, 415, 422] {
            assert!(judged(status, None).is_rejection(), "{status}");
        }
        for status in [301, 401, 403, 404, 408, 425, 429, 500, 502, 503, 504] {
            assert!(!judged(status, None).is_rejection(), "{status}");
            assert_eq!(judged(status, None).needs_operator(), matches!(status, 300..405), "{status}");
        }
        let waits = |after| judged(503, Some(after)).retry_after();
        assert_eq!(waits("7"), Some(Duration::from_secs(7)));
        assert_eq!(waits("Sat, 21 Nov 2026 12:01:00 GMT"), Some(Duration::from_mins(1)));
        assert_eq!(waits("Sat, 21 Nov 2026 11:00:00 GMT"), None);
        assert_eq!(waits("soon"), None);
    }
}
