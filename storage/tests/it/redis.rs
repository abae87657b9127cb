//! What replicas share, on a real Redis.

mod faults;
mod rate;
mod server;
mod wire;

use std::future::Future;
use std::time::Duration;

use aihub_storage::redis::{Options, Redis};
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, sleep};

/// What a test that needs a server says where there is none.
const NO_SERVER: &str = "start servers with `cargo xtask services`, or run `cargo xtask test`";

/// The server that all tests share, each under a prefix of its own.
fn url() -> String {
    std::env::var("AIHUB_TEST_REDIS_URL").expect(NO_SERVER)
}

fn prefix() -> String {
    format!("test-{:016x}:", rand::random::<u64>())
}

/// Patient, since the machine may be busy: how long a call takes is the matter of tests of its own.
fn options(prefix: &str) -> Options {
    let patience = Duration::from_secs(10);
    Options::default().with_prefix(prefix).with_deadline(patience).with_connect_timeout(patience)
}

async fn opened(prefix: &str) -> Redis {
    options(prefix).open(&url()).await.unwrap()
}

/// The server without what is tested.
async fn bare(url: &str) -> MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// All that is kept under `prefix`.
async fn names(on: &mut MultiplexedConnection, prefix: &str) -> Vec<String> {
    redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(on).await.unwrap()
}

/// Asks until it is so, for half a minute at most.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "not within half a minute: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
