//! Postings that are not of usage.

use aihub_core::commerce::{LedgerAccount, Posting};
use aihub_core::quota::{Span, Subject, Unit, Window};
use aihub_core::{AccountId, Currency, Money, Result, Timestamp};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::SqlBooks;
use super::rows::{Place, lines};
use crate::sql::SqlError;
use crate::sql::bulk::Put as _;
use crate::sql::connection::{on, transact};
use crate::sql::schema::{balances, postings, windows};
use crate::sql::values::At;

impl SqlBooks {
    /// What is left of what `account` has paid in, in `currency`; calls that run, and that were not booked yet, are not
    /// taken off.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](aihub_core::ErrorKind::Unavailable) when the database does not answer.
    pub async fn paid_in(&self, account: AccountId, currency: Currency) -> Result<Money> {
        let nanos = self.owed(format!("{account}/prepaid"), currency.to_string()).await?;
        Ok(Money::from_nanos(-nanos, currency))
    }

    /// The balance of a ledger account in `currency`.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn balance(&self, account: &LedgerAccount, currency: Currency) -> Result<Money> {
        let nanos = self.owed(account.as_str().to_owned(), currency.to_string()).await?;
        Ok(Money::from_nanos(nanos, currency))
    }

    async fn owed(&self, account: String, currency: String) -> Result<i64, SqlError> {
        let query = balances::table.find((account, currency)).select(balances::nanos);
        let nanos: Option<i64> = on!(self.database.read, |conn| query.first(conn)).optional()?;
        Ok(nanos.unwrap_or(0))
    }

    pub(super) async fn book(&self, posting: Posting) -> Result<bool, SqlError> {
        let paid_in = paid_in(&posting);
        transact!(self.database.write, |conn| {
            let head = (
                postings::id.eq(crate::sql::values::Id(posting.id())),
                postings::kind.eq(posting.kind()),
                postings::source.eq(posting.source().to_owned()),
                postings::effective_at.eq(At(posting.effective_at())),
                postings::booked_at.eq(At(posting.effective_at())),
            );
            let head = diesel::insert_into(postings::table).values(head).on_conflict(postings::source).do_nothing();
            if RunQueryDsl::execute(head, conn).await? == 0 {
                return Ok(false);
            }
            for (place, nanos) in paid_in {
                let row = (
                    windows::subject.eq(place.subject),
                    windows::unit.eq(place.unit),
                    windows::span.eq(place.span),
                    windows::starts_at.eq(At(place.starts_at)),
                    windows::granted.eq(nanos),
                );
                let raise = diesel::insert_into(windows::table)
                    .values(row)
                    .on_conflict((windows::subject, windows::unit, windows::span, windows::starts_at))
                    .do_update()
                    .set(windows::granted.eq(windows::granted + nanos));
                RunQueryDsl::execute(raise, conn).await?;
            }
            let (rows, balances) = lines(&posting);
            conn.put(rows).await?;
            conn.put(balances).await?;
            Ok(true)
        })
    }
}

/// What may be used more, or less, because of `posting`: whatever is credited to what a customer has paid in.
fn paid_in(posting: &Posting) -> Vec<(Place, i64)> {
    let owner = |name: &str| name.strip_suffix("/prepaid").and_then(|account| account.parse::<AccountId>().ok());
    let lines = posting.lines().iter();
    let owned = lines.filter_map(|line| Some((owner(line.account.as_str())?, line.money)));
    owned
        .map(|(account, money)| {
            let window = Window {
                subject: Subject::Account(account),
                unit: Unit::Money(money.currency()),
                span: Span::Lifetime,
                starts_at: Timestamp::UNIX_EPOCH,
            };
            (Place::of(&window), -money.nanos())
        })
        .collect()
}
