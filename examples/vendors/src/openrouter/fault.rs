//! OpenRouter's words for faults.

use axum::{
    http::{HeaderValue, header},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    play::{self, Dialect},
    script::{ErrorEvent, Status},
};

pub(crate) struct OpenRouter;

impl Dialect for OpenRouter {
    fn refuse(status: &Status) -> Response {
        let (message, kind) = fault(status.code);
        let mut metadata = json!({"error_type": kind});
        if status.in_flight {
            metadata["reason"] = json!("in_flight_budget_exhausted");
            metadata["limit_source"] = json!("openrouter_in_flight_budget");
        } else if status.code == 402 {
            metadata["limit_source"] = json!("openrouter_credits");
        }
        if let Some(seconds) = status.retry_after_seconds {
            metadata["retry_after_seconds"] = json!(seconds.ceil());
            metadata["retry_after_seconds_raw"] = json!(seconds);
        }
        if matches!(status.code, 429 | 500..=599) {
            metadata["provider_name"] = json!("OpenAI");
            metadata["raw"] = json!("scripted");
        }
        let body = json!({"error": {"code": status.code, "message": message, "metadata": metadata},
            "user_id": "user_scripted"});
        let mut response = play::json(status.code, &body);
        if let Some(seconds) = status.retry_after_seconds {
            let value = HeaderValue::from_str(&seconds.to_string()).expect("a number is a header value");
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }

    fn failed_answer(answer: &Value, code: u16) -> Response {
        let mut answer = answer.clone();
        let (message, kind) = fault(code);
        let error = json!({"code": code, "message": message, "metadata": {"error_type": kind}});
        if answer["choices"].is_array() {
            answer["choices"][0]["finish_reason"] = json!("error");
            answer["choices"][0]["error"] = error;
        } else {
            answer = json!({"error": error, "user_id": "user_scripted"});
        }
        play::json(200, &answer)
    }

    fn error_event(sample: &Value, error: &ErrorEvent) -> Value {
        let (message, kind) = fault(error.code);
        let mut event = sample.clone();
        if let Some(event) = event.as_object_mut() {
            event.remove("usage");
        }
        event["choices"] = json!([{"index": 0, "delta": {"content": ""}, "finish_reason": "error",
            "native_finish_reason": null}]);
        event["error"] = json!({"code": error.code, "message": message, "metadata": {"error_type": kind}});
        event
    }
}

fn fault(code: u16) -> (&'static str, &'static str) {
    match code {
        400 => ("Provider returned error", "invalid_request"),
        401 => ("User not found.", "authentication"),
        402 => (
            "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only \
             afford 14666. To increase, visit https://openrouter.ai/settings/credits and add more credits",
            "payment_required",
        ),
        403 => ("Key limit exceeded (total limit).", "permission_denied"),
        404 => ("No endpoints found that support this request.", "not_found"),
        408 => ("The request timed out", "timeout"),
        413 => ("The request is too large", "payload_too_large"),
        422 => ("The request cannot be processed", "unprocessable"),
        429 => ("Provider returned error", "rate_limit_exceeded"),
        502 => ("Provider disconnected unexpectedly", "provider_unavailable"),
        503 => ("There is no available model provider that meets your routing requirements", "provider_overloaded"),
        504 => ("The provider did not answer in time", "timeout"),
        529 => ("Provider overloaded", "provider_overloaded"),
        _ => ("Internal Server Error", "server"),
    }
}
