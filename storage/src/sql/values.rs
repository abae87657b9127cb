//! Column types that every database has a form of, and the values in them.
//!
//! diesel's own types for ids and times exist for one database only.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt::Debug;
use std::str::FromStr;

use aihub_core::{AccountId, CallId, KeyId, Timestamp};
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::{AsExpression, CastsTo, FallibleCastsTo};
use diesel::query_builder::QueryId;
use diesel::sql_types::{BigInt, SqlOrd, SqlType, Text};

/// An id: 16 bytes, which sort as the id does.
#[derive(Debug, SqlType, QueryId)]
#[cfg_attr(feature = "postgres", diesel(postgres_type(oid = 2950, array_oid = 2951)))]
#[cfg_attr(feature = "sqlite", diesel(sqlite_type(name = "Binary")))]
pub struct Uuid;

/// A time: microseconds since 1970.
#[derive(Debug, SqlType, QueryId)]
#[cfg_attr(feature = "postgres", diesel(postgres_type(oid = 1184, array_oid = 1185)))]
#[cfg_attr(feature = "sqlite", diesel(sqlite_type(name = "Long")))]
pub struct Instant;

/// A JSON document. What is searched for gets a column of its own: operators on JSON differ.
#[derive(Debug, SqlType, QueryId)]
#[cfg_attr(feature = "postgres", diesel(postgres_type(oid = 3802, array_oid = 3807)))]
#[cfg_attr(feature = "sqlite", diesel(sqlite_type(name = "Text")))]
pub struct Document;

/// A sum of whole numbers: wider than they are in Postgres, where it has to be cast back.
#[derive(Debug, SqlType, QueryId)]
#[cfg_attr(feature = "postgres", diesel(postgres_type(oid = 1700, array_oid = 1231)))]
#[cfg_attr(feature = "sqlite", diesel(sqlite_type(name = "Long")))]
pub struct WideSum;

impl SqlOrd for Uuid {}
impl SqlOrd for Instant {}

impl FallibleCastsTo<BigInt> for WideSum {}
impl CastsTo<BigInt> for WideSum {}

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

impl From<CallId> for Id {
    fn from(id: CallId) -> Self {
        Self(*id.as_uuid())
    }
}

impl From<KeyId> for Id {
    fn from(id: KeyId) -> Self {
        Self(*id.as_uuid())
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
