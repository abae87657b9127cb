//! What `OpenRouter`'s errors mean for the caller (its documentation, "Errors and Debugging" and
//! "Limits").

use aihub_core::{Error, ErrorKind};

use crate::openai::{Words, callers_fault, ours, status_error};

/// Explains an error. The limits of *our* account come as 402, 403 or 429 and are never the
/// caller's: a caller with a full wallet must not be told to pay.
pub(super) fn explain(words: &Words<'_>) -> Error {
    match (words.status, words.detail("limit_source"), words.detail("reason")) {
        (402, _, Some("in_flight_budget_exhausted")) => {
            let busy =
                Error::new(ErrorKind::RateLimited, "The upstream is at its limit for this moment: try again shortly");
            words.retry_after().into_iter().fold(busy.with_transient(), Error::with_retry_after)
        }
        (402, _, Some("weight_exceeds_budget")) => ours(
            ErrorKind::Unavailable,
            "The upstream cannot serve a request of this size: ask for fewer output tokens",
        ),
        (403, Some(_), _) => {
            ours(ErrorKind::Unavailable, "The upstream cannot serve this service at the moment: try again later")
        }
        (403, None, _) if is_moderation(words) => {
            // The vendor repeats the flagged text in its details: they stay where they are.
            Error::new(ErrorKind::Invalid, "The request was refused by the content policy of the model's upstream")
                .with_code("content_policy_violation")
        }
        (404, ..) => callers_fault(ErrorKind::Invalid, words).with_code("model_unavailable").with_failover(),
        _ => match words.detail("error_type") {
            Some("context_length_exceeded") => {
                callers_fault(ErrorKind::Invalid, words).with_code("context_length_exceeded")
            }
            Some("content_policy_violation" | "refusal") => {
                callers_fault(ErrorKind::Invalid, words).with_code("content_policy_violation")
            }
            _ => status_error(words),
        },
    }
}

fn is_moderation(words: &Words<'_>) -> bool {
    ["reasons", "flagged_input", "patterns"].iter().any(|detail| words.metadata.get(detail).is_some())
        || words.message.to_ascii_lowercase().contains("moderation")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(status: u16, message: &str, metadata: Value) -> Error {
        explain(&Words { status, message: message.to_owned(), metadata, headers: None })
    }

    #[test]
    fn limits_of_our_account_are_never_the_callers() {
        for (status, metadata) in [
            (402, json!({"limit_source": "openrouter_credits"})),
            (402, json!({"reason": "weight_exceeds_budget"})),
            (403, json!({"limit_source": "openrouter_key_limit"})),
            (401, json!(null)),
        ] {
            let error = of(status, "", metadata.clone());
            assert!(
                error.kind().status() >= 500 && error.needs_operator() && error.may_fail_over(),
                "{status} {metadata}"
            );
        }
    }

    #[test]
    fn a_busy_budget_is_transient_although_it_is_a_402() {
        let error = of(402, "", json!({"reason": "in_flight_budget_exhausted", "retry_after_seconds": 5}));
        assert_eq!((error.kind(), error.retry_after().unwrap().as_secs()), (ErrorKind::RateLimited, 5));
    }

    #[test]
    fn flagged_text_is_not_repeated() {
        let error = of(403, "flagged: my secret", json!({"reasons": ["violence"], "flagged_input": "my secret"}));
        assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "content_policy_violation"));
        assert!(!error.to_string().contains("my secret"));
    }
}
