//! Suites that prove an implementation of a port: one named test per promise.
//!
//! Each suite is a module of checks, which are plain functions, and a macro of the same name that
//! makes a test of every one of them out of an expression that makes the thing to be proved:
//!
//! ```
//! use std::sync::Arc;
//!
//! use aihub_core::{BillingSink, Result, UsageRecord, conformance};
//!
//! #[derive(Debug)]
//! struct Nowhere;
//!
//! #[async_trait::async_trait]
//! impl BillingSink for Nowhere {
//!     async fn record(&self, _: &[UsageRecord]) -> Result<()> {
//!         Ok(())
//!     }
//! }
//!
//! mod nowhere {
//!     use super::*;
//!
//!     conformance::billing_sink!(async { Arc::new(Nowhere) as Arc<dyn BillingSink> });
//! }
//! # fn main() {}
//! ```
//!
//! Every test gets a thing of its own, empty, on a runtime of its own; a maker that needs a folder
//! or a server to stay for as long as the test hands it over with [`Fixture::keeping`]. Not part of
//! the stable contract: a promise found out later becomes a check, and may fail what passed before.
#![expect(clippy::missing_panics_doc, reason = "a check fails by panicking")]

pub mod billing_sink;
pub mod feed;
pub mod idempotency_store;
pub mod key_store;
pub mod provider;
pub mod quota_policy;
pub mod rate_store;
pub mod secret_store;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::caller::Caller;
use crate::id::AccountId;
use crate::key::ApiKey;
use crate::plan::Plan;
pub use crate::{
    __billing_sink as billing_sink, __feed as feed, __idempotency_store as idempotency_store, __key_store as key_store,
    __provider as provider, __quota_policy as quota_policy, __rate_store as rate_store, __secret_store as secret_store,
};

/// What is proved, and what has to stay for as long.
pub struct Fixture<T: ?Sized> {
    /// What is proved.
    pub subject: Arc<T>,
    kept: Vec<Box<dyn Any + Send + Sync>>,
}

impl<T: ?Sized> Fixture<T> {
    /// Keeps `guard` (a temporary folder, a server) until the test has ended.
    #[must_use]
    pub fn keeping(mut self, guard: impl Any + Send + Sync) -> Self {
        self.kept.push(Box::new(guard));
        self
    }
}

impl<T: ?Sized> From<Arc<T>> for Fixture<T> {
    fn from(subject: Arc<T>) -> Self {
        Self { subject, kept: Vec::new() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Fixture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").field("subject", &self.subject).field("kept", &self.kept.len()).finish()
    }
}

/// Runs a check on a runtime of its own, with two threads, so that what is meant to be concurrent
/// is; and not for ever. The tests are plain `#[test]`s on it rather than `#[tokio::test]`s, which
/// would ask the caller's crate for tokio under that name and with those features.
pub fn run(check: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_mins(1), check).await.expect("the check did not end within a minute");
    });
}

/// An instant that is `micros` after one in the middle of a month.
pub(crate) fn at(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(1_790_000_000_000_000 + micros).expect("an instant of this century")
}

/// A caller of `account` under `plan`, with a key of its own.
pub fn caller(account: AccountId, plan: Plan) -> Arc<Caller> {
    Arc::new(Caller::new(ApiKey::new(account, "conformance", &plan.name, at(0)), plan))
}

/// Has every one of `work` done at the same time, and gives back what came of it.
pub(crate) async fn together<T: Send + 'static>(
    work: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let tasks: Vec<_> = work.into_iter().map(tokio::spawn).collect();
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(task.await.expect("a task that panicked"));
    }
    done
}

/// Makes a test of each check `name` of `$suite`, which is called with what `$arguments` are.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance {
    ($suite:ident, $maker:expr, [$($name:ident)*]) => {
        $(
            #[test]
            fn $name() {
                $crate::conformance::run(async { $crate::conformance::$suite::$name($maker).await });
            }
        )*
    };
}
