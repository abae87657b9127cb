//! The one public error: what went wrong, in terms of what the caller may do about it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::money::Money;
use crate::usage::Usage;

/// The result of everything in AI Hub.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What the caller of an operation may do about a failure.
///
/// The set of kinds is the set of answers that the HTTP surface can give: [`ErrorKind::status`],
/// [`ErrorKind::label`] and [`ErrorKind::code`] are the only places where a kind is turned into an
/// answer, so a new kind cannot be forgotten anywhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::IntoStaticStr, strum::EnumIter)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is wrong and stays wrong: correct it.
    Invalid,
    /// No credential, or one that does not hold.
    Unauthenticated,
    /// Money or prepaid quota is used up: pay, or ask for less.
    PaymentRequired,
    /// The credential holds, and does not permit this.
    Forbidden,
    /// No such thing, or not visible to this caller.
    NotFound,
    /// The address is there, and does not know this method.
    WrongMethod,
    /// The caller was too slow to send.
    SlowCaller,
    /// The state of the thing does not allow this.
    Conflict,
    /// More bytes than are accepted.
    TooLarge,
    /// Sound in itself, and at odds with what was said before.
    Contradiction,
    /// A media type that is not spoken here.
    UnsupportedMedia,
    /// Too often: wait [`Error::retry_after`].
    RateLimited,
    /// The caller left before the answer was complete.
    Cancelled,
    /// Something here, or inside the vendor, failed in a way nobody foresaw.
    Internal,
    /// The upstream vendor gave an answer that cannot be used.
    BadUpstream,
    /// Not now: overloaded, shutting down, or no upstream is able to serve.
    Unavailable,
    /// The upstream vendor did not answer in time.
    UpstreamTimeout,
}

impl ErrorKind {
    /// The HTTP status of this kind (RFC 9110; 499 is nginx's word for a caller who left).
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthenticated => 401,
            Self::PaymentRequired => 402,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::WrongMethod => 405,
            Self::SlowCaller => 408,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Contradiction => 422,
            Self::UnsupportedMedia => 415,
            Self::RateLimited => 429,
            Self::Cancelled => 499,
            Self::Internal => 500,
            Self::BadUpstream => 502,
            Self::Unavailable => 503,
            Self::UpstreamTimeout => 504,
        }
    }

    /// The `type` of the error envelope, in the words of the `OpenAI` API.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Invalid
            | Self::WrongMethod
            | Self::SlowCaller
            | Self::Conflict
            | Self::TooLarge
            | Self::Contradiction
            | Self::UnsupportedMedia
            | Self::NotFound
            | Self::Cancelled => "invalid_request_error",
            Self::Unauthenticated => "authentication_error",
            Self::PaymentRequired => "insufficient_quota",
            Self::Forbidden => "permission_error",
            Self::RateLimited => "rate_limit_error",
            Self::Internal | Self::BadUpstream | Self::Unavailable | Self::UpstreamTimeout => "server_error",
        }
    }

    /// The `code` of the error envelope where the error does not carry a nearer one.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid => "invalid_request",
            Self::Unauthenticated => "invalid_api_key",
            Self::PaymentRequired => "insufficient_quota",
            Self::Forbidden => "permission_denied",
            Self::NotFound => "not_found",
            Self::WrongMethod => "method_not_allowed",
            Self::SlowCaller => "request_timeout",
            Self::Conflict => "conflict",
            Self::TooLarge => "request_too_large",
            Self::Contradiction => "contradiction",
            Self::UnsupportedMedia => "unsupported_media_type",
            Self::RateLimited => "rate_limit_exceeded",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal_error",
            Self::BadUpstream => "bad_upstream",
            Self::Unavailable => "unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }
}

/// Which limit refused a call, for the answers 402, 403 and 429.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The name of the limit, such as `plan_monthly_calls` or `key_requests_per_minute`.
    pub limit_source: Cow<'static, str>,
    /// How much the limit allows, with its unit (`1000 calls`, `5.00 USD`).
    pub limit: String,
    /// How much of it is left, in the same unit.
    pub remaining: String,
    /// When the limit is whole again; absent for a limit that never resets.
    pub resets_at: Option<jiff::Timestamp>,
}

impl Refusal {
    /// A refusal by the limit of this name; `limit` and `remaining` carry their unit.
    pub fn new(
        limit_source: impl Into<Cow<'static, str>>,
        limit: impl Into<String>,
        remaining: impl Into<String>,
    ) -> Self {
        Self { limit_source: limit_source.into(), limit: limit.into(), remaining: remaining.into(), resets_at: None }
    }

