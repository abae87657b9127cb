//! The layers together and alone, over a scripted world.

mod alone;
mod cancel;
mod order;
mod overspend;
mod stack;
mod stream;
#[expect(unreachable_pub, dead_code, reason = "the examples in the docs include this file, too")]
mod world;
