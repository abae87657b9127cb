//! What the vendor's errors mean for the caller (`google.rpc.Status`, the Gemini API's
//! troubleshooting page).

use std::time::Duration;

use aihub_core::{Error, ErrorKind};
use serde::Deserialize;
use serde_json::Value;

use super::wire::Status;
use crate::http::Fault;

/// The longest piece of a vendor's message that is quoted, in characters.
const MOST_QUOTED: usize = 300;

/// What an answer with another status than 2xx means.
pub(super) fn of_fault(fault: &Fault) -> Error {
    let status = status_in(&fault.body).unwrap_or_default();
    let after = fault.headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let after =
        after.and_then(|value| value.trim().parse::<u32>().ok()).map(|seconds| Duration::from_secs(seconds.into()));
    explain(Some(fault.status.as_u16()), &status, after)
}

/// What an error inside a stream, or inside an answer with status 200, means.
pub(super) fn of_status(status: &Status) -> Error {
    explain(None, status, None)
}

/// The error in `body`: an object, the same in a list of one, or neither.
pub(super) fn status_in(body: &[u8]) -> Option<Status> {
    #[derive(Deserialize)]
    struct Envelope {
        error: Status,
    }
    // Told apart by its first byte: a structure would also be read from a list of its fields.
    if body.trim_ascii_start().starts_with(b"[") {
        let list: Vec<Envelope> = serde_json::from_slice(body).ok()?;
        return list.into_iter().next().map(|envelope| envelope.error);
    }
    serde_json::from_slice(body).ok().map(|envelope: Envelope| envelope.error)
}

fn explain(http: Option<u16>, status: &Status, after: Option<Duration>) -> Error {
    let code = http.or(status.code).unwrap_or_else(|| http_status(&status.status));
    let error = match code {
        // A cache that the caller named: of another project, or gone.
        403 | 404 if status.message.contains("CachedContent") => {
            Error::invalid("google.cached_content", "There is no such cache: leave `cached_content` out")
        }
        400 if is_about_our_key(status) => refused_key(),
        400 | 412 if status.status == "FAILED_PRECONDITION" => {
            // Billing is off, or the vendor does not serve the place we call from.
            Error::new(
                ErrorKind::Unavailable,
                "The upstream does not serve this account at the moment: try again later",
            )
            .with_failover()
            .with_alert()
        }
        400 => invalid(status),
        401 | 403 => refused_key(),
        404 => Error::new(
            ErrorKind::Unavailable,
            "The upstream does not have this model at the moment: choose another model",
        )
        .with_code("model_unavailable")
        .with_failover(),
        408 | 499 | 504 => {
            Error::new(ErrorKind::UpstreamTimeout, "The upstream did not answer in time: try again").with_transient()
        }
        413 => Error::new(
            ErrorKind::TooLarge,
            "The request is larger than the upstream accepts: send fewer or smaller files",
        )
        .with_failover(),
        429 => rate_limited(status, after),
        500 => Error::new(ErrorKind::Internal, "The upstream failed inside: try again").with_transient(),
        501 => Error::unsupported("This request"),
        409 | 503 | 529 => {
            Error::new(ErrorKind::Unavailable, "The upstream is overloaded: try again in a moment").with_transient()
        }
        502 | 505..=599 => Error::new(ErrorKind::BadUpstream, "The upstream failed: try again").with_transient(),
        _ => Error::new(ErrorKind::BadUpstream, "The upstream gave an answer that cannot be used: try again")
            .with_failover(),
    };
    error.with_source(format!("gemini answered {code} {}: {}", status.status, quotable(&status.message)))
}

/// The HTTP status of a word, where only the word came (`google.rpc.Code`).
fn http_status(word: &str) -> u16 {
    match word {
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
        "UNAUTHENTICATED" => 401,
        "PERMISSION_DENIED" => 403,
        "NOT_FOUND" => 404,
        "ABORTED" | "ALREADY_EXISTS" => 409,
        "RESOURCE_EXHAUSTED" => 429,
        "CANCELLED" => 499,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" => 500,
        "UNIMPLEMENTED" => 501,
        "UNAVAILABLE" => 503,
        "DEADLINE_EXCEEDED" => 504,
        _ => 502,
    }
}

