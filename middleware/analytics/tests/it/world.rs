//! A store of many calls that are made up when they are asked for, and that notes what it was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aihub_analytics::Analytics;
use aihub_core::commerce::analytics::{CallFilter, Grid, Series, SeriesQuery, UsageQuery};
use aihub_core::commerce::{Alert, Standing, Standings};
use aihub_core::page::{Page, PageRequest};
use aihub_core::quota::Window;
use aihub_core::{
    AccountId, ApiKey, CallId, Caller, Error, ErrorKind, KeyId, ManualClock, Plan, Result, Timestamp, UsageRecord,
};
use aihub_layers::RescueLayer;
use async_trait::async_trait;
use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::{Layer as _, ServiceExt as _};

/// `calls` calls of one account; from the page of `broken` on it fails.
#[derive(Debug)]
pub(crate) struct Many {
    pub(crate) account: AccountId,
    pub(crate) calls: usize,
    pub(crate) broken: usize,
    pub(crate) pages: AtomicUsize,
}

impl Many {
    pub(crate) fn new(calls: usize) -> Arc<Self> {
        let account = AccountId::new(Timestamp::UNIX_EPOCH);
        Arc::new(Self { account, calls, broken: usize::MAX, pages: AtomicUsize::new(0) })
    }

    /// The calls are numbered, by their ids.
    pub(crate) fn record(&self, number: usize) -> UsageRecord {
        let id = CallId::from_uuid(uuid::Uuid::from_u128(number as u128));
        let (at, key) = (Timestamp::UNIX_EPOCH, KeyId::from_uuid(uuid::Uuid::nil()));
        UsageRecord::from_parts(id, at, self.account, key, "basic".into(), "chat", "vendor/m".into())
    }
}

#[async_trait]
impl UsageQuery for Many {
    async fn series(&self, query: &SeriesQuery) -> Result<Series> {
        Grid::new(query)?.fold([], None)
    }

    async fn calls(
        &self,
        account: AccountId,
        _: &CallFilter,
        page: PageRequest<CallId>,
    ) -> Result<Page<UsageRecord, CallId>> {
        if self.pages.fetch_add(1, Ordering::SeqCst) >= self.broken {
            return Err(Error::new(ErrorKind::Unavailable, "The database is gone"));
        }
        if account != self.account {
            return Ok(Page { rows: Vec::new(), next: None });
        }
        let first = page.after.map_or(0, |after| after.as_uuid().as_u128() as usize + 1);
        let last = (first + page.limit).min(self.calls);
        let rows: Vec<UsageRecord> = (first..last).map(|number| self.record(number)).collect();
        let next = rows.last().map(|record| record.call).filter(|_| last < self.calls);
        Ok(Page { rows, next })
    }

    async fn call(&self, account: AccountId, call: CallId) -> Result<Option<UsageRecord>> {
        let number = call.as_uuid().as_u128() as usize;
        Ok((account == self.account && number < self.calls).then(|| self.record(number)))
    }
}

/// Windows of which 8 are used and 1 is held, and that have passed 80 %.
#[derive(Debug)]
pub(crate) struct Nearly;

pub(crate) fn alert(window: &Window) -> Alert {
    Alert { window: window.clone(), percent: 80, settled: 8, most: 10, raised_at: Timestamp::UNIX_EPOCH }
}

#[async_trait]
impl Standings for Nearly {
    async fn standings(&self, windows: &[Window]) -> Result<Vec<Standing>> {
        let standing = |window: &Window| Standing {
            window: window.clone(),
            settled: 8,
            leased: 1,
            granted: 0,
            alerts: vec![alert(window)],
        };
        Ok(windows.iter().map(standing).collect())
    }
}

/// What is answered to `caller`, or to a stranger.
pub(crate) async fn ask(usage: &Arc<Many>, caller: Option<Caller>, address: &str) -> Response<Body> {
    let usage = Arc::clone(usage) as Arc<dyn UsageQuery>;
    let clock = Arc::new(ManualClock::default());
    let (routes, _) = Analytics::new(usage, Arc::new(Nearly), clock.clone()).router().split_for_parts();
    let mut request = Request::get(address).body(Body::empty()).unwrap();
    if let Some(caller) = caller {
        request.extensions_mut().insert(Arc::new(caller));
    }
    RescueLayer::new(clock).layer(routes).oneshot(request).await.unwrap().map(Body::new)
}

/// The same as JSON.
pub(crate) async fn asked(usage: &Arc<Many>, caller: Option<Caller>, address: &str) -> (u16, Value) {
    let response = ask(usage, caller, address).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

/// Somebody with a key of `account` that may only read.
pub(crate) fn reader(account: AccountId) -> Caller {
    let mut key = ApiKey::new(account, "reader", "basic", Timestamp::UNIX_EPOCH);
    key.permission = aihub_core::key::Permission::ReadOnly;
    Caller::new(key, Plan { monthly_calls: Some(10), ..Plan::unlimited("basic") })
}
