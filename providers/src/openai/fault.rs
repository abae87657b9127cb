//! What an answer that is no answer means for the caller.

use std::time::Duration;

use aihub_core::time::http_date;
use aihub_core::{Error, ErrorKind, Timestamp};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::redact::redact;
use crate::http::Fault;

/// The prompt and the answer do not fit into the model: the word for it here and with vendors.
const TOO_LONG: &str = "context_length_exceeded";

/// An error in a vendor's words: from a response, or from inside a 200.
#[derive(Debug, Default)]
pub(crate) struct Words<'a> {
    /// The HTTP status, or the code that stands for it inside a 200; 502 when neither says.
    pub(crate) status: u16,
    /// The vendor's message. It may repeat the prompt.
    pub(crate) message: String,
    /// The vendor's word for what is wrong, such as `context_length_exceeded`.
    pub(crate) word: Option<String>,
    /// The vendor's details.
    pub(crate) metadata: Value,
    /// The response's headers.
    pub(crate) headers: Option<&'a HeaderMap>,
}

#[derive(Deserialize)]
struct Envelope {
    error: Value,
}

impl Words<'_> {
    /// Reads an `error` value: an object with message and code, or a bare string.
    pub(crate) fn read(error: &Value) -> Self {
        let code = error.get("code");
        let number = code.and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()));
        Self {
            status: number
                .and_then(|code| u16::try_from(code).ok())
                .filter(|code| (400..=599).contains(code))
                .unwrap_or(502),
            message: error.get("message").unwrap_or(error).as_str().unwrap_or_default().to_owned(),
            word: [error.pointer("/metadata/error_type"), code, error.get("type")]
                .into_iter()
                .flatten()
                .find_map(|word| word.as_str().filter(|word| is_word(word)))
                .map(str::to_owned),
            metadata: error.get("metadata").cloned().unwrap_or_default(),
            headers: None,
        }
    }

    /// The text of a detail.
    pub(crate) fn detail(&self, name: &str) -> Option<&str> {
        self.metadata.get(name)?.as_str()
    }

    /// Whether the vendor's word says that it does not like the content.
    fn is_about_content(&self) -> bool {
        let words = ["content_policy_violation", "content_filter", "moderation_blocked", "refusal"];
        self.word.as_deref().is_some_and(|word| words.contains(&word))
    }

    /// A header of the response.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers?.get(name)?.to_str().ok()?.trim())
    }

    /// How long the vendor says to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let number = |name: &str| self.header(name)?.parse::<f64>().ok();
        let seconds = number("retry-after-ms").map(|ms| ms / 1_000.0).or_else(|| number("retry-after"));
        let seconds = seconds.or_else(|| self.metadata.get("retry_after_seconds")?.as_f64());
        seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .or_else(|| self.until(http_date(self.header("retry-after")?)?))
    }

    /// How long it is until `then` by the vendor's own clock: the date of its answer.
    pub(crate) fn until(&self, then: Timestamp) -> Option<Duration> {
        then.duration_since(http_date(self.header("date")?)?).try_into().ok()
    }
}

/// Whether it is a word of an API, which says nothing of the prompt.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte))
        && !text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads a response that is not 2xx and has it explained.
