//! Terms in a database.

use std::sync::Arc;

use aihub_core::{AccountId, Result, Terms, TermsStore};
use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::SqlError;
use super::connection::{Database, on};
use super::schema::account_terms;
use super::values::{Doc, Id};

/// A [`TermsStore`] over the table `account_terms`, from which keys are looked up with the terms of their account.
#[derive(Debug, Clone)]
pub struct SqlTerms {
    database: Database,
}

impl SqlTerms {
    /// The terms in `database`.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    async fn read(&self, account: Id) -> Result<Option<Doc<Terms>>, SqlError> {
        let query = account_terms::table.find(account).select(account_terms::terms);
        Ok(on!(self.database.read, |conn| query.first(conn)).optional()?)
    }

    async fn write(&self, account: Id, terms: Terms) -> Result<(), SqlError> {
        let row = (account_terms::account.eq(account), account_terms::terms.eq(Doc(terms.clone())));
        let insert = diesel::insert_into(account_terms::table)
            .values(row)
            .on_conflict(account_terms::account)
            .do_update()
            .set(account_terms::terms.eq(Doc(terms)));
        on!(self.database.write, |conn| RunQueryDsl::execute(insert, conn))?;
        Ok(())
    }
}

#[async_trait]
impl TermsStore for SqlTerms {
    async fn terms(&self, account: AccountId) -> Result<Arc<Terms>> {
        Ok(self.read(account.into()).await?.map(|terms| Arc::new(terms.0)).unwrap_or_default())
    }

    async fn set_terms(&self, account: AccountId, terms: Terms) -> Result<()> {
        Ok(self.write(account.into(), terms).await?)
    }
}
