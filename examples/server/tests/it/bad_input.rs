//! Whatever is wrong with a request gets one clear error in the one envelope.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use http::StatusCode;
use serde_json::{Value, json};

use crate::hub::{Hub, chat, read};

async fn refused(hub: &Hub, request: http::request::Builder, body: impl Into<bytes::Bytes>) -> (StatusCode, Value) {
    let response = hub.send(request, body).await;
    let (status, id) = (response.status(), response.headers()["x-request-id"].to_str().unwrap().to_owned());
    let body: Value = serde_json::from_slice(&read(response).await).unwrap();
    let error = body["error"].clone();
    for field in ["message", "type", "code"] {
        assert!(error[field].is_string(), "{field} is missing: {body}");
    }
    assert_eq!(error["request_id"], Value::String(id));
    (status, error)
}

#[tokio::test]
async fn every_fault_of_a_body_is_named() {
    let hub = Hub::start();
    let key = hub.key("pro");
    let user = |content: Value| {
        json!({"model": "openai/gpt-5.4-mini", "messages": [{"role": "user", "content": content}]}).to_string()
    };
    let cases = [
        ("{\"model\": ".to_owned(), 400, "invalid_json", None),
        ("[]".to_owned(), 400, "invalid_json", None),
        (json!({"model": "m"}).to_string(), 400, "missing_required_parameter", Some("messages")),
        (json!({"model": "m", "messages": []}).to_string(), 400, "invalid_request", Some("messages")),
        (user(json!(7)), 400, "invalid_request", Some("messages[0].content")),
        (user(json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,***"}}])), 400, "invalid_request", Some("messages[0].content[0].image_url.url")),
        (
            json!({"model": "openai/gpt-5.4-mini", "messages": [{"role": "tool", "tool_call_id": "c", "content": "r"}]}).to_string(),
            400,
            "invalid_request",
            Some("messages[0]"),
        ),
        (r#"{"model":"a","model":"openai/gpt-5.4-mini","messages":[]}"#.to_owned(), 400, "invalid_json", None),
        (chat("no/such-model", "hi").to_string(), 404, "model_not_found", Some("model")),
        (chat("google/gemini-embedding-001", "hi").to_string(), 400, "model_not_supported", Some("model")),
    ];
    for (body, status, code, param) in cases {
        let (answered, error) = refused(&hub, hub.request("POST", "/v1/chat/completions", &key), body.clone()).await;
        assert_eq!((answered.as_u16(), error["code"].as_str()), (status, Some(code)), "{body}: {error}");
        assert_eq!(error["param"].as_str(), param, "{body}: {error}");
    }
    assert!(hub.vendors.seen().is_empty(), "a wrong request was sent upstream");
}

#[tokio::test]
async fn keys_plans_methods_and_addresses_are_checked() {
    let hub = Hub::start();
    let (pro, free) = (hub.key("pro"), hub.key("free"));
    let body = chat("openai/gpt-5.4-mini", "hi").to_string();
    let bare = http::Request::builder().method("POST").uri(format!("http://{}/v1/chat/completions", hub.address));
    assert_eq!(refused(&hub, bare, body.clone()).await.0, StatusCode::UNAUTHORIZED);
    let mut damaged = pro.clone();
    damaged.replace_range(20..21, if &pro[20..21] == "a" { "b" } else { "a" });
    let cases = [
        ("POST", "/v1/chat/completions", &damaged, "application/json", 401, "invalid_api_key"),
        ("POST", "/v1/chat/completions", &free, "application/json", 403, "model_not_allowed"),
        ("POST", "/v1/chat/completions", &pro, "text/plain", 415, "unsupported_media_type"),
        ("GET", "/v1/chat/completions", &pro, "application/json", 405, "method_not_allowed"),
        ("POST", "/v1/nothing", &pro, "application/json", 404, "not_found"),
    ];
    for (method, path, key, media, status, code) in cases {
        let mut request = hub.request(method, path, key);
        request.headers_mut().unwrap().insert("content-type", media.parse().unwrap());
        let (answered, error) = refused(&hub, request, body.clone()).await;
        assert_eq!((answered.as_u16(), error["code"].as_str()), (status, Some(code)), "{method} {path}: {error}");
    }
}

#[tokio::test]
async fn a_body_may_be_neither_too_long_nor_too_slow() {
    let hub = Hub::start_with(&[("AIHUB_SERVER__MAX_BODY_BYTES", "1000"), ("AIHUB_SERVER__BODY_TIMEOUT_S", "1")]);
    let key = hub.key("pro");
    let long = chat("openai/gpt-5.4-mini", &"x".repeat(2_000)).to_string();
    let (status, error) = refused(&hub, hub.request("POST", "/v1/chat/completions", &key), long).await;
    assert_eq!((status.as_u16(), error["code"].as_str()), (413, Some("request_too_large")));

    let mut slow = TcpStream::connect(hub.address).unwrap();
    write!(
        slow,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: 100\r\n\r\n{{"
    )
    .unwrap();
    let mut answer = [0; 512];
    let length = slow.read(&mut answer).unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer[..length]));
}

#[tokio::test]
async fn a_plan_limits_the_rate_and_says_so() {
    let hub = Hub::start_with(&[("AIHUB_PLANS__FREE__REQUESTS_PER_MINUTE", "2")]);
    let key = hub.key("free");
    let body = chat("google/gemini-2.5-flash", "hi").to_string();
    for left in ["1", "0"] {
        let response = hub.send(hub.request("POST", "/v1/chat/completions", &key), body.clone()).await;
        assert_eq!(
            (response.status(), &response.headers()["x-ratelimit-remaining-requests"]),
            (StatusCode::OK, &http::HeaderValue::from_static(left))
        );
    }
    let response = hub.send(hub.request("POST", "/v1/chat/completions", &key), body).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u32 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    let error: Value = serde_json::from_slice(&read(response).await).unwrap();
    assert!(error["error"]["limit_source"].is_string(), "{error}");
}

#[tokio::test]
async fn a_plan_limits_the_calls_of_a_month_and_answers_402() {
    let hub = Hub::start_with(&[("AIHUB_PLANS__FREE__MONTHLY_CALLS", "2")]);
    let key = hub.key("free");
    let body = chat("google/gemini-2.5-flash", "hi");
    for _ in 0..2 {
        assert_eq!(hub.post("/v1/chat/completions", &key, &body).await.0, StatusCode::OK);
    }
    let (status, answer) = hub.post("/v1/chat/completions", &key, &body).await;
    assert_eq!(status, StatusCode::PAYMENT_REQUIRED);
    let error = &answer["error"];
    assert_eq!((&error["code"], &error["limit_source"]), (&json!("insufficient_quota"), &json!("plan_monthly_calls")));
    assert!(error["resets_at"].is_string(), "{error}");
}
