//! The caller leaves, under each policy, from vendors that bill in each way.

use std::time::Duration;

use aihub_core::chat::Finish;
use aihub_core::{ChatEvent, EmbedRequest, Money, OnDeparture, Outcome, Result, Timestamp, Usage, UsageRecord};
use futures_util::StreamExt as _;
use tower::{Service as _, ServiceExt as _};

use crate::cancel::{leave, leave_everywhere, slow};
use crate::stack::World;
use crate::world::{self, Scripted, Step};

const DRAIN: OnDeparture = OnDeparture::Drain { within: Duration::from_secs(30), cost_cap: None };

fn leaving(then: OnDeparture, first: Vec<Step>) -> World {
    World { then, ..slow(first, vec![]) }
}

fn charge(record: &UsageRecord) -> i64 {
    record.charge.map_or(0, Money::nanos)
}

/// What is charged for this usage at the price of the first vendor.
fn worth(usage: &Usage) -> i64 {
    world::offer("first", "1").prices.at(Timestamp::MAX).unwrap().list.cost(usage).unwrap().nanos()
}

fn sent(records: &[UsageRecord]) -> impl Iterator<Item = &UsageRecord> {
    records.iter().filter(|record| record.attempts > 0)
}

#[tokio::test(start_paused = true)]
async fn a_drained_call_is_charged_what_the_vendor_says_wherever_its_caller_left() {
    for (name, answer) in [("whole", None), ("stream", Some(vec![world::piece(), world::piece(), world::finish()]))] {
        let script = || answer.as_ref().map(|events| Step::Stream(copy(events))).into_iter().collect();
        let records = leave_everywhere(name, || leaving(DRAIN, script())).await;
        assert!(sent(&records).count() >= 5, "{name}");
        for record in sent(&records) {
            assert_eq!((record.usage, record.attempts), (world::usage(), 1), "{name}: {record:?}");
            assert_eq!(charge(record), worth(&world::usage()), "{name}: {record:?}");
            assert!(matches!(record.outcome, Outcome::ClientGone | Outcome::Completed), "{name}: {record:?}");
        }
        assert!(sent(&records).any(|record| record.outcome == Outcome::ClientGone), "{name}");
    }
}