    /// When the limit is whole again.
    #[must_use]
    pub fn with_reset(mut self, at: jiff::Timestamp) -> Self {
        self.resets_at = Some(at);
        self
    }
}

/// The error of every operation in AI Hub.
///
/// `Display` is the one line that may be shown to the caller of the API: it says what to do and
/// never holds a secret, another tenant's data or a vendor's raw words. The [`source`] is for the
/// log only.
///
/// What the caller may do about it, and what may help instead, are two questions: the kind answers
/// the first, [`with_failover`](Self::with_failover) and [`with_transient`](Self::with_transient) the
/// second. So a request can be wrong *here* and right elsewhere:
///
/// | a provider says | the caller reads | asked next | counts against the upstream |
/// |---|---|---|---|
/// | [`Error::invalid`] | correct the request | nobody | no: it is well |
/// | [`Error::unsupported_parameter`] | correct the request, if nobody else serves it | the next offer | no: it is well |
/// | [`Error::new`] with failover | what the kind says | the next offer | yes |
/// | [`Error::new`] with transient | what the kind says | the same offer, then the next | yes |
///
/// The last column is [`Error::is_upstream_fault`].
///
/// [`source`]: std::error::Error::source
pub struct Error(Box<Facts>);

struct Facts {
    kind: ErrorKind,
    message: Cow<'static, str>,
    code: Option<Cow<'static, str>>,
    param: Option<String>,
    retry_after: Option<Duration>,
    failover: bool,
    transient: bool,
    alert: bool,
    refusal: Option<Refusal>,
    spent: Option<Usage>,
    vendor_cost: Option<Money>,
    source: Option<Source>,
}

impl Error {
    /// An error of `kind`; `message` is shown to the caller and says what to do.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Facts {
            kind,
            message: message.into(),
            code: None,
            param: None,
            retry_after: None,
            failover: false,
            transient: false,
            alert: false,
            refusal: None,
            spent: None,
            vendor_cost: None,
            source: None,
        }))
    }

    /// The caller's request is wrong at `param` (a path such as `messages[0].content`).
    #[must_use]
    pub fn invalid(param: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, message).with_param(param)
    }

    /// What a provider answers to a sound request that asks at `param` for something this upstream
    /// does not have: the caller learns what to leave out, and only where no other offer serves it.
    ///
    /// ```
    /// let error = aihub_core::Error::unsupported_parameter("n", "This model gives one answer: leave `n` out");
    /// assert_eq!((error.kind().status(), error.code()), (400, "unsupported_parameter"));
    /// assert!(error.may_fail_over() && !error.is_upstream_fault());
    /// ```
    #[must_use]
    pub fn unsupported_parameter(param: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::invalid(param, message).with_code("unsupported_parameter").with_failover()
    }

    /// What a provider answers for an operation that its capabilities do not list.
    #[must_use]
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Invalid, format!("{what} is not supported by this upstream"))
            .with_code("unsupported_operation")
            .with_failover()
    }

    /// A code nearer than the kind's own, such as `model_not_found`.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.code = Some(code.into());
        self
    }

    /// The request field that is wrong.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// How long to wait before the same request makes sense again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Another upstream may serve the same request: this one is at fault, or it is well and has not
    /// what was asked for. Which of the two it is, the kind says ([`Error::is_upstream_fault`]).
    #[must_use]
    pub fn with_failover(mut self) -> Self {
        self.0.failover = true;
        self
    }

    /// The same upstream may serve the same request on a second try, and so may another one: implies
    /// [`Error::with_failover`].
    #[must_use]
    pub fn with_transient(mut self) -> Self {
        self.0.transient = true;
        self.0.failover = true;
        self
    }

    /// The operator has to act (a vendor key is bad, the vendor account is empty).
    #[must_use]
    pub fn with_alert(mut self) -> Self {
        self.0.alert = true;
        self
    }

    /// Names the limit that refused.
    #[must_use]
    pub fn with_refusal(mut self, refusal: Refusal) -> Self {
        self.0.refusal = Some(refusal);
        self
    }

    /// What the vendor counted although the call failed: it is metered all the same.
    #[must_use]
    pub fn with_spent(mut self, usage: Usage) -> Self {
        self.0.spent = Some(usage);
        self
    }

    /// What the vendor says it charges although the call failed.
    #[must_use]
    pub fn with_vendor_cost(mut self, cost: Money) -> Self {
        self.0.vendor_cost = Some(cost);
        self
    }

    /// The cause, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What the caller may do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable code of the envelope.
    pub fn code(&self) -> &str {
        self.0.code.as_deref().unwrap_or(self.0.kind.code())
    }

    /// The request field that is wrong, if one is.
    pub fn param(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// How long to wait before trying again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether another upstream may serve the same request.
    pub fn may_fail_over(&self) -> bool {
        self.0.failover
    }

    /// Whether the same upstream may serve the same request on a second try.
    pub fn is_transient(&self) -> bool {
        self.0.transient
    }

    /// Whether this counts against the upstream that answered it, as a circuit breaker does.
    ///
    /// A request that this upstream cannot take says nothing of its health, even if another one may take
    /// it: otherwise one caller's requests would close an upstream to all. No answer in time, or one that
    /// cannot be used, is always its fault; anything else is, where another upstream may help.
    pub fn is_upstream_fault(&self) -> bool {
        match self.0.kind {
            ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::UnsupportedMedia | ErrorKind::Cancelled => false,
            ErrorKind::BadUpstream | ErrorKind::UpstreamTimeout => true,
            ErrorKind::Unauthenticated
            | ErrorKind::PaymentRequired
            | ErrorKind::Forbidden
            | ErrorKind::NotFound
            | ErrorKind::WrongMethod
            | ErrorKind::SlowCaller
            | ErrorKind::Conflict
            | ErrorKind::Contradiction
            | ErrorKind::RateLimited
            | ErrorKind::Internal
            | ErrorKind::Unavailable => self.0.failover,
        }
    }

    /// Whether the same, sent again, would fail the same: what was handed over is wrong and stays wrong.
    ///
    /// Of a batch, a smaller one may be well ([`BillingSink::record`](crate::BillingSink::record)).
    pub fn is_rejection(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::UnsupportedMedia)
    }

    /// Whether the operator has to act.
    pub fn needs_operator(&self) -> bool {
        self.0.alert
    }

    /// Which limit refused, for 402, 403 and 429.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.0.refusal.as_ref()
    }

    /// What the vendor counted although the call failed.
    pub fn spent(&self) -> Option<&Usage> {
        self.0.spent.as_ref()
    }

    /// What the vendor says it charges although the call failed.
    pub fn vendor_cost(&self) -> Option<Money> {
        self.0.vendor_cost
    }

    /// The line that may be shown to the caller.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

