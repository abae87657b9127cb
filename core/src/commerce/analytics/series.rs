//! Questions about sums over time, and their answers.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::Filter;
use crate::billing::UsageRecord;
use crate::error::Error;
use crate::id::{AccountId, KeyId};
use crate::money::{Currency, Money};
use crate::time::Timestamp;

/// How much time is summed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::EnumString)]
pub enum Bucket {
    /// A minute.
    #[strum(serialize = "1m")]
    Minute,
    /// An hour of the time zone.
    #[strum(serialize = "1h")]
    Hour,
    /// A day of the time zone: 23 or 25 hours where clocks are changed.
    #[strum(serialize = "1d")]
    Day,
}

impl Bucket {
    /// How many of them one question may be about: a day of minutes, a quarter of hours, three years of days.
    pub const fn most(self) -> usize {
        match self {
            Self::Minute => 24 * 60,
            Self::Hour => 92 * 24 + 1,
            Self::Day => 3 * 366,
        }
    }
}

/// What sums are taken apart by.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::Display, strum::EnumString, strum::EnumIter,
)]
#[strum(serialize_all = "snake_case")]
pub enum Dimension {
    /// The key used.
    Key,
    /// The model asked for.
    Model,
    /// What was asked of it, such as `chat`.
    Endpoint,
    /// The HTTP status of the answer.
    Status,
}

/// A question: how much was used, by whom, when.
#[derive(Debug, Clone)]
pub struct SeriesQuery {
    /// Whose use.
    pub account: AccountId,
    /// The range begins with the bucket that has this instant …
    pub from: Timestamp,
    /// … and ends with the last one that begins before this: buckets are always whole.
    pub to: Timestamp,
    /// How much time is summed together.
    pub bucket: Bucket,
    /// Whose hours and days.
    pub zone: TimeZone,
    /// What is taken apart; nothing gives one row for each currency.
    pub group_by: Vec<Dimension>,
    /// Which calls count.
    pub filter: Filter,
}

impl SeriesQuery {
    /// Whether sums are taken apart by this.
    pub fn by(&self, dimension: Dimension) -> bool {
        self.group_by.contains(&dimension)
    }
}

/// What a row is the sum of; only what was asked to be taken apart is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The key used.
    pub key: Option<KeyId>,
    /// The model asked for.
    pub model: Option<Arc<str>>,
    /// The operation.
    pub operation: Option<Arc<str>>,
    /// The HTTP status.
    pub status: Option<u16>,
}

/// Sums over calls. They end at 2⁶³ - 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Calls, failed and refused ones included.
    pub calls: i64,
    /// Tokens on the way in.
    pub prompt_tokens: i64,
    /// Those of them that the vendor had in its cache.
    pub cached_tokens: i64,
    /// Tokens on the way out.
    pub completion_tokens: i64,
    /// Those of them that the model thought with.
    pub reasoning_tokens: i64,
    /// What the caller is charged; `None` where nothing has a price.
    pub charge: Option<Money>,
    /// What vendors charge, by their price lists. Not for callers.
    pub cost: Option<Money>,
    /// From admission to the end, in microseconds.
    pub duration_us: i64,
}

/// The sums of one group in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesRow {
    /// Of what.
    pub group: Group,
    /// How much.
    pub sums: Sums,
}

/// One stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesBucket {
    /// Its first instant.
    pub starts_at: Timestamp,
    /// The first instant that is no longer in it.
    pub ends_at: Timestamp,
    /// By group and currency; none where nothing was used.
    pub rows: Vec<SeriesRow>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Every bucket of the range, in order of time.
    pub buckets: Vec<SeriesBucket>,
    /// When the newest usage was booked, of any account; `None` before the first. Calls that ended later are not in it yet,
    /// nor are those of a replica whose journal lags behind.
    pub booked_at: Option<Timestamp>,
}

impl Series {
    /// How many rows one answer may have: what is more than that is a matter for the export.
    pub const MOST_ROWS: usize = 50_000;

    /// What is answered to a question whose answer has more.
    pub fn too_long() -> Error {
        let message = format!(
            "The answer would have more than {} rows: ask for less time, for wider buckets, or for fewer things in \
             `group_by`",
            Self::MOST_ROWS
        );
        Error::invalid("group_by", message).with_code("too_many_rows")
    }
}

impl Group {
    /// What a record is counted under.
    pub fn of(record: &UsageRecord, query: &SeriesQuery) -> Self {
        Self {
            key: query.by(Dimension::Key).then_some(record.key),
            model: query.by(Dimension::Model).then(|| Arc::clone(&record.model)),
            operation: query.by(Dimension::Endpoint).then(|| record.operation.into()),
            status: query.by(Dimension::Status).then_some(record.status),
        }
    }
}

impl Sums {
    /// The currency that it is in, where it is in one.
    pub fn currency(&self) -> Option<Currency> {
        self.charge.or(self.cost).map(Money::currency)
    }

    /// Adds others in the same currency.
    pub fn add(&mut self, other: &Self) {
        let counts = [
            (&mut self.calls, other.calls),
            (&mut self.prompt_tokens, other.prompt_tokens),
            (&mut self.cached_tokens, other.cached_tokens),
            (&mut self.completion_tokens, other.completion_tokens),
            (&mut self.reasoning_tokens, other.reasoning_tokens),
            (&mut self.duration_us, other.duration_us),
        ];
        for (sum, more) in counts {
            *sum = sum.saturating_add(more);
        }
        for (sum, more) in [(&mut self.charge, other.charge), (&mut self.cost, other.cost)] {
            let Some(more) = more else { continue };
            let nanos = sum.map_or(0, Money::nanos).saturating_add(more.nanos());
            *sum = Some(Money::from_nanos(nanos, more.currency()));
        }
    }
}
