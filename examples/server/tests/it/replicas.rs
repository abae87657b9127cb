//! Several servers on one Postgres, and what becomes of them when it goes away.

use std::time::Duration;

use http::StatusCode;
use tokio_postgres::NoTls;

use crate::hub::{Hub, PATIENCE, chat, read};
use crate::wire::{State, Wire};

const MODEL: &str = "openai/gpt-4o-mini";

/// A database of a test's own, on the servers that `cargo xtask services` starts.
pub(crate) struct Database {
    name: String,
    server: url::Url,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let server = std::env::var("AIHUB_TEST_POSTGRES_URL").expect(
            "AIHUB_TEST_POSTGRES_URL is not set: start servers with `cargo xtask services`, or run `cargo xtask test`",
        );
        let name = format!("test_{}", uuid::Uuid::now_v7().simple());
        let database = Self { name, server: server.parse().unwrap() };
        execute(database.server.as_str(), &format!("CREATE DATABASE {}", database.name)).await;
        database
    }

    /// Its URL at the server's own address.
    pub(crate) fn url(&self) -> String {
        let mut url = self.server.clone();
        url.set_path(&self.name);
        url.into()
    }

    /// Its URL at another address.
    fn at(&self, address: std::net::SocketAddr) -> String {
        let mut url: url::Url = self.url().parse().unwrap();
        url.set_port(Some(address.port())).unwrap();
        url.into()
    }

    fn address(&self) -> String {
        format!("{}:{}", self.server.host_str().unwrap(), self.server.port().unwrap_or(5432))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.to_string(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(execute(&server, &format!("DROP DATABASE {name} WITH (FORCE)")));
        });
        dropping.join().ok();
    }
}

/// What is promised here is a time, which only the machine's clock can tell.
#[expect(clippy::disallowed_methods, reason = "a process of its own has a clock of its own")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

pub(crate) async fn execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
}

pub(crate) const PEPPER: (&str, &str) = ("AIHUB_KEYS__PEPPER", "a pepper of replicas that share a database");

fn replica(url: &str) -> Hub {
    Hub::start_with(&[("DATABASE_URL", url), PEPPER])
}

