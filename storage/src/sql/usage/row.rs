//! A record as its row, both ways.

use std::borrow::Cow;
use std::net::IpAddr;

use aihub_core::model::ModelKind;
use aihub_core::{AccountId, CallId, Error, ErrorKind, KeyId, Money, Outcome, Result, Usage, UsageRecord};
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::sql::schema::usage_records;
use crate::sql::values::{At, Doc, Id, Tag};

/// A record; borrowed from one to write it, owned when it was read.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = usage_records)]
pub(super) struct Row<'a> {
    pub(super) call: Id,
    pub(super) at: At,
    pub(super) account: Id,
    pub(super) key: Id,
    pub(super) plan: Cow<'a, str>,
    pub(super) operation: Cow<'a, str>,
    pub(super) stream: bool,
    pub(super) model: Cow<'a, str>,
    pub(super) provider: Option<Cow<'a, str>>,
    pub(super) served_model: Option<Cow<'a, str>>,
    #[diesel(embed)]
    pub(super) usage: Buckets,
    #[diesel(embed)]
    pub(super) money: Costs<'a>,
    pub(super) outcome: Tag<Outcome>,
    pub(super) status: i32,
    pub(super) duration_us: i64,
    pub(super) first_event_us: Option<i64>,
    pub(super) detail: Doc<Detail<'a>>,
}

/// What was used.
#[derive(Debug, Clone, Copy, Queryable, Selectable)]
#[diesel(table_name = usage_records)]
pub(super) struct Buckets {
    pub(super) input: i64,
    pub(super) cache_read: i64,
    pub(super) cache_write: i64,
    pub(super) audio_input: i64,
    pub(super) image_input: i64,
    pub(super) tool_input: i64,
    pub(super) output: i64,
    pub(super) reasoning: i64,
    pub(super) audio_output: i64,
    pub(super) image_output: i64,
    pub(super) searches: i64,
    pub(super) estimated: bool,
}

/// What it costs, by us and by the vendor, in nano-units.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = usage_records)]
pub(super) struct Costs<'a> {
    pub(super) cost: Option<i64>,
    pub(super) cost_currency: Option<Cow<'a, str>>,
    pub(super) vendor_cost: Option<i64>,
    pub(super) vendor_currency: Option<Cow<'a, str>>,
}

/// What is only shown. With a column for each there would be more than 32, and diesel for more takes a minute
/// and gigabytes longer to compile, for everybody who builds this.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Detail<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finish_reason: Option<Cow<'a, str>>,
    attempts: u32,
    #[serde(default, skip_serializing_if = "nothing")]
    discarded: Usage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_agent: Option<Cow<'a, str>>,
}

impl<'a> From<&'a UsageRecord> for Row<'a> {
    fn from(record: &'a UsageRecord) -> Self {
        Self {
            call: record.call.into(),
            at: At(record.at),
            account: record.account.into(),
            key: record.key.into(),
            plan: text(&record.plan),
            operation: text(record.operation),
            stream: record.stream,
            model: text(&record.model),
            provider: record.provider.as_deref().map(text),
            served_model: record.served_model.as_deref().map(text),
            usage: record.usage.into(),
            money: Costs::of(record),
            outcome: Tag(record.outcome),
            status: record.status.into(),
            duration_us: signed(record.duration_us),
            first_event_us: record.first_event_us.map(signed),
            detail: Doc(Detail::of(record)),
        }
    }
}

impl TryFrom<Row<'_>> for UsageRecord {
    type Error = Error;

    fn try_from(row: Row<'_>) -> Result<Self> {
        let operation: ModelKind = row.operation.parse().map_err(unreadable)?;
        let mut record = Self::from_parts(
            CallId::from_uuid(row.call.0),
            row.at.0,
            AccountId::from_uuid(row.account.0),
            KeyId::from_uuid(row.key.0),
            row.plan.into(),
            operation.into(),
            row.model.into(),
        );
        record.stream = row.stream;
        record.provider = row.provider.map(Into::into);
        record.served_model = row.served_model.map(Into::into);
        record.usage = row.usage.into();
        record.cost = money(row.money.cost, row.money.cost_currency.as_deref())?;
        record.vendor_cost = money(row.money.vendor_cost, row.money.vendor_currency.as_deref())?;
        record.outcome = row.outcome.0;
        record.status = u16::try_from(row.status).map_err(unreadable)?;
        record.duration_us = unsigned(row.duration_us);
        record.first_event_us = row.first_event_us.map(unsigned);
        let Detail { generation, finish_reason, attempts, discarded, ip, user_agent } = row.detail.0;
        record.generation = generation.map(Into::into);
        record.finish_reason = finish_reason.map(Into::into);
        record.attempts = attempts;
        record.discarded = discarded;
        record.ip = ip;
        record.user_agent = user_agent.map(Into::into);
        Ok(record)
    }
}

impl From<Usage> for Buckets {
    fn from(usage: Usage) -> Self {
        Self {
            input: signed(usage.input),
            cache_read: signed(usage.cache_read),
            cache_write: signed(usage.cache_write),
            audio_input: signed(usage.audio_input),
            image_input: signed(usage.image_input),
            tool_input: signed(usage.tool_input),
            output: signed(usage.output),
            reasoning: signed(usage.reasoning),
            audio_output: signed(usage.audio_output),
            image_output: signed(usage.image_output),
            searches: signed(usage.searches),
            estimated: usage.estimated,
        }
    }
}

impl From<Buckets> for Usage {
    fn from(buckets: Buckets) -> Self {
        let mut usage = Self::new(unsigned(buckets.input), unsigned(buckets.output));
        usage.cache_read = unsigned(buckets.cache_read);
        usage.cache_write = unsigned(buckets.cache_write);
        usage.audio_input = unsigned(buckets.audio_input);
        usage.image_input = unsigned(buckets.image_input);
        usage.tool_input = unsigned(buckets.tool_input);
        usage.reasoning = unsigned(buckets.reasoning);
        usage.audio_output = unsigned(buckets.audio_output);
        usage.image_output = unsigned(buckets.image_output);
        usage.searches = unsigned(buckets.searches);
        usage.estimated = buckets.estimated;
        usage
    }
}

impl<'a> Detail<'a> {
    fn of(record: &'a UsageRecord) -> Self {
        Self {
            generation: record.generation.as_deref().map(text),
            finish_reason: record.finish_reason.as_deref().map(text),
            attempts: record.attempts,
            discarded: record.discarded,
            ip: record.ip,
            user_agent: record.user_agent.as_deref().map(text),
        }
    }
}

impl<'a> Costs<'a> {
    fn of(record: &'a UsageRecord) -> Self {
        let currency = |money: &'a Option<Money>| money.as_ref().map(|money| Cow::Owned(money.currency().to_string()));
        Self {
            cost: record.cost.map(Money::nanos),
            cost_currency: currency(&record.cost),
            vendor_cost: record.vendor_cost.map(Money::nanos),
            vendor_currency: currency(&record.vendor_cost),
        }
    }
}

fn money(nanos: Option<i64>, currency: Option<&str>) -> Result<Option<Money>> {
    let amount = nanos.zip(currency);
    amount.map(|(nanos, currency)| Ok(Money::from_nanos(nanos, currency.parse().map_err(unreadable)?))).transpose()
}

/// Without NUL, which Postgres refuses in text.
fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

fn nothing(usage: &Usage) -> bool {
    *usage == Usage::default()
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

pub(super) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "A stored usage record could not be read: ask the operator")
        .with_alert()
        .with_source(error)
}