/// Events are no values that can be cloned with their errors.
fn copy(events: &[Result<ChatEvent>]) -> Vec<Result<ChatEvent>> {
    events.iter().map(|event| Ok(event.as_ref().unwrap().clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_gives_no_figures_is_measured_to_its_end() {
    let silent = || Ok(ChatEvent::from(Finish::new(None, Some("stop".into()))));
    let script = || vec![Step::Stream(vec![world::piece(), world::piece(), silent()])];
    let records = leave_everywhere("silent", || leaving(DRAIN, script())).await;
    for record in sent(&records) {
        // Three pieces of two tokens each.
        assert!(record.usage.estimated && record.usage.output == 6, "{record:?}");
        assert_eq!(charge(record), worth(&record.usage));
    }
}

#[tokio::test(start_paused = true)]
async fn a_void_costs_the_house_and_not_the_caller() {
    let script = || vec![Step::Stream(vec![world::piece(), world::piece(), world::finish()])];
    let records = leave_everywhere("void", || leaving(OnDeparture::Void, script())).await;
    let left = |record: &&UsageRecord| record.outcome == Outcome::ClientGone;
    assert!(sent(&records).filter(left).count() >= 5);
    for record in sent(&records).filter(left) {
        assert_eq!(charge(record), 0, "{record:?}");
        assert!(record.cost.is_some_and(|cost| cost.nanos() > 0) && record.usage.estimated, "{record:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_after_its_caller_left_is_the_last() {
    let steps = || vec![Step::Fail(world::transient()), Step::Fail(world::failover())];
    let records = leave_everywhere("fallback", || leaving(DRAIN, steps())).await;
    let attempts: Vec<_> = records.iter().map(|record| record.attempts).collect();
    assert!(attempts.is_sorted() && *attempts.last().unwrap() == 3, "{attempts:?}");
    for record in sent(&records) {
        // The third is the one that answers; of those before it nothing reached anybody.
        assert_eq!(charge(record) > 0, record.attempts == 3, "{record:?}");
        assert!(matches!(record.outcome, Outcome::ClientGone | Outcome::Completed), "{record:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_embedding_that_its_caller_left_is_charged_whole() {
    for polls in 0.. {
        let world = leaving(DRAIN, vec![]);
        let (mut stack, _handle) = world.stack();
        let request = EmbedRequest::parse(r#"{"model":"e","input":"hello"}"#.into()).unwrap();
        let answer = stack.ready().await.unwrap().call(world.call_of(request));
        let Some(record) = leave(answer, polls, &world).await else {
            assert!(polls >= 8, "only {polls} places to leave at");
            break;
        };
        if record.attempts > 0 {
            assert_eq!((record.usage, record.outcome), (Usage::new(2, 0), Outcome::ClientGone), "after {polls} polls");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_bounds_a_vendor_that_never_answers_and_one_that_never_ends() {
    let world = World { then: DRAIN, ..World::new(Scripted::new("first", [Step::Hang]), Scripted::new("second", [])) };
    let started = tokio::time::Instant::now();
    let record = left_of(&world, 0).await;
    assert_eq!((started.elapsed().as_secs(), record.outcome, record.status), (30, Outcome::ClientGone, 499));
    assert!(record.usage.estimated && record.usage.output == 0 && charge(&record) == worth(&record.usage));

    let world =
        World { then: DRAIN, ..World::new(Scripted::new("first", [Step::Endless]), Scripted::new("second", [])) };
    let started = tokio::time::Instant::now();
    let record = left_of(&world, 3).await;
    assert_eq!((started.elapsed().as_secs(), record.outcome), (32, Outcome::ClientGone));
    // Three pieces for the caller, of which the first came at once, and those of 30 seconds.
    assert!((62..=66).contains(&record.usage.output), "{:?}", record.usage);
}

#[tokio::test(start_paused = true)]
async fn a_cost_cap_bounds_it_too() {
    let cap = Money::from_nanos(worth(&Usage::new(0, 20)), aihub_core::Currency::USD);
    let then = OnDeparture::Drain { within: Duration::from_hours(1), cost_cap: Some(cap) };
    let world = World { then, ..World::new(Scripted::new("first", [Step::Endless]), Scripted::new("second", [])) };
    let record = left_of(&world, 1).await;
    assert_eq!(record.usage.output, 22, "two tokens for the caller, and twenty after it had left");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_drains_and_loses_none_that_it_cuts() {
    for (within, output) in [(Duration::from_mins(1), 58..=62), (Duration::from_secs(10), 18..=22)] {
        let first = Scripted::new("first", [Step::Endless]);
        let world = World { then: DRAIN, ..World::new(first, Scripted::new("second", [])) };
        let (stack, handle) = world.stack();
        let reply = stack.oneshot(world.call_of(world::request(r#","stream":true"#))).await.unwrap();
        drop(reply);
        assert_eq!((world.purse.open(), world.drains.running()), (1, 1));
        world.drains.finish(within).await;
        // The meter has no time left: what it has not been told by now is lost.
        handle.drain(Duration::from_millis(1)).await.unwrap();
        let records = world.books.records();
        assert_eq!((records.len(), records[0].outcome, world.purse.open()), (1, Outcome::ClientGone, 0));
        assert!(output.contains(&records[0].usage.output), "{:?}", records[0].usage);
    }
}

/// The record of a streamed call that is left after so many events of its reply; 0 is before there is one.
async fn left_of(world: &World, events: usize) -> UsageRecord {
    let (stack, handle) = world.stack();
    let call = stack.oneshot(world.call_of(world::request(r#","stream":true"#)));
    if events == 0 {
        let left = tokio::time::timeout(Duration::ZERO, call).await;
        assert!(left.is_err());
    } else {
        let mut reply = call.await.unwrap();
        for _ in 0..events {
            reply.next().await.unwrap().unwrap();
        }
    }
    world.drains.finish(Duration::from_hours(2)).await;
    handle.drain(Duration::from_secs(1)).await.unwrap();
    assert_eq!((world.books.records().len(), world.purse.open(), world.shed.in_flight()), (1, 0, 0));
    world.books.records().remove(0)
}
