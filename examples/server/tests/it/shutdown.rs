//! A stop lets running answers finish, and no new ones begin.

use http::StatusCode;
use http_body_util::BodyExt as _;

use crate::hub::{Hub, read, stream};

#[tokio::test]
async fn a_running_stream_is_finished_before_the_process_ends() {
    let mut hub = Hub::start();
    let body = stream("openai/gpt-5.4-mini", "hi [[events 30]] [[slow 20ms]]");
    let mut response = hub.send(hub.request("POST", "/v1/chat/completions", &hub.key("pro")), body.to_string()).await;
    response.body_mut().frame().await.unwrap().unwrap();
    hub.terminate();
    let rest = read(response).await;
    assert!(rest.ends_with(b"data: [DONE]\n\n"), "the stream was cut");
    assert_eq!(hub.wait(), Some(0));
}

// failure: process | stopped while an answer runs longer than the drain | cut, and booked
#[tokio::test]
async fn a_stream_longer_than_the_drain_is_cut_and_still_recorded() {
    let hub = Hub::start_with(&[("AIHUB_SERVER__DRAIN_TIMEOUT_S", "0")]);
    let body = stream("openai/gpt-5.4-mini", "hi [[events 5000]] [[slow 20ms]]");
    let mut response = hub.send(hub.request("POST", "/v1/chat/completions", &hub.key("pro")), body.to_string()).await;
    response.body_mut().frame().await.unwrap().unwrap();
    let records = hub.stop_and_read_records();
    assert_eq!((records.len(), &records[0]["outcome"]), (1, &serde_json::json!("client_gone")));
}

#[tokio::test]
async fn health_needs_no_key_and_readiness_tells_what_is_missing() {
    let hub = Hub::start();
    for (path, status) in
        [("/health/live", StatusCode::OK), ("/health/ready", StatusCode::OK), ("/openapi.json", StatusCode::OK)]
    {
        let request = http::Request::get(format!("http://{}{path}", hub.address));
        let response = hub.send(request, "").await;
        assert_eq!(response.status(), status, "{path}");
        assert!(response.headers().contains_key("x-request-id"), "{path}");
    }
}
