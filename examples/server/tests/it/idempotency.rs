//! The same request under the same key: one answer, one charge.

use aihub_vendors::End;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::hub::{Hub, PATIENCE, chat, last_line, read, stream};
use crate::replicas::{Database, PEPPER};

const MODEL: &str = "openai/gpt-5.4-mini";
const GEMINI: &str = "google/gemini-2.5-flash";
const CHAT: &str = "/v1/chat/completions";

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn replayed(&self) -> bool {
        self.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
    }

    fn code(&self) -> Value {
        serde_json::from_slice::<Value>(&self.body).unwrap()["error"]["code"].take()
    }
}

async fn begin(hub: &Hub, path: &str, key: &str, name: &str, body: &Value) -> http::Response<hyper::body::Incoming> {
    hub.send(hub.request("POST", path, key).header("idempotency-key", name), body.to_string()).await
}

async fn ask(hub: &Hub, path: &str, key: &str, name: &str, body: &Value) -> Answer {
    let response = begin(hub, path, key, name, body).await;
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, body: read(response).await }
}

/// Asks until the request under this name runs no more.
async fn until_ended(hub: &Hub, key: &str, name: &str, body: &Value) -> Answer {
    let asking = async {
        loop {
            let answer = ask(hub, CHAT, key, name, body).await;
            if answer.status != StatusCode::CONFLICT || answer.code() != "idempotency_key_in_use" {
                return answer;
            }
            assert!(answer.headers.contains_key("retry-after"));
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the request never ends")
}

/// A key of `account` with these options, and its account.
fn key(hub: &Hub, options: &[&str]) -> (String, String) {
    let said = hub.run(&[&["keys", "create", "--name", "test"], options].concat());
    let key = last_line(&said);
    let text = String::from_utf8(said.stdout).unwrap();
    let account = text.lines().find_map(|line| line.strip_prefix("account")).unwrap();
    (key, account.split_whitespace().next().unwrap().to_owned())
}

#[tokio::test]
async fn every_paid_route_repeats_its_answer_byte_for_byte_and_is_paid_once() {
    let hub = Hub::start();
    let key = hub.key("pro");
    let document: Value = serde_json::from_slice(&hub.run(&["openapi"]).stdout).unwrap();
    let asked = [
        (CHAT, chat(MODEL, "hi")),
        (CHAT, chat(GEMINI, "hi")),
        (CHAT, stream(MODEL, "one two three")),
        (CHAT, stream(GEMINI, "one two three")),
        ("/v1/embeddings", json!({"model": "openai/text-embedding-3-small", "input": "hi"})),
        ("/api/v1/developer/chat", json!({"model": MODEL, "message": "hi"})),
        ("/api/v1/developer/chat", json!({"model": MODEL, "message": "hi", "stream": true})),
    ];
    for (number, (path, body)) in asked.iter().enumerate() {
        let name = format!("request-{number}");
        let first = ask(&hub, path, &key, &name, body).await;
        assert_eq!((first.status, first.replayed()), (StatusCode::OK, false), "{path}");
        for _ in 0..2 {
            let again = ask(&hub, path, &key, &name, body).await;
            assert_eq!((again.status, again.replayed()), (StatusCode::OK, true), "{path} {body}");
            assert_eq!(again.body, first.body, "{path} {body}");
            assert_eq!(again.headers["content-type"], first.headers["content-type"]);
            assert_ne!(again.headers["x-request-id"], first.headers["x-request-id"], "it is another request");
            assert!(again.headers.contains_key("x-ratelimit-remaining-requests"), "and counts as one");
        }
        let post = &document["paths"][path]["post"];
        assert_eq!(post["parameters"][0]["name"], "Idempotency-Key", "{path}");
        assert!(post["responses"]["409"].is_object() && post["responses"]["422"].is_object(), "{path}");
    }
    assert_eq!(hub.vendors.seen().len(), asked.len());
    assert_eq!(hub.stop_and_read_records().len(), asked.len());
}

#[tokio::test]
async fn a_name_belongs_to_one_request_of_one_account() {
    let hub = Hub::start();
    let (mine, account) = key(&hub, &["--plan", "pro"]);
    let (second, _) = key(&hub, &["--plan", "pro", "--account", &account]);
    let (theirs, _) = key(&hub, &["--plan", "pro"]);
    let first = ask(&hub, CHAT, &mine, "one", &chat(MODEL, "hi")).await;
    let other = ask(&hub, CHAT, &mine, "one", &chat(MODEL, "ho")).await;
    assert_eq!((other.status.as_u16(), other.code()), (422, json!("idempotency_key_reused")));
    let elsewhere = ask(&hub, "/api/v1/developer/chat", &mine, "one", &chat(MODEL, "hi")).await;
    assert_eq!((elsewhere.status.as_u16(), elsewhere.code()), (422, json!("idempotency_key_reused")));
    let again = ask(&hub, CHAT, &second, "one", &chat(MODEL, "hi")).await;
    assert!(again.replayed() && again.body == first.body, "another key of the account");
    let strangers = ask(&hub, CHAT, &theirs, "one", &chat(MODEL, "ho")).await;
    assert_eq!((strangers.status, strangers.replayed()), (StatusCode::OK, false));
    let wrong = ask(&hub, CHAT, &mine, "two words", &chat(MODEL, "hi")).await;
    assert_eq!((wrong.status.as_u16(), wrong.code()), (400, json!("invalid_idempotency_key")));
    assert_eq!(hub.stop_and_read_records().len(), 2);
}

#[tokio::test]
async fn of_many_at_once_one_is_made() {
    let hub = Hub::start();
    let key = hub.key("enterprise");
    let body = chat(MODEL, "hi [[delay 200ms]]");
    let asking = (0..20).map(|_| ask(&hub, CHAT, &key, "one", &body));
    let answers = futures_util::future::join_all(asking).await;
    let made = answers.iter().filter(|answer| answer.status == StatusCode::OK && !answer.replayed()).count();
    assert_eq!(made, 1);
    for answer in answers.iter().filter(|answer| answer.status != StatusCode::OK) {
        assert_eq!((answer.status.as_u16(), answer.code()), (409, json!("idempotency_key_in_use")));
    }
    assert_eq!(hub.vendors.seen().len(), 1);
    assert_eq!(hub.stop_and_read_records().len(), 1);
}

#[tokio::test]
async fn replicas_make_a_request_once_together_and_repeat_for_each_other() {
    let database = Database::new().await;
    let url = database.url();
    let hubs = [0, 1].map(|_| Hub::start_with(&[("DATABASE_URL", &*url), PEPPER]));
    let key = hubs[0].key("enterprise");
    let body = stream(MODEL, "one two three [[delay 200ms]]");
    let asking = hubs.iter().cycle().take(20).map(|hub| ask(hub, CHAT, &key, "one", &body));
    let answers = futures_util::future::join_all(asking).await;
    let made: Vec<_> = answers.iter().filter(|answer| answer.status == StatusCode::OK && !answer.replayed()).collect();
    assert_eq!(made.len(), 1);
    assert_eq!(hubs.iter().map(|hub| hub.vendors.seen().len()).sum::<usize>(), 1);
    for hub in &hubs {
        let again = ask(hub, CHAT, &key, "one", &body).await;
        assert!(again.replayed() && again.body == made[0].body);
    }
}

#[tokio::test]
async fn a_caller_who_leaves_midway_finds_the_whole_answer_and_one_charge() {
    let hub = Hub::start();
    let key = hub.key("enterprise");
    let streamed = stream(MODEL, "hi [[events 40]] [[slow 20ms]]");
    let mut response = begin(&hub, CHAT, &key, "stream", &streamed).await;
    response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(ask(&hub, CHAT, &key, "stream", &streamed).await.code(), "idempotency_key_in_use");
    drop(response);
    let whole = until_ended(&hub, &key, "stream", &streamed).await;
    assert!(whole.replayed() && whole.body.ends_with(b"data: [DONE]\n\n"), "{:?}", whole.body);
    assert_eq!(whole.headers["content-type"], "text/event-stream");
    assert_eq!(String::from_utf8_lossy(&whole.body).matches("data: {").count(), 41, "40 words and an end");

    let waited = chat(MODEL, "hi [[delay 500ms]]");
    let request = hub.request("POST", CHAT, &key).header("idempotency-key", "whole");
    let sending = hub.send(request, waited.to_string());
    let seen = hub.vendors.until(|seen| seen.body["messages"][0]["content"] == "hi [[delay 500ms]]");
    tokio::select! {
        _ = sending => panic!("the answer came before its time"),
        _ = seen => {}
    }
    let whole = until_ended(&hub, &key, "whole", &waited).await;
    assert_eq!((whole.status, whole.replayed()), (StatusCode::OK, true));

    assert!(hub.vendors.seen().iter().all(|seen| seen.end == Some(End::Completed)), "nothing was cancelled upstream");
    assert_eq!(hub.vendors.seen().len(), 2);
    let records = hub.stop_and_read_records();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record["outcome"] == "completed"), "{records:?}");
}

