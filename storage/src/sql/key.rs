//! Keys in a database.

use std::collections::BTreeMap;
use std::sync::Arc;

use aihub_core::key::{KeyChange, KeyLimits, NewKey, NewSecret, OperationAccess, Permission};
use aihub_core::page::{Page, PageRequest};
use aihub_core::plan::ModelAccess;
use aihub_core::{AccountId, ApiKey, ErrorKind, KeyHash, KeyId, KeyStore, Network, Result, Terms, Timestamp};
use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::SqlError;
use super::connection::{Database, on, transact};
use super::notify::{Channel, Notify as _};
use super::schema::{account_terms, api_key_secrets, api_keys};
use super::values::{At, Doc, Id, Instant, Tag};
use crate::key::{apply, revoked, taken, unknown};
use crate::paging::{self, Window};

/// A [`KeyStore`] over the tables `api_keys` and `api_key_secrets`.
///
/// Asks the database at every look-up: stand a [`CachedKeys`](crate::CachedKeys) in front of it.
#[derive(Debug, Clone)]
pub struct SqlKeys {
    database: Database,
}

/// Keys whose last use is written down at once.
const LOT: usize = 100;

/// A key, without its secrets.
#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = api_keys, treat_none_as_null = true, treat_none_as_default_value = false)]
struct Row {
    id: Id,
    account: Id,
    name: String,
    display_prefix: String,
    plan: String,
    permission: Tag<Permission>,
    operations: Doc<OperationAccess>,
    models: Doc<ModelAccess>,
    allowed_ips: Doc<Vec<Network>>,
    limits: Doc<KeyLimits>,
    created_at: At,
    expires_at: Option<At>,
    revoked_at: Option<At>,
    last_used_at: Option<At>,
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

    /// Whether no key was ever kept.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) when the database does not answer.
    pub async fn is_empty(&self) -> Result<bool> {
        Ok(self.some().await?.is_none())
    }

    async fn some(&self) -> Result<Option<Id>, SqlError> {
        let query = api_keys::table.select(api_keys::id).limit(1);
        Ok(on!(self.database.read, |conn| query.first(conn)).optional()?)
    }

    async fn by_secret(&self, hash: &KeyHash) -> Result<Option<ApiKey>, SqlError> {
        let secret = api_key_secrets::table
            .inner_join(api_keys::table)
            .left_join(account_terms::table.on(account_terms::account.eq(api_keys::account)))
            .filter(api_key_secrets::hash.eq(hash.as_bytes().to_vec()));
        let found: Option<(Row, Option<At>, Option<Doc<Terms>>)> = on!(self.database.read, |conn| secret
            .select((Row::as_select(), api_key_secrets::ends_at, account_terms::terms.nullable()))
            .first(conn))
        .optional()?;
        Ok(found.map(|(row, ends_at, terms)| ApiKey {
            secret_ends_at: ends_at.map(|at| at.0),
            terms: terms.map(|terms| Arc::new(terms.0)).unwrap_or_default(),
            ..row.into()
        }))
    }

    async fn add(&self, new: NewKey) -> Result<(), SqlError> {
        let (row, secret) = (Row::from(new.key), new.hash.as_bytes().to_vec());
        transact!(self.database.write, |conn| {
            let secret = (api_key_secrets::hash.eq(secret), api_key_secrets::key.eq(row.id));
            RunQueryDsl::execute(diesel::insert_into(api_keys::table).values(row), conn).await?;
            RunQueryDsl::execute(diesel::insert_into(api_key_secrets::table).values(secret), conn).await?;
            Ok(())
        })
    }

    /// Reads, changes and writes in one transaction: which fields are left alone is decided in one
    /// place for every store, and not by a second list of columns here.
    async fn edit(&self, account: AccountId, id: KeyId, change: KeyChange) -> Result<ApiKey, SqlError> {
        transact!(self.database.write, |conn| {
            // Reads the row by an update that changes nothing: this locks it, on every database.
            let lock = diesel::update(owned(account, id)).set(api_keys::name.eq(api_keys::name));
            let row: Option<Row> =
                RunQueryDsl::get_result(lock.returning(Row::as_returning()), conn).await.optional()?;
            let mut key = row.map(ApiKey::from).ok_or_else(|| SqlError::Ours(unknown()))?;
            apply(&mut key, change);
            let update = diesel::update(owned(account, id)).set(Row::from(key.clone()));
            RunQueryDsl::execute(update, conn).await?;
            conn.notify(Channel::Keys, id).await?;
            Ok(key)
        })
    }

    async fn end(&self, account: AccountId, id: KeyId, at: Timestamp) -> Result<(), SqlError> {
        transact!(self.database.write, |conn| {
            // Keeps the first instant by itself: two callers cannot both be first.
            let update =
                diesel::update(owned(account, id)).set(api_keys::revoked_at.eq(coalesce(api_keys::revoked_at, At(at))));
            if RunQueryDsl::execute(update, conn).await? == 0 {
                return Err(SqlError::Ours(unknown()));
            }
            conn.notify(Channel::Keys, id).await?;
            Ok(())
        })
    }

