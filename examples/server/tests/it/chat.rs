//! What callers get.

use aihub_vendors::Vendor;
use http::StatusCode;
use serde_json::{Value, json};

use crate::hub::{Hub, chat, read};

const OPENROUTER: &str = "openai/gpt-5.4-mini";
const GEMINI: &str = "google/gemini-2.5-flash";

#[tokio::test]
async fn both_vendors_answer_without_showing_what_they_cost() {
    let hub = Hub::start();
    let key = hub.key("pro");
    for model in [OPENROUTER, GEMINI] {
        let (status, answer) = hub.post("/v1/chat/completions", &key, &chat(model, "Hello there")).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.contains("Hello there"), "{text}");
        let usage = answer["usage"].as_object().unwrap();
        assert!(usage["total_tokens"].as_u64().unwrap() > 0);
        assert!(!usage.contains_key("cost"), "{usage:?}");
    }
}

#[tokio::test]
async fn the_request_reaches_a_vendor_of_the_same_dialect_as_it_was_written() {
    let hub = Hub::start();
    let mut body = chat(OPENROUTER, "hi");
    body["logit_bias"] = json!({"50256": -100});
    body["some_new_field"] = json!({"deep": [1, 2, {"er": null}]});
    let (status, _) = hub.post("/v1/chat/completions", &hub.key("pro"), &body).await;
    assert_eq!(status, StatusCode::OK);
    let seen = hub.vendors.seen().pop().unwrap().body;
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(&seen[field], value, "{field}");
    }
    // What is added: the held bound of the answer, and the price it was held at.
    assert_eq!(seen["max_completion_tokens"], 4096);
    assert_eq!(seen["provider"]["max_price"], json!({"prompt": 0.75, "completion": 4.5}));
}

#[tokio::test]
async fn what_changes_the_price_is_not_sold() {
    let hub = Hub::start();
    let key = hub.key("pro");
    for (field, value) in
        [("models", json!(["x"])), ("plugins", json!([{"id": "web"}])), ("service_tier", json!("priority"))]
    {
        let mut body = chat(OPENROUTER, "hi");
        body[field] = value;
        let (status, answer) = hub.post("/v1/chat/completions", &key, &body).await;
        assert_eq!((status, &answer["error"]["param"]), (StatusCode::BAD_REQUEST, &json!(field)));
    }
    assert!(hub.vendors.seen().is_empty());
}

#[tokio::test]
async fn an_upstream_that_fails_is_replaced_by_another() {
    let hub = Hub::start();
    let key = hub.key("pro");
    let (status, answer) = hub.post("/v1/chat/completions", &key, &chat(GEMINI, "hi [[status 503 on gemini]]")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let asked: Vec<_> = hub.vendors.seen().into_iter().map(|seen| seen.vendor).collect();
    assert_eq!(asked, [Vendor::Gemini, Vendor::Gemini, Vendor::OpenRouter], "a retry, then the next");
}

#[tokio::test]
async fn a_vendors_refusal_of_our_account_is_never_the_callers() {
    let hub = Hub::start();
    let key = hub.key("pro");
    for status in [401, 402] {
        let (answered, body) =
            hub.post("/v1/chat/completions", &key, &chat(OPENROUTER, &format!("hi [[status {status}]]"))).await;
        assert!(answered.is_server_error(), "{status} became {answered}: {body}");
    }
}

#[tokio::test]
async fn models_are_listed_and_found_with_slashes() {
    let hub = Hub::start();
    let key = hub.key("free");
    for path in ["/v1/models", "/api/v1/developer/models"] {
        let response = hub.send(hub.request("GET", path, &key), "").await;
        let list: Value = serde_json::from_slice(&read(response).await).unwrap();
        let models = list["data"].as_array().unwrap();
        assert!(models.len() >= 20);
        let included = |id: &str| models.iter().find(|model| model["id"] == id).unwrap()["included"].as_bool();
        assert_eq!((included(GEMINI), included(OPENROUTER)), (Some(true), Some(false)));
    }
    for id in ["openai/gpt-5.4-mini", "openai%2Fgpt-5.4-mini"] {
        let response = hub.send(hub.request("GET", &format!("/v1/models/{id}"), &key), "").await;
        let model: Value = serde_json::from_slice(&read(response).await).unwrap();
        assert_eq!(model["id"], OPENROUTER);
    }
    let missing = hub.send(hub.request("GET", "/v1/models/no/such", &key), "").await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_developer_form_asks_and_answers_simply() {
    let hub = Hub::start();
    let key = hub.key("pro");
    let asked = json!({"message": "Bonjour", "system": "Be brief", "session_id": "s1"});
    let (status, answer) = hub.post("/api/v1/developer/chat", &key, &asked).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("Bonjour"));
    assert_eq!((&answer["session_id"], &answer["finish_reason"]), (&json!("s1"), &json!("stop")));
    assert_eq!(answer["model"], "google/gemini-2.5-flash-lite");
    let (status, answer) = hub.post("/api/v1/developer/chat", &key, &json!({})).await;
    assert_eq!((status, &answer["error"]["param"]), (StatusCode::BAD_REQUEST, &json!("message")));
}

#[tokio::test]
async fn a_revoked_key_stops_within_a_second() {
    let hub = Hub::start();
    let made = hub.run(&["keys", "create", "--name", "gone"]);
    let text = String::from_utf8(made.stdout).unwrap();
    let word = |label: &str| {
        text.lines().find_map(|line| line.strip_prefix(label)).unwrap().split_whitespace().next().unwrap()
    };
    let (id, account, key) = (word("key"), word("account"), text.lines().last().unwrap());
    let (status, _) = hub.post("/v1/chat/completions", key, &chat(OPENROUTER, "hi")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(hub.run(&["keys", "revoke", "--account", account, id]).status.success());
    let revoked = tokio::time::Instant::now();
    loop {
        let (status, answer) = hub.post("/v1/chat/completions", key, &chat(OPENROUTER, "hi")).await;
        if status == StatusCode::UNAUTHORIZED {
            assert_eq!(answer["error"]["code"], "api_key_revoked");
            break;
        }
        // The bound is one second; the rest is for a machine that does other things as well.
        assert!(revoked.elapsed().as_secs() < 3, "the key still holds");
    }
}
