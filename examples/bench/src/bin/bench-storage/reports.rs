//! Asking what ten million calls of one account come to.
//!
//! The calls are not made: the sums that settling them would leave are written, by the databases themselves. Every
//! combination of key, model, endpoint and status is used in every quarter of an hour: no ten million calls leave more rows.

use std::sync::Arc;

use aihub_bench::Failure;
use aihub_core::commerce::analytics::{Bucket, Dimension, Filter, Series, SeriesQuery, UsageQuery};
use aihub_core::jiff::tz::TimeZone;
use aihub_core::{AccountId, Timestamp};
use aihub_storage::SqlUsage;

use crate::keys::grouped;
use crate::place::{self, Place};
use crate::table::Table;

/// Days of usage, and combinations in each of their quarters: 5 keys, 6 models, 2 endpoints, 3 statuses.
pub(crate) const DAYS: i64 = 30;
pub(crate) const COMBINATIONS: i64 = 5 * 6 * 2 * 3;

/// The first quarter, at midnight in UTC.
pub(crate) const FIRST: i64 = 1_788_220_800;

/// Calls of a combination in a quarter, by its number in all of them: 19 or 20, which makes ten million.
pub(crate) const CALLS: &str = "(19 + (n % 24 < 7))";

/// A question, and what it is called.
struct Question {
    name: &'static str,
    days: (i64, i64),
    bucket: Bucket,
    zone: &'static str,
    group_by: &'static [Dimension],
}

const QUESTIONS: [Question; 7] = {
    use Dimension::{Endpoint, Key, Model, Status};
    let (month, week) = ((0, DAYS), (DAYS - 7, DAYS));
    let day = Bucket::Day;
    [
        Question { name: "30 days by day", days: month, bucket: day, zone: "UTC", group_by: &[] },
        Question { name: "30 days by day and model", days: month, bucket: day, zone: "UTC", group_by: &[Model] },
        Question {
            name: "30 days by day, key, model, endpoint and status",
            days: month,
            bucket: day,
            zone: "UTC",
            group_by: &[Key, Model, Endpoint, Status],
        },
        Question {
            name: "7 days by hour and model",
            days: week,
            bucket: Bucket::Hour,
            zone: "UTC",
            group_by: &[Model],
        },
        Question {
            name: "30 days by day in Europe/Berlin",
            days: month,
            bucket: day,
            zone: "Europe/Berlin",
            group_by: &[],
        },
        Question {
            name: "30 days by day in Asia/Kolkata",
            days: month,
            bucket: day,
            zone: "Asia/Kolkata",
            group_by: &[],
        },
        Question {
            name: "7 days by hour in Asia/Kolkata",
            days: week,
            bucket: Bucket::Hour,
            zone: "Asia/Kolkata",
            group_by: &[],
        },
    ]
};

/// Measures reports in `place`.
pub(crate) async fn measure<P: Place>(place: &P, table: &mut Table) -> Result<(), Failure> {
    let account = AccountId::new(place::at(0)?);
    place.fill_rollups(account).await?;
    let usage: Arc<dyn UsageQuery> = Arc::new(SqlUsage::new(place.database().clone()));
    let calls = calls(&usage.series(&QUESTIONS[0].query(account)?).await?);
    for question in &QUESTIONS {
        let query = question.query(account)?;
        let found = usage.series(&query).await?;
        let filled = found.buckets.iter().filter(|bucket| !bucket.rows.is_empty()).count();
        if question.days.0 == 0 && self::calls(&found) != calls || filled < 30 {
            return Err(format!("{}: {} has another sum", P::NAME, question.name).into());
        }
        let took = table.times(table.rounds * 20, |_| usage.series(&query)).await;
        table.line(
            format!("{}: usage of {} calls of one account, {}, median / p95", P::NAME, grouped(calls), question.name),
            format!("{:.1} / {:.1} ms", took.millis(50), took.millis(95)),
            "≤ 50 ms at p95",
        );
    }
    Ok(())
}

impl Question {
    fn query(&self, account: AccountId) -> Result<SeriesQuery, Failure> {
        let day = |day: i64| Timestamp::from_second(FIRST + day * 86_400);
        Ok(SeriesQuery {
            account,
            from: day(self.days.0)?,
            to: day(self.days.1)?,
            bucket: self.bucket,
            zone: TimeZone::get(self.zone)?,
            group_by: self.group_by.to_vec(),
            filter: Filter::default(),
        })
    }
}

fn calls(series: &Series) -> usize {
    let rows = series.buckets.iter().flat_map(|bucket| &bucket.rows);
    usize::try_from(rows.map(|row| row.sums.calls).sum::<i64>()).unwrap_or(0)
}
