//! Sums over time.

use std::collections::BTreeMap;
use std::sync::Arc;

use aihub_core::commerce::analytics::{Bucket, Dimension, Filter, Group, Series, SeriesQuery, Sums, UsageQuery};
use aihub_core::jiff::tz::TimeZone;
use aihub_core::{AccountId, Currency, ErrorKind, KeyId, Money, Timestamp, UsageRecord};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::{Place, at, everywhere, money, record, settle};

everywhere! {
    sums_are_those_of_the_records
    a_question_that_is_too_large_says_so
}

/// Where clocks stand on halves and quarters of an hour, and where they are changed by one or by half of one.
const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe"];

/// Days around changes of clocks: in Berlin, on Lord Howe Island both ways, in New York.
const DAYS: [&str; 4] =
    ["2026-03-28T00:00:00Z", "2026-04-04T00:00:00Z", "2026-10-03T00:00:00Z", "2026-10-31T00:00:00Z"];

/// A number for everything that differs between records, and between questions.
fn drawn<T: std::fmt::Debug>(runner: &mut TestRunner, strategy: &impl Strategy<Value = T>) -> T {
    strategy.new_tree(runner).unwrap().current()
}

fn some_record(runner: &mut TestRunner, account: AccountId, keys: &[KeyId], day: Timestamp) -> UsageRecord {
    let of_day = prop_oneof![
        0_i64..2 * 86_400_000_000,
        // On an edge, and just before one.
        (0_i64..192).prop_map(|quarter| quarter * 900_000_000),
        (1_i64..192).prop_map(|quarter| quarter * 900_000_000 - 1),
    ];
    let micros = drawn(runner, &of_day);
    let mut record = record(account, Timestamp::from_microsecond(day.as_microsecond() + micros).unwrap());
    record.key = keys[drawn(runner, &(0..keys.len()))];
    record.model = ["a/one", "b/two", "c/three"][drawn(runner, &(0..3_usize))].into();
    record.operation = ["chat", "embedding"][drawn(runner, &(0..2_usize))];
    record.status = [200, 429, 500][drawn(runner, &(0..3_usize))];
    let [input, cached, output, thought, charge, cost] = drawn(runner, &prop::array::uniform6(0_u64..1_000));
    (record.usage.input, record.usage.cache_read) = (input, cached);
    (record.usage.output, record.usage.reasoning) = (output, thought);
    record.duration_us = input * 1_000;
    let currency = ["", "USD", "EUR"][drawn(runner, &(0..3_usize))];
    if !currency.is_empty() {
        record.charge = Some(money(i64::try_from(charge).unwrap(), currency));
        record.cost = Some(money(i64::try_from(cost).unwrap(), currency));
    }
    record
}

fn some_query(runner: &mut TestRunner, account: AccountId, keys: &[KeyId], day: Timestamp) -> SeriesQuery {
    let bucket = [Bucket::Minute, Bucket::Hour, Bucket::Hour, Bucket::Day, Bucket::Day][drawn(runner, &(0..5_usize))];
    let hours = if bucket == Bucket::Minute { 0..20_i64 } else { -30..60 };
    let from = day.as_second() + drawn(runner, &hours) * 3_600 + drawn(runner, &(0..3_600_i64));
    let long = if bucket == Bucket::Minute { 1..23 * 3_600_i64 } else { 1..90 * 3_600 };
    let to = from + drawn(runner, &long);
    let group_by = [Dimension::Key, Dimension::Model, Dimension::Endpoint, Dimension::Status];
    let group_by = drawn(runner, &prop::sample::subsequence(group_by.to_vec(), 0..=4));
    let mut rarely = || drawn(runner, &prop::bool::weighted(0.2));
    let filter = Filter {
        key: rarely().then(|| keys[0]),
        model: rarely().then(|| "b/two".into()),
        operation: rarely().then(|| "chat".into()),
        status: rarely().then_some(200),
    };
    let zone = TimeZone::get(ZONES[drawn(runner, &(0..ZONES.len()))]).unwrap();
    let second = |second| Timestamp::from_second(second).unwrap();
    SeriesQuery { account, from: second(from), to: second(to), bucket, zone, group_by, filter }
}

/// What a clock on the wall says of the bucket that an instant is in.
fn label(query: &SeriesQuery, at: Timestamp) -> String {
    let wall = at.to_zoned(query.zone.clone());
    match query.bucket {
        Bucket::Day => wall.strftime("%F").to_string(),
        Bucket::Hour => wall.strftime("%F %H %z").to_string(),
        Bucket::Minute => wall.strftime("%F %H:%M %z").to_string(),
    }
}

type Rows = BTreeMap<(String, Group, Option<Currency>), [i64; 8]>;

