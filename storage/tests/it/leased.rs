//! Quotas that several processes share: each call is decided by one of them.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::quota::{Amounts, Ask};
use aihub_core::{CallId, Clock as _, QuotaPolicy, Reservation, Result, SystemClock};
use aihub_storage::lease::LeasedQuota;
use aihub_storage::{Database, SqlBooks};
use async_trait::async_trait;

/// Three processes on one database, as far as quotas go.
#[derive(Debug)]
pub(crate) struct Replicas {
    each: Vec<LeasedQuota>,
    ticking: Vec<tokio::task::JoinHandle<()>>,
}

pub(crate) fn replicas(database: &Database) -> Replicas {
    let clock = Arc::new(SystemClock::new());
    let each: Vec<LeasedQuota> = (0..3)
        .map(|_| {
            let run = *CallId::new(clock.now()).as_uuid();
            LeasedQuota::reporting(Arc::new(SqlBooks::new(database.clone())), clock.clone(), run, run)
        })
        .collect();
    let tick = |quota: LeasedQuota| {
        tokio::spawn(async move {
            loop {
                // A server that is in the middle of something else is found by the next round.
                drop(quota.tick().await);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };
    let ticking = each.iter().cloned().map(tick).collect();
    Replicas { each, ticking }
}

impl Replicas {
    fn of(&self, call: CallId) -> &LeasedQuota {
        &self.each[call.as_uuid().as_u128() as usize % self.each.len()]
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.ticking.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[async_trait]
impl QuotaPolicy for Replicas {
    async fn reserve(&self, ask: &Ask) -> Result<Reservation> {
        self.of(ask.call).reserve(ask).await
    }

    async fn settle(&self, reservation: Reservation, used: Amounts) -> Result<()> {
        self.of(reservation.call).settle(reservation, used).await
    }

    async fn release(&self, reservation: Reservation) -> Result<()> {
        self.of(reservation.call).release(reservation).await
    }
}
