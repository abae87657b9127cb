//! Usage records in a database.

mod columns;
pub(super) mod row;
mod sum;

use std::sync::Arc;

use aihub_core::commerce::analytics::{CallFilter, Filter};
use aihub_core::page::{Page, PageRequest};
use aihub_core::quota::Amounts;
use aihub_core::{AccountId, BillingSink, CallId, Error, KeyId, Result, Timestamp, UsageRecord};
use async_trait::async_trait;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;

use super::SqlError;
use super::bulk::Put as _;
use super::connection::{Database, on, transact};
use super::schema::usage_records;
use super::values::{At, Id};
use crate::paging::{self, Window};
pub(super) use row::{Row, text as without_nul};
pub(super) use sum::sum_of;

/// A [`BillingSink`] over the table `usage_records`, and what reads it back.
///
/// - **Whole or not at all.** A batch is one statement of Postgres, or one transaction of SQLite. What was
///   taken is as durable as a commit of that database.
/// - **Once.** A call that is there already, or twice in its batch, is left as it is: whatever is delivered
///   again, by whichever process, adds nothing.
/// - Text keeps everything but the sign NUL, which Postgres has no form of: it becomes U+FFFD. Refusing it
///   instead would refuse the batch that it is in, again and again. Counts end at 2⁶³ - 1.
///
/// Unlike a file it has no order of arrival: what is read comes by the time of the calls.
#[derive(Debug, Clone)]
pub struct SqlUsage {
    pub(super) database: Database,
}

impl SqlUsage {
    /// The records in `database`.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The records of `account`, newest first: by [`UsageRecord::at`], and by id where that is the same.
    ///
    /// A page takes as long at any depth. Records that come while somebody pages are shown or not, by their
    /// place; none is shown twice. Changes nothing, so it may be dropped and repeated.
    ///
    /// # Errors
    ///
    /// [`Invalid`](aihub_core::ErrorKind::Invalid) when `account` has no call `page.after`: an empty page
    /// would look like the end of the list. [`Unavailable`](aihub_core::ErrorKind::Unavailable) when the
    /// database does not answer.
    pub async fn of_account(&self, account: AccountId, page: PageRequest<CallId>) -> Result<Page<UsageRecord, CallId>> {
        self.listed(account, &CallFilter::default(), page).await
    }

    pub(super) async fn listed(
        &self,
        account: AccountId,
        filter: &CallFilter,
        page: PageRequest<CallId>,
    ) -> Result<Page<UsageRecord, CallId>> {
        let window = Window::of(&page);
        let after = match page.after {
            Some(call) => Some((self.time_of(account, call).await?.ok_or_else(unknown_cursor)?, call)),
            None => None,
        };
        let rows = self.page(account, filter, after, window).await?;
        let records = rows.into_iter().map(UsageRecord::try_from).collect::<Result<_>>()?;
        Ok(paging::cut(records, window, |record: &UsageRecord| record.call))
    }

    /// What the calls of `account` that were admitted from `from` on and before `to` have used: how many they
    /// are, their tokens ([`Usage::total_tokens`](aihub_core::Usage::total_tokens)) and
    /// [`UsageRecord::cost`], where it is known; no money when it is of none of them.
    ///
    /// Takes as long as there are records in that time. Changes nothing, so it may be dropped and repeated.
    ///
    /// # Errors
    ///
    /// [`Internal`](aihub_core::ErrorKind::Internal) when the costs are in several currencies, which have no
    /// sum. [`Unavailable`](aihub_core::ErrorKind::Unavailable) when the database does not answer, or a sum
    /// does not fit into 63 bits.
    pub async fn totals(&self, account: AccountId, from: Timestamp, to: Timestamp) -> Result<Amounts> {
        sum::amounts(self.sums(account, from, to).await?)
    }

    async fn time_of(&self, account: AccountId, call: CallId) -> Result<Option<At>, SqlError> {
        // Whose it is, is looked at here: asked for both, a SQLite that has no statistics goes by the account,
        // and reads through all of its calls.
        let query = usage_records::table
            .filter(usage_records::call.eq(Id::from(call)))
            .select((usage_records::account, usage_records::at));
        let found: Option<(Id, At)> = on!(self.database.read, |conn| query.first(conn)).optional()?;
        Ok(found.filter(|(owner, _)| *owner == Id::from(account)).map(|(_, at)| at))
    }

    async fn page(
        &self,
        account: AccountId,
        filter: &CallFilter,
        after: Option<(At, CallId)>,
        window: Window,
    ) -> Result<Vec<Row>, SqlError> {
        let CallFilter { of: Filter { key, model, operation, status }, from, to } = filter;
        let (at, call) = after.unwrap_or((At(Timestamp::MAX), CallId::from_uuid(uuid::Uuid::max())));
        let older = usage_records::at.lt(at).or(usage_records::call.lt(Id::from(call)));
        let query = usage_records::table
            .filter(usage_records::account.eq(Id::from(account)))
            // Says no more than the next line does, but this is what an index can begin at: of a
            // disjunction neither database finds the beginning, and would read from the newest on.
            .filter(usage_records::at.le(at))
            .filter(older)
            .filter(usage_records::at.ge(At(from.unwrap_or(Timestamp::UNIX_EPOCH))))
            .filter(usage_records::at.lt(At(to.unwrap_or(Timestamp::MAX))))
            .filter(usage_records::key.eq(named(*key)).or(key.is_none().into_sql::<Bool>()))
            .filter(usage_records::model.eq(text(model.as_ref())).or(model.is_none().into_sql::<Bool>()))
            .filter(usage_records::operation.eq(text(operation.as_ref())).or(operation.is_none().into_sql::<Bool>()))
            .filter(usage_records::status.eq(code(*status)).or(status.is_none().into_sql::<Bool>()))
            .order((usage_records::at.desc(), usage_records::call.desc()))
            .limit(i64::try_from(window.fetch()).unwrap_or(i64::MAX));
        Ok(on!(self.database.read, |conn| query.select(Row::as_select()).load(conn))?)
    }

    async fn sums(&self, account: AccountId, from: Timestamp, to: Timestamp) -> Result<Vec<sum::Sums>, SqlError> {
        let query = usage_records::table
            .filter(usage_records::account.eq(Id::from(account)))
            .filter(usage_records::at.ge(At(from)))
            .filter(usage_records::at.lt(At(to)))
            .group_by(usage_records::cost_currency);
        Ok(on!(self.database.read, |conn| query.select(sum::columns()).load(conn))?)
    }

    async fn take(&self, rows: Vec<Row>) -> Result<(), SqlError> {
        transact!(self.database.write, |conn| {
            conn.put(rows).await?;
            Ok(())
        })
    }
}

#[async_trait]
impl BillingSink for SqlUsage {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        // By call: two processes that deliver the same calls at the same time wait for each other in one
        // order. In different orders Postgres would have to end one of them.
        let mut records: Vec<&UsageRecord> = records.iter().collect();
        records.sort_by_key(|record| record.call);
        Ok(self.take(records.into_iter().map(Row::from).collect()).await?)
    }
}

/// What a filter compares with; something that nothing is, where it does not compare.
pub(super) fn named(key: Option<KeyId>) -> Id {
    key.map_or(Id(uuid::Uuid::nil()), Id::from)
}

/// As [`named`].
pub(super) fn text(text: Option<&Arc<str>>) -> String {
    text.map(|text| text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// As [`named`].
pub(super) fn code(status: Option<u16>) -> i32 {
    status.map_or(-1, i32::from)
}

fn unknown_cursor() -> Error {
    Error::invalid("after", "There is no such record to go on after: start with the first page")
}
