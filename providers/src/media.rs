//! Images and files that a request names by address, fetched here because the vendor does not.
//!
//! A caller decides the address, so that fetching is a way into the network this runs in. The
//! guard: `https` on its own port only; the name is resolved once and *every* address of it must
//! be public ([`is_public`]); the connection goes to one of exactly these addresses, so
//! that a name which changes its answer meanwhile gains nothing; certificate and `Host` are those
//! of the name; no redirect is followed, no proxy used; size, number and time are capped; what
//! came must be what its first bytes say. Errors name neither addresses nor answers.

mod sniff;

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aihub_core::chat::{Content, Conversation, Part};
use aihub_core::network::is_public;
use aihub_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use tower::Service;
use url::{Host, Url};

/// How media are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MediaSettings {
    /// The most addresses of one request. Default 8; 0 refuses all.
    pub max_files: usize,
    /// The most bytes of one file. Default 10 MiB.
    pub max_bytes: usize,
    /// The most bytes of all files of one request, which are held in memory at once. Default 14 MiB:
    /// what vendors take when it is written in base 64.
    pub max_total_bytes: usize,
    /// How long all of one request's files may take. Default 10 s. Too high keeps a connection for
    /// a host that trickles; too low refuses slow hosts.
    pub time_limit: Duration,
}

impl Default for MediaSettings {
    fn default() -> Self {
        Self { max_files: 8, max_bytes: 10 << 20, max_total_bytes: 14 << 20, time_limit: Duration::from_secs(10) }
    }
}

/// Where names become addresses.
#[async_trait]
pub(crate) trait Resolve: Debug + Send + Sync + 'static {
    /// All addresses of `host`.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's resolver.
#[derive(Debug)]
struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 443)).await?.map(|address| address.ip()).collect())
    }
}

/// What may be connected to. Another rule than [`Guard::public`] is for tests alone.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    resolver: Arc<dyn Resolve>,
    permits: fn(IpAddr) -> bool,
    /// Also without TLS and on any port.
    plain: bool,
}

impl Guard {
    fn public() -> Self {
        Self { resolver: Arc::new(SystemResolver), permits: is_public, plain: false }
    }

    /// The addresses of a name, all of which are permitted.
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let all = self.resolver.resolve(host).await?;
        // One bad address condemns the name: a mixed answer is how rebinding begins.
        if all.is_empty() || !all.iter().all(|address| (self.permits)(*address)) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the name has no address that may be fetched from",
            ));
        }
        Ok(all)
    }

    /// Whether `url` may be tried at all; addresses in place of a name are checked here, since no
    /// resolver is asked for them.
    fn admits(&self, url: &Url) -> bool {
        let scheme = url.scheme() == "https" && url.port().is_none() || self.plain && url.scheme() == "http";
        let nobody = url.username().is_empty() && url.password().is_none();
        let host = match url.host() {
            Some(Host::Ipv4(address)) => (self.permits)(address.into()),
            Some(Host::Ipv6(address)) => (self.permits)(address.into()),
            Some(Host::Domain(name)) => !name.is_empty(),
            None => false,
        };
        scheme && nobody && host
    }
}

type Resolved = std::vec::IntoIter<SocketAddr>;

/// hyper asks this, and connects to what it answers.
impl Service<Name> for Guard {
    type Response = Resolved;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Resolved>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = self.clone();
        Box::pin(async move {
            let all = guard.addresses(name.as_str()).await?;
            Ok(all.into_iter().map(|address| SocketAddr::new(address, 0)).collect::<Vec<_>>().into_iter())
        })
    }
}

/// Fetches media.
#[derive(Debug)]
pub(crate) struct Media {
    settings: MediaSettings,
    guard: Guard,
    client: Client<HttpsConnector<HttpConnector<Guard>>, Empty<Bytes>>,
}

impl Media {
    /// A fetcher from the public network.
    ///
    /// # Errors
    ///
    /// `Internal` when TLS cannot be set up.
    pub(crate) fn new(settings: MediaSettings) -> Result<Self> {
        Self::guarded(settings, Guard::public())
    }