/// The slow way.
fn oracle(query: &SeriesQuery, records: &[UsageRecord]) -> Rows {
    let (first, last) = (label(query, query.from), label(query, query.to - std::time::Duration::from_micros(1)));
    let mut rows = Rows::new();
    for record in records {
        let label = label(query, record.at);
        let in_range = (record.at >= query.from || label == first) && (record.at < query.to || label == last);
        let of = &query.filter;
        let wanted = of.key.is_none_or(|key| key == record.key)
            && of.model.as_ref().is_none_or(|model| *model == record.model)
            && of.operation.as_deref().is_none_or(|operation| operation == record.operation)
            && of.status.is_none_or(|status| status == record.status);
        if record.account != query.account || !in_range || !wanted {
            continue;
        }
        let by = |dimension| query.group_by.contains(&dimension);
        let group = Group {
            key: by(Dimension::Key).then_some(record.key),
            model: by(Dimension::Model).then(|| record.model.clone()),
            operation: by(Dimension::Endpoint).then(|| record.operation.into()),
            status: by(Dimension::Status).then_some(record.status),
        };
        let count = |count: u64| i64::try_from(count).unwrap();
        let usage = &record.usage;
        let more = [
            1,
            count(usage.input + usage.cache_read),
            count(usage.cache_read),
            count(usage.output + usage.reasoning),
            count(usage.reasoning),
            record.charge.map_or(0, Money::nanos),
            record.cost.map_or(0, Money::nanos),
            count(record.duration_us),
        ];
        let row = rows.entry((label, group, record.charge.map(Money::currency))).or_default();
        row.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }
    rows
}

fn rows(query: &SeriesQuery, series: &Series) -> Rows {
    let mut rows = Rows::new();
    for bucket in &series.buckets {
        for row in &bucket.rows {
            let Sums { calls, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, .. } = row.sums;
            let money = |money: Option<Money>| money.map_or(0, Money::nanos);
            let (charge, cost) = (money(row.sums.charge), money(row.sums.cost));
            let sums = [
                calls,
                prompt_tokens,
                cached_tokens,
                completion_tokens,
                reasoning_tokens,
                charge,
                cost,
                row.sums.duration_us,
            ];
            let place = (label(query, bucket.starts_at), row.group.clone(), row.sums.currency());
            assert_eq!(rows.insert(place, sums), None, "a group is in a bucket once");
        }
    }
    rows
}

async fn sums_are_those_of_the_records(place: Place) {
    let stores = place.open().await;
    let mut runner = TestRunner::deterministic();
    let mut answered = 0;
    for day in DAYS {
        let day: Timestamp = day.parse().unwrap();
        let (account, other) = (AccountId::new(day), AccountId::new(day));
        let keys = [KeyId::new(day), KeyId::new(day), KeyId::new(day)];
        let draw = |runner: &mut TestRunner, of| some_record(runner, of, &keys, day);
        let mut records: Vec<UsageRecord> = (0..300).map(|_| draw(&mut runner, account)).collect();
        records.extend((0..50).map(|_| draw(&mut runner, other)));
        // In several stretches, so that what is summed up is added to.
        for stretch in records.chunks(120) {
            settle(&stores, uuid::Uuid::now_v7(), stretch, at(0)).await;
        }
        for _ in 0..60 {
            let query = some_query(&mut runner, account, &keys, day);
            let series = stores.usage.series(&query).await.unwrap();
            assert_eq!(rows(&query, &series), oracle(&query, &records), "{query:?}");
            let (first, last) = (series.buckets.first().unwrap(), series.buckets.last().unwrap());
            assert!(first.starts_at <= query.from && query.from < first.ends_at, "{query:?}");
            assert!(last.starts_at < query.to && query.to <= last.ends_at, "{query:?}");
            assert!(
                series.buckets.windows(2).all(|pair| pair[0].ends_at == pair[1].starts_at),
                "no bucket is left out"
            );
            assert_eq!(series.booked_at, Some(at(0)));
            answered += usize::from(series.buckets.iter().any(|bucket| !bucket.rows.is_empty()));
        }
    }
    assert!(answered > 150, "only {answered} of 240 questions were about something");
    // What is summed up beforehand is also checked as a whole, every width of it.
    if let Some(database) = stores.database {
        for check in aihub_storage::SqlBooks::new(database).audit(at(0)).await.unwrap() {
            assert!(check.drift.is_empty(), "{}: {:?}", check.name, check.drift);
        }
    }
}

async fn a_question_that_is_too_large_says_so(place: Place) {
    let usage: Arc<dyn UsageQuery> = place.open().await.usage;
    let day: Timestamp = DAYS[0].parse().unwrap();
    let query = SeriesQuery {
        account: AccountId::new(day),
        from: day,
        to: day + std::time::Duration::from_secs(86_401),
        bucket: Bucket::Minute,
        zone: TimeZone::UTC,
        group_by: Vec::new(),
        filter: Filter::default(),
    };
    let error = usage.series(&query).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "range_too_long"));
    let hours = SeriesQuery { bucket: Bucket::Hour, ..query };
    let series = usage.series(&hours).await.unwrap();
    assert_eq!((series.buckets.len(), series.booked_at), (25, None), "nothing was ever booked");
}
