//! Many callers of one key on four servers that share a Postgres: what is sold is exactly what was left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use aihub_core::{Currency, Money};
use http::StatusCode;
use serde_json::Value;

use crate::hub::{Hub, aihub, chat, last_line};
use crate::replicas::{Database, PEPPER};

const MODEL: &str = "openai/gpt-5.4-mini";
const SERVERS: usize = 4;
const CONNECTIONS: usize = 64;

/// A call, from before it was sent to after it was answered.
struct Timed {
    began: Instant,
    ended: Instant,
    status: StatusCode,
    body: Value,
}

#[expect(clippy::disallowed_methods, reason = "callers of several processes have no other clock in common")]
fn now() -> Instant {
    Instant::now()
}

fn body() -> Value {
    let mut body = chat(MODEL, "hello");
    body["max_tokens"] = 200.into();
    body
}

async fn ask(hub: &Hub, key: &str) -> Timed {
    let began = now();
    let (status, body) = hub.post("/v1/chat/completions", key, &body()).await;
    Timed { began, ended: now(), status, body }
}

/// Has every connection to every server ask `each` times.
async fn together(hubs: &[Arc<Hub>], key: &str, each: usize) -> Vec<Timed> {
    let callers = hubs.iter().flat_map(|hub| std::iter::repeat_n(hub, CONNECTIONS));
    let callers: Vec<_> = callers
        .map(|hub| {
            let (hub, key) = (Arc::clone(hub), key.to_owned());
            tokio::spawn(async move {
                let mut calls = Vec::new();
                for _ in 0..each {
                    calls.push(ask(&hub, &key).await);
                }
                calls
            })
        })
        .collect();
    let mut calls = Vec::new();
    for caller in callers {
        calls.extend(caller.await.unwrap());
    }
    calls
}

fn hubs(database: &Database) -> Vec<Arc<Hub>> {
    let url = database.url();
    (0..SERVERS).map(|_| Arc::new(Hub::start_with(&[("DATABASE_URL", &url), PEPPER]))).collect()
}

fn key(hub: &Hub, limit: [&str; 2]) -> String {
    let made = ["keys", "create", "--name", "one", "--plan", "enterprise"];
    last_line(&hub.run(&[&made[..], &limit].concat()))
}

/// Stops the servers in good order, and gives back what their records charge in all.
fn charged(hubs: Vec<Arc<Hub>>) -> Money {
    // A copy has every record at least once.
    let mut charges = BTreeMap::new();
    for hub in hubs {
        let hub = Arc::into_inner(hub).expect("no caller is left");
        for record in hub.stop_and_read_records() {
            let charge = record["charge"]["amount"].as_str().map(|amount| Money::parse(amount, Currency::USD).unwrap());
            charges.insert(record["call"].to_string(), charge.map_or(0, Money::nanos));
        }
    }
    Money::from_nanos(charges.values().sum(), Currency::USD)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_limit_of_calls_is_sold() {
    const CALLS: usize = 300;
    let database = Database::new().await;
    let hubs = hubs(&database);
    let key = key(&hubs[0], ["--monthly-calls", &CALLS.to_string()]);
    let calls = together(&hubs, &key, 3).await;
    let (sold, refused): (Vec<&Timed>, Vec<&Timed>) = calls.iter().partition(|call| call.status == StatusCode::OK);
    assert_eq!(sold.len(), CALLS);
    let last = sold.iter().map(|call| call.began).max().unwrap();
    for call in refused {
        assert_eq!(call.status, StatusCode::PAYMENT_REQUIRED, "{}", call.body);
        assert!(last <= call.ended, "refused while a call was left that was sold later: {}", call.body);
    }
    let settings = [("DATABASE_URL", database.url()), (PEPPER.0, PEPPER.1.to_owned())];
    charged(hubs);
    let folder = tempfile::tempdir().unwrap();
    let audit = aihub(folder.path(), &["audit"]).envs(settings).output().unwrap();
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_than_the_limit_of_money_is_charged_and_what_is_left_pays_for_no_call() {
    let limit = Money::parse("0.02", Currency::USD).unwrap();
    let database = Database::new().await;
    let hubs = hubs(&database);
    let key = key(&hubs[0], ["--monthly-money", "0.02 USD"]);
    for call in together(&hubs, &key, 4).await {
        assert!(matches!(call.status.as_u16(), 200 | 402), "{} {}", call.status, call.body);
    }
    // Holds are for the longest answer, so that many at once are refused while some is left; one after the other is not.
    for hub in hubs.iter().cycle() {
        if ask(hub, &key).await.status != StatusCode::OK {
            break;
        }
    }
    let (status, quote) = hubs[0].post("/api/v1/developer/quote", &key, &body()).await;
    assert_eq!(status, StatusCode::OK, "{quote}");
    let one_more = Money::parse(quote["most"]["amount"].as_str().unwrap(), Currency::USD).unwrap();
    let charged = charged(hubs);
    assert!(charged.nanos() <= limit.nanos(), "{charged} of {limit}");
    assert!(
        limit.nanos() - charged.nanos() < one_more.nanos(),
        "{charged} of {limit}: {one_more} would have been paid"
    );
}
