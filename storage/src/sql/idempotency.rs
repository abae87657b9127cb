//! Requests under keys in a database.

use aihub_core::idempotency::{Begun, Claim, Kept, StoredAnswer};
use aihub_core::{IdempotencyStore, Result, Timestamp};
use async_trait::async_trait;
use diesel::prelude::*;
use diesel::query_dsl::methods;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;

use super::SqlError;
use super::connection::{Database, on};
use super::schema::idempotency_keys as keys;
use super::values::{At, Doc, Id, Tag};

/// An [`IdempotencyStore`] over the table `idempotency_keys`: one for every process that shares the database.
///
/// A request under a new key is one statement before it is done and one after. Clones share the database.
#[derive(Debug, Clone)]
pub struct SqlIdempotency {
    database: Database,
}

/// How a request has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum Ended {
    Answer,
    TooLarge,
    Interrupted,
}

#[derive(Debug, Insertable)]
#[diesel(table_name = keys)]
struct New {
    account: Id,
    key: String,
    fingerprint: Vec<u8>,
    request: Id,
    begun_at: At,
    running_until: At,
    expires_at: At,
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = keys)]
struct Row {
    fingerprint: Vec<u8>,
    begun_at: At,
    running_until: At,
    ended: Option<Tag<Ended>>,
    status: Option<i32>,
    headers: Option<Doc<Vec<(String, String)>>>,
    body: Option<Vec<u8>>,
}

/// How it has ended, in its columns.
#[derive(Debug, AsChangeset)]
#[diesel(table_name = keys)]
struct End {
    ended: Tag<Ended>,
    status: Option<i32>,
    headers: Option<Doc<Vec<(String, String)>>>,
    body: Option<Vec<u8>>,
}

impl SqlIdempotency {
    /// The requests in `database`.
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// Claims the key if it is free, in one statement: the database decides between any number of them.
    async fn insert(&self, claim: &Claim) -> Result<bool, SqlError> {
        let upsert = diesel::insert_into(keys::table)
            .values(New::from(claim))
            .on_conflict((keys::account, keys::key))
            .do_update()
            .set((
                keys::fingerprint.eq(excluded(keys::fingerprint)),
                keys::request.eq(excluded(keys::request)),
                keys::begun_at.eq(excluded(keys::begun_at)),
                keys::running_until.eq(excluded(keys::running_until)),
                keys::expires_at.eq(excluded(keys::expires_at)),
                keys::ended.eq(None::<Tag<Ended>>),
                keys::status.eq(None::<i32>),
                keys::headers.eq(None::<Doc<Vec<(String, String)>>>),
                keys::body.eq(None::<Vec<u8>>),
            ));
        // Named: beside that of queries, the method would be one of two.
        let insert = methods::FilterDsl::filter(upsert, keys::expires_at.le(At(claim.at)));
        Ok(on!(self.database.write, |conn| RunQueryDsl::execute(insert, conn))? > 0)
    }

    /// What there is under the key. From where is written: a reader of its own may be behind.
    async fn read(&self, claim: &Claim) -> Result<Option<Row>, SqlError> {
        let row = keys::table.find((Id::from(claim.account), claim.key.as_str().to_owned()));
        Ok(on!(self.database.write, |conn| row.select(Row::as_select()).first(conn)).optional()?)
    }

    async fn more(&self, claim: &Claim, running_until: Timestamp) -> Result<(), SqlError> {
        let update = diesel::update(running(claim)).set(keys::running_until.eq(At(running_until)));
        on!(self.database.write, |conn| RunQueryDsl::execute(update, conn))?;
        Ok(())
    }

    async fn end(&self, claim: &Claim, end: End) -> Result<(), SqlError> {
        let update = diesel::update(running(claim)).set(end);
        on!(self.database.write, |conn| RunQueryDsl::execute(update, conn))?;
        Ok(())
    }

    async fn delete(&self, claim: &Claim) -> Result<(), SqlError> {
        let delete = diesel::delete(running(claim));
        on!(self.database.write, |conn| RunQueryDsl::execute(delete, conn))?;
        Ok(())
    }

