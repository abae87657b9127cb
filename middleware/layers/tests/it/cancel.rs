//! The caller leaves at every point of a call at which it can: exactly one record, no hold left open,
//! and both say the same.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aihub_core::{EmbedRequest, Outcome, UsageRecord};
use tower::{Service as _, ServiceExt as _};

use crate::stack::World;
use crate::world::{self, Purse, Scripted, Step};

/// What comes of a call that is dropped after `polls` polls; `None` when it had ended by then.
async fn left_after(polls: usize, world: &World) -> Option<UsageRecord> {
    let (mut stack, _handle) = world.stack();
    let answer = stack.ready().await.unwrap().call(world.call());
    let client = async { world::read(answer.await?).await };
    leave(client, polls, world).await
}

/// Drops `client` after this many polls and looks at the books.
pub(crate) async fn leave<T>(client: impl Future<Output = T>, polls: usize, world: &World) -> Option<UsageRecord> {
    let mut ended = false;
    {
        let mut client = pin!(client);
        for _ in 0..polls {
            if poll_fn(|cx| Poll::Ready(client.as_mut().poll(cx).is_ready())).await {
                ended = true;
                break;
            }
            // Lets the waits of retries pass, and everybody else have a turn.
            tokio::time::advance(Duration::from_millis(150)).await;
        }
    }
    let record = world.books.only().await;
    for _ in 0..200 {
        world::pause(1).await;
    }
    assert_eq!(world.books.records().len(), 1, "after {polls} polls");
    assert_eq!(world.purse.open(), 0, "a hold was left open after {polls} polls");
    assert_eq!(world.shed.in_flight(), 0, "a place was left taken after {polls} polls");
    assert_eq!(world.purse.used(), record.amounts().tokens, "quota and record differ after {polls} polls");
    (!ended).then_some(record)
}

/// Drops the call after 0, 1, 2 … polls until it gets to its end.
pub(crate) async fn leave_everywhere(name: &str, world: impl Fn() -> World) -> Vec<UsageRecord> {
    let mut records = Vec::new();
    for polls in 0..200 {
        let Some(record) = left_after(polls, &world()).await else {
            assert!(polls >= 8, "{name}: only {polls} places to leave at");
            return records;
        };
        records.push(record);
    }
    panic!("{name}: the call never ended");
}

pub(crate) fn slow(first: Vec<Step>, second: Vec<Step>) -> World {
    let vendor = |name, script: Vec<Step>| {
        let mut vendor = Scripted::new(name, script);
        Arc::get_mut(&mut vendor).unwrap().pauses = 3;
        vendor
    };
    let mut world = World::new(vendor("first", first), vendor("second", second));
    let mut purse = Purse::of(1_000_000);
    purse.pauses = 3;
    world.purse = Arc::new(purse);
    world
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer() {
    let records = leave_everywhere("whole", || slow(vec![], vec![])).await;
    let sent: Vec<_> = records.iter().map(|record| record.attempts).collect();
    assert!(sent.is_sorted() && sent[0] == 0 && *sent.last().unwrap() == 1, "{sent:?}");
    for record in &records {
        // While the hold is settled the answer is complete already, and known to be.
        assert!(matches!(record.outcome, Outcome::ClientGone | Outcome::Completed), "{record:?}");
        assert_eq!(record.usage.is_zero(), record.attempts == 0, "{record:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream() {
    let stream = || Step::Stream(vec![world::piece(), world::piece(), world::finish()]);
    let records = leave_everywhere("stream", || slow(vec![stream()], vec![])).await;
    let midway =
        records.iter().filter(|record| record.first_event_us.is_some() && record.outcome == Outcome::ClientGone);
    assert!(midway.clone().count() >= 3);
    for record in midway {
        assert!(record.usage.estimated && record.usage.prompt_tokens() > 0 && record.usage.output > 0, "{record:?}");
        assert!(record.cost.is_some_and(|cost| cost.nanos() > 0), "{record:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn retries_and_a_fallback() {
    let steps = || vec![Step::Fail(world::transient()), Step::Fail(world::transient()), Step::Fail(world::failover())];
    let records = leave_everywhere("fallback", || slow(steps(), vec![])).await;
    assert_eq!(records.iter().map(|record| record.attempts).max(), Some(4));
    for record in records.iter().filter(|record| record.attempts > 0) {
        assert!(record.provider.is_some(), "{record:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_the_end() {
    let fail = || vec![Step::Fail(world::failover().with_spent(world::usage()))];
    let records = leave_everywhere("failure", || slow(fail(), fail())).await;
    assert!(records.iter().any(|record| record.discarded == world::usage() && record.outcome == Outcome::ClientGone));
    let charged = |record: &&UsageRecord| record.charge.is_some_and(|charge| charge.nanos() > 0);
    for record in records.iter().filter(charged) {
        assert_eq!(record.usage.output, 0, "only a prompt that was with a vendor is charged: {record:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_embedding_whose_reply_is_being_settled() {
    for polls in 0.. {
        let world = slow(vec![], vec![]);
        let (mut stack, _handle) = world.stack();
        let request = EmbedRequest::parse(r#"{"model":"e","input":"hello"}"#.into()).unwrap();
        let answer = stack.ready().await.unwrap().call(world.call_of(request));
        if leave(answer, polls, &world).await.is_none() {
            assert!(polls >= 8, "only {polls} places to leave at");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_polled_is_recorded() {
    let world = slow(vec![], vec![]);
    assert_eq!(left_after(0, &world).await.unwrap().outcome, Outcome::ClientGone);
    assert_eq!(world.first.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_hangs_has_cost_its_prompt() {
    let world = World::new(Scripted::new("first", [Step::Hang]), Scripted::new("second", []));
    let record = left_after(5, &world).await.unwrap();
    assert_eq!((record.outcome, record.attempts, record.status), (Outcome::ClientGone, 1, 499));
    assert!(record.usage.estimated && record.usage.input > 0 && record.usage.output == 0);
    assert_eq!(world.purse.calls(), 1);
}
