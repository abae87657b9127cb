//! The documented order from the request to the vendor, and what goes wrong in others. Most of them do
//! not compile; these do.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aihub_core::{
    Attempt, Call, Caller, ChatEvent, ChatReply, ChatRequest, Clock, DepartureRule, Departures, Drains, Error,
    ErrorKind, OnDeparture, Outcome, Pepper, PlainKey, Plans, Provider, Reply as _,
};
use aihub_layers::idempotency::AnswerBody;
use aihub_layers::{
    AuthenticateLayer, BreakerLayer, DepartureLayer, IdempotencyLayer, IntakeLayer, MeterLayer, Providers, QuotaLayer,
    RateLimitLayer, RequestId, RescueLayer, RetryPolicy, Routed, ShedLayer, TimeoutLayer, Upstream, failure,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tower::retry::RetryLayer;
use tower::{Service, ServiceBuilder, ServiceExt as _, service_fn};

use crate::stack::World;
use crate::world::{self, Books, Drawer, Keys, Purse, Scripted, Step, Turnstile};

/// A key, and the layer that knows it.
fn known_key() -> (PlainKey, AuthenticateLayer<Keys>) {
    let (key, pepper) = (PlainKey::generate("test"), Pepper::random());
    let keys = Keys(Ok(Some((pepper.hash(&key), Arc::new(world::key())))));
    let mut plan = world::plan();
    plan.requests_per_minute = Some(60);
    let layer = AuthenticateLayer::new(
        Arc::new(keys),
        pepper,
        Arc::new(Plans::from_iter([plan])),
        world::clock() as Arc<dyn Clock>,
    );
    (key, layer)
}

fn turnstile(left: u32) -> RateLimitLayer {
    RateLimitLayer::new(Arc::new(Turnstile(AtomicU32::new(left))), world::clock())
}

type HttpAnswer = Response<Full<Bytes>>;

/// A door of ten lines: decodes, calls, encodes.
async fn door(world: &World, stack: crate::stack::Stack<ChatRequest>, request: Request<Bytes>) -> HttpAnswer {
    let served = async {
        let caller = Arc::clone(request.extensions().get::<Arc<Caller>>().expect("set by Authenticate"));
        let RequestId(id) = *request.extensions().get().expect("set by Rescue");
        let call = Call::with_id(id, caller, ChatRequest::parse(request.body().clone())?, &*world.clock);
        stack.oneshot(call).await?.collect().await
    };
    match served.await {
        Ok((events, _)) => match &events[0] {
            ChatEvent::Whole(body) => Response::new(Full::new(body.clone())),
            other => panic!("{other:?}"),
        },
        Err(error) => failure(error),
    }
}

async fn through_the_onion(world: World, body: &'static str, with_key: bool) -> (HttpAnswer, Arc<World>) {
    let world = Arc::new(world);
    let (stack, handle) = world.stack();
    let (key, authenticate) = known_key();
    let service = ServiceBuilder::new()
        .layer(RescueLayer::new(world.clock.clone()))
        .layer(authenticate)
        .layer(turnstile(5))
        .layer(IntakeLayer::new(10_000, Duration::from_secs(5)))
        .service(service_fn({
            let world = Arc::clone(&world);
            move |request: Request<Bytes>| {
                let (world, stack) = (Arc::clone(&world), stack.clone());
                async move { Ok::<_, std::convert::Infallible>(door(&world, stack, request).await) }
            }
        }));
    let mut request = Request::new(Full::new(Bytes::from_static(body.as_bytes())));
    if with_key {
        request.headers_mut().insert("x-api-key", key.reveal().parse().unwrap());
    }
    let Ok(response) = service.oneshot(request).await;
    handle.drain(Duration::from_mins(1)).await.unwrap();
    (response, world)
}

fn well() -> World {
    World::new(Scripted::new("first", []), Scripted::new("second", []))
}

#[tokio::test]
async fn a_request_becomes_a_call_a_record_and_a_response_of_one_id() {
    let (response, world) = through_the_onion(well(), world::BODY, true).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-ratelimit-limit-requests"], "60");
    let record = world.books.only().await;
    assert_eq!(response.headers()["x-request-id"], *record.call.to_string());
    assert_eq!((record.outcome, world.purse.used()), (Outcome::Completed, 12));
}

#[tokio::test]
async fn a_stranger_is_refused_before_anything_is_recorded() {
    let (response, world) = through_the_onion(well(), world::BODY, false).await;
    assert_eq!(response.status(), 401);
    assert!(response.headers().contains_key("x-request-id"));
    assert!(world.books.records().is_empty());
}

#[tokio::test]
async fn a_refused_call_is_recorded_and_rendered_with_its_limits() {
    let mut world = well();
    world.purse = Arc::new(Purse::of(0));
    let (response, world) = through_the_onion(world, world::BODY, true).await;
    assert_eq!(response.status(), 402);
    assert_eq!(response.headers()["x-ratelimit-remaining-requests"], "4", "headers of the layers between stay");
    let record = world.books.only().await;
    assert_eq!((record.outcome, record.status, record.attempts), (Outcome::Refused, 402, 0));
}

// ── wrong orders ────────────────────────────────────────────────────────

/// A vendor that fails once, behind the layers of one attempt in either order.
fn flaky() -> (Arc<Scripted>, Upstream) {
    let vendor = Scripted::new("first", [Step::Fail(world::transient())]);
    let leaf = Upstream::new(Providers::from_iter([vendor.clone() as Arc<dyn Provider>]));
    (vendor, leaf)
}

async fn attempt<S>(service: S) -> Result<ChatReply, Error>
where
    S: Service<Attempt<ChatRequest>, Response = ChatReply, Error = Error>,
{
    service.oneshot(world::attempt()).await
}

#[tokio::test(start_paused = true)]
async fn retry_around_breaker_retries_against_a_closed_door() {
    let breaker = || BreakerLayer::new(world::clock()).with_threshold(1, 1);
    let retry = || RetryLayer::new(RetryPolicy::new());
    let (vendor, leaf) = flaky();
    attempt(ServiceBuilder::new().layer(breaker()).layer(retry()).service(leaf)).await.unwrap();
    assert_eq!(vendor.asked(), 2);
    let (vendor, leaf) = flaky();
    attempt(ServiceBuilder::new().layer(retry()).layer(breaker()).service(leaf)).await.unwrap_err();
    assert_eq!(vendor.asked(), 1, "the retry never got to the vendor, who was well again");
}

#[tokio::test(start_paused = true)]
async fn timeout_around_retry_gives_all_attempts_the_time_of_one() {
    // The wait before a retry is at least 50 ms.
    let timeout = || TimeoutLayer::new(Duration::from_millis(40)).with_whole(Duration::from_millis(40));
    let retry = || RetryLayer::new(RetryPolicy::new());
    let (_, leaf) = flaky();
    attempt(ServiceBuilder::new().layer(retry()).layer(timeout()).service(leaf)).await.unwrap();
    let (_, leaf) = flaky();
    let error = attempt(ServiceBuilder::new().layer(timeout()).layer(retry()).service(leaf)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UpstreamTimeout);
}

#[tokio::test]
async fn shed_below_quota_goes_to_the_store_for_calls_that_it_refuses() {
    let full = || ShedLayer::new(0);
    let leaf = || service_fn(|_: Routed<ChatRequest>| async { Ok::<_, Error>(world::answer()) });
    let routed = || Routed::new(world::call(), Arc::new(world::model("m", vec![world::offer("first", "1")])));
    for (right, visits) in [(true, 0), (false, 1)] {
        let purse = Arc::new(Purse::of(1_000));
        let quota = QuotaLayer::new(purse.clone());
        let answer = if right {
            ServiceBuilder::new().layer(full()).layer(quota).service(leaf()).oneshot(routed()).await
        } else {
            ServiceBuilder::new().layer(quota).layer(full()).service(leaf()).oneshot(routed()).await
        };
        assert_eq!(answer.unwrap_err().code(), "overloaded");
        assert_eq!((purse.visits(), purse.open()), (visits, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn departure_below_meter_runs_on_without_its_record() {
    let drain = OnDeparture::Drain { within: Duration::from_secs(30), cost_cap: None };
    let rule = DepartureRule { provider: "first".into(), model: "*".to_owned(), stream: None, then: drain };
    for right in [true, false] {
        let (books, drains) = (Arc::new(Books::default()), Drains::default());
        let (meter, _handle) = MeterLayer::start(books.clone(), world::clock());
        let departure = DepartureLayer::new(Departures::from_iter([rule.clone()]), drains.clone());
        let vendor = service_fn(|call: Call<ChatRequest>| async move {
            call.trail.attempt(&world::offer("first", "1"));
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut reply = world::answer();
            reply.set_offer(world::offer("first", "1"));
            Ok::<_, Error>(reply)
        });
        let patience = Duration::from_millis(1);
        let left = if right {
            let service = ServiceBuilder::new().layer(departure).layer(meter).service(vendor);
            tokio::time::timeout(patience, service.oneshot(world::call())).await
        } else {
            let service = ServiceBuilder::new().layer(meter).layer(departure).service(vendor);
            tokio::time::timeout(patience, service.oneshot(world::call())).await
        };
        assert!(left.is_err());
        drains.finish(Duration::from_mins(1)).await;
        assert_eq!(books.only().await.usage == world::usage(), right);
    }
}

#[tokio::test]
async fn rate_limit_around_authenticate_refuses_everybody() {
    let (key, authenticate) = known_key();
    let service = ServiceBuilder::new()
        .layer(turnstile(5))
        .layer(authenticate)
        .service(service_fn(|_: Request<()>| async { Ok::<_, Error>(Response::new(())) }));
    let mut request = Request::new(());
    request.headers_mut().insert("x-api-key", key.reveal().parse().unwrap());
    assert_eq!(service.oneshot(request).await.unwrap_err().kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn idempotency_around_rate_limit_repeats_without_end() {
    let once = || IdempotencyLayer::new(Arc::new(Drawer::default()), world::clock(), |body: AnswerBody| body);
    let handler =
        || service_fn(|_: Request<Bytes>| async { Ok::<_, Error>(Response::new(AnswerBody::of("paid once"))) });
    let caller = || {
        let mut plan = world::plan();
        plan.requests_per_minute = Some(1);
        Arc::new(Caller::new(world::key(), plan))
    };
    let request = |caller: &Arc<Caller>| {
        let request = Request::post("/").header("idempotency-key", "one").extension(Arc::clone(caller));
        request.body(Bytes::new()).unwrap()
    };

    let (right, mine) = (ServiceBuilder::new().layer(turnstile(1)).layer(once()).service(handler()), caller());
    right.clone().oneshot(request(&mine)).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(right.oneshot(request(&mine)).await.unwrap_err().kind(), ErrorKind::RateLimited);

    let (wrong, mine) = (ServiceBuilder::new().layer(once()).layer(turnstile(1)).service(handler()), caller());
    for _ in 0..10 {
        wrong.clone().oneshot(request(&mine)).await.unwrap().into_body().collect().await.unwrap();
    }
}

/// A body that tells whether somebody read it.
struct Watched(Arc<AtomicBool>);

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        self.0.store(true, Ordering::SeqCst);
        Poll::Ready(None)
    }
}

#[tokio::test]
async fn intake_around_authenticate_reads_what_strangers_send() {
    let intake = || IntakeLayer::new(10, Duration::from_secs(1));
    let handler = || service_fn(|_: Request<Bytes>| async { Ok::<_, Error>(Response::new(())) });
    let read = || (Arc::new(AtomicBool::new(false)), known_key().1);

    let (seen, authenticate) = read();
    let right = ServiceBuilder::new().layer(authenticate).layer(intake()).service(handler());
    right.oneshot(Request::new(Watched(seen.clone()))).await.unwrap_err();
    assert!(!seen.load(Ordering::SeqCst));

    let (seen, authenticate) = read();
    let wrong = ServiceBuilder::new().layer(intake()).layer(authenticate).service(handler());
    wrong.oneshot(Request::new(Watched(seen.clone()))).await.unwrap_err();
    assert!(seen.load(Ordering::SeqCst));
}