/// A wrong key is a 400 with this vendor: told from the caller's own faults by its reason.
fn is_about_our_key(status: &Status) -> bool {
    let reasons = status.details.iter().filter_map(|detail| detail.get("reason")?.as_str());
    reasons.into_iter().any(|reason| reason.starts_with("API_KEY")) || {
        let message = status.message.to_ascii_lowercase();
        ["api key not valid", "api key expired", "api key not found", "valid api key"]
            .iter()
            .any(|said| message.contains(said))
    }
}

fn refused_key() -> Error {
    Error::new(ErrorKind::BadUpstream, "The upstream refused this service's credentials: the operator has been told")
        .with_code("upstream_credentials")
        .with_failover()
        .with_alert()
}

fn rate_limited(status: &Status, after: Option<Duration>) -> Error {
    let after = detail(status, "RetryInfo").and_then(|info| seconds(info.get("retryDelay")?.as_str()?)).or(after);
    let error = Error::new(ErrorKind::RateLimited, "The upstream is at its rate limit: wait, then try again");
    let error = if let Some(after) = after { error.with_retry_after(after) } else { error };
    // A quota of the day does not clear in the seconds that the vendor names.
    if per_day(status) { error.with_failover() } else { error.with_transient() }
}

fn per_day(status: &Status) -> bool {
    let violations = detail(status, "QuotaFailure").and_then(|failure| failure.get("violations")?.as_array());
    let mut ids = violations.into_iter().flatten().filter_map(|violation| violation.get("quotaId")?.as_str());
    ids.any(|id| id.contains("PerDay"))
}

fn detail<'a>(status: &'a Status, kind: &str) -> Option<&'a Value> {
    status.details.iter().find(|detail| {
        detail.get("@type").and_then(Value::as_str).is_some_and(|name| name.rsplit('.').next() == Some(kind))
    })
}

/// `47s`, `1.5s` (`google.protobuf.Duration` in JSON); to the millisecond, upwards.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, part) = text.strip_suffix('s')?.split_once('.').unwrap_or((text.strip_suffix('s')?, ""));
    let millis = format!("{:0<3}", part.get(..part.len().min(3))?).parse::<u64>().ok()?;
    Some(Duration::from_secs(whole.parse::<u32>().ok()?.into()) + Duration::from_millis(millis))
}

/// What the caller did wrong, in the vendor's words where they may be shown.
fn invalid(status: &Status) -> Error {
    let message = status.message.as_str();
    let lower = message.to_ascii_lowercase();
    if lower.contains("thought_signature") || lower.contains("thought signature") {
        return Error::invalid(
            "messages",
            "A tool call in `messages` lost its thought signature: send back `extra_content` of tool calls unchanged",
        )
        .with_code("missing_thought_signature");
    }
    if lower.contains("token count") && lower.contains("exceeds") {
        return Error::invalid("messages", "The prompt is longer than this model reads: shorten it")
            .with_code("context_length_exceeded");
    }
    let quoted = quotable(message);
    if quoted.is_empty() {
        return Error::new(ErrorKind::Invalid, "The upstream cannot serve this request as it is: check its parameters");
    }
    Error::new(ErrorKind::Invalid, format!("The upstream cannot serve this request as it is: {quoted}"))
}

