//! Google's words for faults.

use axum::response::Response;
use serde_json::{Value, json};

use crate::{
    play::{self, Dialect},
    script::{ErrorEvent, Status},
};

pub(crate) struct Gemini;

impl Dialect for Gemini {
    fn refuse(status: &Status) -> Response {
        let mut body = fault(status.code);
        let mut details = Vec::new();
        if status.code == 429 {
            let id = if status.daily {
                "GenerateRequestsPerDayPerProjectPerModel"
            } else {
                "GenerateRequestsPerMinutePerProjectPerModel"
            };
            details.push(json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_paid_tier_requests",
                "quotaId": id, "quotaDimensions": {"location": "global", "model": "scripted"}, "quotaValue": "20",
            }]}));
        }
        if let Some(seconds) = status.retry_after_seconds {
            // No Retry-After header: this is the only place where Google says it.
            details.push(
                json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")}),
            );
        }
        if !details.is_empty() {
            body["error"]["details"] = details.into();
        }
        play::json(status.code, &body)
    }

    fn failed_answer(_: &Value, code: u16) -> Response {
        play::json(code, &fault(code))
    }

    fn error_event(_: &Value, error: &ErrorEvent) -> Value {
        fault(error.code)
    }
}

fn fault(code: u16) -> Value {
    let (status, message) = match code {
        400 => ("INVALID_ARGUMENT", "Request contains an invalid argument."),
        401 => ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
        403 => ("PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key."),
        404 => ("NOT_FOUND", "Requested entity was not found."),
        409 => ("ABORTED", "The operation was aborted."),
        429 => ("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
        499 => ("CANCELLED", "The operation was cancelled."),
        501 => ("UNIMPLEMENTED", "Operation is not implemented."),
        503 => ("UNAVAILABLE", "The model is overloaded. Please try again later."),
        504 => ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
        _ => ("INTERNAL", "An internal error has occurred."),
    };
    json!({"error": {"code": code, "message": message, "status": status}})
}
