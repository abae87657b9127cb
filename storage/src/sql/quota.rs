//! Quotas in a database.

use std::fmt::Debug;

use aihub_core::quota::{Amounts, Ask};
use aihub_core::{CallId, Money, QuotaPolicy, Reservation, Result};
use async_trait::async_trait;
use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::SqlError;
use super::connection::{Database, transact};
use super::schema::{quota_holds, quota_windows};
use super::values::{At, Doc, Id};
use crate::quota::{Limits, Month, Tally, month};

/// A [`QuotaPolicy`] over the tables `quota_windows` and `quota_holds`: exact over every process that shares the
/// database, and over restarts. The limits are those of [`MemoryQuota`](crate::MemoryQuota).
///
/// Every call is two transactions that its caller waits for, and the calls of one account wait for each other: some
/// hundred calls a second of one account, not thousands. A call whose process ends before it is settled stays held
/// to the end of its month.
#[derive(Debug, Clone)]
pub struct SqlQuota {
    database: Database,
    money: Option<Money>,
}

/// More than this of anything is counted as this much, so that sums fit a column; no call is as large.
const MOST: i64 = 1 << 60;

/// What an account or a key has used and holds in a month.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = quota_windows)]
struct Window {
    subject: Id,
    month: At,
    calls_settled: i64,
    calls_held: i64,
    tokens_settled: i64,
    tokens_held: i64,
    nanos_settled: i64,
    nanos_held: i64,
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = quota_holds)]
struct Hold {
    call: Id,
    account: Id,
    key: Id,
    month: At,
    calls: i64,
    tokens: i64,
    nanos: i64,
    asked: Doc<Asked>,
}

/// What was asked, to be given back to who asks again.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Asked {
    calls: u64,
    tokens: u64,
    money: Option<Money>,
}

impl SqlQuota {
    /// The quotas in `database`, of limits that plans and keys have.
    pub fn new(database: Database) -> Self {
        Self { database, money: None }
    }

    /// As [`MemoryQuota::with_monthly_money`](crate::MemoryQuota::with_monthly_money).
    #[must_use]
    pub fn with_monthly_money(mut self, most: Money) -> Self {
        self.money = Some(most);
        self
    }

    async fn hold(&self, ask: &Ask) -> Result<Asked, SqlError> {
        let tally = Tally::weigh(ask.most, self.money).map_err(SqlError::Ours)?;
        let (caller, in_month) = (&ask.caller, month(ask.at));
        let limits = [Limits::of_account(&caller.plan, self.money), Limits::of_key(&caller.key.limits)];
        let hold = Hold::new(ask, in_month, tally);
        transact!(self.database.write, |conn| {
            let insert = diesel::insert_into(quota_holds::table).values(hold.clone());
            if RunQueryDsl::execute(insert.on_conflict(quota_holds::call).do_nothing(), conn).await? == 0 {
                let known = quota_holds::table.find(hold.call).select(quota_holds::asked);
                return Ok(RunQueryDsl::first::<Doc<Asked>>(known, conn).await?.0);
            }
            // The account first, everywhere: its row is the lock of all that is its.
            for (window, limits) in hold.windows().into_iter().zip(limits) {
                let add = diesel::insert_into(quota_windows::table)
                    .values(window)
                    .on_conflict((quota_windows::subject, quota_windows::month))
                    .do_update()
                    .set((
                        quota_windows::calls_held.eq(quota_windows::calls_held + excluded(quota_windows::calls_held)),
                        quota_windows::tokens_held
                            .eq(quota_windows::tokens_held + excluded(quota_windows::tokens_held)),
                        quota_windows::nanos_held.eq(quota_windows::nanos_held + excluded(quota_windows::nanos_held)),
                    ))
                    .returning(Window::as_returning());
                let with: Window = RunQueryDsl::get_result(add, conn).await?;
                // Refused, everything is rolled back: a hold is in every window or in none.
                limits.admit(with.taken().minus(tally_of(&hold)), tally, in_month).map_err(SqlError::Ours)?;
            }
            Ok(hold.asked.0)
        })
    }