/// For layers around a service that cannot fail, such as a router.
impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.0.kind).field("message", &self.0.message);
        if let Some(code) = &self.0.code {
            debug.field("code", code);
        }
        if let Some(param) = &self.0.param {
            debug.field("param", param);
        }
        if let Some(source) = &self.0.source {
            debug.field("source", source);
        }
        debug.finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as _)
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    #[test]
    fn statuses_are_errors_and_distinct() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in ErrorKind::iter() {
            assert!((400..=599).contains(&kind.status()), "{kind}");
            assert!(seen.insert(kind.status()), "{kind} shares its status with another kind");
        }
    }

    #[test]
    fn what_an_upstream_does_not_have_is_no_fault_of_it() {
        for (error, fault) in [
            (Error::invalid("n", "no"), false),
            (Error::unsupported_parameter("n", "not here"), false),
            (Error::unsupported("Embedding"), false),
            (Error::new(ErrorKind::TooLarge, "more than this model takes").with_failover(), false),
            (Error::new(ErrorKind::Cancelled, "left").with_failover(), false),
            (Error::new(ErrorKind::PaymentRequired, "the caller's own"), false),
            (Error::new(ErrorKind::PaymentRequired, "ours with the vendor").with_failover(), true),
            (Error::new(ErrorKind::RateLimited, "ours with the vendor").with_failover(), true),
            (Error::new(ErrorKind::Unavailable, "overloaded").with_transient(), true),
            (Error::new(ErrorKind::UpstreamTimeout, "slow"), true),
        ] {
            assert_eq!(error.is_upstream_fault(), fault, "{error:?}");
        }
    }

    #[test]
    fn display_never_shows_the_source() {
        let error = Error::new(ErrorKind::BadUpstream, "try again").with_source("sk-or-v1-secret");
        assert_eq!(error.to_string(), "try again");
    }
}
