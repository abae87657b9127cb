use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aihub_core::{Call, ChatReply, ChatRequest, Clock as _, Error, ErrorKind, Outcome};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};

use super::MeterLayer;
use crate::world::{self, Books};

fn refused(
    error: Error,
) -> impl tower::Service<Call<ChatRequest>, Response = ChatReply, Error = Error, Future: Send> + Clone {
    let error = Arc::new(std::sync::Mutex::new(Some(error)));
    service_fn(move |_| std::future::ready(Err(error.lock().unwrap().take().unwrap())))
}

#[tokio::test]
async fn a_refused_call_is_recorded_in_full() {
    let (books, clock) = (Arc::new(Books::default()), world::clock());
    let (layer, _handle) = MeterLayer::start(books.clone(), clock.clone());
    let call = Call::new(world::caller(), world::request(""), &*clock);
    clock.advance(Duration::from_micros(42));
    let error = Error::new(ErrorKind::Forbidden, "no");
    layer.layer(refused(error)).oneshot(call.clone()).await.unwrap_err();
    let record = books.only().await;
    assert_eq!((record.call, record.at, record.account), (call.id, call.received_at, call.caller.account()));
    assert_eq!((&*record.model, &*record.plan, record.operation, record.stream), ("m", "free", "chat", false));
    assert_eq!((record.outcome, record.status, record.attempts), (Outcome::Refused, 403, 0));
    assert_eq!((record.duration_us, record.first_event_us), (42, None));
    assert!(record.usage.is_zero() && record.cost.is_none());
}

#[tokio::test]
async fn a_failed_call_says_who_failed_and_counts_nothing_twice() {
    for (kind, outcome) in [
        (ErrorKind::BadUpstream, Outcome::UpstreamFailed),
        (ErrorKind::Internal, Outcome::GatewayFailed),
        (ErrorKind::Cancelled, Outcome::ClientGone),
    ] {
        let books = Arc::new(Books::default());
        let (layer, _handle) = MeterLayer::start(books.clone(), world::clock());
        let call = world::call();
        let error = Error::new(kind, "no").with_spent(world::usage());
        call.trail.attempt(&world::offer("first", "1"));
        call.trail.failed(error.spent());
        call.trail.attempt(&world::offer("second", "1"));
        call.trail.failed(error.spent());
        layer.layer(refused(error)).oneshot(call).await.unwrap_err();
        let record = books.only().await;
        assert_eq!((record.outcome, record.attempts, record.provider.as_deref()), (outcome, 2, Some("second")));
        assert_eq!((record.usage, record.discarded), (world::usage(), world::usage()));
        assert_eq!(record.cost, world::prices("1").cost(&world::usage()));
        assert_eq!(record.price_version.as_deref(), Some(&*world::prices("1").version()));
    }
}

#[tokio::test]
async fn a_name_as_long_as_a_body_is_cut() {
    let books = Arc::new(Books::default());
    let (layer, _handle) = MeterLayer::start(books.clone(), world::clock());
    let body = world::BODY.replacen("\"m\"", &format!("\"{}\"", "ü".repeat(100_000)), 1);
    let call = Call::new(world::caller(), ChatRequest::parse(body.into()).unwrap(), &*world::clock());
    layer.layer(refused(Error::new(ErrorKind::NotFound, "no"))).oneshot(call).await.unwrap_err();
    assert_eq!(books.only().await.model.len(), 256);
}

