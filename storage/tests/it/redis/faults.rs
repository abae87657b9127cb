//! What happens when Redis does not do as it should.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aihub_core::{Error, ErrorKind, Rate, RateStore};
use aihub_storage::redis::{Options, Redis, RedisRates};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::server::{PASSWORD, Server};
use super::until;
use super::wire::Wire;

const RATE: Rate = Rate { per_minute: 1, burst: 1_000 };

/// How much longer than its deadline a call may seem to take, on a machine that is busy.
const SLACK: Duration = Duration::from_millis(750);

/// Everything that could be printed of `error`.
fn printed(error: &Error) -> String {
    let mut all = vec![format!("{error} {error:?}")];
    let mut source = error.source();
    while let Some(cause) = source {
        all.push(format!("{cause} {cause:?}"));
        source = cause.source();
    }
    all.join(" ")
}

/// How long it takes to be refused.
async fn refused(rates: &RedisRates) -> Duration {
    let begun = Instant::now();
    let error = rates.take("subject", RATE).await.expect_err("there is no server");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.retry_after().is_some() && !printed(&error).contains(PASSWORD), "{}", printed(&error));
    begun.elapsed()
}

// failure: Redis | restarted | used again
#[tokio::test]
async fn a_server_that_was_started_again_is_used_again() {
    let mut server = Server::start().await;
    let redis = Options::default().open(&server.url()).await.unwrap();
    let rates = RedisRates::new(redis.clone());
    for left in [999, 998] {
        assert_eq!(rates.take("subject", RATE).await.unwrap().remaining, left);
    }
    server.stop();
    for _ in 0..50 {
        assert!(refused(&rates).await < Options::DEADLINE + SLACK);
    }
    assert_eq!(redis.ping().await.unwrap_err().kind(), ErrorKind::Unavailable);
    server.restart().await;
    until("Redis answers again", async || redis.ping().await.is_ok()).await;
    assert_eq!(rates.take("subject", RATE).await.unwrap().remaining, 999, "what it held is lost");
}

// failure: Redis | silent | requests with a rate are refused (503) within `redis.deadline_ms`
#[tokio::test]
async fn no_call_outlasts_its_deadline_when_nobody_answers() {
    let wire = Wire::to_nobody().await;
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", wire.port);
    let begun = Instant::now();
    let error = Options::default().open(&url).await.unwrap_err();
    assert!(begun.elapsed() < Options::CONNECT_TIMEOUT + SLACK);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.needs_operator() && !printed(&error).contains(PASSWORD), "{}", printed(&error));

    let rates = RedisRates::new(Options::default().open_lazily(&url).unwrap());
    assert!(refused(&rates).await < Options::DEADLINE + SLACK);
    let begun = Instant::now();
    for _ in 0..1_000 {
        refused(&rates).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "a thousand calls did not fail fast: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_server_that_sends_everybody_away_is_not_asked_by_every_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let came = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&came);
    let door = tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let (begun, rates) = (Instant::now(), RedisRates::new(Options::default().open_lazily(&url).unwrap()));
    for _ in 0..1_000 {
        refused(&rates).await;
    }
    let most = begun.elapsed().as_millis() / 200 + 1;
    assert!((came.load(Ordering::SeqCst) as u128) <= most, "{came:?} connections, not {most}");
    door.abort();
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_back_is_given_up() {
    let server = Server::start().await;
    let wire = Wire::to(server.port).await;
    let through = server.url().replace(&server.port.to_string(), &wire.port.to_string());
    let redis = Options::default().open(&through).await.unwrap();
    let rates = RedisRates::new(redis.clone());
    assert!(rates.take("subject", RATE).await.unwrap().allowed);
    wire.stall();
    assert!(refused(&rates).await < Options::DEADLINE + SLACK);
    wire.mend();
    until("another connection is made", async || redis.ping().await.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_forgot_its_scripts_is_told_them_again() {
    let server = Server::start().await;
    let rates = RedisRates::new(Options::default().open(&server.url()).await.unwrap());
    for left in [999, 998, 997] {
        assert_eq!(rates.take("subject", RATE).await.unwrap().remaining, left);
        server.say("SCRIPT FLUSH").await;
    }
}

// failure: Redis | full | 503: a limit that cannot be evaluated refuses
#[tokio::test]
async fn a_full_server_refuses() {
    let server = Server::start().await;
    let redis = Options::default().open(&server.url()).await.unwrap();
    let rates = RedisRates::new(redis.clone());
    server.say("CONFIG SET maxmemory 1").await;
    refused(&rates).await;
    server.say("CONFIG SET maxmemory 0").await;
    assert_eq!(rates.take("subject", RATE).await.unwrap().remaining, 999, "the refused event was counted");
}

#[tokio::test]
async fn a_wrong_password_is_said_at_the_start_and_not_shown() {
    let server = Server::start().await;
    for wrong in [
        format!("redis://:not-{PASSWORD}@127.0.0.1:{}", server.port),
        format!("redis://nobody:not-{PASSWORD}@127.0.0.1:{}", server.port),
        format!("redis://127.0.0.1:{}", server.port),
    ] {
        let error = Redis::open(&wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("password") && error.needs_operator(), "{error:?}");
        assert!(!printed(&error).contains(PASSWORD), "{}", printed(&error));
    }
}

/// Nothing that went wrong once is kept for ever: also a login is tried again.
#[tokio::test]
async fn a_password_that_comes_to_be_right_is_enough() {
    let server = Server::start().await;
    let late = format!("redis://:later@127.0.0.1:{}", server.port);
    let redis = Options::default().open_lazily(&late).unwrap();
    assert!(redis.ping().await.unwrap_err().needs_operator());
    server.say("CONFIG SET requirepass later").await;
    until("the login succeeds", async || redis.ping().await.is_ok()).await;
}

#[tokio::test]
async fn a_url_that_names_no_redis_is_wrong_and_not_shown() {
    for wrong in [
        "",
        "s3cret",
        "redis",
        "redis:",
        "redis://",
        "redis://:s3cret@",
        "redis://:s3cret@host:port",
        "redis://:s3cret@host/first",
        "redis://:s3cret@host?protocol=resp3",
        "rediss://:s3cret@host/#insecure",
        "http://:s3cret@host",
        "unix:///run/s3cret.sock",
        "redis+unix:///run/s3cret.sock",
    ] {
        let error = Redis::open(wrong).await.expect_err(wrong);
        assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "redis_url"), "{wrong}");
        assert!(!printed(&error).contains("s3cret"), "{}", printed(&error));
    }
    let here = "redis://127.0.0.1";
    for options in [
        Options::default().with_prefix(""),
        Options::default().with_prefix("a*"),
        Options::default().with_prefix("a".repeat(65)),
        Options::default().with_deadline(Duration::ZERO),
        Options::default().with_connect_timeout(Duration::ZERO),
        Options::default().with_root_certificate("s3cret"),
    ] {
        assert_eq!(options.open_lazily(here).unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn nothing_that_is_printed_holds_the_password() {
    let redis = Options::default().open_lazily(&format!("redis://somebody:{PASSWORD}@127.0.0.1:1/3")).unwrap();
    let shown = format!("{redis:?} {:?}", RedisRates::new(redis.clone()));
    assert!(shown.contains("127.0.0.1:1") && !shown.contains(PASSWORD) && !shown.contains("somebody"), "{shown}");
}
