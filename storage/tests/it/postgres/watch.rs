//! Keys that another process changes.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::conformance::key_store::new_key;
use aihub_core::key::NewKey;
use aihub_core::{AccountId, Clock, KeyStore, ManualClock};
use aihub_storage::{CachedKeys, Database, Migrate, SqlKeys};
use tokio_postgres::NoTls;

use super::{Schema, small};
use crate::servers;

/// Two processes on one database. The clock of the cache stands still: what it sees, it was told.
struct Two {
    schema: Schema,
    listener: String,
    clock: Arc<ManualClock>,
    here: Arc<CachedKeys<SqlKeys>>,
    elsewhere: SqlKeys,
    _watch: aihub_storage::sql::KeyWatch,
}

impl Two {
    async fn new() -> Self {
        let schema = Schema::new().await;
        let listener = format!("listener_{}", uuid::Uuid::now_v7().simple());
        let url = schema.url_with(&format!("&application_name={listener}"));
        let database = Database::postgres(&url, small(), Migrate::Run).await.unwrap();
        let clock = Arc::new(ManualClock::default());
        let here = Arc::new(CachedKeys::new(Arc::new(SqlKeys::new(database.clone())), clock.clone()));
        let elsewhere = SqlKeys::new(schema.open().await);
        let watch = database.watch_keys(Arc::clone(&here)).unwrap();
        let two = Self { schema, listener, clock, here, elsewhere, _watch: watch };
        two.listens().await;
        two
    }

    /// Waits until the listener is there, and nothing of it is left to come.
    async fn listens(&self) {
        let (client, connection) = tokio_postgres::connect(&servers::postgres(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND query = 'LISTEN aihub_keys'";
        eventually(async || client.query_one(query, &[&self.listener]).await.unwrap().get::<_, i64>(0) == 1).await;
        // Everything is forgotten once it listens: a key that stays known was looked up after that.
        let new = self.known().await;
        eventually(async || {
            let before = self.here.find(&new.hash).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            Arc::ptr_eq(&before.unwrap(), &self.here.find(&new.hash).await.unwrap().unwrap())
        })
        .await;
    }

    /// A key that the cache remembers.
    async fn known(&self) -> NewKey {
        let new = new_key(AccountId::new(self.clock.now()), 0);
        self.elsewhere.insert(new.clone()).await.unwrap();
        assert_eq!(self.here.find(&new.hash).await.unwrap().unwrap().revoked_at, None);
        new
    }

    async fn revoke(&self, new: &NewKey) {
        self.elsewhere.revoke(new.key.account, new.key.id, new.key.created_at).await.unwrap();
    }

    async fn sees_it_revoked(&self, new: &NewKey) -> bool {
        self.here.find(&new.hash).await.unwrap().unwrap().revoked_at.is_some()
    }

    async fn cut_the_listener(&self) {
        let (name, query) = (&self.listener, "query = 'LISTEN aihub_keys'");
        let cut = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}' AND {query}"
        );
        self.schema.execute(&cut).await;
    }
}

/// Polls, for half a minute at most.
async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it never came to hold");
}

#[tokio::test]
async fn a_key_that_is_revoked_elsewhere_is_forgotten_at_once() {
    let two = Two::new().await;
    let new = two.known().await;
    two.revoke(&new).await;
    eventually(async || two.sees_it_revoked(&new).await).await;
}

#[tokio::test]
async fn what_was_missed_while_the_listener_was_away_is_made_good() {
    let two = Two::new().await;
    let new = two.known().await;
    two.cut_the_listener().await;
    two.revoke(&new).await;
    eventually(async || two.sees_it_revoked(&new).await).await;
    // And it hears again.
    let next = two.known().await;
    two.revoke(&next).await;
    eventually(async || two.sees_it_revoked(&next).await).await;
}

#[tokio::test]
async fn without_a_listener_the_bound_holds() {
    let two = Two::new().await;
    let Two { schema: _schema, clock, here, elsewhere, _watch: watch, .. } = two;
    drop(watch);
    let new = new_key(AccountId::new(clock.now()), 0);
    elsewhere.insert(new.clone()).await.unwrap();
    let find = async || here.find(&new.hash).await.unwrap().unwrap().revoked_at;
    assert_eq!(find().await, None);
    elsewhere.revoke(new.key.account, new.key.id, new.key.created_at).await.unwrap();
    clock.advance(CachedKeys::<SqlKeys>::BOUND);
    assert!(find().await.is_some());
}
