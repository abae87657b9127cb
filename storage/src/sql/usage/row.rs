//! A record as its row, both ways.

use std::net::IpAddr;

use aihub_core::model::ModelKind;
use aihub_core::{
    AccountId, CallId, Error, ErrorKind, Funding, KeyId, Markup, Money, OrganisationId, Outcome, Result, Usage,
    UsageRecord,
};
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::sql::schema::usage_records;
use crate::sql::values::{At, Doc, Id, Tag};

/// A record.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = usage_records)]
pub(in crate::sql) struct Row {
    pub(in crate::sql) call: Id,
    pub(in crate::sql) at: At,
    pub(in crate::sql) account: Id,
    pub(in crate::sql) key: Id,
    pub(in crate::sql) plan: String,
    pub(in crate::sql) operation: String,
    pub(in crate::sql) organisation: Option<Id>,
    pub(in crate::sql) flags: i32,
    pub(in crate::sql) model: String,
    pub(in crate::sql) provider: Option<String>,
    #[diesel(embed)]
    pub(in crate::sql) usage: Buckets,
    #[diesel(embed)]
    pub(in crate::sql) money: Costs,
    pub(in crate::sql) outcome: Tag<Outcome>,
    pub(in crate::sql) status: i32,
    pub(in crate::sql) duration_us: i64,
    pub(in crate::sql) posting: Option<Id>,
    pub(in crate::sql) detail: Doc<Detail>,
}

/// What was used.
#[derive(Debug, Clone, Copy, Queryable, Selectable)]
#[diesel(table_name = usage_records)]
pub(in crate::sql) struct Buckets {
    pub(in crate::sql) input: i64,
    pub(in crate::sql) cache_read: i64,
    pub(in crate::sql) cache_write: i64,
    pub(in crate::sql) audio_input: i64,
    pub(in crate::sql) image_input: i64,
    pub(in crate::sql) tool_input: i64,
    pub(in crate::sql) output: i64,
    pub(in crate::sql) reasoning: i64,
    pub(in crate::sql) audio_output: i64,
    pub(in crate::sql) image_output: i64,
    pub(in crate::sql) searches: i64,
}

/// What it costs, by us and by the vendor, in nano-units.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = usage_records)]
pub(in crate::sql) struct Costs {
    pub(in crate::sql) cost: Option<i64>,
    pub(in crate::sql) charge: Option<i64>,
    pub(in crate::sql) cost_currency: Option<String>,
    pub(in crate::sql) price_version: Option<String>,
    pub(in crate::sql) vendor_cost: Option<i64>,
    pub(in crate::sql) vendor_currency: Option<String>,
}

/// What is only shown. With a column for each there would be more than 32, and diesel for more takes a minute
/// and gigabytes longer to compile, for everybody who builds this.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::sql) struct Detail {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    served_model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finish_reason: Option<String>,
    attempts: u32,
    #[serde(default, skip_serializing_if = "nothing")]
    discarded: Usage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_event_us: Option<u64>,
    #[serde(default, skip_serializing_if = "Markup::is_none")]
    markup: Markup,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shortfall: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    charge_at_most: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
}

impl From<&UsageRecord> for Row {
    fn from(record: &UsageRecord) -> Self {
        Self {
            call: record.call.into(),
            at: At(record.at),
            account: record.account.into(),
            key: record.key.into(),
            plan: text(&record.plan),
            operation: text(record.operation),
            organisation: record.organisation.map(|id| Id(*id.as_uuid())),
            flags: flags(record),
            model: text(&record.model),
            provider: record.provider.as_deref().map(text),
            usage: record.usage.into(),
            money: Costs::of(record),
            outcome: Tag(record.outcome),
            status: record.status.into(),
            duration_us: signed(record.duration_us),
            posting: None,
            detail: Doc(Detail::of(record)),
        }
    }
}

impl TryFrom<Row> for UsageRecord {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
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
        record.organisation = row.organisation.map(|id| OrganisationId::from_uuid(id.0));
        record.stream = row.flags & STREAM != 0;
        record.recovered = row.flags & RECOVERED != 0;
        record.waived = row.flags & WAIVED != 0;
        record.provider = row.provider.map(Into::into);
        record.usage = row.usage.into();
        record.usage.estimated = row.flags & ESTIMATED != 0;
        record.charge = money(row.money.charge, row.money.cost_currency.as_deref())?;
        if row.flags & PREPAID != 0
            && let Some(charge) = record.charge
        {
            record.funding = Funding::Prepaid(charge.currency());
        }
        record.price_version = row.money.price_version.map(Into::into);
        record.cost = money(row.money.cost, row.money.cost_currency.as_deref())?;
        record.vendor_cost = money(row.money.vendor_cost, row.money.vendor_currency.as_deref())?;
        record.outcome = row.outcome.0;
        record.status = u16::try_from(row.status).map_err(unreadable)?;
        record.duration_us = unsigned(row.duration_us);
        let Detail {
            served_model,
            generation,
            finish_reason,
            attempts,
            discarded,
            first_event_us,
            markup,
            shortfall,
            charge_at_most,
            ip,
            user_agent,
        } = row.detail.0;
        record.served_model = served_model.map(Into::into);
        record.first_event_us = first_event_us;
        (record.markup, record.shortfall, record.charge_at_most) = (markup, shortfall, charge_at_most);
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
        usage
    }
}

impl Detail {
    fn of(record: &UsageRecord) -> Self {
        Self {
            served_model: record.served_model.as_deref().map(text),
            generation: record.generation.as_deref().map(text),
            finish_reason: record.finish_reason.as_deref().map(text),
            attempts: record.attempts,
            discarded: record.discarded,
            first_event_us: record.first_event_us,
            markup: record.markup,
            shortfall: record.shortfall,
            charge_at_most: record.charge_at_most,
            ip: record.ip,
            user_agent: record.user_agent.as_deref().map(text),
        }
    }
}

impl Costs {
    fn of(record: &UsageRecord) -> Self {
        let currency = |money: &Option<Money>| money.as_ref().map(|money| money.currency().to_string());
        Self {
            cost: record.cost.map(Money::nanos),
            charge: record.charge.map(Money::nanos),
            cost_currency: currency(&record.cost),
            price_version: record.price_version.as_deref().map(text),
            vendor_cost: record.vendor_cost.map(Money::nanos),
            vendor_currency: currency(&record.vendor_cost),
        }
    }
}

const STREAM: i32 = 1;
const ESTIMATED: i32 = 2;
const RECOVERED: i32 = 4;
const PREPAID: i32 = 8;
pub(in crate::sql) const WAIVED: i32 = 16;

fn flags(record: &UsageRecord) -> i32 {
    let flags = [
        (STREAM, record.stream),
        (ESTIMATED, record.usage.estimated),
        (RECOVERED, record.recovered),
        (PREPAID, !record.funding.is_postpaid()),
        (WAIVED, record.waived),
    ];
    flags.into_iter().filter(|(_, set)| *set).map(|(flag, _)| flag).sum()
}

fn money(nanos: Option<i64>, currency: Option<&str>) -> Result<Option<Money>> {
    let amount = nanos.zip(currency);
    amount.map(|(nanos, currency)| Ok(Money::from_nanos(nanos, currency.parse().map_err(unreadable)?))).transpose()
}

/// Without NUL, which Postgres refuses in text.
pub(in crate::sql) fn text(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() }
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

pub(in crate::sql) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "A stored usage record could not be read: ask the operator")
        .with_alert()
        .with_source(error)
}
