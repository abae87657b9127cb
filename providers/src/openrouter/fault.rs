//! What `OpenRouter`'s errors mean for the caller (its documentation, "Errors and Debugging" and
//! "Limits").

use std::time::Duration;

use aihub_core::{Error, ErrorKind, Timestamp};

use crate::openai::{Words, callers_fault, ours, refused_content, status_error};

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
            refused_content()
        }
        (404, ..) => callers_fault(ErrorKind::Invalid, words).with_code("model_unavailable").with_failover(),
        (429, ..) => {
            let error = status_error(words);
            // The limit of our account says when it ends (in milliseconds), and not how long that is.
            match (error.retry_after(), reset(words)) {
                (None, Some(after)) => error.with_retry_after(after),
                _ => error,
            }
        }
        _ => status_error(words),
    }
}

fn reset(words: &Words<'_>) -> Option<Duration> {
    const NAME: &str = "x-ratelimit-reset";
    let detail = || words.metadata.pointer("/headers/X-RateLimit-Reset")?.as_str();
    let ms = words.header(NAME).or_else(detail)?.parse().ok()?;
    words.until(Timestamp::from_millisecond(ms).ok()?)
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
        explain(&Words { status, message: message.to_owned(), metadata, ..Words::default() })
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

    #[test]
    fn the_limit_of_our_account_says_when_it_ends() {
        let headers = [("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("x-ratelimit-reset", "784111787000")];
        let headers =
            headers.map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
        let headers = headers.into_iter().collect();
        let error = explain(&Words { status: 429, headers: Some(&headers), ..Words::default() });
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(Duration::from_secs(10))));
    }

    #[test]
    fn what_is_too_long_is_the_callers_whatever_the_status() {
        for status in [400, 413, 502] {
            let word = Some("context_length_exceeded".to_owned());
            let message = "at most 10 tokens".to_owned();
            let error = explain(&Words { status, message, word, ..Words::default() });
            assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "context_length_exceeded"));
            assert_eq!(error.to_string(), "at most 10 tokens");
        }
    }
}
