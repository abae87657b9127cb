//! What callers are shown. Never what vendors charge, nor which of them served: that is the business of the service.

use aihub_core::commerce::analytics::{Series, SeriesQuery, SeriesRow};
use aihub_core::page::Page;
use aihub_core::{CallId, Money, Timestamp, UsageRecord};
use serde::Serialize;
use utoipa::ToSchema;

/// Sums over time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageView {
    /// The first instant of the first bucket.
    from: Timestamp,
    /// The first instant after the last bucket.
    to: Timestamp,
    /// `1m`, `1h` or `1d`.
    bucket: String,
    /// Whose hours and days they are.
    time_zone: String,
    /// When the newest usage of the service was booked. Calls that ended in the seconds before the answer may be missing.
    booked_at: Option<Timestamp>,
    /// Every bucket of the range, in order of time.
    data: Vec<BucketView>,
}

/// A stretch of time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BucketView {
    /// Its first instant.
    starts_at: Timestamp,
    /// The first instant that is no longer in it.
    ends_at: Timestamp,
    /// By group and currency; none where nothing was used.
    results: Vec<RowView>,
}

/// The sums of one group in one currency.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RowView {
    /// The key, where sums are taken apart by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The model, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// `chat` or `embedding`, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    /// The HTTP status, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Calls, failed and refused ones included.
    calls: i64,
    /// Tokens on the way in.
    prompt_tokens: i64,
    /// Those of them that were read from a cache.
    cached_tokens: i64,
    /// Tokens on the way out.
    completion_tokens: i64,
    /// Those of them that the model thought with.
    reasoning_tokens: i64,
    /// What they are charged; absent where nothing has a price.
    charge: Option<Amount>,
    /// How long the calls took, all together.
    duration_ms: i64,
}

/// An amount of money.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Amount {
    /// A decimal.
    #[schema(example = "0.00256995")]
    pub(crate) amount: String,
    /// ISO 4217.
    #[schema(example = "USD")]
    pub(crate) currency: String,
}

/// One call.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CallView {
    /// Its id, which is also the `x-request-id` of its answer.
    #[schema(value_type = String)]
    pub(crate) id: CallId,
    /// When it was admitted.
    pub(crate) at: Timestamp,
    /// The key used.
    pub(crate) key: String,
    /// The plan that it was under.
    pub(crate) plan: String,
    /// `chat` or `embedding`.
    pub(crate) endpoint: &'static str,
    /// The model asked for.
    pub(crate) model: String,
    /// Whether the answer came piece by piece.
    pub(crate) stream: bool,
    /// `completed`, `client_gone`, `upstream_failed`, `gateway_failed` or `refused`.
    pub(crate) outcome: &'static str,
    /// The HTTP status; of a stream that failed later it is the error's.
    pub(crate) status: u16,
    /// Why the model stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finish_reason: Option<String>,
    /// Tokens on the way in.
    pub(crate) prompt_tokens: u64,
    /// Those of them that were read from a cache.
    pub(crate) cached_tokens: u64,
    /// Tokens on the way out.
    pub(crate) completion_tokens: u64,
    /// Those of them that the model thought with.
    pub(crate) reasoning_tokens: u64,
    /// Whether these were measured here, since the vendor gave none.
    pub(crate) estimated: bool,
    /// What it is charged; absent where no price is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) charge: Option<Amount>,
    /// The version of the prices that it was charged by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) price_version: Option<String>,
    /// From admission to the end.
    pub(crate) duration_ms: u64,
    /// From admission to the first event of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_event_ms: Option<u64>,
    /// Where the caller was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ip: Option<String>,
    /// What the caller said it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_agent: Option<String>,
}

/// A page of calls, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CallList {
    /// `list`.
    object: &'static str,
    /// The calls.
    data: Vec<CallView>,
    /// Whether there is another page.
    has_more: bool,
    /// What to ask for with `after` to get it.
    #[schema(value_type = Option<String>)]
    next: Option<CallId>,
}

impl UsageView {
    pub(crate) fn of(query: &SeriesQuery, series: Series) -> Self {
        let (first, last) = (series.buckets.first(), series.buckets.last());
        Self {
            from: first.map_or(query.from, |bucket| bucket.starts_at),
            to: last.map_or(query.to, |bucket| bucket.ends_at),
            bucket: query.bucket.to_string(),
            time_zone: query.zone.iana_name().unwrap_or("UTC").to_owned(),
            booked_at: series.booked_at,
            data: series
                .buckets
                .into_iter()
                .map(|bucket| BucketView {
                    starts_at: bucket.starts_at,
                    ends_at: bucket.ends_at,
                    results: bucket.rows.into_iter().map(RowView::from).collect(),
                })
                .collect(),
        }
    }
}

impl From<SeriesRow> for RowView {
    fn from(SeriesRow { group, sums }: SeriesRow) -> Self {
        Self {
            key: group.key.map(|key| key.to_string()),
            model: group.model.map(|model| model.as_ref().to_owned()),
            endpoint: group.operation.map(|operation| operation.as_ref().to_owned()),
            status: group.status,
            calls: sums.calls,
            prompt_tokens: sums.prompt_tokens,
            cached_tokens: sums.cached_tokens,
            completion_tokens: sums.completion_tokens,
            reasoning_tokens: sums.reasoning_tokens,
            charge: sums.charge.map(Amount::from),
            duration_ms: sums.duration_us / 1_000,
        }
    }
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self { amount: money.decimal().to_string(), currency: money.currency().to_string() }
    }
}

impl From<UsageRecord> for CallView {
    fn from(record: UsageRecord) -> Self {
        let text = |text: std::sync::Arc<str>| text.as_ref().to_owned();
        let usage = &record.usage;
        Self {
            id: record.call,
            at: record.at,
            key: record.key.to_string(),
            plan: text(record.plan),
            endpoint: record.operation,
            model: text(record.model),
            stream: record.stream,
            outcome: record.outcome.into(),
            status: record.status,
            finish_reason: record.finish_reason.map(text),
            prompt_tokens: usage.prompt_tokens(),
            cached_tokens: usage.cache_read,
            completion_tokens: usage.completion_tokens(),
            reasoning_tokens: usage.reasoning,
            estimated: usage.estimated,
            charge: record.charge.map(Amount::from),
            price_version: record.price_version.map(text),
            duration_ms: record.duration_us / 1_000,
            first_event_ms: record.first_event_us.map(|us| us / 1_000),
            ip: record.ip.map(|ip| ip.to_string()),
            user_agent: record.user_agent.map(text),
        }
    }
}

impl From<Page<UsageRecord, CallId>> for CallList {
    fn from(page: Page<UsageRecord, CallId>) -> Self {
        let data = page.rows.into_iter().map(CallView::from).collect();
        Self { object: "list", data, has_more: page.next.is_some(), next: page.next }
    }
}
