//! Each layer alone around a service that is none of ours.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use aihub_core::{
    Attempt, Call, Caller, ChatReply, ChatRequest, Clock, Error, ErrorKind, Outcome, Pepper, PlainKey, Plans, Provider,
};
use aihub_layers::{
    AccessLayer, AuthenticateLayer, BreakerLayer, FallbackLayer, IntakeLayer, MeterLayer, Peer, Providers, QuotaLayer,
    RateLimitLayer, RequestId, RescueLayer, RetryPolicy, Routed, ShedLayer, TimeoutLayer, Upstream,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::retry::RetryLayer;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::world::{self, Books, Keys, Purse, Scripted, Turnstile};

fn routed() -> Routed<ChatRequest> {
    Routed::new(
        world::call(),
        Arc::new(world::model("m", vec![world::offer("first", "1"), world::offer("second", "2")])),
    )
}

#[tokio::test]
async fn meter() {
    let books = Arc::new(Books::default());
    let (layer, handle) = MeterLayer::start(books.clone(), world::clock());
    let service = layer.layer(service_fn(|_: Call<ChatRequest>| async { Ok(world::answer()) }));
    world::read(service.oneshot(world::call()).await.unwrap()).await.unwrap();
    drop(layer);
    handle.drain(Duration::from_secs(1)).await.unwrap();
    let record = &books.records()[0];
    assert_eq!((record.outcome, record.usage, record.cost), (Outcome::Completed, world::usage(), None));
}

#[tokio::test]
async fn access() {
    let service = AccessLayer::new(world::catalogue()).layer(service_fn(|routed: Routed<ChatRequest>| async move {
        assert_eq!((&*routed.model.id, routed.offers().count()), ("m", 2));
        Ok(world::answer())
    }));
    service.oneshot(world::call()).await.unwrap();
}

#[tokio::test]
async fn shed() {
    let layer = ShedLayer::new(1);
    let service = layer.layer(service_fn(|_: Call<ChatRequest>| async { Ok::<_, Error>(world::answer()) }));
    let reply = service.clone().oneshot(world::call()).await.unwrap();
    let error = service.clone().oneshot(world::call()).await.unwrap_err();
    assert_eq!((error.code(), error.retry_after()), ("overloaded", Some(Duration::from_secs(1))));
    drop(reply);
    service.oneshot(world::call()).await.unwrap();
}

#[tokio::test]
async fn quota() {
    let purse = Arc::new(Purse::of(1_000));
    let service =
        QuotaLayer::new(purse.clone()).layer(service_fn(|_: Routed<ChatRequest>| async { Ok(world::answer()) }));
    world::read(service.oneshot(routed()).await.unwrap()).await.unwrap();
    assert_eq!((purse.open(), purse.used()), (0, 12));
}

#[tokio::test]
async fn fallback() {
    let service = FallbackLayer::new().layer(service_fn(|attempt: Attempt<ChatRequest>| async move {
        if &*attempt.offer.provider == "first" { Err(world::failover()) } else { Ok(world::answer()) }
    }));
    service.oneshot(routed()).await.unwrap();
}

#[tokio::test]
async fn breaker() {
    let layer = BreakerLayer::new(world::clock()).with_threshold(1, 1);
    let service = layer.layer(service_fn(|_: Attempt<ChatRequest>| async { Err::<ChatReply, _>(world::failover()) }));
    service.clone().oneshot(world::attempt()).await.unwrap_err();
    let error = service.oneshot(world::attempt()).await.unwrap_err();
    assert_eq!((error.code(), error.may_fail_over()), ("upstream_unavailable", true));
}

#[tokio::test(start_paused = true)]
async fn retry() {
    let vendor = Scripted::new("first", [world::Step::Fail(world::transient()), world::Step::Fail(world::transient())]);
    let provider: Arc<dyn Provider> = vendor.clone();
    let service = RetryLayer::new(RetryPolicy::new()).layer(service_fn(move |attempt| {
        let provider = provider.clone();
        async move { provider.chat(attempt).await }
    }));
    service.oneshot(world::attempt()).await.unwrap();
    assert_eq!(vendor.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn timeout() {
    let service = TimeoutLayer::new(Duration::from_secs(3))
        .layer(service_fn(|_: Attempt<ChatRequest>| std::future::pending::<Result<ChatReply, Error>>()));
    let error = service.oneshot(world::attempt()).await.unwrap_err();
    assert_eq!((error.kind(), error.may_fail_over()), (ErrorKind::UpstreamTimeout, true));
}

#[tokio::test]
async fn upstream() {
    let vendor: Arc<dyn Provider> = Scripted::new("first", []);
    let reply = Upstream::new(Providers::from_iter([vendor])).oneshot(world::attempt()).await.unwrap();
    assert_eq!(aihub_core::Reply::served(&reply).offer, Some(world::offer("first", "1")));
}

#[tokio::test]
async fn rescue() {
    let service = RescueLayer::new(world::clock()).layer(service_fn(|request: Request<()>| async move {
        assert!(request.extensions().get::<RequestId>().is_some());
        Err::<Response<Full<Bytes>>, _>(Error::invalid("n", "no"))
    }));
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(response.headers().contains_key("x-request-id"));
}

#[tokio::test]
async fn authenticate() {
    let (plain, pepper) = (PlainKey::generate("test"), Pepper::random());
    let keys = Keys(Ok(Some((pepper.hash(&plain), Arc::new(world::key())))));
    let plans = Arc::new(Plans::from_iter([world::plan()]));
    let clock: Arc<dyn Clock> = world::clock();
    let service = AuthenticateLayer::new(Arc::new(keys), pepper, plans, clock).layer(service_fn(
        |request: Request<()>| async move {
            let caller = request.extensions().get::<Arc<Caller>>().unwrap();
            assert_eq!(caller.ip, Some([10, 0, 0, 1].into()));
            Ok::<_, Infallible>(Response::new(()))
        },
    ));
    let mut request = Request::new(());
    request.extensions_mut().insert(Peer(SocketAddr::from(([10, 0, 0, 1], 80))));
    request.headers_mut().insert("authorization", format!("Bearer {}", plain.reveal()).parse().unwrap());
    service.oneshot(request).await.unwrap();
}

#[tokio::test]
async fn rate_limit() {
    let mut plan = world::plan();
    plan.requests_per_minute = Some(5);
    let mut caller = Caller::clone(&world::caller());
    caller.plan = Arc::new(plan);
    let layer = RateLimitLayer::new(Arc::new(Turnstile(AtomicU32::new(1))), world::clock());
    let service = layer.layer(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) }));
    let mut request = Request::new(());
    request.extensions_mut().insert(Arc::new(caller));
    let response = service.clone().oneshot(request.clone()).await.unwrap();
    assert_eq!(response.headers()["x-ratelimit-remaining-requests"], "0");
    let error = service.oneshot(request).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(Duration::from_millis(1_500))));
}

#[tokio::test]
async fn intake() {
    let service = IntakeLayer::new(5, Duration::from_secs(1)).layer(service_fn(|request: Request<Bytes>| async move {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    }));
    let body = Bytes::from_static(b"hello");
    let response = service.clone().oneshot(Request::new(Full::new(body.clone()))).await.unwrap();
    assert_eq!(response.body().as_ptr(), body.as_ptr(), "one piece is not copied");
    let error = service.oneshot(Request::new(Full::new(Bytes::from_static(b"hello!")))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}
