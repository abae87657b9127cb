//! [`Authenticate`]: finds out who calls and hands on a [`Caller`], the only extension it sets.
//!
//! The key comes as `Authorization: Bearer ahub_…` or as `x-api-key: ahub_…` (the dialect of some
//! SDKs); the former wins where both are there. It is checked at every request, also when the store
//! has it cached: revoked and expired keys differ from unknown ones in the answer.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use std::sync::Arc;
//!
//! use aihub_core::{Caller, Error, Pepper, PlainKey, Plans};
//! use aihub_layers::AuthenticateLayer;
//! use http::{Request, Response};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! # let (key, pepper, clock) = (PlainKey::generate("test"), Pepper::random(), world::clock());
//! # let keys = Arc::new(world::Keys(Ok(Some((pepper.hash(&key), Arc::new(world::key()))))));
//! # let plans = Arc::new(Plans::from_iter([world::plan()]));
//! let greets = service_fn(|request: Request<()>| async move {
//!     let caller = request.extensions().get::<Arc<Caller>>().expect("set by Authenticate");
//!     Ok::<_, Error>(Response::new(format!("You are on the plan {}", caller.plan.name)))
//! });
//! let service = AuthenticateLayer::new(keys, pepper, plans, clock)
//!     .with_trusted_proxies(vec!["10.0.0.0/8".parse()?])
//!     .layer(greets);
//! let request = Request::builder().header("authorization", format!("Bearer {}", key.reveal())).body(()).unwrap();
//! assert_eq!(service.oneshot(request).await?.body(), "You are on the plan free");
//! # Ok(())
//! # }
//! ```
//!
//! # Where the caller is
//!
//! The address is that of the connection, which the server puts in the extensions as [`Peer`].
//! `X-Forwarded-For` is believed only from proxies named by
//! [`AuthenticateLayer::with_trusted_proxies`], from right to left, up to the first address that is no
//! such proxy: everything left of it is the caller's own invention.
//!
//! # Where it stands
//!
//! Below [`Rescue`](crate::Rescue), which answers for it; above [`RateLimit`](crate::RateLimit) and
//! everything else that asks who calls; above [`Intake`](crate::Intake), so that a stranger's body is
//! not read.
//!
//! # A wrong order
//!
//! `RateLimit` around Authenticate counts by a caller that is not known yet: it refuses every request.

mod address;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::task::{Context, Poll};

use aihub_core::{Caller, Clock, Error, ErrorKind, KeyStore, Network, Pepper, PlainKey, Plans};
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, Request, Response};
use tower::{Layer, Service};

pub use address::Peer;

/// More than this of what a caller says it is, is not kept.
const USER_AGENT_BYTES: usize = 256;

/// Makes [`Authenticate`].
#[derive(Debug)]
pub struct AuthenticateLayer<Keys: ?Sized> {
    settings: Arc<Settings<Keys>>,
}

#[derive(Debug)]
struct Settings<Keys: ?Sized> {
    pepper: Pepper,
    plans: Arc<Plans>,
    clock: Arc<dyn Clock>,
    trusted: Vec<Network>,
    keys: Arc<Keys>,
}

impl<Keys: KeyStore + ?Sized> AuthenticateLayer<Keys> {
    /// Callers with a key in `keys`, hashed under `pepper`, on one of `plans`; no proxy is trusted.
    pub fn new(keys: Arc<Keys>, pepper: Pepper, plans: Arc<Plans>, clock: Arc<dyn Clock>) -> Self {
        Self { settings: Arc::new(Settings { pepper, plans, clock, trusted: Vec::new(), keys }) }
    }

    /// Proxies whose `X-Forwarded-For` is believed. Too many lets callers choose their address, and
    /// with it pass a key's address list; too few makes every caller look like the proxy.
    #[must_use]
    pub fn with_trusted_proxies(self, trusted: Vec<Network>) -> Self {
        let Settings { pepper, plans, clock, keys, .. } = &*self.settings;
        let (pepper, plans, clock, keys) = (pepper.clone(), Arc::clone(plans), Arc::clone(clock), Arc::clone(keys));
        Self { settings: Arc::new(Settings { pepper, plans, clock, trusted, keys }) }
    }
}

