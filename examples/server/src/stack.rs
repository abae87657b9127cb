//! THE order of the layers, each with the reason for its place. Nowhere else is anything wrapped.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aihub_core::{Call, Error, KeyStore, Operation};
use aihub_layers::{
    AccessLayer, AuthenticateLayer, BreakerLayer, DepartureLayer, FallbackLayer, IntakeLayer, JournalLayer, MeterLayer,
    QuotaLayer, RateLimitLayer, RescueLayer, RetryPolicy, ShedLayer, TimeoutLayer, Upstream,
};
use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use bytes::Bytes;
use http::{Request, Response};
use tower::retry::RetryLayer;
use tower::util::{BoxCloneSyncService, MapRequestLayer};
use tower::{Service, ServiceBuilder};

use crate::bookkeeping::Bookkeeping;
use crate::compress::CompressLayer;
use crate::parts::Parts;
use crate::settings::Settings;

/// What calls of every operation share: one breaker knows a vendor, whatever it is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    departure: DepartureLayer,
    meter: MeterLayer,
    quota: QuotaLayer,
    journal: JournalLayer,
    shed: ShedLayer,
    breaker: BreakerLayer,
    retry: RetryPolicy,
    first_event: TimeoutLayer,
}

impl Shared {
    pub(crate) fn new(parts: &Parts, bookkeeping: &Bookkeeping, settings: &Settings) -> Self {
        let upstream = &settings.upstream;
        Self {
            departure: DepartureLayer::new(parts.departures.clone(), parts.drains.clone()),
            meter: MeterLayer::journaled(bookkeeping.journal(), Arc::clone(&parts.clock)),
            quota: QuotaLayer::new(bookkeeping.quota()),
            journal: JournalLayer::new(bookkeeping.journal(), Arc::clone(&parts.clock)),
            shed: ShedLayer::new(settings.server.max_calls_in_flight).with_share(settings.server.max_calls_per_key),
            breaker: BreakerLayer::new(Arc::clone(&parts.clock))
                .with_threshold(upstream.breaker_failures, 50)
                .with_window(Duration::from_secs(upstream.breaker_window_s))
                .with_rest(Duration::from_secs(upstream.breaker_pause_s)),
            retry: RetryPolicy::new().with_retries(upstream.retries),
            first_event: TimeoutLayer::new(Duration::from_millis(upstream.first_event_timeout_ms))
                .with_whole(Duration::from_millis(upstream.answer_timeout_ms)),
        }
    }
}

/// From a call to its reply.
pub(crate) fn calls<O: Operation>(parts: &Parts, shared: &Shared) -> BoxCloneSyncService<Call<O>, O::Reply, Error> {
    let stack = ServiceBuilder::new()
        // Outermost: what runs on without its caller takes its record and its hold along.
        .layer(shared.departure.clone())
        // Around all that can refuse: whatever becomes of a call below, there is one record of it.
        .layer(shared.meter.clone())
        // Before anything is held: what a plan does not include costs it nothing.
        .layer(AccessLayer::new(Arc::clone(&parts.catalogue)))
        // Above Quota: nothing is held for a call that has no place to run.
        .layer(shared.shed.clone())
        // Below Access, which knows the prices; above Fallback, since one hold covers all attempts.
        .layer(shared.quota.clone())
        // One call in, attempts out: everything below is per upstream.
        .layer(FallbackLayer::new())
        // Above Retry: a call that a retry saved is no fault of the vendor.
        .layer(shared.breaker.clone())
        .layer(RetryLayer::new(shared.retry.clone()))
        // Innermost: every attempt has its own time.
        .layer(shared.first_event)
        // Next to the leaf: what is written down is what is sent.
        .layer(shared.journal.clone())
        .service(Upstream::new(Arc::clone(&parts.providers)));
    BoxCloneSyncService::new(stack)
}

/// From an HTTP request to whatever answers at its address: the `open` addresses, and the `doors`
/// that need a key.
pub(crate) fn http(
    parts: &Parts,
    settings: &Settings,
    open: Router,
    doors: Router,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static {
    let server = &settings.server;
    let keys: Arc<dyn KeyStore> = Arc::clone(&parts.keys);
    let keyed = ServiceBuilder::new()
        // A router takes no errors: they travel on as failures, and become responses in Rescue.
        .layer(HandleErrorLayer::new(|error: Error| async { aihub_layers::failure::<Body>(error) }))
        // By its head alone: nobody without a key makes the server read a body.
        .layer(
            AuthenticateLayer::new(keys, parts.pepper.clone(), Arc::clone(&parts.plans), Arc::clone(&parts.clock))
                .with_trusted_proxies(server.trusted_proxies.clone()),
        )
        // Needs the caller; a refused request costs no body either.
        .layer(RateLimitLayer::new(Arc::clone(&parts.rates), Arc::clone(&parts.clock)))
        // The body, whole, for whoever is let through.
        .layer(IntakeLayer::new(server.max_body_bytes, Duration::from_secs(server.body_timeout_s)))
        // Innermost: it compares bodies; and a repeat, which costs a request, makes no call.
        .layer(parts.idempotency.layer.clone())
        .layer(MapRequestLayer::new(|request: Request<Bytes>| request.map(Body::from)));
    ServiceBuilder::new()
        // Outermost: it changes how a response is written, not what it says.
        .layer(CompressLayer)
        // Above everything that can fail: the one place where errors become responses, and where every
        // response has its request id.
        .layer(RescueLayer::new(Arc::clone(&parts.clock)))
                // One router: an address is looked up once. What is at none of them is a door, and needs a key.
        .service(open.merge(doors.layer(keyed)))
}
