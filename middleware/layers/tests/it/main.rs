//! The layers together and alone, over a scripted world.

#![expect(clippy::unwrap_used, reason = "a test says by failing what it did not find")]

mod alone;
mod cancel;
mod departure;
mod order;
mod overspend;
mod stack;
mod stream;
#[expect(unreachable_pub, clippy::unnecessary_wraps, reason = "the examples in the docs include this file, too")]
mod world;
