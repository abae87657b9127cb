//! Usage records in databases.

use std::any::Any;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use aihub_core::conformance::Fixture;
use aihub_core::conformance::billing_sink::{SinkFixture, records};
use aihub_core::page::PageRequest;
use aihub_core::quota::Amounts;
use aihub_core::{AccountId, BillingSink, CallId, KeyId, Money, Result, Timestamp, UsageRecord};
use aihub_storage::{Database, SqlUsage};
use async_trait::async_trait;
use futures_util::future::BoxFuture;

mod delivery;
mod reading;

/// A database for one test, which may be opened more than once.
pub(crate) struct Place {
    open: Box<dyn Fn() -> BoxFuture<'static, Database> + Send + Sync>,
    _guard: Box<dyn Any + Send + Sync>,
}

impl Place {
    /// The records as another process sees them: by connections of its own.
    async fn open(&self) -> SqlUsage {
        SqlUsage::new(self.database().await)
    }

    pub(crate) async fn database(&self) -> Database {
        (self.open)().await
    }
}

#[cfg(feature = "sqlite")]
pub(crate) fn sqlite() -> Place {
    use aihub_storage::{Migrate, PoolSettings};

    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("hub.db");
    let open = move || -> BoxFuture<'static, Database> {
        let file = file.clone();
        Box::pin(async move { Database::sqlite(&file, PoolSettings::default(), Migrate::Run).await.unwrap() })
    };
    Place { open: Box::new(open), _guard: Box::new(folder) }
}

#[cfg(feature = "postgres")]
pub(crate) async fn postgres() -> Place {
    let schema = Arc::new(crate::postgres::Schema::new().await);
    let opened = Arc::clone(&schema);
    let open = move || -> BoxFuture<'static, Database> {
        let schema = Arc::clone(&opened);
        Box::pin(async move { schema.open().await })
    };
    Place { open: Box::new(open), _guard: Box::new(schema) }
}

/// Makes a test of each check on each database.
macro_rules! everywhere {
    ($($check:ident)*) => {
        #[cfg(feature = "sqlite")]
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$check(crate::usage::sqlite()).await;
            })*
        }

        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$check(crate::usage::postgres().await).await;
            })*
        }
    };
}
pub(crate) use everywhere;

#[cfg(feature = "sqlite")]
mod suite_on_sqlite {
    aihub_core::conformance::billing_sink!(super::fixture(super::sqlite()), exactly_once);
}

#[cfg(feature = "postgres")]
mod suite_on_postgres {
    aihub_core::conformance::billing_sink!(super::fixture(super::postgres().await), exactly_once);
}

/// Notes whose records pass: the suite asks for what is kept of everybody, a reader for one account's.
#[derive(Debug)]
struct Noting {
    usage: SqlUsage,
    accounts: Mutex<BTreeSet<AccountId>>,
}

#[async_trait]
impl BillingSink for Noting {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        self.accounts.lock().unwrap().extend(records.iter().map(|record| record.account));
        self.usage.record(records).await
    }
}

async fn fixture(place: Place) -> SinkFixture {
    let usage = place.open().await;
    let sink = Arc::new(Noting { usage, accounts: Mutex::default() });
    let (kept, summed) = (Arc::clone(&sink), Arc::clone(&sink));
    let fixture: Fixture<dyn BillingSink> = Fixture::from(sink as Arc<dyn BillingSink>).keeping(place);
    SinkFixture::from(fixture)
        .with_reader(move || {
            let sink = Arc::clone(&kept);
            Box::pin(async move {
                let mut calls = Vec::new();
                let accounts = sink.accounts.lock().unwrap().clone();
                for account in accounts {
                    calls.extend(all(&sink.usage, account).await.into_iter().rev().map(|record| record.call));
                }
                calls
            })
        })
        .with_totals(move || {
            let sink = Arc::clone(&summed);
            Box::pin(async move {
                let accounts = sink.accounts.lock().unwrap().clone();
                let mut sum = Amounts::default();
                for account in accounts {
                    let one = ever(&sink.usage, account).await;
                    let money = [sum.money, one.money].into_iter().flatten();
                    let money = money.reduce(|sum, money| sum.checked_add(money).unwrap());
                    sum = Amounts::new(sum.calls + one.calls, sum.tokens + one.tokens, money);
                }
                sum
            })
        })
}

/// All records of an account, newest first, by way of several pages.
async fn all(usage: &SqlUsage, account: AccountId) -> Vec<UsageRecord> {
    let mut page = PageRequest::first(999);
    let mut records = Vec::new();
    loop {
        let found = usage.of_account(account, page).await.unwrap();
        records.extend(found.rows);
        match found.next {
            Some(last) => page.after = Some(last),
            None => return records,
        }
    }
}

async fn ever(usage: &SqlUsage, account: AccountId) -> Amounts {
    usage.totals(account, Timestamp::UNIX_EPOCH, at(i64::from(u32::MAX))).await.unwrap()
}

/// An instant that is `millis` after one in the middle of a month.
fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_790_000_000_000 + millis).unwrap()
}

/// A record of `account` about which nothing is known but its time.
fn record(account: AccountId, at: Timestamp) -> UsageRecord {
    UsageRecord::from_parts(CallId::new(at), at, account, KeyId::new(at), "basic".into(), "chat", "vendor/m".into())
}

fn dollars(nanos: i64) -> Money {
    Money::from_nanos(nanos, aihub_core::Currency::USD)
}

/// Polls `work` once, lets others run for some turns, then drops it.
async fn given_up(turns: usize, work: impl Future) {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        drop(work.as_mut().poll(cx));
        Poll::Ready(())
    })
    .await;
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}
