//! Keeping others out, in one order everywhere, so that nobody waits for somebody who waits for them.

use diesel::prelude::*;

use super::rows::Standing;
use crate::sql::schema::windows;

/// Locks that are held to the end of the transaction.
pub(super) trait Lock {
    /// The windows of these subjects, locked, in the order of their keys.
    fn lock_windows(&mut self, subjects: Vec<String>) -> impl Future<Output = QueryResult<Vec<Standing>>> + Send;

    /// Others may settle meanwhile, but nobody may open a window: it would begin without what is being settled.
    fn while_settling(&mut self) -> impl Future<Output = QueryResult<()>> + Send;

    /// Nobody settles meanwhile: what a window begins with is all that there is.
    fn while_opening(&mut self) -> impl Future<Output = QueryResult<()>> + Send;
}

/// Any number that nobody else locks.
#[cfg(feature = "postgres")]
const SETTLING: i64 = 0x6168_7562_5345_5454;

#[cfg(feature = "postgres")]
impl Lock for crate::sql::connection::Postgres {
    async fn lock_windows(&mut self, subjects: Vec<String>) -> QueryResult<Vec<Standing>> {
        let query = windows::table
            .filter(windows::subject.eq_any(subjects))
            .order((windows::subject, windows::unit, windows::span, windows::starts_at))
            .select(Standing::as_select())
            .for_update();
        diesel_async::RunQueryDsl::load(query, self).await
    }

    async fn while_settling(&mut self) -> QueryResult<()> {
        advisory(self, "SELECT pg_advisory_xact_lock_shared($1)").await
    }

    async fn while_opening(&mut self) -> QueryResult<()> {
        advisory(self, "SELECT pg_advisory_xact_lock($1)").await
    }
}

#[cfg(feature = "postgres")]
async fn advisory(conn: &mut crate::sql::connection::Postgres, statement: &'static str) -> QueryResult<()> {
    let lock = diesel::sql_query(statement).bind::<diesel::sql_types::BigInt, _>(SETTLING);
    diesel_async::RunQueryDsl::execute(lock, conn).await.map(drop)
}

/// Its transactions write one after the other: the file is the lock.
#[cfg(feature = "sqlite")]
impl Lock for crate::sql::connection::Sqlite {
    async fn lock_windows(&mut self, subjects: Vec<String>) -> QueryResult<Vec<Standing>> {
        let query = windows::table
            .filter(windows::subject.eq_any(subjects))
            .order((windows::subject, windows::unit, windows::span, windows::starts_at))
            .select(Standing::as_select());
        diesel_async::RunQueryDsl::load(query, self).await
    }

    async fn while_settling(&mut self) -> QueryResult<()> {
        Ok(())
    }

    async fn while_opening(&mut self) -> QueryResult<()> {
        Ok(())
    }
}
