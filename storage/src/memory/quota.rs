//! Quotas in memory.

use std::sync::Arc;

use aihub_core::quota::{Ask, Window};
use aihub_core::{Clock as _, QuotaPolicy, Reservation, Result, SystemClock};
use async_trait::async_trait;

use super::MemoryBooks;
use crate::lease::LeasedQuota;

/// A [`QuotaPolicy`] for one process, which forgets what was used when it ends.
///
/// The limits are those that [`limits`](aihub_core::quota::limits) finds: of the caller's plan, its key, and the terms of
/// its account. It is [`LeasedQuota`] with all slices in one hand.
#[derive(Debug)]
pub struct MemoryQuota {
    leased: LeasedQuota,
    books: Arc<MemoryBooks>,
}

impl MemoryQuota {
    /// A policy under which nothing is used yet.
    pub fn new() -> Self {
        let (clock, books) = (Arc::new(SystemClock::new()), Arc::new(MemoryBooks::new()));
        let run = *aihub_core::CallId::new(clock.now()).as_uuid();
        Self { leased: LeasedQuota::reporting(books.clone(), clock, run, run), books }
    }

    /// What was used of `window`, up to now.
    ///
    /// # Errors
    ///
    /// None: memory does not fail.
    pub async fn used(&self, window: &Window) -> Result<i64> {
        self.leased.close().await?;
        Ok(self.books.standing(window).0)
    }
}

impl Default for MemoryQuota {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl QuotaPolicy for MemoryQuota {
    async fn reserve(&self, ask: &Ask) -> Result<Reservation> {
        self.leased.reserve(ask).await
    }

    async fn settle(&self, reservation: Reservation, used: aihub_core::quota::Amounts) -> Result<()> {
        self.leased.settle(reservation, used).await
    }

    async fn release(&self, reservation: Reservation) -> Result<()> {
        self.leased.release(reservation).await
    }
}
