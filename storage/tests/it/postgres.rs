//! Keys in Postgres, and what becomes of a connection to it.

use std::sync::Arc;

use aihub_core::conformance::Fixture;
use aihub_core::{KeyStore, conformance};
use aihub_storage::{Database, Migrate, PoolSettings, SqlKeys};
use tokio_postgres::NoTls;

use crate::servers;

mod faults;
mod migrations;
mod tls;
mod watch;

mod suite {
    use super::{conformance, fresh};

    conformance::key_store!(fresh());
}

mod quota {
    use std::sync::Arc;

    use aihub_core::QuotaPolicy;
    use aihub_core::conformance::quota_policy::{Limits, QuotaFixture};

    use super::{Schema, conformance};

    async fn under(limits: Limits) -> QuotaFixture {
        let schema = Schema::new().await;
        let policy = crate::leased::replicas(&schema.open().await);
        QuotaFixture::new(Arc::new(policy) as Arc<dyn QuotaPolicy>, limits).keeping(schema)
    }

    conformance::quota_policy!(under);
}

mod idempotency {
    use std::sync::Arc;

    use aihub_core::IdempotencyStore;
    use aihub_core::conformance::Fixture;
    use aihub_storage::SqlIdempotency;

    use super::{Schema, conformance};

    conformance::idempotency_store!(async {
        let schema = Schema::new().await;
        let store = SqlIdempotency::new(schema.open().await);
        Fixture::from(Arc::new(store) as Arc<dyn IdempotencyStore>).keeping(schema)
    });
}

mod cached {
    use std::sync::Arc;

    use aihub_core::conformance::Fixture;
    use aihub_core::{KeyStore, ManualClock};
    use aihub_storage::CachedKeys;

    use super::{conformance, fresh};

    conformance::key_store!(async {
        let inner = fresh().await;
        let cached = CachedKeys::new(Arc::clone(&inner.subject), Arc::new(ManualClock::default()));
        Fixture::from(Arc::new(cached) as Arc<dyn KeyStore>).keeping(inner)
    });
}

/// A schema of its own, which goes with it.
pub(crate) struct Schema {
    name: String,
    server: String,
}

impl Schema {
    pub(crate) async fn new() -> Self {
        Self::on(servers::postgres()).await
    }

    pub(crate) async fn on(server: String) -> Self {
        let schema = Self { name: format!("test_{}", uuid::Uuid::now_v7().simple()), server };
        execute(&schema.server, &format!("CREATE SCHEMA {}", schema.name)).await;
        schema
    }

    /// Where it is, with one more parameter.
    pub(crate) fn url_with(&self, parameter: &str) -> String {
        let more = if self.server.contains('?') { '&' } else { '?' };
        format!("{}{more}options=-csearch_path%3D{}{parameter}", self.server, self.name)
    }

    pub(crate) fn url(&self) -> String {
        self.url_with("")
    }

    pub(crate) async fn open(&self) -> Database {
        Database::postgres(&self.url(), small(), Migrate::Run).await.unwrap()
    }

    /// Does something by hand, in this schema.
    pub(crate) async fn execute(&self, sql: &str) {
        execute(&self.url(), sql).await;
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        // On a thread and a runtime of its own: the test's may be ending.
        let drop = format!("DROP SCHEMA {} CASCADE", self.name);
        let server = self.server.clone();
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if let Ok((client, connection)) = tokio_postgres::connect(&server, NoTls).await {
                    tokio::spawn(connection);
                    client.batch_execute(&drop).await.ok();
                }
            });
        });
        dropping.join().ok();
    }
}

/// As many tests run at once as there are cores, and each has its own pool.
pub(crate) fn small() -> PoolSettings {
    PoolSettings { connections: 4, ..PoolSettings::default() }
}

pub(crate) async fn execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let driving = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
    drop(client);
    driving.await.unwrap().unwrap();
}

pub(crate) async fn fresh() -> Fixture<dyn KeyStore> {
    let schema = Schema::new().await;
    let keys = SqlKeys::new(schema.open().await);
    Fixture::from(Arc::new(keys) as Arc<dyn KeyStore>).keeping(schema)
}