#[tokio::test]
async fn a_call_without_a_place_is_not_made() {
    let books = Arc::new(Books::default());
    let (layer, _handle) = MeterLayer::builder(books.clone(), world::clock()).with_queue(1).start();
    let service = layer.layer(service_fn(|_: Call<ChatRequest>| async { Ok::<_, Error>(world::answer()) }));
    let reply = service.clone().oneshot(world::call()).await.unwrap();
    let error = service.clone().oneshot(world::call()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "metering_unavailable"));
    assert!(error.retry_after().is_some());
    drop(reply);
    books.only().await;
    service.oneshot(world::call()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_fails_is_asked_until_it_does_not() {
    let books = Arc::new(Books::default());
    books.failing.store(10, Ordering::SeqCst);
    let (layer, handle) = MeterLayer::start(books.clone(), world::clock());
    let service = layer.layer(service_fn(|_: Call<ChatRequest>| async { Ok::<_, Error>(world::answer()) }));
    for _ in 0..3 {
        world::read(service.clone().oneshot(world::call()).await.unwrap()).await.unwrap();
    }
    handle.drain(Duration::from_mins(10)).await.unwrap();
    assert_eq!(books.records().len(), 3);
}

#[tokio::test]
async fn what_has_gathered_goes_in_one_batch() {
    let books = Arc::new(Books::default());
    let (layer, handle) = MeterLayer::builder(books.clone(), world::clock()).with_batch(20).start();
    let mut service = layer.layer(service_fn(|_: Call<ChatRequest>| async { Ok::<_, Error>(world::answer()) }));
    let calls: Vec<_> = (0..30).map(|_| service.call(world::call())).collect();
    drop(calls);
    handle.drain(Duration::from_secs(1)).await.unwrap();
    assert_eq!((books.records().len(), books.batches.load(Ordering::SeqCst)), (30, 2));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_delivered_in_time_is_handed_back() {
    let books = Arc::new(Books::default());
    books.failing.store(u32::MAX, Ordering::SeqCst);
    let (layer, handle) = MeterLayer::builder(books.clone(), world::clock()).with_batch(2).start();
    let mut service = layer.layer(service_fn(|_: Call<ChatRequest>| async { Ok::<_, Error>(world::answer()) }));
    for _ in 0..5 {
        drop(service.call(world::call()));
        world::pause(2).await;
    }
    let left = handle.drain(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!((left.records.len(), books.records().len()), (5, 0));
    let error = service.call(world::call()).await.unwrap_err();
    assert_eq!(error.code(), "metering_unavailable", "after the drain nothing would be recorded");
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_calls_that_run() {
    let (books, clock) = (Arc::new(Books::default()), world::clock());
    let (layer, handle) = MeterLayer::start(books.clone(), clock.clone());
    let service = layer.layer(service_fn(|_: Call<ChatRequest>| async { Ok::<_, Error>(world::answer()) }));
    let reply = service.oneshot(world::call()).await.unwrap();
    let drained = tokio::spawn(handle.drain(Duration::from_mins(1)));
    world::pause(10).await;
    assert!(!drained.is_finished());
    world::read(reply).await.unwrap();
    drained.await.unwrap().unwrap();
    assert_eq!(books.records()[0].outcome, Outcome::Completed);
    assert_eq!(clock.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_its_confirmation_but_not_for_ever() {
    let books = Arc::new(Books::default());
    books.failing.store(2, Ordering::SeqCst);
    let meter = MeterLayer::builder(books.clone(), world::clock()).with_confirmation(Duration::from_secs(1));
    let (layer, _handle) = meter.start();
    let service = layer.layer(service_fn(|_: Call<ChatRequest>| async { Ok::<_, Error>(world::answer()) }));
    world::read(service.clone().oneshot(world::call()).await.unwrap()).await.unwrap();
    assert_eq!(books.records().len(), 1, "taken before the caller had everything");

    books.failing.store(u32::MAX, Ordering::SeqCst);
    let started = tokio::time::Instant::now();
    world::read(service.oneshot(world::call()).await.unwrap()).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_does_not_wait_and_a_failure_does() {
    let books = Arc::new(Books::default());
    books.failing.store(u32::MAX, Ordering::SeqCst);
    let meter = MeterLayer::builder(books, world::clock()).with_confirmation(Duration::from_secs(1));
    let (layer, _handle) = meter.start();
    for (sent, waited) in [(false, 0), (true, 1)] {
        let (call, started) = (world::call(), tokio::time::Instant::now());
        if sent {
            call.trail.attempt(&world::offer("first", "1"));
        }
        layer.layer(refused(world::failover())).oneshot(call).await.unwrap_err();
        assert_eq!(started.elapsed().as_secs(), waited);
    }
}

#[tokio::test]
async fn an_attempt_that_a_foreign_layer_cut_has_cost_its_prompt() {
    let books = Arc::new(Books::default());
    let (layer, _handle) = MeterLayer::start(books.clone(), world::clock());
    let call = world::call();
    call.trail.attempt(&world::offer("first", "1"));
    layer.layer(refused(world::failover())).oneshot(call).await.unwrap_err();
    let record = books.only().await;
    assert!(record.usage.estimated && record.usage.input > 0 && record.cost.is_some());
}
