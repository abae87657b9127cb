//! Encrypted secrets in a database.

use aihub_core::page::{Page, PageRequest};
use aihub_core::{Result, SecretName, SecretOwner};
use async_trait::async_trait;
use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;

use super::SqlError;
use super::connection::{Database, on, transact};
use super::schema::secrets;
use crate::paging::{self, Window};
use crate::secret::{KeyRing, KeyVersion, Place, Rewrap, Sealed, SealedRows, SealedValue, Sealing, WrappedKey};

/// Secrets in a database, encrypted before they get there.
pub type SqlSecrets = Sealing<SqlRows>;

/// The rows of [`SqlSecrets`]: the table `secrets`. Clones share its database.
#[derive(Debug, Clone)]
pub struct SqlRows {
    database: Database,
}

impl SqlSecrets {
    /// The secrets in `database`, under `ring`.
    pub const fn new(database: Database, ring: KeyRing) -> Self {
        Self::over(SqlRows::new(database), ring)
    }
}

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = secrets)]
struct Row {
    owner: String,
    name: String,
    wrapped_key: Vec<u8>,
    value: Vec<u8>,
}

impl SqlRows {
    /// The rows in `database`.
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    async fn write(&self, row: Row) -> Result<(), SqlError> {
        let insert = diesel::insert_into(secrets::table).values(row);
        // Both parts in one statement: a data key never stands beside the value of another put.
        let put = insert.on_conflict((secrets::owner, secrets::name)).do_update().set((
            secrets::wrapped_key.eq(excluded(secrets::wrapped_key)),
            secrets::value.eq(excluded(secrets::value)),
        ));
        on!(self.database.write, |conn| RunQueryDsl::execute(put, conn))?;
        Ok(())
    }

    async fn read(&self, place: &Place) -> Result<Option<(Vec<u8>, Vec<u8>)>, SqlError> {
        let row = at(place).select((secrets::wrapped_key, secrets::value));
        Ok(on!(self.database.read, |conn| row.first(conn)).optional()?)
    }

    async fn delete(&self, place: &Place) -> Result<usize, SqlError> {
        let delete = diesel::delete(at(place));
        Ok(on!(self.database.write, |conn| RunQueryDsl::execute(delete, conn))?)
    }

    async fn page(&self, owner: SecretOwner, after: Option<&SecretName>, most: usize) -> Result<Vec<String>, SqlError> {
        let query = secrets::table
            .filter(secrets::owner.eq(owner.to_string()))
            .filter(secrets::name.gt(after.map_or("", SecretName::as_str).to_owned()))
            .order(secrets::name)
            .limit(limit(most));
        Ok(on!(self.database.read, |conn| query.select(secrets::name).load(conn))?)
    }

    async fn others(
        &self,
        version: KeyVersion,
        after: Option<&Place>,
        most: usize,
    ) -> Result<Vec<(String, String, Vec<u8>)>, SqlError> {
        let (least, beyond) = WrappedKey::bounds(version);
        let (owner, name) =
            after.map_or_else(Default::default, |place| (place.owner.to_string(), place.name.as_str().to_owned()));
        let query = secrets::table
            .filter(secrets::wrapped_key.lt(least).or(secrets::wrapped_key.ge(beyond)))
            .filter(secrets::owner.gt(owner.clone()).or(secrets::owner.eq(owner).and(secrets::name.gt(name))))
            .order((secrets::owner, secrets::name))
            .limit(limit(most));
        let select = query.select((secrets::owner, secrets::name, secrets::wrapped_key));
        Ok(on!(self.database.read, |conn| select.load(conn))?)
    }

    /// In the order of their places, in which every rotation locks them.
    async fn replace(&self, mut keys: Vec<Rewrap>) -> Result<u64, SqlError> {
        keys.sort_unstable_by_key(|key| (key.place.owner.to_string(), key.place.name.clone()));
        transact!(self.database.write, |conn| {
            let mut done = 0;
            for Rewrap { place, from, to } in keys {
                let unchanged = at(&place).filter(secrets::wrapped_key.eq(from.as_bytes().to_vec()));
                let update = diesel::update(unchanged).set(secrets::wrapped_key.eq(to.as_bytes().to_vec()));
                done += RunQueryDsl::execute(update, conn).await? as u64;
            }
            Ok(done)
        })
    }

    async fn all(&self) -> Result<i64, SqlError> {
        Ok(on!(self.database.read, |conn| secrets::table.count().get_result(conn))?)
    }
}

/// The row of this owner and name: every access to one goes through here.
#[diesel::dsl::auto_type(no_type_alias)]
fn at(place: &Place) -> _ {
    let owner: String = place.owner.to_string();
    let name: String = place.name.as_str().to_owned();
    secrets::table.filter(secrets::owner.eq(owner)).filter(secrets::name.eq(name))
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// An owner or a name that this program did not write.
fn unreadable(error: aihub_core::Error) -> SqlError {
    SqlError::Query(diesel::result::Error::DeserializationError(Box::new(error)))
}

fn place(owner: &str, name: &str) -> Result<Place, SqlError> {
    Ok(Place { owner: owner.parse().map_err(unreadable)?, name: name.parse().map_err(unreadable)? })
}

#[async_trait]
impl SealedRows for SqlRows {
    async fn put(&self, place: Place, sealed: Sealed) -> Result<()> {
        let row = Row {
            owner: place.owner.to_string(),
            name: place.name.as_str().to_owned(),
            wrapped_key: sealed.key.as_bytes().to_vec(),
            value: sealed.value.as_bytes().to_vec(),
        };
        Ok(self.write(row).await?)
    }

    async fn get(&self, place: &Place) -> Result<Option<Sealed>> {
        let row = self.read(place).await?;
        Ok(row.map(|(key, value)| Sealed { key: WrappedKey::from_bytes(key), value: SealedValue::from_bytes(value) }))
    }

    async fn remove(&self, place: &Place) -> Result<bool> {
        Ok(self.delete(place).await? > 0)
    }

    async fn names(&self, owner: SecretOwner, page: PageRequest<SecretName>) -> Result<Page<SecretName, SecretName>> {
        let window = Window::of(&page);
        let rows = self.page(owner, page.after.as_ref(), window.fetch()).await?;
        let names: Result<Vec<SecretName>, _> = rows.iter().map(|name| name.parse().map_err(unreadable)).collect();
        Ok(paging::cut(names?, window, SecretName::clone))
    }

    async fn not_under(
        &self,
        version: KeyVersion,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<(Place, WrappedKey)>> {
        let rows = self.others(version, after, limit).await?;
        let read = |(owner, name, key): (String, String, _)| Ok((place(&owner, &name)?, WrappedKey::from_bytes(key)));
        Ok(rows.into_iter().map(read).collect::<Result<_, SqlError>>()?)
    }

    async fn rewrap(&self, keys: Vec<Rewrap>) -> Result<u64> {
        Ok(self.replace(keys).await?)
    }

    async fn count(&self) -> Result<u64> {
        Ok(self.all().await?.unsigned_abs())
    }
}
