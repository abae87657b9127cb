use std::sync::Mutex;

use aihub_core::{ChatReply, ChatRequest, ManualClock};
use tower::util::BoxCloneService;
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::world;

type Answer = fn() -> BoxFuture<'static, Result<ChatReply, Error>>;

/// A breaker around a vendor whose answer can be changed.
struct Setup {
    clock: Arc<ManualClock>,
    answer: Arc<Mutex<Answer>>,
    breaker: BoxCloneService<Attempt<ChatRequest>, ChatReply, Error>,
}

fn well() -> BoxFuture<'static, Result<ChatReply, Error>> {
    Box::pin(async { Ok(world::answer()) })
}

fn ill() -> BoxFuture<'static, Result<ChatReply, Error>> {
    Box::pin(async { Err(world::failover()) })
}

fn setup(answer: Answer) -> Setup {
    let clock = world::clock();
    let answer = Arc::new(Mutex::new(answer));
    let vendor = service_fn({
        let answer = Arc::clone(&answer);
        move |_: Attempt<ChatRequest>| (answer.lock().unwrap())()
    });
    let layer = BreakerLayer::new(clock.clone()).with_threshold(2, 50).with_rest(Duration::from_secs(10));
    Setup { clock, answer, breaker: BoxCloneService::new(layer.layer(vendor)) }
}

impl Setup {
    async fn ask(&self, provider: &str) -> Result<ChatReply, Error> {
        let mut attempt = world::attempt();
        attempt.offer.provider = provider.into();
        self.breaker.clone().oneshot(attempt).await
    }

    async fn is_open(&self) -> bool {
        self.ask("first").await.is_err_and(|error| error.code() == "upstream_unavailable")
    }

    fn becomes(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }
}

#[tokio::test]
async fn opens_for_the_upstream_that_fails_and_for_no_other() {
    let setup = setup(ill);
    for _ in 0..2 {
        setup.ask("first").await.unwrap_err();
    }
    let error = setup.ask("first").await.unwrap_err();
    assert_eq!((error.kind(), error.may_fail_over()), (ErrorKind::Unavailable, true));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(10)));
    setup.becomes(well);
    assert!(setup.is_open().await);
    setup.ask("second").await.unwrap();
}

#[tokio::test]
async fn a_probe_that_succeeds_closes_it() {
    let setup = setup(ill);
    for _ in 0..2 {
        setup.ask("first").await.unwrap_err();
    }
    setup.clock.advance(Duration::from_secs(10));
    assert!(!setup.is_open().await, "the probe is let through");
    assert!(setup.is_open().await, "and has failed");
    setup.becomes(well);
    setup.clock.advance(Duration::from_secs(10));
    for _ in 0..3 {
        setup.ask("first").await.unwrap();
    }
}

#[tokio::test]
async fn a_probe_whose_caller_left_frees_its_place() {
    let setup = setup(ill);
    for _ in 0..2 {
        setup.ask("first").await.unwrap_err();
    }
    setup.clock.advance(Duration::from_secs(10));
    setup.becomes(|| Box::pin(std::future::pending()));
    let probe = tokio::spawn(setup.breaker.clone().oneshot(world::attempt()));
    world::pause(3).await;
    assert!(setup.is_open().await, "one probe at a time");
    probe.abort();
    probe.await.unwrap_err();
    setup.becomes(well);
    setup.ask("first").await.unwrap();
}

#[tokio::test]
async fn what_a_vendor_cannot_take_does_not_count() {
    fn too_large() -> BoxFuture<'static, Result<ChatReply, Error>> {
        Box::pin(async { Err(Error::new(ErrorKind::TooLarge, "more than this model takes").with_failover()) })
    }
    fn not_here() -> BoxFuture<'static, Result<ChatReply, Error>> {
        Box::pin(async { Err(Error::unsupported_parameter("n", "one answer alone")) })
    }
    for answer in [too_large as Answer, not_here] {
        let setup = setup(answer);
        for _ in 0..10 {
            let error = setup.ask("first").await.unwrap_err();
            assert_ne!(error.code(), "upstream_unavailable");
        }
    }
}
