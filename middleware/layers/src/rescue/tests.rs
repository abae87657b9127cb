use std::time::Duration;

use aihub_core::error::Refusal;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::world;

type Answer = Response<Full<Bytes>>;

async fn rescued(error: Error) -> (http::response::Parts, Value) {
    let error = std::sync::Mutex::new(Some(error));
    let service =
        service_fn(move |_: Request<()>| std::future::ready(Err::<Answer, _>(error.lock().unwrap().take().unwrap())));
    read(RescueLayer::new(world::clock()).layer(service).oneshot(Request::new(())).await.unwrap()).await
}

async fn read(response: Answer) -> (http::response::Parts, Value) {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn an_error_becomes_the_envelope() {
    let error =
        Error::invalid("messages[0].content", "Say something").with_code("empty_content").with_source("a secret");
    let (parts, body) = rescued(error).await;
    assert_eq!(parts.status, 400);
    assert_eq!(parts.headers["content-type"], "application/json");
    assert_eq!(parts.headers["x-should-retry"], "false");
    let id = parts.headers["x-request-id"].to_str().unwrap();
    id.parse::<CallId>().unwrap();
    let expected = json!({"error": {
        "message": "Say something", "type": "invalid_request_error", "code": "empty_content",
        "param": "messages[0].content", "request_id": id,
    }});
    assert_eq!(body, expected, "and nothing else: no source, no limits");
}

#[tokio::test]
async fn a_refusal_names_its_limit_and_says_when_to_come_back() {
    let resets_at: aihub_core::Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    let refusal = Refusal::new("plan_monthly_calls", "1000 calls", "0 calls").with_reset(resets_at);
    let error = Error::new(ErrorKind::PaymentRequired, "Used up").with_refusal(refusal);
    let (parts, body) = rescued(error.with_retry_after(Duration::from_millis(1_001))).await;
    assert_eq!(parts.status, 402);
    assert_eq!(parts.headers["retry-after"], "2", "whole seconds, rounded up");
    assert_eq!(parts.headers["retry-after-ms"], "1001");
    assert_eq!(parts.headers["x-should-retry"], "false");
    let error = &body["error"];
    assert_eq!((&error["limit_source"], &error["limit"]), (&json!("plan_monthly_calls"), &json!("1000 calls")));
    assert_eq!((&error["remaining"], &error["resets_at"]), (&json!("0 calls"), &json!("2026-12-01T00:00:00Z")));
}

#[tokio::test]
async fn what_may_be_tried_again_does_not_say_otherwise() {
    for kind in [ErrorKind::RateLimited, ErrorKind::Unavailable, ErrorKind::Internal, ErrorKind::UpstreamTimeout] {
        let (parts, body) = rescued(Error::new(kind, "Later")).await;
        assert_eq!(parts.status, kind.status());
        assert!(!parts.headers.contains_key("x-should-retry") && !parts.headers.contains_key("retry-after"));
        assert_eq!(body["error"]["param"], Value::Null);
    }
    assert_eq!(rescued(Error::new(ErrorKind::Unauthenticated, "Who?")).await.0.headers["www-authenticate"], "Bearer");
}

#[tokio::test]
async fn a_handlers_failure_is_rendered_and_keeps_the_headers_of_layers_between() {
    let service = service_fn(|_: Request<()>| async {
        let mut response: Answer = failure(Error::new(ErrorKind::NotFound, "Gone"));
        response.headers_mut().insert("x-kept", "1".parse().unwrap());
        response.headers_mut().insert("content-length", "0".parse().unwrap());
        Ok::<_, Infallible>(response)
    });
    let response = RescueLayer::new(world::clock()).layer(service).oneshot(Request::new(())).await.unwrap();
    assert!(response.extensions().get::<Failure>().is_none());
    let (parts, body) = read(response).await;
    assert_eq!(parts.status, 404);
    assert_eq!((&parts.headers["x-kept"], parts.headers.get("content-length")), (&"1".parse().unwrap(), None));
    assert_eq!(body["error"]["message"], "Gone");
}

#[tokio::test]
async fn a_response_without_a_failure_passes_and_says_its_id() {
    let service = service_fn(|request: Request<()>| async move {
        let RequestId(id) = *request.extensions().get().unwrap();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(id.to_string()))))
    });
    let response = RescueLayer::new(world::clock()).layer(service).oneshot(Request::new(())).await.unwrap();
    let id = response.headers()["x-request-id"].clone();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), id.as_bytes());
}

#[derive(Clone)]
struct Broken;
impl Service<Request<()>> for Broken {
    type Response = Answer;
    type Error = Error;
    type Future = std::future::Ready<Result<Answer, Error>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Err(Error::new(ErrorKind::Unavailable, "Shutting down")))
    }
    fn call(&mut self, _: Request<()>) -> Self::Future {
        unreachable!("it is not ready")
    }
}

#[tokio::test]
async fn a_service_that_is_not_ready_is_answered_for() {
    let response = RescueLayer::new(world::clock()).layer(Broken).oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 503);
}

#[test]
fn causes_are_told_nearest_first() {
    let inner = Error::new(ErrorKind::Internal, "inner").with_source("root");
    let error = Error::new(ErrorKind::Internal, "outer").with_source(inner);
    assert_eq!(Causes(&error).to_string(), "inner: root");
}

#[tokio::test]
async fn a_panic_is_answered_like_any_other_error() {
    for when in ["called", "awaited"] {
        let service = service_fn(move |_: Request<()>| {
            assert_ne!(when, "called", "a scripted panic with a secret");
            async move {
                assert_ne!(when, "awaited", "a scripted panic with a secret");
                Ok::<Answer, Error>(Response::default())
            }
        });
        let answer = RescueLayer::new(world::clock()).layer(service).oneshot(Request::new(())).await.unwrap();
        let (parts, body) = read(answer).await;
        assert_eq!((parts.status.as_u16(), &body["error"]["code"]), (500, &json!("internal_error")), "{when}");
        assert!(!body.to_string().contains("secret"));
    }
}