    fn guarded(settings: MediaSettings, guard: Guard) -> Result<Self> {
        let mut connector = HttpConnector::new_with_resolver(guard.clone());
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(settings.time_limit));
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| Error::new(ErrorKind::Internal, "TLS cannot be set up").with_source(error))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        // No connection is kept: each one is made to addresses checked for it.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(tls);
        Ok(Self { settings, guard, client })
    }

    /// Replaces every address in `conversation` by the data that is there, as a data URL.
    ///
    /// # Errors
    ///
    /// `Invalid` with the path of the address: too many of them, one that may not be or could not
    /// be fetched, data that is too long or of no known type.
    pub(crate) async fn fetch(&self, conversation: &mut Conversation) -> Result<()> {
        let mut wanted = Vec::new();
        for (at, message) in conversation.messages.iter_mut().enumerate() {
            let Some(Content::Parts(parts)) = &mut message.content else { continue };
            for (index, part) in parts.iter_mut().enumerate() {
                let (place, field) = match part {
                    Part::ImageUrl { image_url } => (&mut image_url.url, "image_url.url"),
                    Part::File { file } => match &mut file.file_data {
                        Some(data) => (data, "file.file_data"),
                        None => continue,
                    },
                    _ => continue,
                };
                if starts_with(place, "https:") || starts_with(place, "http:") {
                    wanted.push((place, format!("messages[{at}].content[{index}].{field}")));
                }
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        if wanted.len() > self.settings.max_files {
            let message = format!(
                "At most {} images or files are fetched for one request: send the others as data URLs",
                self.settings.max_files
            );
            return Err(Error::invalid("messages", message).with_failover());
        }
        let left = AtomicUsize::new(self.settings.max_total_bytes);
        let all = try_join_all(wanted.into_iter().map(|(place, path)| self.fetch_one(place, path, &left)));
        match tokio::time::timeout(self.settings.time_limit, all).await {
            Ok(done) => done.map(drop),
            Err(_) => Err(Error::invalid(
                "messages",
                "The images or files could not be fetched in time: send them as data URLs",
            )
            .with_failover()),
        }
    }

    async fn fetch_one(&self, place: &mut String, path: String, left: &AtomicUsize) -> Result<()> {
        let refused = |message: &'static str| {
            Error::invalid(path.clone(), message).with_code("media_fetch_failed").with_failover()
        };
        let url = Url::parse(place).map_err(|_| refused("This is not an address"))?;
        if !self.guard.admits(&url) {
            return Err(refused("Only public https addresses are fetched: send the data as a data URL"));
        }
        let failed = || refused("The address could not be fetched: send the data as a data URL");
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = url.as_str().parse().map_err(|_| failed())?;
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("aihub"));
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        let response = self.client.request(request).await.map_err(|error| failed().with_source(error))?;
        if response.status().is_redirection() {
            return Err(refused("The address only points to another one: send that one"));
        }
        if response.status() != http::StatusCode::OK {
            return Err(failed());
        }
        let mut body = response.into_body();
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failed().with_source(error))?;
            if let Some(data) = frame.data_ref() {
                let taken = left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(data.len()));
                if bytes.len() + data.len() > self.settings.max_bytes || taken.is_err() {
                    return Err(refused("The file at this address is larger than is fetched"));
                }
                bytes.extend_from_slice(data);
            }
        }
        let kind = sniff::kind(&bytes).ok_or_else(|| refused("The file at this address is of no type that is read"))?;
        // One buffer for the whole URL: the data is long.
        let mut data = String::with_capacity(32 + bytes.len().div_ceil(3) * 4);
        data.push_str("data:");
        data.push_str(kind);
        data.push_str(";base64,");
        STANDARD.encode_string(&bytes, &mut data);
        *place = data;
        Ok(())
    }
}

fn starts_with(text: &str, scheme: &str) -> bool {
    text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

#[cfg(test)]
pub(crate) mod tests;