    /// Up to the instant at which the last one of the batch expired: the instant is looked at again where it
    /// is deleted, so that no key goes which was claimed meanwhile.
    async fn forget(&self, now: Timestamp, limit: i64) -> Result<usize, SqlError> {
        let old = keys::table.filter(keys::expires_at.le(At(now))).order(keys::expires_at).select(keys::expires_at);
        let last = old.limit(1).offset(limit - 1);
        let last: Option<At> = on!(self.database.read, |conn| RunQueryDsl::first(last, conn)).optional()?;
        let until = last.unwrap_or(At(now));
        let delete = diesel::delete(keys::table.filter(keys::expires_at.le(until)));
        Ok(on!(self.database.write, |conn| RunQueryDsl::execute(delete, conn))?)
    }
}

/// The row of this claim, as long as it stands and runs.
#[diesel::dsl::auto_type(no_type_alias)]
fn running(claim: &Claim) -> _ {
    let (account, key): (Id, String) = (claim.account.into(), claim.key.as_str().to_owned());
    let request: Id = claim.request.into();
    let standing = keys::account.eq(account).and(keys::key.eq(key)).and(keys::request.eq(request));
    keys::table.filter(standing.and(keys::ended.is_null()))
}

impl From<&Claim> for New {
    fn from(claim: &Claim) -> Self {
        Self {
            account: claim.account.into(),
            key: claim.key.as_str().to_owned(),
            fingerprint: claim.fingerprint.as_bytes().to_vec(),
            request: claim.request.into(),
            begun_at: At(claim.at),
            running_until: At(claim.running_until),
            expires_at: At(claim.expires_at),
        }
    }
}

impl From<Kept> for End {
    fn from(kept: Kept) -> Self {
        let without = |ended| Self { ended: Tag(ended), status: None, headers: None, body: None };
        match kept {
            Kept::Answer(StoredAnswer { status, headers, body }) => Self {
                ended: Tag(Ended::Answer),
                status: Some(status.into()),
                headers: Some(Doc(headers)),
                body: Some(body.into()),
            },
            Kept::TooLarge => without(Ended::TooLarge),
            Kept::Interrupted => without(Ended::Interrupted),
        }
    }
}

impl Row {
    fn seen_by(self, claim: &Claim) -> Result<Begun, SqlError> {
        if self.fingerprint != claim.fingerprint.as_bytes() {
            return Ok(Begun::Mismatch);
        }
        let kept = match self.ended {
            None if claim.at < self.running_until.0 => return Ok(Begun::Running { since: self.begun_at.0 }),
            None | Some(Tag(Ended::Interrupted)) => Kept::Interrupted,
            Some(Tag(Ended::TooLarge)) => Kept::TooLarge,
            Some(Tag(Ended::Answer)) => Kept::Answer(self.answer()?),
        };
        Ok(Begun::Done(kept))
    }

    fn answer(self) -> Result<StoredAnswer, SqlError> {
        let status = self.status.and_then(|status| u16::try_from(status).ok());
        match (status, self.headers, self.body) {
            (Some(status), Some(Doc(headers)), Some(body)) => Ok(StoredAnswer { status, headers, body: body.into() }),
            _ => {
                Err(SqlError::Query(diesel::result::Error::DeserializationError("an answer without its parts".into())))
            }
        }
    }
}

#[async_trait]
impl IdempotencyStore for SqlIdempotency {
    async fn begin(&self, claim: &Claim) -> Result<Begun> {
        loop {
            if self.insert(claim).await? {
                return Ok(Begun::New);
            }
            // Given back between the two statements, it is free: each turn of the loop is somebody's progress.
            if let Some(row) = self.read(claim).await? {
                return Ok(row.seen_by(claim)?);
            }
        }
    }

    async fn extend(&self, claim: &Claim, running_until: Timestamp) -> Result<()> {
        Ok(self.more(claim, running_until).await?)
    }

    async fn finish(&self, claim: &Claim, kept: Kept) -> Result<()> {
        Ok(self.end(claim, kept.into()).await?)
    }

    async fn abandon(&self, claim: &Claim) -> Result<()> {
        Ok(self.delete(claim).await?)
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<u64> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX).max(1);
        Ok(self.forget(now, limit).await? as u64)
    }
}
