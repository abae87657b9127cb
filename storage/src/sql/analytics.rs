//! What was used, read off the rollups; where they are too wide, off the records.

use aihub_core::commerce::analytics::{
    Bucket, CallFilter, Dimension, Filter, Grid, Group, Read, Series, SeriesQuery, Sums, UsageQuery,
};
use aihub_core::page::{Page, PageRequest};
use aihub_core::{AccountId, CallId, Currency, KeyId, Money, Result, Timestamp, UsageRecord};
use async_trait::async_trait;
use diesel::dsl::{max, sql};
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use diesel_async::RunQueryDsl;

use super::SqlError;
use super::connection::{Connections, on};
use super::schema::{journals, settlements, usage_records, usage_rollups};
use super::usage::row::unreadable;
use super::usage::{Row, SqlUsage, code, named, text};
use super::values::{At, Id, Instant, Uuid};
use crate::books::{by_model, whole};

/// How many sums are read for one answer, before those of a bucket are added up: some tens of megabytes.
const MOST_READ: i64 = 200_000;

/// Sums of one stretch of time.
#[derive(Debug, Queryable)]
struct Summed {
    starts_at: At,
    currency: String,
    key: Option<Id>,
    model: Option<String>,
    operation: Option<String>,
    status: Option<i32>,
    counts: (i64, i64, i64, i64, i64, i64, i64, i64),
}

impl SqlUsage {
    async fn read(&self, query: &SeriesQuery) -> Result<(Vec<Summed>, Grid)> {
        let grid = Grid::new(query)?;
        let mut all = Vec::new();
        if query.bucket == Bucket::Minute {
            all = self.minutes(query, grid.range()).await?;
        } else {
            for read in grid.reads() {
                let summed = self.rollups(query, &read).await?;
                // A range has sums in it that are read from finer ones.
                all.extend(summed.into_iter().filter(|sums| read.has(sums.starts_at.0)));
            }
        }
        if all.len() >= usize::try_from(MOST_READ).unwrap_or(usize::MAX) {
            return Err(Series::too_long());
        }
        Ok((all, grid))
    }

    async fn rollups(&self, query: &SeriesQuery, read: &Read) -> Result<Vec<Summed>, SqlError> {
        let Filter { key, model, operation, status } = &query.filter;
        let (from, to) = read.range();
        let width = if of_models(query) { by_model(read.width) } else { whole(read.width) };
        let base = usage_rollups::table
            .filter(usage_rollups::account.eq(Id::from(query.account)))
            .filter(usage_rollups::width.eq(width))
            .filter(usage_rollups::key.eq(named(*key)).or(key.is_none().into_sql::<Bool>()))
            .filter(usage_rollups::model.eq(text(model.as_ref())).or(model.is_none().into_sql::<Bool>()))
            .filter(usage_rollups::operation.eq(text(operation.as_ref())).or(operation.is_none().into_sql::<Bool>()))
            .filter(usage_rollups::status.eq(code(*status)).or(status.is_none().into_sql::<Bool>()))
            .limit(MOST_READ);
        let columns = columns(query, "starts_at", "currency", &ROLLED_UP);
        let grouped = grouped(query, "starts_at, currency");
        if let Some(starts) = read.starts() {
            let starts: Vec<At> = starts.into_iter().map(At).collect();
            let query = base.filter(usage_rollups::starts_at.eq_any(starts)).group_by(grouped).select(columns);
            return Ok(on!(self.database.read, |conn| query.load(conn))?);
        }
        let range = usage_rollups::starts_at.ge(At(from)).and(usage_rollups::starts_at.lt(At(to)));
        let query = base.filter(range).group_by(grouped).select(columns);
        Ok(on!(self.database.read, |conn| query.load(conn))?)
    }

    /// Minutes are not summed up beforehand. There are few of them in a question, and an index leads to their records.
    async fn minutes(&self, query: &SeriesQuery, (from, to): (Timestamp, Timestamp)) -> Result<Vec<Summed>, SqlError> {
        let Filter { key, model, operation, status } = &query.filter;
        let minute = minute(&self.database.read);
        let currency = "COALESCE(cost_currency, '')";
        let query = usage_records::table
            .filter(usage_records::account.eq(Id::from(query.account)))
            .filter(usage_records::at.ge(At(from)))
            .filter(usage_records::at.lt(At(to)))
            .filter(usage_records::key.eq(named(*key)).or(key.is_none().into_sql::<Bool>()))
            .filter(usage_records::model.eq(text(model.as_ref())).or(model.is_none().into_sql::<Bool>()))
            .filter(usage_records::operation.eq(text(operation.as_ref())).or(operation.is_none().into_sql::<Bool>()))
            .filter(usage_records::status.eq(code(*status)).or(status.is_none().into_sql::<Bool>()))
            .limit(MOST_READ)
            .group_by(grouped(query, &format!("{minute}, {currency}")))
            .select(columns(query, minute, currency, &RECORDED));
        Ok(on!(self.database.read, |conn| query.load(conn))?)
    }

    /// Of the newest stretch of every journal the newest.
    async fn booked_at(&self) -> Result<Option<Timestamp>, SqlError> {
        let newest = settlements::node.eq(journals::node).and(settlements::seq.eq(journals::seq));
        let query = journals::table.inner_join(settlements::table.on(newest)).select(max(settlements::booked_at));
        let booked_at: Option<At> = on!(self.database.read, |conn| query.first(conn))?;
        Ok(booked_at.map(|at| at.0))
    }

