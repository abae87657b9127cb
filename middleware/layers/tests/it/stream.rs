//! What becomes of a call whose answer comes piece by piece.

use std::time::Duration;

use aihub_core::chat::Finish;
use aihub_core::{ChatReply, Error, ErrorKind, Outcome, Usage};
use futures_util::StreamExt as _;
use tower::ServiceExt as _;

use crate::stack::World;
use crate::world::{self, Scripted, Step};

async fn open(world: &World) -> ChatReply {
    let (stack, _handle) = world.stack();
    stack.oneshot(world.call_of(world::request(r#","stream":true"#))).await.unwrap()
}

fn world(events: Vec<aihub_core::Result<aihub_core::ChatEvent>>) -> World {
    World::new(Scripted::new("first", [Step::Stream(events)]), Scripted::new("second", []))
}

#[tokio::test]
async fn everything_is_settled_before_the_last_event_is_handed_on() {
    let world = world(vec![world::piece(), world::finish()]);
    let mut reply = open(&world).await;
    world.clock.advance(Duration::from_millis(3));
    for _ in 0..2 {
        reply.next().await.unwrap().unwrap();
        assert_eq!((world.purse.open(), world.shed.in_flight()), (1, 1));
    }
    reply.next().await.unwrap().unwrap();
    assert_eq!((world.purse.open(), world.shed.in_flight()), (0, 0));
    assert_eq!(world.purse.used(), 12);
    let record = world.books.only().await;
    assert_eq!((record.outcome, record.status, record.attempts), (Outcome::Completed, 200, 1));
    assert_eq!((record.usage, record.stream, record.operation), (world::usage(), true, "chat"));
    assert_eq!((record.first_event_us, record.duration_us), (Some(0), 3_000));
    assert_eq!((record.provider.as_deref(), record.finish_reason.as_deref()), (Some("first"), Some("stop")));
    assert_eq!(record.cost, world::prices("1").cost(&world::usage()));
    assert_eq!(world.purse.cost(), [record.cost]);
}

#[tokio::test]
async fn a_failure_after_the_first_event_is_final() {
    let world = world(vec![world::piece(), Err(world::transient())]);
    let reply = open(&world).await;
    assert_eq!(world::read(reply).await.unwrap_err().kind(), ErrorKind::BadUpstream);
    assert_eq!((world.first.asked(), world.second.asked()), (1, 0), "neither retried nor served elsewhere");
    let record = world.books.only().await;
    assert_eq!((record.outcome, record.status), (Outcome::UpstreamFailed, 502));
    assert!(record.usage.estimated && record.usage.output > 0);
    assert_eq!(world.purse.used(), record.usage.total_tokens());
}

#[tokio::test]
async fn a_caller_who_leaves_midway_pays_for_what_it_got() {
    let world = world(vec![world::piece(), world::finish()]);
    let mut reply = open(&world).await;
    reply.next().await.unwrap().unwrap();
    drop(reply);
    let record = world.books.only().await;
    assert_eq!((record.outcome, record.status), (Outcome::ClientGone, 499));
    assert!(record.usage.estimated && record.usage.prompt_tokens() > 0);
    assert_eq!((world.purse.open(), world.purse.used(), world.shed.in_flight()), (0, record.usage.total_tokens(), 0));
}

#[tokio::test]
async fn streams_that_break_off_open_the_breaker() {
    let script = (0..5).map(|_| Step::Stream(vec![Err(world::transient())]));
    let world = World::new(Scripted::new("first", script), Scripted::new("second", []));
    let (stack, _handle) = world.stack();
    for _ in 0..5 {
        let reply = stack.clone().oneshot(world.call()).await.unwrap();
        world::read(reply).await.unwrap_err();
    }
    world::read(stack.oneshot(world.call()).await.unwrap()).await.unwrap();
    assert_eq!((world.first.asked(), world.second.asked()), (5, 1), "the sixth goes to the other at once");
}

#[tokio::test]
async fn what_a_lost_attempt_cost_is_kept_apart() {
    let lost: Error = world::failover().with_spent(world::usage());
    let world = World::new(Scripted::new("first", [Step::Fail(lost)]), Scripted::new("second", []));
    let reply = open(&world).await;
    world::read(reply).await.unwrap();
    let record = world.books.only().await;
    assert_eq!((record.usage, record.discarded, record.attempts), (world::usage(), world::usage(), 2));
    assert_eq!(record.provider.as_deref(), Some("second"));
    assert_eq!(record.cost, world::prices("2").cost(&world::usage()), "at the price of who served it");
    assert_eq!(world.purse.used(), 12, "the caller pays once");
}

#[tokio::test]
async fn an_answer_of_nothing_is_booked_and_not_charged() {
    let end = |output, reason: Option<&str>| Finish::new(Some(Usage::new(5, output)), reason.map(Into::into)).into();
    for (end, charged) in [
        (end(0, None), false),
        (end(0, Some("")), false),
        (end(9, Some("error")), false),
        (end(0, Some("content_filter")), true),
        (end(1, None), true),
    ] {
        let world = world(vec![Ok(end)]);
        world::read(open(&world).await).await.unwrap();
        let record = world.books.only().await;
        assert!(record.cost.is_some_and(|cost| cost.nanos() > 0), "{record:?}");
        assert_eq!(record.charge.is_some_and(|charge| charge.nanos() > 0), charged, "{record:?}");
        let counted = record.amounts();
        assert_eq!((world.purse.open(), world.purse.cost()), (0, vec![counted.money]), "quota and record differ");
    }
}

#[tokio::test]
async fn a_failure_before_there_is_a_reply_is_booked_and_not_charged() {
    let lost = || Step::Fail(world::failover().with_spent(world::usage()));
    let world = World::new(Scripted::new("first", [lost()]), Scripted::new("second", [lost()]));
    let (stack, _handle) = world.stack();
    stack.oneshot(world.call()).await.unwrap_err();
    let record = world.books.only().await;
    assert_eq!(
        (record.outcome, record.usage, record.discarded),
        (Outcome::UpstreamFailed, world::usage(), world::usage())
    );
    assert!(
        record.cost.is_some_and(|cost| cost.nanos() > 0) && record.charge.is_some_and(|charge| charge.nanos() == 0)
    );
    assert_eq!((world.purse.open(), world.purse.calls(), world.purse.used()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_took_too_long_is_booked_and_not_charged() {
    let world = World::new(Scripted::new("first", [Step::Hang]), Scripted::new("second", [Step::Hang]));
    let (stack, _handle) = world.stack();
    let error = stack.oneshot(world.call_of(world::request(r#","stream":true"#))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UpstreamTimeout);
    let record = world.books.only().await;
    assert!(record.usage.estimated && record.usage == record.discarded, "one prompt for each vendor: {record:?}");
    assert_eq!(record.cost, world::offer("second", "2").prices.at(record.at).unwrap().list.cost(&record.usage));
    assert!(record.charge.is_some_and(|charge| charge.nanos() == 0));
    assert_eq!((world.purse.open(), world.purse.calls()), (0, 0));
}
