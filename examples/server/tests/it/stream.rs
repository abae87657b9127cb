//! Streams: faithful, ended properly, cancelled all the way.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::hub::{Hub, PATIENCE, read, stream};

const OPENROUTER: &str = "openai/gpt-5.4-mini";
const GEMINI: &str = "google/gemini-2.5-flash";

/// The data of every event.
fn events(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8(body.to_vec()).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
}

fn text_of(events: &[String]) -> String {
    let chunks = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    chunks.filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect()
}

#[tokio::test]
async fn content_passes_byte_for_byte_and_ends_with_done() {
    let hub = Hub::start();
    let body = stream(OPENROUTER, "hi [[events 50]]");
    let ours =
        read(hub.send(hub.request("POST", "/v1/chat/completions", &hub.key("pro")), body.to_string()).await).await;
    let direct = http::Request::post(format!("{}/chat/completions", hub.vendors.openrouter_base_url()))
        .header("authorization", format!("Bearer {}", aihub_vendors::OPENROUTER_KEY))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let theirs = client.request(direct).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    // The two are two answers: ids and times differ, and a role said again is silenced; everything else
    // of the content is the same.
    let plain = |body: &[u8]| {
        let mut chunks: Vec<Value> = events(body).iter().filter_map(|event| serde_json::from_str(event).ok()).collect();
        for (at, chunk) in chunks.iter_mut().enumerate() {
            chunk["id"] = Value::Null;
            chunk["created"] = Value::Null;
            if at > 0 && chunk["choices"][0].is_object() {
                chunk["choices"][0]["delta"]["role"] = Value::Null;
            }
        }
        chunks
    };
    let (ours_plain, theirs_plain) = (plain(&ours), plain(&theirs));
    let content = theirs_plain.iter().filter(|chunk| chunk["usage"].is_null()).count();
    assert_eq!(ours_plain[..], theirs_plain[..content], "a chunk was changed");
    assert_eq!(String::from_utf8_lossy(&ours).matches("\"assistant\"").count(), 1, "the role is said once");
    assert!(ours.ends_with(b"data: [DONE]\n\n"));
    assert!(!String::from_utf8_lossy(&ours).contains("\"cost\""));
}

#[tokio::test]
async fn usage_comes_once_at_the_end_and_only_when_asked_for() {
    let hub = Hub::start();
    let key = hub.key("pro");
    for model in [OPENROUTER, GEMINI] {
        let mut body = stream(model, "hi");
        let without =
            events(&read(hub.send(hub.request("POST", "/v1/chat/completions", &key), body.to_string()).await).await);
        assert!(!without.iter().any(|event| event.contains("prompt_tokens")), "{model}: {without:?}");
        body["stream_options"] = serde_json::json!({"include_usage": true});
        let with =
            events(&read(hub.send(hub.request("POST", "/v1/chat/completions", &key), body.to_string()).await).await);
        let carrying: Vec<_> = with.iter().enumerate().filter(|(_, event)| event.contains("prompt_tokens")).collect();
        assert_eq!(carrying.len(), 1, "{model}: {with:?}");
        assert_eq!(carrying[0].0, with.len() - 2, "{model}: not the last before [DONE]");
        let chunk: Value = serde_json::from_str(carrying[0].1).unwrap();
        assert_eq!(chunk["choices"], serde_json::json!([]));
        let finishes = with.iter().filter(|event| event.contains("\"finish_reason\":\"stop\"")).count();
        assert_eq!(finishes, 1, "{model}: the end was said {finishes} times");
    }
}

#[tokio::test]
async fn a_failure_after_the_first_event_is_an_event_and_the_last() {
    let hub = Hub::start();
    let key = hub.key("pro");
    for model in [OPENROUTER, GEMINI] {
        for fault in ["[[error-event after 3]]", "[[cut after 3]]", "[[end after 3]]"] {
            let body = stream(model, &format!("one two three four five {fault}"));
            let got = events(
                &read(hub.send(hub.request("POST", "/v1/chat/completions", &key), body.to_string()).await).await,
            );
            let last: Value = serde_json::from_str(got.last().unwrap()).unwrap_or_default();
            assert!(last["error"]["message"].is_string(), "{model} {fault}: {got:?}");
            assert!(!text_of(&got).is_empty(), "{model} {fault}: nothing came before");
        }
    }
}

#[tokio::test]
async fn a_failure_before_the_first_event_is_a_status_or_is_served_elsewhere() {
    let hub = Hub::start();
    let key = hub.key("pro");
    let body = stream(OPENROUTER, "hi [[first-event-error code 429]]");
    let response = hub.send(hub.request("POST", "/v1/chat/completions", &key), body.to_string()).await;
    assert_eq!(response.status(), 429);
    let body = stream(GEMINI, "hi [[first-event-error on gemini]]");
    let response = hub.send(hub.request("POST", "/v1/chat/completions", &key), body.to_string()).await;
    assert_eq!(response.status(), 200);
    assert!(text_of(&events(&read(response).await)).contains("hi"));
}

#[tokio::test]
async fn a_caller_who_leaves_is_noticed_upstream_within_100_ms() {
    let hub = Hub::start();
    let key = hub.key("pro");
    // The promise is for vendors that stop when they are left; what becomes of the others is in `departure.rs`.
    let body = stream(OPENROUTER, "hi [[events 2000]] [[slow 20ms]]");
    let mut response = hub.send(hub.request("POST", "/v1/chat/completions", &key), body.to_string()).await;
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    let left = tokio::time::Instant::now();
    let seen = hub.vendors.until(|seen| seen.end == Some(aihub_vendors::End::ClientLeft));
    tokio::time::timeout(PATIENCE, seen).await.unwrap();
    // The promise is 100 ms on an idle machine; tests run beside each other.
    assert!(left.elapsed().as_millis() < 1_000, "{:?}", left.elapsed());
}

#[tokio::test]
async fn the_developer_form_streams_text() {
    let hub = Hub::start();
    for model in [OPENROUTER, GEMINI] {
        let body = serde_json::json!({"message": "salut", "model": model, "stream": true});
        let got = events(
            &read(hub.send(hub.request("POST", "/api/v1/developer/chat", &hub.key("pro")), body.to_string()).await)
                .await,
        );
        let pieces = got.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
        let text: String = pieces.filter_map(|piece| Some(piece["text"].as_str()?.to_owned())).collect();
        assert!(text.contains("salut"), "{got:?}");
        let end: Value = serde_json::from_str(&got[got.len() - 2]).unwrap();
        assert_eq!(end["finish_reason"], "stop");
        assert!(end["usage"]["total_tokens"].as_u64().unwrap() > 0);
        assert_eq!(got.last().unwrap(), "[DONE]");
    }
}
