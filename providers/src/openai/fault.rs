//! What an answer that is no answer means for the caller.

use std::time::Duration;

use aihub_core::{Error, ErrorKind};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use crate::http::Fault;

/// An error in a vendor's words: from a response, or from inside a 200.
#[derive(Debug, Default)]
pub(crate) struct Words<'a> {
    /// The HTTP status, or the code that stands for it inside a 200; 502 when neither says.
    pub(crate) status: u16,
    /// The vendor's message.
    pub(crate) message: String,
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
            metadata: error.get("metadata").cloned().unwrap_or_default(),
            headers: None,
        }
    }

    /// The text of a detail.
    pub(crate) fn detail(&self, name: &str) -> Option<&str> {
        self.metadata.get(name)?.as_str()
    }

    /// How long the vendor says to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let header = |name: &str| self.headers?.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
        let seconds = header("retry-after-ms").map(|ms| ms / 1_000.0).or_else(|| header("retry-after"));
        let seconds = seconds.or_else(|| self.metadata.get("retry_after_seconds")?.as_f64())?;
        Duration::try_from_secs_f64(seconds).ok()
    }
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
        500 => Error::new(ErrorKind::Internal, "The upstream failed internally: try again").with_transient(),
        503 | 529 => {
            let error =
                Error::new(ErrorKind::Unavailable, "The model is overloaded upstream: try again").with_transient();
            retry_after.into_iter().fold(error, Error::with_retry_after)
        }
        status if status < 500 => callers_fault(ErrorKind::Invalid, words),
        _ => Error::new(ErrorKind::BadUpstream, "The upstream failed: try again").with_transient(),
    };
    error.with_source(VendorSaid { status: words.status, message: words.message.clone() })
}

/// An error that the operator has to mend.
pub(crate) fn ours(kind: ErrorKind, message: &'static str) -> Error {
    Error::new(kind, message).with_alert().with_failover()
}

/// An error that the caller has to mend, in the vendor's words as far as they are fit to be shown.
pub(crate) fn callers_fault(kind: ErrorKind, words: &Words<'_>) -> Error {
    let shown: String = words.message.chars().filter(|c| !c.is_control()).take(500).collect();
    let shown = if shown.is_empty() { "The upstream refused the request".to_owned() } else { shown };
    Error::new(kind, shown)
}

/// The vendor's own words, for the log.
#[derive(Debug, thiserror::Error)]
#[error("the vendor said {status}: {message}")]
struct VendorSaid {
    status: u16,
    message: String,
}