/// The key and its id and account, as `aihub keys create` prints them.
fn made(hub: &Hub) -> (String, String, String) {
    let said = hub.run(&["keys", "create", "--name", "test", "--plan", "enterprise"]);
    let text = String::from_utf8(said.stdout).unwrap();
    let word = |start: &str| {
        let line = text.lines().find(|line| line.starts_with(start)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    (text.lines().last().unwrap().to_owned(), word("key"), word("account"))
}

async fn accepted(hub: &Hub, key: &str) -> bool {
    let response = hub.send(hub.request("GET", "/v1/models", key), "").await;
    let status = response.status();
    drop(read(response).await);
    assert!(status == StatusCode::OK || status == StatusCode::UNAUTHORIZED, "{status}");
    status == StatusCode::OK
}

/// Revokes on one replica, and gives back how long after the answer the other still accepted the key.
async fn last_accepted(here: &Hub, elsewhere: &Hub) -> Duration {
    let (key, id, account) = made(here);
    for hub in [here, elsewhere] {
        assert!(accepted(hub, &key).await);
    }
    let revoked = here.run(&["keys", "revoke", "--account", &account, &id]);
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    until_refused(elsewhere, &key).await
}

/// How long from now on this replica accepts the key.
async fn until_refused(hub: &Hub, key: &str) -> Duration {
    let answered = now();
    let mut last = answered;
    while accepted(hub, key).await {
        last = now();
        assert!(answered.elapsed() < PATIENCE, "it is never refused");
    }
    last - answered
}

#[tokio::test]
async fn revoked_on_one_is_refused_on_all_within_a_second() {
    let database = Database::new().await;
    let (one, other) = (replica(&database.url()), replica(&database.url()));
    let took = last_accepted(&one, &other).await;
    println!("revoked to last accepted, with the push: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

// failure: Postgres | its notifications are cut | a revoked key stops within a second all the same
#[tokio::test]
async fn also_while_the_listener_is_cut_again_and_again() {
    let database = Database::new().await;
    let (one, other) = (replica(&database.url()), replica(&database.url()));
    let (url, cut) = (
        database.url(),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND query LIKE 'LISTEN%'",
    );
    let cutting = tokio::spawn(async move {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        loop {
            client.batch_execute(cut).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let took = last_accepted(&one, &other).await;
    println!("revoked to last accepted, without the push: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    cutting.abort();
}

/// Where Redis is, by way of `wire`.
async fn redis() -> (Wire, String) {
    let url = std::env::var("AIHUB_TEST_REDIS_URL").expect(
        "AIHUB_TEST_REDIS_URL is not set: start servers with `cargo xtask services`, or run `cargo xtask test`",
    );
    let mut url: url::Url = url.parse().unwrap();
    let wire = Wire::to(format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(6379))).await;
    url.set_port(Some(wire.address.port())).unwrap();
    (wire, url.into())
}

/// With keys shared in Redis, with Redis alone to tell, and with Redis gone before the revocation.
// failure: Redis | stopped or silent | a revoked key stops within a second all the same
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn also_with_redis_and_with_redis_stopped() {
    let database = Database::new().await;
    let (wire, redis) = redis().await;
    let prefix = format!("test-{}:", uuid::Uuid::now_v7().simple());
    let url = database.url();
    let settings = [
        ("DATABASE_URL", &*url),
        PEPPER,
        ("REDIS_URL", &*redis),
        ("AIHUB_REDIS__PREFIX", &*prefix),
        ("AIHUB_REDIS__CACHE_KEYS", "true"),
    ];
    let (one, other) = (Hub::start_with(&settings), Hub::start_with(&settings));
    let took = last_accepted(&one, &other).await;
    println!("revoked to last accepted, with Redis: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(health(&other, "ready").await, StatusCode::OK);
    for state in [State::Cut, State::Silent] {
        let (key, id, account) = made(&one);
        assert!(accepted(&other, &key).await);
        wire.set(state);
        // Revoked where Redis can be reached: from here on nobody else hears of it.
        let bare: Vec<_> = settings.iter().copied().filter(|(name, _)| !name.contains("REDIS")).collect();
        let revoked = crate::hub::aihub(one.folder.path(), &["keys", "revoke", "--account", &account, &id])
            .envs(bare)
            .output()
            .unwrap();
        assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
        let took = until_refused(&other, &key).await;
        println!("revoked to last accepted, Redis {state:?}: {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(health(&other, "live").await, StatusCode::OK);
        becomes(&other, StatusCode::SERVICE_UNAVAILABLE).await;
        wire.set(State::Whole);
        becomes(&other, StatusCode::OK).await;
    }
}

/// A rate that replicas share is one rate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_is_counted_for_all_replicas_together() {
    let database = Database::new().await;
    let (wire, redis) = redis().await;
    let prefix = format!("test-{}:", uuid::Uuid::now_v7().simple());
    let url = database.url();
    let settings = [("DATABASE_URL", &*url), PEPPER, ("REDIS_URL", &*redis), ("AIHUB_REDIS__PREFIX", &*prefix)];
    let hubs = [Hub::start_with(&settings), Hub::start_with(&settings)];
    let made = hubs[0].run(&["keys", "create", "--name", "slow", "--plan", "enterprise", "--requests-per-minute", "6"]);
    let key = crate::hub::last_line(&made);
    let mut counted = Vec::new();
    for hub in hubs.iter().cycle().take(8) {
        counted.push(hub.send(hub.request("GET", "/v1/models", &key), "").await.status());
    }
    let passed = counted.iter().filter(|status| **status == StatusCode::OK).count();
    assert_eq!(passed, 6, "{counted:?}");
    // A limit that cannot be evaluated refuses, in its time.
    wire.set(State::Silent);
    let asked = now();
    let status = hubs[0].send(hubs[0].request("GET", "/v1/models", &key), "").await.status();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

/// A monthly quota is one for all replicas, and outlives them.
#[tokio::test]
async fn a_quota_is_counted_for_all_replicas_and_over_restarts() {
    let database = Database::new().await;
    let url = database.url();
    let settings = [("DATABASE_URL", &*url), PEPPER];
    let mut hubs = [Hub::start_with(&settings), Hub::start_with(&settings)];
    let made = hubs[0].run(&["keys", "create", "--name", "few", "--plan", "enterprise", "--monthly-calls", "5"]);
    let key = crate::hub::last_line(&made);
    let call = async |hub: &Hub| hub.post("/v1/chat/completions", &key, &chat(MODEL, "hello")).await;
    for hub in hubs.iter().cycle().take(4) {
        assert_eq!(call(hub).await.0, StatusCode::OK);
    }
    hubs[1].terminate();
    assert_eq!(hubs[1].wait(), Some(0), "what it had borrowed and not used is given back");
    hubs[1] = Hub::start_with(&settings);
    let (status, body) = call(&hubs[1]).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    for hub in &hubs {
        let (status, body) = call(hub).await;
        assert_eq!(status, StatusCode::PAYMENT_REQUIRED, "{body}");
        assert_eq!(body["error"]["limit_source"], "key_monthly_calls", "{body}");
    }
}

async fn health(hub: &Hub, what: &str) -> StatusCode {
    let request = http::Request::get(format!("http://{}/health/{what}", hub.address));
    let response = hub.send(request, "").await;
    let status = response.status();
    drop(read(response).await);
    status
}

async fn becomes(hub: &Hub, status: StatusCode) {
    let waiting = async {
        while health(hub, "ready").await != status {
            assert_eq!(health(hub, "live").await, StatusCode::OK);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("readiness never became {status}"));
}

/// A restart and a silence of the database: refused with one clear error meanwhile, alive all the time, and well
/// again without a restart of ours. On several threads: one waits for the server's start, another carries the wire.
// failure: Postgres | away | keys that are cached work for a second, then 503; readiness is red; found again without a restart
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_is_missed_and_found_again() {
    let database = Database::new().await;
    let wire = Wire::to(database.address()).await;
    let url = database.at(wire.address);
    let hub = Hub::start_with(&[
        ("DATABASE_URL", &url),
        PEPPER,
        ("AIHUB_STORE__ACQUIRE_TIMEOUT_MS", "1000"),
        ("AIHUB_STORE__STATEMENT_TIMEOUT_MS", "1000"),
    ]);
    let key = hub.key("enterprise");
    let call = async || hub.post("/v1/chat/completions", &key, &chat(MODEL, "hello")).await;
    assert_eq!(call().await.0, StatusCode::OK);
    for state in [State::Cut, State::Silent] {
        wire.set(state);
        becomes(&hub, StatusCode::SERVICE_UNAVAILABLE).await;
        // What was looked up before serves for a second more, and no longer.
        let waiting = async {
            loop {
                let asked = now();
                let (status, body) = call().await;
                assert!(asked.elapsed() < Duration::from_secs(10), "{state:?}: {:?}", asked.elapsed());
                if status != StatusCode::OK {
                    return (status, body);
                }
            }
        };
        let (status, body) = tokio::time::timeout(PATIENCE, waiting).await.expect("calls are never refused");
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{state:?}: {body}");
        assert!(body["error"]["message"].as_str().unwrap().contains("database does not answer"), "{body}");
        wire.set(State::Whole);
        becomes(&hub, StatusCode::OK).await;
        assert_eq!(call().await.0, StatusCode::OK, "after {state:?}");
    }
}

/// Many callers, while the database goes away and comes back: each gets an answer or a clear refusal in its time, and
/// all of them answers again at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_outlive_a_restart_of_the_database() {
    let database = Database::new().await;
    let wire = Wire::to(database.address()).await;
    let url = database.at(wire.address);
    let hub = std::sync::Arc::new(Hub::start_with(&[
        ("DATABASE_URL", &url),
        PEPPER,
        ("AIHUB_STORE__ACQUIRE_TIMEOUT_MS", "1000"),
        ("AIHUB_STORE__STATEMENT_TIMEOUT_MS", "1000"),
    ]));
    let keys: Vec<_> = (0..4).map(|_| hub.key("enterprise")).collect();
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let callers: Vec<_> = keys
        .iter()
        .flat_map(|key| std::iter::repeat_n(key.clone(), 4))
        .map(|key| {
            let (hub, stopping) = (std::sync::Arc::clone(&hub), stopping.clone());
            tokio::spawn(async move {
                let mut counted = [0_u32; 2];
                while !*stopping.borrow() {
                    let (status, body) = hub.post("/v1/chat/completions", &key, &chat(MODEL, "hello")).await;
                    match status {
                        StatusCode::OK => counted[0] += 1,
                        StatusCode::SERVICE_UNAVAILABLE => counted[1] += 1,
                        other => panic!("{other}: {body}"),
                    }
                }
                counted
            })
        })
        .collect();
    for _ in 0..2 {
        wire.set(State::Cut);
        becomes(&hub, StatusCode::SERVICE_UNAVAILABLE).await;
        // Longer than what was looked up before serves.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        wire.set(State::Whole);
        becomes(&hub, StatusCode::OK).await;
    }
    for key in &keys {
        let (status, body) = hub.post("/v1/chat/completions", key, &chat(MODEL, "hello")).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
    stop.send_replace(true);
    for caller in callers {
        let [answered, refused] = caller.await.unwrap();
        assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused");
    }
}

#[tokio::test]
async fn a_rotated_key_calls_with_both_secrets_and_its_use_is_seen() {
    let database = Database::new().await;
    let hub = replica(&database.url());
    let (old, id, account) = made(&hub);
    let new = crate::hub::last_line(&hub.run(&["keys", "rotate", "--account", &account, &id]));
    for key in [&old, &new] {
        let (status, body) = hub.post("/v1/chat/completions", key, &chat(MODEL, "hello")).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
    hub.run(&["keys", "rotate", "--account", &account, "--overlap-hours", "0", &id]);
    let refused = async { while accepted(&hub, &new).await {} };
    tokio::time::timeout(Duration::from_secs(1), refused).await.unwrap();
    assert!(accepted(&hub, &old).await, "the first overlap still holds");
    let used = async {
        loop {
            let listed = hub.run(&["keys", "list", "--account", &account]);
            let listed = String::from_utf8(listed.stdout).unwrap();
            if listed.contains("  used 2") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, used).await.expect("the use is never written down");
}
