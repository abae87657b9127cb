//! One record of every call, through every door, whatever becomes of it.

use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::hub::{Hub, PATIENCE, chat, read, stream};

const MODEL: &str = "openai/gpt-5.4-mini";

#[tokio::test]
async fn every_paid_route_of_the_document_leaves_exactly_one_record() {
    let hub = Hub::start();
    let key = hub.key("pro");
    let document: Value = serde_json::from_slice(&hub.run(&["openapi"]).stdout).unwrap();
    let posts = document["paths"].as_object().unwrap().iter().filter(|(_, item)| item.get("post").is_some());
    let mut paid = Vec::new();
    for (path, _) in posts {
        // A route that is not known here has no record to be compared with: say how it is paid for.
        let body = match path.as_str() {
            "/v1/chat/completions" => chat(MODEL, "hi"),
            "/v1/embeddings" => json!({"model": "openai/text-embedding-3-small", "input": "hi"}),
            "/api/v1/developer/chat" => json!({"model": MODEL, "message": "hi"}),
            // Makes no call: `quote.rs` has that it leaves no record.
            "/api/v1/developer/quote" => continue,
            other => panic!("{other} is a new POST route: say here how it is metered"),
        };
        let (status, answer) = hub.post(path, &key, &body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        paid.push(path.clone());
    }
    assert_eq!(paid.len(), 3);
    let records = hub.stop_and_read_records();
    assert_eq!(records.len(), paid.len());
    for record in records {
        assert_eq!(record["outcome"], "completed", "{record}");
        assert!(record["cost"]["amount"].is_string() && record["usage"]["input"].as_u64() > Some(0), "{record}");
    }
}

#[tokio::test]
async fn whatever_becomes_of_a_call_it_is_recorded_once() {
    let hub = Hub::start();
    let key = hub.key("pro");
    hub.post("/v1/chat/completions", &key, &chat(MODEL, "hi")).await;
    hub.post("/v1/chat/completions", &key, &chat("no/such", "hi")).await;
    hub.post("/v1/chat/completions", &key, &chat(MODEL, "hi [[status 400]]")).await;
    let whole = stream(MODEL, "hi");
    read(hub.send(hub.request("POST", "/v1/chat/completions", &key), whole.to_string()).await).await;
    let broken = stream(MODEL, "one two three four [[error-event after 2]]");
    read(hub.send(hub.request("POST", "/v1/chat/completions", &key), broken.to_string()).await).await;
    let left = stream(MODEL, "hi [[events 2000]] [[slow 20ms]]");
    let mut response = hub.send(hub.request("POST", "/v1/chat/completions", &key), left.to_string()).await;
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    let seen = hub.vendors.until(|seen| seen.end == Some(aihub_vendors::End::ClientLeft));
    tokio::time::timeout(PATIENCE, seen).await.unwrap();

    let records = hub.stop_and_read_records();
    let outcomes: Vec<_> = records.iter().map(|record| record["outcome"].as_str().unwrap()).collect();
    let count = |outcome: &str| outcomes.iter().filter(|each| **each == outcome).count();
    assert_eq!(records.len(), 6, "{outcomes:?}");
    assert_eq!((count("completed"), count("refused"), count("client_gone")), (2, 1, 1), "{outcomes:?}");
    assert_eq!(count("upstream_failed"), 2, "{outcomes:?}");
    let gone = records.iter().find(|record| record["outcome"] == "client_gone").unwrap();
    assert!(gone["usage"]["estimated"].as_bool().unwrap() && gone["usage"]["output"].as_u64() > Some(0), "{gone}");
    let mut ids: Vec<_> = records.iter().map(|record| record["call"].to_string()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

#[tokio::test]
async fn our_price_and_the_vendors_word_are_kept_apart() {
    let hub = Hub::start();
    let key = hub.key("pro");
    let asked = chat(MODEL, "hi [[usage prompt 1000 completion 100 cached 400]]");
    hub.post("/v1/chat/completions", &key, &asked).await;
    hub.post("/v1/chat/completions", &key, &chat(MODEL, "hi [[no-usage]]")).await;
    let records = hub.stop_and_read_records();
    // 600 × 0.75 + 400 × 0.075 + 100 × 4.5 dollars a million.
    assert_eq!(records[0]["cost"]["amount"], "0.00093", "{}", records[0]);
    assert!(records[0]["vendor_cost"]["amount"].is_string());
    assert_eq!(records[1]["vendor_cost"], Value::Null, "unknown is not zero");
    assert_eq!(records[1]["usage"]["estimated"], true);
    assert!(records[1]["cost"]["amount"].as_str().unwrap() > "0");
}