#[tokio::test]
async fn a_refused_request_may_be_sent_again_under_its_name() {
    let hub = Hub::start();
    let (poor, account) = key(&hub, &["--plan", "free", "--monthly-calls", "1"]);
    let (rich, _) = key(&hub, &["--plan", "pro", "--account", &account]);
    let basic = chat("google/gemini-2.5-flash-lite", "hi");
    assert_eq!(ask(&hub, CHAT, &poor, "first", &basic).await.status, StatusCode::OK);
    for (name, body, status) in
        [("402", basic, StatusCode::PAYMENT_REQUIRED), ("403", chat("openai/gpt-5.4", "hi"), StatusCode::FORBIDDEN)]
    {
        for _ in 0..2 {
            let refused = ask(&hub, CHAT, &poor, name, &body).await;
            assert_eq!((refused.status, refused.replayed()), (status, false), "{name}");
        }
        let paid = ask(&hub, CHAT, &rich, name, &body).await;
        assert_eq!((paid.status, paid.replayed()), (StatusCode::OK, false), "{name}");
        let again = ask(&hub, CHAT, &rich, name, &body).await;
        assert!(again.replayed() && again.body == paid.body, "{name}");
    }
    // Sent upstream, refused there, and paid for by nobody.
    let busy = chat(MODEL, "hi [[status 429 times 2 id busy]]");
    let first = ask(&hub, CHAT, &rich, "busy", &busy).await;
    assert_eq!((first.status, first.replayed()), (StatusCode::TOO_MANY_REQUESTS, false));
    assert_eq!(until_ended(&hub, &rich, "busy", &busy).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_failed_and_is_paid_for_is_told_again_and_not_done_again() {
    let hub = Hub::start();
    let key = hub.key("enterprise");
    let broken = stream(MODEL, "one two three four [[error-event after 2]]");
    let first = ask(&hub, CHAT, &key, "broken", &broken).await;
    assert!(String::from_utf8_lossy(&first.body).contains("\"error\""));
    let again = ask(&hub, CHAT, &key, "broken", &broken).await;
    assert!(again.replayed());
    assert_eq!(again.body, first.body);

    let hub = Hub::start_with(&[
        ("AIHUB_UPSTREAM__FIRST_EVENT_TIMEOUT_MS", "200"),
        ("AIHUB_UPSTREAM__ANSWER_TIMEOUT_MS", "200"),
        ("AIHUB_UPSTREAM__RETRIES", "0"),
    ]);
    let key = hub.key("enterprise");
    let silent = chat(MODEL, "hi [[hang]]");
    let first = ask(&hub, CHAT, &key, "silent", &silent).await;
    assert_eq!((first.status, first.replayed()), (StatusCode::GATEWAY_TIMEOUT, false));
    let again = ask(&hub, CHAT, &key, "silent", &silent).await;
    // Nobody pays for an answer that never began: the key is free, and it is tried again.
    assert_eq!((again.status, again.replayed()), (StatusCode::GATEWAY_TIMEOUT, false));
    let records = hub.stop_and_read_records();
    assert!(records.len() == 2 && records.iter().all(|record| record["waived"] == true), "{records:?}");
}

#[tokio::test]
async fn an_answer_too_large_to_keep_is_not_done_again() {
    let hub = Hub::start_with(&[("AIHUB_IDEMPOTENCY__MAX_ANSWER_BYTES", "2000")]);
    let key = hub.key("enterprise");
    let body = stream(MODEL, "hi [[events 100]]");
    assert_eq!(ask(&hub, CHAT, &key, "large", &body).await.status, StatusCode::OK);
    let again = ask(&hub, CHAT, &key, "large", &body).await;
    assert_eq!((again.status.as_u16(), again.code()), (409, json!("idempotent_answer_too_large")));
    assert_eq!(again.headers["x-should-retry"], "false");
    assert_eq!(hub.stop_and_read_records().len(), 1);
}

#[tokio::test]
async fn a_process_that_dies_forgets_no_answer_and_does_nothing_twice() {
    let mut hub = Hub::start();
    let key = hub.key("enterprise");
    let (whole, running) = (chat(MODEL, "hi"), stream(MODEL, "hi [[events 5000]] [[slow 20ms]]"));
    let first = ask(&hub, CHAT, &key, "whole", &whole).await;
    let mut response = begin(&hub, CHAT, &key, "running", &running).await;
    response.body_mut().frame().await.unwrap().unwrap();
    hub.kill();
    hub.wait();
    let folder = std::mem::replace(&mut hub.folder, tempfile::tempdir().unwrap());
    let hub = Hub::start_in(folder);
    let again = ask(&hub, CHAT, &key, "whole", &whole).await;
    assert!(again.replayed() && again.body == first.body);
    assert_eq!(ask(&hub, CHAT, &key, "running", &running).await.code(), "idempotency_key_in_use");
    assert!(hub.vendors.seen().is_empty());
}

#[tokio::test]
async fn a_stop_ends_what_runs_without_its_caller_and_records_it() {
    let hub = Hub::start_with(&[("AIHUB_SERVER__DRAIN_TIMEOUT_S", "0")]);
    let key = hub.key("enterprise");
    let body = stream(MODEL, "hi [[events 5000]] [[slow 20ms]]");
    let mut response = begin(&hub, CHAT, &key, "one", &body).await;
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    let records = hub.stop_and_read_records();
    assert_eq!((records.len(), &records[0]["outcome"]), (1, &json!("client_gone")));
}