// By hand: derived, it would ask that the store be `Clone`.
impl<Keys: ?Sized> Clone for AuthenticateLayer<Keys> {
    fn clone(&self) -> Self {
        Self { settings: Arc::clone(&self.settings) }
    }
}

impl<S, Keys: ?Sized> Layer<S> for AuthenticateLayer<Keys> {
    type Service = Authenticate<S, Keys>;

    fn layer(&self, inner: S) -> Authenticate<S, Keys> {
        Authenticate { inner, settings: Arc::clone(&self.settings) }
    }
}

/// Lets known callers pass. See the [module](self).
#[derive(Debug)]
pub struct Authenticate<S, Keys: ?Sized> {
    inner: S,
    settings: Arc<Settings<Keys>>,
}

impl<S: Clone, Keys: ?Sized> Clone for Authenticate<S, Keys> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), settings: Arc::clone(&self.settings) }
    }
}

impl<S, Keys, ReqBody, ResBody> Service<Request<ReqBody>> for Authenticate<S, Keys>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Error: Into<Error>,
    S::Future: Send + 'static,
    Keys: KeyStore + ?Sized,
    ReqBody: Send + 'static,
{
    type Response = Response<ResBody>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<ResBody>, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        // The service that was polled ready is the one that is called:
        // https://docs.rs/tower-service/latest/tower_service/trait.Service.html#be-careful-when-cloning-inner-services
        let other = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, other);
        let settings = Arc::clone(&self.settings);
        Box::pin(async move {
            // Read before the await, so that what is held across it need not include the request's
            // headers by reference.
            let key = presented(request.headers())?;
            let hash = settings.pepper.hash(&key);
            drop(key);
            let found = settings.keys.find(&hash).await?;
            let caller = settings.admit(found, &request)?;
            request.extensions_mut().insert(Arc::new(caller));
            inner.call(request).await.map_err(Into::into)
        })
    }
}

impl<Keys: ?Sized> Settings<Keys> {
    fn admit<B>(&self, found: Option<Arc<aihub_core::ApiKey>>, request: &Request<B>) -> Result<Caller, Error> {
        let key = found.ok_or_else(unknown)?;
        key.check(self.clock.now())?;
        let plan = Arc::clone(self.plans.get(&key.plan).ok_or_else(|| no_plan(&key.plan))?);
        let peer = request.extensions().get::<Peer>().copied();
        let ip = peer.map(|peer| address::caller(peer, request.headers(), &self.trusted));
        if !key.allowed_ips.is_empty()
            && !ip.is_some_and(|ip| key.allowed_ips.iter().any(|network| network.contains(ip)))
        {
            return Err(elsewhere());
        }
        let user_agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let user_agent = user_agent.map(|agent| agent[..agent.floor_char_boundary(USER_AGENT_BYTES)].into());
        Ok(Caller { key, plan, ip, user_agent })
    }
}

fn presented(headers: &HeaderMap) -> Result<PlainKey, Error> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let credentials = value.to_str().ok().and_then(|value| value.trim().split_once(' '));
        return match credentials {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim().parse(),
            _ => Err(missing()),
        };
    }
    let value = headers.get("x-api-key").ok_or_else(missing)?;
    value.to_str().map_err(|_| unknown())?.trim().parse()
}

#[cold]
fn missing() -> Error {
    Error::new(ErrorKind::Unauthenticated, "There is no API key: send it as `Authorization: Bearer ahub_…`")
        .with_code("missing_api_key")
}

#[cold]
fn unknown() -> Error {
    Error::new(ErrorKind::Unauthenticated, "There is no such API key: check that it is one of this service")
        .with_code("invalid_api_key")
}

/// A plan that is not sold any more must not fall back to another one: which limits would hold?
#[cold]
fn no_plan(name: &str) -> Error {
    Error::new(ErrorKind::Forbidden, "The plan of this API key does not exist: ask the operator for another one")
        .with_code("plan_not_found")
        .with_alert()
        .with_source(format!("a key names the plan `{name}`, which is not configured"))
}

#[cold]
fn elsewhere() -> Error {
    Error::new(ErrorKind::Forbidden, "This API key may not be used from this address: use it from one on its list")
        .with_code("ip_not_allowed")
}
