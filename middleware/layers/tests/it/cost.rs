//! What the whole stack costs a call. `cargo test --release -p aihub-layers -- --ignored --nocapture cost`

use aihub_core::{Clock as _, SystemClock};
use tower::{Service as _, ServiceExt as _};

use crate::stack::World;
use crate::world::{self, Purse, Scripted};

#[tokio::test]
#[ignore = "measures, and is meant for a release build on a quiet machine"]
async fn cost() {
    const CALLS: u32 = 200_000;
    let mut world = World::new(Scripted::new("first", []), Scripted::new("second", []));
    world.purse = std::sync::Arc::new(Purse::of(u64::MAX / 2));
    let (mut stack, _handle) = world.stack();
    let (call, clock) = (world.call(), SystemClock::new());

    let started = clock.elapsed();
    for made in 0..CALLS {
        if made % 100 == 0 {
            world::pause(1).await; // or nobody would carry the records away
        }
        let reply = stack.ready().await.unwrap().call(call.clone()).await.unwrap();
        world::read(reply).await.unwrap();
    }
    let through = clock.elapsed().saturating_sub(started);

    let started = clock.elapsed();
    for _ in 0..CALLS {
        let provider: std::sync::Arc<dyn aihub_core::Provider> = world.first.clone();
        let attempt =
            aihub_core::Attempt { call: call.clone(), offer: world::offer("first", "1"), max_output_tokens: None };
        world::read(provider.chat(attempt).await.unwrap()).await.unwrap();
    }
    let bare = clock.elapsed().saturating_sub(started);
    println!("through the stack {:?} a call, the bare provider {:?}", through / CALLS, bare / CALLS);
}
