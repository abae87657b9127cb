//! Column types that every database has a form of, and the values in them.
//!
//! diesel's own types for ids and times exist for one database only.

use std::fmt::Debug;
use std::str::FromStr;

use aihub_core::{AccountId, KeyId, Timestamp};
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::query_builder::QueryId;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{Binary, SqlOrd, SqlType, Text};
use diesel::sqlite::Sqlite;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An id: 16 bytes, which sort as the id does.
#[derive(Debug, SqlType, QueryId)]
#[diesel(sqlite_type(name = "Binary"))]
pub struct Uuid;

/// A time: microseconds since 1970.
#[derive(Debug, SqlType, QueryId)]
#[diesel(sqlite_type(name = "Long"))]
pub struct Instant;

/// A JSON document. What is searched for gets a column of its own: operators on JSON differ.
#[derive(Debug, SqlType, QueryId)]
#[diesel(sqlite_type(name = "Text"))]
pub struct Document;

impl SqlOrd for Uuid {}
impl SqlOrd for Instant {}

/// A value of [`Uuid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Uuid)]
pub struct Id(pub uuid::Uuid);

/// A value of [`Instant`]. Digits beyond the microsecond are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Instant)]
pub struct At(pub Timestamp);

/// A value of [`Document`].
#[derive(Debug, Clone, AsExpression, FromSqlRow)]
#[diesel(sql_type = Document)]
pub struct Doc<T: Debug>(pub T);

/// One of a few names, kept as text under a CHECK. A database's own enum types are refused: they
/// need a look-up per connection, and migrations that cannot run in a transaction.
#[derive(Debug, Clone, Copy, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct Tag<T: Debug>(pub T);

impl From<AccountId> for Id {
    fn from(id: AccountId) -> Self {
        Self(*id.as_uuid())
    }
}

impl From<KeyId> for Id {
    fn from(id: KeyId) -> Self {
        Self(*id.as_uuid())
    }
}

impl FromSql<Uuid, Sqlite> for Id {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let bytes = <Vec<u8> as FromSql<Binary, Sqlite>>::from_sql(value)?;
        Ok(Self(uuid::Uuid::from_slice(&bytes)?))
    }
}

impl ToSql<Uuid, Sqlite> for Id {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(&self.0.as_bytes()[..]);
        Ok(IsNull::No)
    }
}

impl FromSql<Instant, Sqlite> for At {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let micros = <i64 as FromSql<diesel::sql_types::BigInt, Sqlite>>::from_sql(value)?;
        Ok(Self(Timestamp::from_microsecond(micros)?))
    }
}

impl ToSql<Instant, Sqlite> for At {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.as_microsecond());
        Ok(IsNull::No)
    }
}

impl<T: DeserializeOwned + Debug> FromSql<Document, Sqlite> for Doc<T> {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
        Ok(Self(serde_json::from_str(&text)?))
    }
}

impl<T: Serialize + Debug> ToSql<Document, Sqlite> for Doc<T> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(serde_json::to_string(&self.0)?);
        Ok(IsNull::No)
    }
}

impl<T, DB> FromSql<Text, DB> for Tag<T>
where
    DB: Backend,
    String: FromSql<Text, DB>,
    T: FromStr<Err: std::error::Error + Send + Sync + 'static> + Debug,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(String::from_sql(value)?.parse()?))
    }
}

impl<T: Into<&'static str> + Copy + Debug> ToSql<Text, Sqlite> for Tag<T> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        let name: &'static str = self.0.into();
        out.set_value(name);
        Ok(IsNull::No)
    }
}
