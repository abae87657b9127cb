//! Rollups: usage summed by time and by what people ask for, so that a question about a month reads some hundred rows.
//!
//! There are three widths. Quarters of an hour are the finest that every time zone's hours and days are made of; hours
//! serve the zones that differ by whole ones; days serve UTC. A finer question reads the records.
//!
//! Each is kept twice: whole, and summed over keys, operations and statuses. Most questions are about models, or about
//! nothing in particular; of an account with many keys that is a thirtieth of the rows.

use std::collections::BTreeMap;

use aihub_core::commerce::analytics::Width;
use aihub_core::{AccountId, KeyId, Money, Timestamp, UsageRecord};

/// What a width is called in the table.
pub(crate) const fn whole(width: Width) -> &'static str {
    match width {
        Width::Quarter => "quarter",
        Width::Hour => "hour",
        Width::Day => "day",
    }
}

/// What it is called where it is summed over all but the model.
pub(crate) const fn by_model(width: Width) -> &'static str {
    match width {
        Width::Quarter => "model_quarter",
        Width::Hour => "model_hour",
        Width::Day => "model_day",
    }
}

/// What is summed together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bucket {
    pub(crate) account: AccountId,
    pub(crate) width: &'static str,
    pub(crate) starts_at: Timestamp,
    pub(crate) key: KeyId,
    pub(crate) model: String,
    pub(crate) operation: &'static str,
    pub(crate) status: i32,
    /// Empty where nothing has a price.
    pub(crate) currency: String,
}

/// The sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) calls: i64,
    pub(crate) prompt_tokens: i64,
    pub(crate) cached_tokens: i64,
    pub(crate) completion_tokens: i64,
    pub(crate) reasoning_tokens: i64,
    pub(crate) charge: i64,
    pub(crate) cost: i64,
    pub(crate) duration_us: i64,
}

/// The buckets that `records` go into, in order, and what goes into each.
pub(crate) fn rollups<'a>(records: impl Iterator<Item = &'a UsageRecord>) -> BTreeMap<Bucket, Sums> {
    let mut buckets = BTreeMap::<Bucket, Sums>::new();
    for record in records {
        let sums = Sums::of(record);
        let currency = record.charge.or(record.cost).map(|money| money.currency().to_string()).unwrap_or_default();
        for width in Width::ALL {
            let start = record.at.as_second().div_euclid(width.seconds()) * width.seconds();
            let bucket = Bucket {
                account: record.account,
                width: whole(width),
                starts_at: Timestamp::from_second(start).unwrap_or(record.at),
                key: record.key,
                model: record.model.replace('\0', "\u{fffd}"),
                operation: record.operation,
                status: record.status.into(),
                currency: currency.clone(),
            };
            let of_model = Bucket {
                width: by_model(width),
                key: KeyId::from_uuid(uuid::Uuid::nil()),
                operation: "",
                status: 0,
                ..bucket.clone()
            };
            buckets.entry(of_model).or_default().add(sums);
            buckets.entry(bucket).or_default().add(sums);
        }
    }
    buckets
}

impl Sums {
    fn of(record: &UsageRecord) -> Self {
        let usage = &record.usage;
        Self {
            calls: 1,
            prompt_tokens: count(usage.prompt_tokens()),
            cached_tokens: count(usage.cache_read),
            completion_tokens: count(usage.completion_tokens()),
            reasoning_tokens: count(usage.reasoning),
            charge: record.charge.map_or(0, Money::nanos),
            cost: record.cost.map_or(0, Money::nanos),
            duration_us: count(record.duration_us),
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        let sums = [
            (&mut self.calls, other.calls),
            (&mut self.prompt_tokens, other.prompt_tokens),
            (&mut self.cached_tokens, other.cached_tokens),
            (&mut self.completion_tokens, other.completion_tokens),
            (&mut self.reasoning_tokens, other.reasoning_tokens),
            (&mut self.charge, other.charge),
            (&mut self.cost, other.cost),
            (&mut self.duration_us, other.duration_us),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
    }
}

/// No call uses more of anything; sums of it stay within a column.
fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(1 << 40).min(1 << 40)
}
