//! Keys in a database.

use std::net::IpAddr;
use std::sync::Arc;

use aihub_core::key::{KeyChange, NewKey, Permission};
use aihub_core::page::{Page, PageRequest};
use aihub_core::plan::ModelAccess;
use aihub_core::{AccountId, ApiKey, KeyHash, KeyId, KeyStore, Result, Timestamp};
use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::SqlError;
use super::connection::{Database, on, transact};
use super::schema::api_keys;
use super::values::{At, Doc, Id, Instant, Tag};
use crate::key::{apply, taken, unknown};
use crate::paging::{self, Window};

/// A [`KeyStore`] over the table `api_keys`.
///
/// Asks the database at every look-up: stand a [`CachedKeys`](crate::CachedKeys) in front of it.
#[derive(Debug, Clone)]
pub struct SqlKeys {
    database: Database,
}

/// What may change of a row, and what may not.
#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = api_keys, treat_none_as_null = true, treat_none_as_default_value = false)]
struct Row {
    id: Id,
    account: Id,
    name: String,
    display_prefix: String,
    plan: String,
    permission: Tag<Permission>,
    models: Doc<ModelAccess>,
    allowed_ips: Doc<Vec<IpAddr>>,
    created_at: At,
    expires_at: Option<At>,
    revoked_at: Option<At>,
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// The first of the two that is there.
    fn coalesce(first: diesel::sql_types::Nullable<Instant>, second: Instant) -> diesel::sql_types::Nullable<Instant>;
}

impl SqlKeys {
    /// The keys in `database`.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    async fn row(&self, hash: &KeyHash) -> Result<Option<Row>, SqlError> {
        let query = api_keys::table.filter(api_keys::hash.eq(hash.as_bytes().to_vec())).select(Row::as_select());
        Ok(on!(self.database.read, |conn| query.first(conn)).optional()?)
    }

    async fn add(&self, hash: &KeyHash, row: Row) -> Result<(), SqlError> {
        let values = (api_keys::hash.eq(hash.as_bytes().to_vec()), row);
        let insert = diesel::insert_into(api_keys::table).values(values);
        on!(self.database.write, |conn| insert.execute(conn))?;
        Ok(())
    }

    /// Reads, changes and writes in one transaction: which fields are left alone is decided in one
    /// place for every store, and not by a second list of columns here.
    async fn edit(&self, account: AccountId, id: KeyId, change: KeyChange) -> Result<ApiKey, SqlError> {
        transact!(self.database.write, |conn| {
            let query = owned(account, id).select(Row::as_select());
            let row: Option<Row> = RunQueryDsl::first(query, conn).await.optional()?;
            let mut key = row.map(ApiKey::from).ok_or_else(|| SqlError::Ours(unknown()))?;
            apply(&mut key, change);
            let update = diesel::update(owned(account, id)).set(Row::from(key.clone()));
            RunQueryDsl::execute(update, conn).await?;
            Ok(key)
        })
    }

    async fn end(&self, account: AccountId, id: KeyId, at: Timestamp) -> Result<(), SqlError> {
        // One statement, which keeps the first instant by itself: two callers cannot both be first.
        let update =
            diesel::update(owned(account, id)).set(api_keys::revoked_at.eq(coalesce(api_keys::revoked_at, At(at))));
        let found = on!(self.database.write, |conn| update.execute(conn))?;
        if found == 0 { Err(SqlError::Ours(unknown())) } else { Ok(()) }
    }

    async fn page(&self, account: AccountId, page: PageRequest<KeyId>, window: Window) -> Result<Vec<Row>, SqlError> {
        let after = page.after.map_or_else(uuid::Uuid::nil, |id| *id.as_uuid());
        let query = api_keys::table
            .filter(api_keys::account.eq(Id::from(account)))
            .filter(api_keys::id.gt(Id(after)))
            .order(api_keys::id)
            .limit(i64::try_from(window.fetch()).unwrap_or(i64::MAX))
            .select(Row::as_select());
        Ok(on!(self.database.read, |conn| query.load(conn))?)
    }
}

/// The key of this id, if it is this account's: every change goes through here.
#[diesel::dsl::auto_type(no_type_alias)]
fn owned(account: AccountId, id: KeyId) -> _ {
    let account: Id = account.into();
    let id: Id = id.into();
    api_keys::table.filter(api_keys::account.eq(account)).filter(api_keys::id.eq(id))
}

#[async_trait]
impl KeyStore for SqlKeys {
    async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<ApiKey>>> {
        Ok(self.row(hash).await?.map(|row| Arc::new(row.into())))
    }

    async fn insert(&self, key: NewKey) -> Result<()> {
        let NewKey { hash, key } = key;
        match self.add(&hash, key.into()).await.map_err(aihub_core::Error::from) {
            Err(error) if error.kind() == aihub_core::ErrorKind::Conflict => Err(taken().with_source(error)),
            done => done,
        }
    }

    async fn update(&self, account: AccountId, id: KeyId, change: KeyChange) -> Result<Arc<ApiKey>> {
        Ok(Arc::new(self.edit(account, id, change).await?))
    }

    async fn revoke(&self, account: AccountId, id: KeyId, at: Timestamp) -> Result<()> {
        Ok(self.end(account, id, at).await?)
    }

    async fn list(&self, account: AccountId, page: PageRequest<KeyId>) -> Result<Page<Arc<ApiKey>, KeyId>> {
        let window = Window::of(&page);
        let rows = self.page(account, page, window).await?;
        Ok(paging::cut(rows.into_iter().map(|row| Arc::new(row.into())).collect(), window, |key: &Arc<ApiKey>| key.id))
    }
}

impl From<Row> for ApiKey {
    fn from(row: Row) -> Self {
        Self {
            id: KeyId::from_uuid(row.id.0),
            account: AccountId::from_uuid(row.account.0),
            name: row.name,
            display_prefix: row.display_prefix,
            plan: row.plan,
            permission: row.permission.0,
            models: row.models.0,
            allowed_ips: row.allowed_ips.0,
            created_at: row.created_at.0,
            expires_at: row.expires_at.map(|at| at.0),
            revoked_at: row.revoked_at.map(|at| at.0),
        }
    }
}

impl From<ApiKey> for Row {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.into(),
            account: key.account.into(),
            name: key.name,
            display_prefix: key.display_prefix,
            plan: key.plan,
            permission: Tag(key.permission),
            models: Doc(key.models),
            allowed_ips: Doc(key.allowed_ips),
            created_at: At(key.created_at),
            expires_at: key.expires_at.map(At),
            revoked_at: key.revoked_at.map(At),
        }
    }
}
