//! Reports: sums against an oracle that adds up record by record, lists, standings and alerts, on every store.

use std::any::Any;
use std::sync::Arc;

use aihub_core::commerce::{Settled, SettledCall, Settlement};
use aihub_core::journal::Position;
use aihub_core::{AccountId, CallId, KeyId, Money, Outcome, SystemClock, Timestamp, UsageRecord};
use aihub_storage::{OpenSettings, Stores};
use futures_util::future::BoxFuture;
use uuid::Uuid;

mod alerts;
mod lists;
mod sums;

/// A store for one test, which may be opened more than once, unless it is memory.
pub(crate) struct Place {
    open: Box<dyn Fn() -> BoxFuture<'static, Stores> + Send + Sync>,
    _guard: Box<dyn Any + Send + Sync>,
}

impl Place {
    async fn open(&self) -> Stores {
        (self.open)().await
    }

    fn at(url: String, guard: impl Any + Send + Sync) -> Self {
        let open = move || -> BoxFuture<'static, Stores> {
            let url = url.clone();
            Box::pin(async move {
                let clock = Arc::new(SystemClock::new());
                aihub_storage::open(&url, OpenSettings::default(), clock).await.unwrap()
            })
        };
        Self { open: Box::new(open), _guard: Box::new(guard) }
    }
}

async fn memory() -> Place {
    let stores = aihub_storage::open("memory:", OpenSettings::default(), Arc::new(SystemClock::new())).await.unwrap();
    let open = move || -> BoxFuture<'static, Stores> { Box::pin(std::future::ready(stores.clone())) };
    Place { open: Box::new(open), _guard: Box::new(()) }
}

#[cfg(feature = "sqlite")]
async fn sqlite() -> Place {
    let folder = tempfile::TempDir::new().unwrap();
    Place::at(format!("sqlite://{}", folder.path().join("hub.db").display()), folder)
}

#[cfg(feature = "postgres")]
async fn postgres() -> Place {
    let schema = crate::postgres::Schema::new().await;
    Place::at(schema.url(), schema)
}

/// Makes a test of each check on each store.
macro_rules! everywhere {
    ($($check:ident)*) => {
        everywhere!(@memory $($check)*);
        #[cfg(feature = "sqlite")]
        everywhere!(@sqlite $($check)*);
        #[cfg(feature = "postgres")]
        everywhere!(@postgres $($check)*);
    };
    (@$store:ident $($check:ident)*) => {
        mod $store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$check(crate::analytics::$store().await).await;
            })*
        }
    };
}
use everywhere;

/// Takes records over as the next stretch of a journal.
async fn settle(stores: &Stores, node: Uuid, records: &[UsageRecord], at: Timestamp) -> Settled {
    let from = stores.books.position(node).await.unwrap();
    let to = Position { segment: from.segment, offset: from.offset + 1 };
    let calls = records.iter().map(|record| SettledCall { record: record.clone(), windows: Vec::new(), run: node });
    stores.books.settle(Settlement { node, from, to, calls: calls.collect(), at }).await.unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_790_000_000_000 + millis).unwrap()
}

/// A call that has been answered.
fn record(account: AccountId, at: Timestamp) -> UsageRecord {
    let (call, key) = (CallId::new(at), KeyId::new(at));
    let mut record = UsageRecord::from_parts(call, at, account, key, "basic".into(), "chat", "vendor/m".into());
    (record.outcome, record.status) = (Outcome::Completed, 200);
    record
}

fn money(nanos: i64, currency: &str) -> Money {
    Money::from_nanos(nanos, currency.parse().unwrap())
}