    /// Ends the hold of `call`, if it has one still: doing nothing otherwise is what makes settling idempotent.
    async fn end(&self, call: CallId, used: impl Fn(Tally) -> Tally + Send + Sync + 'static) -> Result<(), SqlError> {
        let call = Id(*call.as_uuid());
        transact!(self.database.write, |conn| {
            let delete = diesel::delete(quota_holds::table.find(call)).returning(Hold::as_returning());
            let Some(hold): Option<Hold> = RunQueryDsl::get_result(delete, conn).await.optional()? else {
                return Ok(());
            };
            let used = used(tally_of(&hold));
            let (calls, tokens, nanos) = (column(used.calls), column(used.tokens), signed(used.nanos));
            for subject in [hold.account, hold.key] {
                let settle = diesel::update(quota_windows::table.find((subject, hold.month))).set((
                    quota_windows::calls_held.eq(quota_windows::calls_held - hold.calls),
                    quota_windows::tokens_held.eq(quota_windows::tokens_held - hold.tokens),
                    quota_windows::nanos_held.eq(quota_windows::nanos_held - hold.nanos),
                    quota_windows::calls_settled.eq(quota_windows::calls_settled + calls),
                    quota_windows::tokens_settled.eq(quota_windows::tokens_settled + tokens),
                    quota_windows::nanos_settled.eq(quota_windows::nanos_settled + nanos),
                ));
                RunQueryDsl::execute(settle, conn).await?;
            }
            Ok(())
        })
    }
}

#[async_trait]
impl QuotaPolicy for SqlQuota {
    async fn reserve(&self, ask: &Ask) -> Result<Reservation> {
        let Asked { calls, tokens, money } = self.hold(ask).await?;
        let held = Amounts::new(calls, tokens, money);
        Ok(Reservation { held, ..Reservation::of(ask) })
    }

    async fn settle(&self, reservation: Reservation, used: Amounts) -> Result<()> {
        let limit = self.money;
        Ok(self.end(reservation.call, move |held| held.used(used, limit)).await?)
    }

    async fn release(&self, reservation: Reservation) -> Result<()> {
        Ok(self.end(reservation.call, |_| Tally::default()).await?)
    }
}

impl Hold {
    fn new(ask: &Ask, month: Month, tally: Tally) -> Self {
        let Amounts { calls, tokens, money, .. } = ask.most;
        Self {
            call: Id(*ask.call.as_uuid()),
            account: ask.caller.account().into(),
            key: ask.caller.key.id.into(),
            month: At(start_of(month)),
            calls: column(tally.calls),
            tokens: column(tally.tokens),
            nanos: signed(tally.nanos),
            asked: Doc(Asked { calls, tokens, money }),
        }
    }

    /// The windows that it is in, with nothing else in them.
    fn windows(&self) -> [Window; 2] {
        [self.account, self.key].map(|subject| Window {
            subject,
            month: self.month,
            calls_settled: 0,
            calls_held: self.calls,
            tokens_settled: 0,
            tokens_held: self.tokens,
            nanos_settled: 0,
            nanos_held: self.nanos,
        })
    }
}

impl Window {
    /// Settled and held together.
    fn taken(&self) -> Tally {
        tally(self.calls_settled, self.tokens_settled, self.nanos_settled).plus(tally(
            self.calls_held,
            self.tokens_held,
            self.nanos_held,
        ))
    }
}

fn tally_of(hold: &Hold) -> Tally {
    tally(hold.calls, hold.tokens, hold.nanos)
}

/// Amounts in columns are never below zero.
fn tally(calls: i64, tokens: i64, nanos: i64) -> Tally {
    let count = |column: i64| u128::from(column.unsigned_abs());
    Tally { calls: count(calls), tokens: count(tokens), nanos: nanos.into() }
}

fn column(amount: u128) -> i64 {
    i64::try_from(amount).unwrap_or(MOST).min(MOST)
}

fn signed(nanos: i128) -> i64 {
    i64::try_from(nanos).unwrap_or(MOST).min(MOST)
}

fn start_of(month: Month) -> aihub_core::Timestamp {
    month.to_zoned(TimeZone::UTC).map_or(aihub_core::Timestamp::MIN, |start| start.timestamp())
}