/// A vendor's message as far as it may be shown or logged: one line, cut, without what looks like
/// a key, a project, a person or an address.
fn quotable(message: &str) -> String {
    let private = |word: &str| {
        let word = word.to_ascii_lowercase();
        ["aiza", "projects/", "project_number", "consumer", "@", "://", "bearer"].iter().any(|sign| word.contains(sign))
            || word.len() > 80
    };
    let words = message.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.map(|word| if private(word) { "[…]" } else { word }).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST_QUOTED) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn fault(status: u16, body: &'static str) -> Error {
        of_fault(&Fault { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body: body.into() })
    }

    #[test]
    fn a_fault_of_ours_is_never_shown_as_the_callers() {
        let bad_key = r#"{"error":{"code":400,"message":"API key not valid. Key AIzaSyWRONG","status":"INVALID_ARGUMENT",
            "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#;
        for (status, body) in [
            (400, bad_key),
            (401, "{}"),
            (403, r#"{"error":{"status":"PERMISSION_DENIED","message":"Your API key was reported as leaked."}}"#),
            (400, r#"{"error":{"status":"FAILED_PRECONDITION","message":"User location is not supported."}}"#),
        ] {
            let error = fault(status, body);
            assert!(error.needs_operator() && error.may_fail_over(), "{body}");
            assert!((502..=503).contains(&error.kind().status()), "{body}");
            assert!(!format!("{error:?}").contains("AIza"), "{error:?}");
        }
    }

    #[test]
    fn a_rate_limit_says_how_long_and_whether_to_stay() {
        let minute = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[
            {"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"RequestsPerMinutePerProject"}]},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.25s"}]}}"#;
        let error = fault(429, minute);
        assert_eq!((error.retry_after(), error.is_transient()), (Some(Duration::from_millis(1_250)), true));
        let day = r#"{"error":{"code":429,"details":[{"@type":"google.rpc.QuotaFailure","violations":[{"quotaId":"XPerDayY"}]}]}}"#;
        let error = fault(429, day);
        assert!(!error.is_transient() && error.may_fail_over());
        let listed = status_in(br#" [{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}]"#).unwrap();
        assert_eq!((listed.code, of_status(&listed).kind()), (Some(429), ErrorKind::RateLimited));
    }

    #[test]
    fn what_the_caller_did_wrong_is_quoted_clean() {
        let error = fault(
            400,
            r#"{"error":{"status":"INVALID_ARGUMENT","message":"Unknown name \"x\"\nin projects/123 see https://a.b"}}"#,
        );
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(
            error.message(),
            "The upstream cannot serve this request as it is: Unknown name \"x\" in […] see […]"
        );
        assert!(!error.may_fail_over());
        let error = fault(403, r#"{"error":{"status":"PERMISSION_DENIED","message":"CachedContent not found"}}"#);
        assert_eq!((error.kind(), error.needs_operator()), (ErrorKind::Invalid, false));
        let error = fault(400, r#"{"error":{"message":"Function call is missing a thought_signature in parts."}}"#);
        assert_eq!(error.code(), "missing_thought_signature");
        let error = fault(400, r#"{"error":{"message":"The input token count (2) exceeds the maximum (1)."}}"#);
        assert_eq!(error.code(), "context_length_exceeded");
    }

    #[test]
    fn statuses_sort_into_kinds() {
        for (status, kind, transient) in [
            (404, ErrorKind::Unavailable, false),
            (500, ErrorKind::Internal, true),
            (502, ErrorKind::BadUpstream, true),
            (503, ErrorKind::Unavailable, true),
            (504, ErrorKind::UpstreamTimeout, true),
            (418, ErrorKind::BadUpstream, false),
        ] {
            let error = fault(status, "<html>");
            assert_eq!(
                (error.kind(), error.is_transient(), error.may_fail_over()),
                (kind, transient, true),
                "{status}"
            );
        }
        let inside = of_status(&Status { status: "UNAVAILABLE".into(), ..Status::default() });
        assert_eq!(inside.kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn durations_are_read_to_the_millisecond() {
        for (text, millis) in
            [("47s", Some(47_000)), ("0.5s", Some(500)), ("2.123456789s", Some(2_123)), ("47", None), ("-1s", None)]
        {
            assert_eq!(seconds(text), millis.map(Duration::from_millis), "{text}");
        }
    }
}