    async fn find(&self, account: AccountId, call: CallId) -> Result<Option<Row>, SqlError> {
        // By the call alone, as a cursor is found: there is one.
        let query = usage_records::table.filter(usage_records::call.eq(Id::from(call)));
        let found: Option<Row> =
            on!(self.database.read, |conn| query.select(Row::as_select()).first(conn)).optional()?;
        Ok(found.filter(|row| row.account == Id::from(account)))
    }
}

/// Whether nothing is asked but what is summed up over all keys, operations and statuses.
fn of_models(query: &SeriesQuery) -> bool {
    let Filter { key, model: _, operation, status } = &query.filter;
    let unfiltered = key.is_none() && operation.is_none() && status.is_none();
    unfiltered && query.group_by.iter().all(|dimension| *dimension == Dimension::Model)
}

/// The sums of a rollup: calls, tokens in, cached, out and thought, charge, cost, time.
const ROLLED_UP: [&str; 8] = [
    "sum(calls)",
    "sum(prompt_tokens)",
    "sum(cached_tokens)",
    "sum(completion_tokens)",
    "sum(reasoning_tokens)",
    "sum(charge)",
    "sum(cost)",
    "sum(duration_us)",
];

/// The same of records, as `crate::books::Sums` makes them.
const RECORDED: [&str; 8] = [
    "count(*)",
    "sum(input + cache_read + cache_write + audio_input + image_input + tool_input)",
    "sum(cache_read)",
    "sum(output + reasoning + audio_output + image_output)",
    "sum(reasoning)",
    "COALESCE(sum(charge), 0)",
    "COALESCE(sum(cost), 0)",
    "sum(duration_us)",
];

/// The start of a record's minute. Both databases can tell it, in no common way.
fn minute(connections: &Connections) -> &'static str {
    match connections {
        #[cfg(feature = "postgres")]
        Connections::Postgres(..) => "date_trunc('minute', at, 'UTC')",
        #[cfg(feature = "sqlite")]
        Connections::Sqlite(_) => "at - at % 60000000",
    }
}

type Columns = (
    SqlLiteral<Instant>,
    SqlLiteral<Text>,
    SqlLiteral<Nullable<Uuid>>,
    SqlLiteral<Nullable<Text>>,
    SqlLiteral<Nullable<Text>>,
    SqlLiteral<Nullable<Integer>>,
    Counts,
);

type Count = SqlLiteral<BigInt>;
type Counts = (Count, Count, Count, Count, Count, Count, Count, Count);

/// What is selected is written as text, since what it is grouped by is known only now: as types it would be sixteen queries.
/// Nothing in it comes from a caller.
fn columns(query: &SeriesQuery, starts_at: &str, currency: &str, sums: &[&'static str; 8]) -> Columns {
    let by = |dimension, column: &'static str, otherwise: &'static str| {
        if query.by(dimension) { column } else { otherwise }
    };
    let [calls, prompt, cached, completion, reasoning, charge, cost, duration] =
        sums.map(|sum| sql(&format!("CAST({sum} AS bigint)")));
    (
        sql(starts_at),
        sql(currency),
        sql(by(Dimension::Key, "key", "CAST(NULL AS uuid)")),
        sql(by(Dimension::Model, "model", "CAST(NULL AS text)")),
        sql(by(Dimension::Endpoint, "operation", "CAST(NULL AS text)")),
        sql(by(Dimension::Status, "status", "CAST(NULL AS integer)")),
        (calls, prompt, cached, completion, reasoning, charge, cost, duration),
    )
}

fn grouped(query: &SeriesQuery, always: &str) -> SqlLiteral<Text> {
    let dimensions = [
        (Dimension::Key, ", key"),
        (Dimension::Model, ", model"),
        (Dimension::Endpoint, ", operation"),
        (Dimension::Status, ", status"),
    ];
    let named = dimensions.into_iter().filter(|(dimension, _)| query.by(*dimension));
    sql(&named.fold(always.to_owned(), |list, (_, column)| list + column))
}

impl Summed {
    fn counted(self) -> Result<(Timestamp, Group, Sums)> {
        let currency = match &*self.currency {
            "" => None,
            currency => Some(currency.parse::<Currency>().map_err(unreadable)?),
        };
        let group = Group {
            key: self.key.map(|key| KeyId::from_uuid(key.0)),
            model: self.model.map(Into::into),
            operation: self.operation.map(Into::into),
            status: self.status.map(u16::try_from).transpose().map_err(unreadable)?,
        };
        let (calls, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, charge, cost, duration_us) =
            self.counts;
        let money = |nanos| currency.map(|currency| Money::from_nanos(nanos, currency));
        let sums = Sums {
            calls,
            prompt_tokens,
            cached_tokens,
            completion_tokens,
            reasoning_tokens,
            charge: money(charge),
            cost: money(cost),
            duration_us,
        };
        Ok((self.starts_at.0, group, sums))
    }
}

#[async_trait]
impl UsageQuery for SqlUsage {
    async fn series(&self, query: &SeriesQuery) -> Result<Series> {
        // Before the sums are read: what is booked in between is in them, and the instant says a little too little.
        let booked_at = self.booked_at().await?;
        let (all, grid) = self.read(query).await?;
        let sums: Vec<_> = all.into_iter().map(Summed::counted).collect::<Result<_>>()?;
        grid.fold(sums, booked_at)
    }

    async fn calls(
        &self,
        account: AccountId,
        filter: &CallFilter,
        page: PageRequest<CallId>,
    ) -> Result<Page<UsageRecord, CallId>> {
        self.listed(account, filter, page).await
    }

    async fn call(&self, account: AccountId, call: CallId) -> Result<Option<UsageRecord>> {
        self.find(account, call).await?.map(UsageRecord::try_from).transpose()
    }
}