    async fn replace(&self, account: AccountId, id: KeyId, new: NewSecret) -> Result<ApiKey, SqlError> {
        transact!(self.database.write, |conn| {
            let update = diesel::update(owned(account, id).filter(api_keys::revoked_at.is_null()))
                .set(api_keys::display_prefix.eq(new.display_prefix))
                .returning(Row::as_returning());
            let Some(row): Option<Row> = RunQueryDsl::get_result(update, conn).await.optional()? else {
                let there = RunQueryDsl::first(owned(account, id).select(api_keys::id), conn).await.optional()?;
                return Err(SqlError::Ours(there.map_or_else(unknown, |_: Id| revoked())));
            };
            let secrets = || api_key_secrets::table.filter(api_key_secrets::key.eq(row.id));
            let over = diesel::delete(secrets().filter(api_key_secrets::ends_at.le(At(new.at))));
            RunQueryDsl::execute(over, conn).await?;
            let newest = diesel::update(secrets().filter(api_key_secrets::ends_at.is_null()));
            RunQueryDsl::execute(newest.set(api_key_secrets::ends_at.eq(At(new.overlap_until))), conn).await?;
            let secret = (api_key_secrets::hash.eq(new.hash.as_bytes().to_vec()), api_key_secrets::key.eq(row.id));
            RunQueryDsl::execute(diesel::insert_into(api_key_secrets::table).values(secret), conn).await?;
            conn.notify(Channel::Keys, id).await?;
            Ok(row.into())
        })
    }

    /// In the order of their ids: two lots that hold the same keys lock them in the same order.
    async fn used(&self, uses: Vec<(KeyId, Timestamp)>) -> Result<(), SqlError> {
        transact!(self.database.write, |conn| {
            for (id, at) in uses {
                let earlier = api_keys::last_used_at.is_null().or(api_keys::last_used_at.lt(At(at)));
                let update = diesel::update(api_keys::table.find(Id::from(id)).filter(earlier))
                    .set(api_keys::last_used_at.eq(At(at)));
                RunQueryDsl::execute(update, conn).await?;
            }
            Ok(())
        })
    }

    async fn page(&self, account: AccountId, page: PageRequest<KeyId>, window: Window) -> Result<Vec<Row>, SqlError> {
        let after = page.after.map_or_else(uuid::Uuid::nil, |id| *id.as_uuid());
        let query = api_keys::table
            .filter(api_keys::account.eq(Id::from(account)))
            .filter(api_keys::id.gt(Id(after)))
            .order(api_keys::id)
            .limit(i64::try_from(window.fetch()).unwrap_or(i64::MAX));
        Ok(on!(self.database.read, |conn| query.select(Row::as_select()).load(conn))?)
    }
}

/// The key of this id, if it is this account's: every change goes through here.
#[diesel::dsl::auto_type(no_type_alias)]
fn owned(account: AccountId, id: KeyId) -> _ {
    let account: Id = account.into();
    let id: Id = id.into();
    api_keys::table.filter(api_keys::account.eq(account)).filter(api_keys::id.eq(id))
}

/// A database's own word that something unique is there already, as this port says it.
fn conflict(error: SqlError) -> aihub_core::Error {
    match (matches!(error, SqlError::Ours(_)), aihub_core::Error::from(error)) {
        (false, error) if error.kind() == ErrorKind::Conflict => taken().with_source(error),
        (_, error) => error,
    }
}

#[async_trait]
impl KeyStore for SqlKeys {
    async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<ApiKey>>> {
        Ok(self.by_secret(hash).await?.map(Arc::new))
    }

    async fn insert(&self, key: NewKey) -> Result<()> {
        self.add(key).await.map_err(conflict)
    }

    async fn update(&self, account: AccountId, id: KeyId, change: KeyChange) -> Result<Arc<ApiKey>> {
        Ok(Arc::new(self.edit(account, id, change).await?))
    }

    async fn revoke(&self, account: AccountId, id: KeyId, at: Timestamp) -> Result<()> {
        Ok(self.end(account, id, at).await?)
    }

    async fn rotate(&self, account: AccountId, id: KeyId, secret: NewSecret) -> Result<Arc<ApiKey>> {
        Ok(Arc::new(self.replace(account, id, secret).await.map_err(conflict)?))
    }

    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<()> {
        let mut latest = BTreeMap::new();
        for (id, at) in uses {
            latest.entry(*id).and_modify(|known: &mut Timestamp| *known = (*known).max(*at)).or_insert(*at);
        }
        let latest: Vec<_> = latest.into_iter().collect();
        // Lot by lot: all in one transaction would keep their rows locked for as long as all of them take.
        for lot in latest.chunks(LOT) {
            self.used(lot.to_vec()).await?;
        }
        Ok(())
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
            operations: row.operations.0,
            models: row.models.0,
            allowed_ips: row.allowed_ips.0,
            limits: row.limits.0,
            created_at: row.created_at.0,
            expires_at: row.expires_at.map(|at| at.0),
            revoked_at: row.revoked_at.map(|at| at.0),
            secret_ends_at: None,
            last_used_at: row.last_used_at.map(|at| at.0),
            terms: Arc::default(),
        }
    }
}

impl From<ApiKey> for Row {
    fn from(key: ApiKey) -> Self {
        // Taken apart by name: a field that is added is kept, or said not to be.
        let ApiKey {
            id,
            account,
            name,
            display_prefix,
            plan,
            permission,
            operations,
            models,
            allowed_ips,
            limits,
            created_at,
            expires_at,
            revoked_at,
            secret_ends_at: _,
            last_used_at,
            terms: _,
        } = key;
        Self {
            id: id.into(),
            account: account.into(),
            name,
            display_prefix,
            plan,
            permission: Tag(permission),
            operations: Doc(operations),
            models: Doc(models),
            allowed_ips: Doc(allowed_ips),
            limits: Doc(limits),
            created_at: At(created_at),
            expires_at: expires_at.map(At),
            revoked_at: revoked_at.map(At),
            last_used_at: last_used_at.map(At),
        }
    }
}
