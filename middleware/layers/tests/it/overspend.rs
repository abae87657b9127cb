//! Hundreds of calls at once against a quota for a few: never past it, and whoever can pay is served.

use std::sync::Arc;

use aihub_core::{ErrorKind, Outcome};
use tower::ServiceExt as _;

use crate::stack::World;
use crate::world::{self, Purse, Scripted, Step};

/// Of each of these calls 5 prompt tokens are really used and 7 of the answer; 106 are held.
const CALLS: usize = 400;

fn world(limit: u64, script: Vec<Step>) -> World {
    let mut first = Scripted::new("first", script);
    Arc::get_mut(&mut first).unwrap().pauses = 2;
    let mut world = World::new(first, Scripted::new("second", []));
    let mut purse = Purse::of(limit);
    purse.pauses = 1;
    world.purse = Arc::new(purse);
    world
}

/// How many calls were served, of `CALLS` at once.
async fn rush(world: &World) -> usize {
    let (stack, handle) = world.stack();
    let calls = (0..CALLS).map(|_| {
        let (stack, call) = (stack.clone(), world.call());
        tokio::spawn(async move { world::read(stack.oneshot(call).await?).await })
    });
    let calls: Vec<_> = calls.collect();
    let mut served = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => served += 1,
            Err(error) => assert_ne!(error.kind(), ErrorKind::Internal, "{error:?}"),
        }
    }
    drop(stack);
    handle.drain(std::time::Duration::from_mins(1)).await.unwrap();
    assert_eq!(world.purse.open(), 0);
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_calls_never_pass_the_limit() {
    let limit = 1_000;
    let world = world(limit, vec![]);
    let served = rush(&world).await;
    assert!(world.purse.used() <= limit, "{} of {limit}", world.purse.used());
    assert!(served >= 9, "nine fit even if none of them is settled before the last is held: {served}");
    assert_eq!(world.purse.used(), served as u64 * world::usage().total_tokens());
    let records = world.books.records();
    assert_eq!(records.len(), CALLS);
    assert_eq!(records.iter().filter(|record| record.outcome == Outcome::Completed).count(), served);
    assert_eq!(
        records.iter().filter(|record| (record.outcome, record.status) == (Outcome::Refused, 402)).count(),
        CALLS - served
    );
    let asked = usize::try_from(world.first.asked()).unwrap();
    assert_eq!(asked, served, "what is refused is not sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_failures_held_is_free_again() {
    let script = (0..CALLS).map(|_| Step::Fail(aihub_core::Error::invalid("messages", "no"))).collect();
    let world = world(1_000, script);
    assert_eq!(rush(&world).await, 0);
    assert_eq!((world.purse.used(), world.purse.calls()), (0, 0));
    let (stack, _handle) = world.stack();
    let error = stack.oneshot(world.call()).await.err();
    assert!(error.is_none_or(|error| error.kind() == ErrorKind::Invalid), "the vendor's word, not the quota's");
}

#[tokio::test]
async fn the_vendor_is_asked_for_no_more_than_is_held() {
    let mut world = world(1_000, vec![]);
    let mut purse = Purse::of(1_000);
    purse.grants = Some(50);
    world.purse = Arc::new(purse);
    let (stack, _handle) = world.stack();
    let prompt = {
        use aihub_core::Operation as _;
        // Nobody knows the vocabulary of `m-1`.
        aihub_core::tokens::Family::Other.tokens(world::request("").demand().prompt_tokens)
    };
    for (fields, bound) in [
        ("", Some(50 - prompt)),                    // the plan's 100 do not fit
        (r#","max_tokens":1"#, None),               // the caller's own limit is held in full: its bytes pass
        (r#","max_tokens":90"#, Some(50 - prompt)), // less is held than it named
        (r#","n":2"#, Some((50 - prompt) / 2)),     // for one choice
    ] {
        let call = world.call_of(world::request(fields));
        world::read(stack.clone().oneshot(call).await.unwrap()).await.unwrap();
        assert_eq!(world.first.bounds.lock().unwrap().pop().unwrap(), bound, "{fields}");
    }
}

#[tokio::test]
async fn a_hold_too_small_for_the_prompt_is_given_back() {
    let mut world = world(1_000, vec![]);
    let mut purse = Purse::of(1_000);
    purse.grants = Some(3);
    world.purse = Arc::new(purse);
    let (stack, _handle) = world.stack();
    let error = stack.oneshot(world.call()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PaymentRequired);
    assert_eq!(error.refusal().unwrap().limit_source, "hold");
    assert_eq!((world.purse.open(), world.first.asked()), (0, 0));
}