pub(crate) fn explain(fault: &Fault, explain: fn(&Words<'_>) -> Error) -> Error {
    let envelope = serde_json::from_slice::<Envelope>(&fault.body).ok();
    let mut words = envelope.map_or_else(Words::default, |envelope| Words::read(&envelope.error));
    words.status = fault.status.as_u16();
    words.headers = Some(&fault.headers);
    explain(&words)
}

/// What a status of this dialect means. A caller is blamed only for what a caller can mend: a bad
/// key, an empty account or a missing model at the vendor is ours.
pub(crate) fn status_error(words: &Words<'_>) -> Error {
    let retry_after = words.retry_after();
    let error = match words.status {
        // Nothing that a caller sends makes a vendor say this: our address of it is wrong.
        300..=399 | 405 | 406 | 410 | 411 | 415 | 421 | 426 | 431 => {
            ours(ErrorKind::BadUpstream, "The upstream cannot be asked at the moment: try again later")
        }
        _ if words.is_about_content() => refused_content(),
        _ if words.word.as_deref() == Some(TOO_LONG) => callers_fault(ErrorKind::Invalid, words).with_code(TOO_LONG),
        400 | 422 => callers_fault(ErrorKind::Invalid, words),
        401 | 403 => ours(ErrorKind::BadUpstream, "The upstream refused this service's credentials: try again later"),
        402 => ours(ErrorKind::Unavailable, "The upstream cannot serve this service at the moment: try again later"),
        404 => ours(ErrorKind::BadUpstream, "The upstream does not know the model: choose another one"),
        408 | 504 | 524 => {
            Error::new(ErrorKind::UpstreamTimeout, "The upstream did not answer in time: try again").with_failover()
        }
        413 => callers_fault(ErrorKind::TooLarge, words),
        429 => {
            let error = Error::new(ErrorKind::RateLimited, "The model's upstream is rate limited: try again later")
                .with_transient();
            retry_after.into_iter().fold(error, Error::with_retry_after)
        }
        409 | 425 => {
            Error::new(ErrorKind::Unavailable, "The upstream is busy with another request: try again").with_transient()
        }
        500 => Error::new(ErrorKind::Internal, "The upstream failed internally: try again").with_transient(),
        503 | 529 => {
            let error =
                Error::new(ErrorKind::Unavailable, "The model is overloaded upstream: try again").with_transient();
            retry_after.into_iter().fold(error, Error::with_retry_after)
        }
        status if status < 500 => callers_fault(ErrorKind::Invalid, words),
        _ => Error::new(ErrorKind::BadUpstream, "The upstream failed: try again").with_transient(),
    };
    error.with_source(VendorSaid::of(words))
}

/// The vendor does not like the content. Its message may repeat what was flagged, and stays where it is.
pub(crate) fn refused_content() -> Error {
    Error::new(ErrorKind::Invalid, "The request was refused by the content policy of the model's upstream")
        .with_code("content_policy_violation")
}

/// An error that the operator has to mend.
pub(crate) fn ours(kind: ErrorKind, message: &'static str) -> Error {
    Error::new(kind, message).with_alert().with_failover()
}

/// An error that the caller has to mend, in the vendor's words as far as they are fit to be shown.
pub(crate) fn callers_fault(kind: ErrorKind, words: &Words<'_>) -> Error {
    let shown = redact(&words.message);
    let shown = if shown.is_empty() { "The upstream refused the request".to_owned() } else { shown };
    Error::new(kind, shown)
}

/// What the vendor said, for the log: without its message, which may repeat the prompt.
#[derive(Debug, thiserror::Error)]
#[error("the vendor said {status} ({word})")]
struct VendorSaid {
    status: u16,
    word: String,
}

impl VendorSaid {
    fn of(words: &Words<'_>) -> Self {
        let word = words.word.as_deref().unwrap_or("no word for it");
        // Flagged text is kept nowhere.
        if !words.is_about_content() {
            tracing::debug!(status = words.status, word, message = redact(&words.message), "a vendor's own words");
        }
        Self { status: words.status, word: word.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(status: u16, error: &Value) -> Error {
        status_error(&Words { status, ..Words::read(error) })
    }

    #[test]
    fn a_wrong_address_is_ours() {
        for status in [301, 307, 405, 415] {
            let error = said(status, &json!("moved to https://elsewhere.example"));
            assert_eq!((error.kind(), error.needs_operator()), (ErrorKind::BadUpstream, true), "{status}");
            assert!(error.may_fail_over() && !error.to_string().contains("elsewhere"), "{status}");
        }
    }

    #[test]
    fn the_caller_reads_what_helps_and_nothing_of_ours() {
        let message = "'temperature' must be at most 2 (org-AbC123dEf, see https://platform.openai.com/x, $0.15)";
        let error = said(400, &json!({"message": message, "code": null}));
        assert_eq!(error.to_string(), "'temperature' must be at most 2 ([…], see […], […])");
        let long =
            said(400, &json!({"message": "at most 10 tokens", "code": TOO_LONG, "type": "invalid_request_error"}));
        assert_eq!((long.to_string().as_str(), long.code()), ("at most 10 tokens", TOO_LONG));
    }

    #[test]
    fn the_log_does_not_repeat_what_may_be_the_prompt() {
        let error = said(400, &json!({"message": "cannot read: my secret", "type": "invalid_request_error"}));
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "the vendor said 400 (invalid_request_error)");
        assert!(!format!("{source:?}").contains("secret"));
        let odd = said(400, &json!({"message": "", "code": "my secret is out"}));
        assert_eq!(std::error::Error::source(&odd).unwrap().to_string(), "the vendor said 400 (no word for it)");
    }

    #[test]
    fn flagged_text_is_not_repeated() {
        for status in [400, 403, 502] {
            let error = said(status, &json!({"message": "flagged: my secret", "code": "content_filter"}));
            assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "content_policy_violation"), "{status}");
            assert!(!format!("{error} {error:?}").contains("my secret"), "{status}");
        }
    }

    #[test]
    fn waits_as_long_as_the_vendor_says() {
        let wait = |fields: &[(&'static str, &str)]| {
            let headers = fields.iter().map(|(name, value)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_str(value).unwrap())
            });
            let headers: HeaderMap = headers.collect();
            Words { headers: Some(&headers), ..Words::default() }.retry_after().map(|after| after.as_millis())
        };
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(wait(&[date, ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")]), Some(60_000));
        assert_eq!(wait(&[date, ("retry-after", "Sun, 06 Nov 1994 08:48:37 GMT")]), None);
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")]), None);
        assert_eq!(wait(&[date, ("retry-after", "1.5")]), Some(1_500));
        assert_eq!(wait(&[("retry-after-ms", "20"), ("retry-after", "1")]), Some(20));
        assert_eq!(wait(&[("retry-after", "-1")]), None);
    }
}
