//! Estimates that are put right when the vendor's own record appears.
//!
//! A stream that was left or cut brings no usage, so its record is an estimate. Some vendors keep a record of their own
//! ([`Provider::lookup`]), which appears late: a [`Corrector`] asks for it for some minutes, makes the record that would
//! have been written had it been known, and hands it to a [`Corrections`]. After that the estimate stands.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::billing::{BillingSink, UsageRecord};
use crate::charge::Charge;
use crate::error::Result;
use crate::model::{Catalogue, Offer};
use crate::money::Money;
use crate::provider::{Provider, VendorRecord};

/// Receives records that were put right.
#[async_trait]
pub trait Corrections: Debug + Send + Sync + 'static {
    /// Puts `corrected` in the place of the record of the same call, wherever that is counted.
    ///
    /// Promise: `Ok` means that every sum over records, and what the caller is charged, goes by `corrected` from now on;
    /// [`Correction::charge`] says by how much that moves.
    ///
    /// Errors: it is handed over again, for a while. Cancellation: as an error. Idempotence: by
    /// [`UsageRecord::call`]; a second correction of a call goes over the first.
    async fn correct(&self, corrected: &UsageRecord) -> Result<()>;
}

const _: fn(&dyn Corrections) = |_| {};

/// A record that was put right, and by how much.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Correction {
    /// The record as it would have been written.
    pub corrected: UsageRecord,
    /// How much more the vendor charges than was booked; less than nothing where it is less.
    pub cost: Option<Money>,
    /// How much more the caller is charged; less than nothing where it is given back.
    pub charge: Option<Money>,
}

impl Correction {
    /// What `found` makes of `record`, which `offer` served. `None` where there is nothing to put right: the record was
    /// no estimate, or the vendor says neither usage nor cost.
    ///
    /// Who was let off stays so. Nobody is charged less than nothing, and nobody more than the hold of the call
    /// allowed ([`UsageRecord::charge_at_most`]): what is beyond that the house bears, as it would have.
    pub fn of(record: &UsageRecord, found: &VendorRecord, offer: &Offer) -> Option<Self> {
        if !record.usage.estimated || found.usage.is_none() && found.cost.is_none() {
            return None;
        }
        let mut corrected = record.clone();
        corrected.vendor_cost = found.cost.or(record.vendor_cost);
        if let Some(usage) = found.usage {
            let prices = offer.prices.at(record.at)?;
            let charge = Charge::of(&prices.list, &usage, record.markup, record.waived, record.charge_at_most);
            corrected.usage = usage;
            (corrected.cost, corrected.charge, corrected.shortfall) = (charge.cost, charge.charge, charge.shortfall);
        }
        let more =
            |now: Option<Money>, before: Option<Money>| now.zip(before).and_then(|(now, was)| now.checked_sub(was));
        let (cost, charge) = (more(corrected.cost, record.cost), more(corrected.charge, record.charge));
        Some(Self { corrected, cost, charge })
    }
}

/// Where records are handed in: a [`BillingSink`] beside the one that keeps the books. It takes every record and looks at
/// those that a vendor may put right; when there are more of them than can be waited for, the estimates of the others
/// stand. Never fails, so that it never has a batch delivered twice.
#[derive(Debug, Clone)]
pub struct Doubts(mpsc::Sender<UsageRecord>);

#[async_trait]
impl BillingSink for Doubts {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        for record in records.iter().filter(|record| record.usage.estimated && record.generation.is_some()) {
            if self.0.try_send(record.clone()).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Asks vendors for their records of what was estimated.
#[derive(Debug)]
pub struct Corrector {
    records: mpsc::Receiver<UsageRecord>,
    at_once: usize,
    asking: Asking,
}

#[derive(Debug, Clone)]
struct Asking {
    providers: Arc<HashMap<String, Arc<dyn Provider>>>,
    catalogue: Arc<dyn Catalogue>,
    corrections: Arc<dyn Corrections>,
    patience: Duration,
}

impl Corrector {
    /// The first wait; each is twice as long as the one before, up to the longest.
    const FIRST_WAIT: Duration = Duration::from_secs(5);
    const LONGEST_WAIT: Duration = Duration::from_mins(1);

    /// Asks `providers`, prices by the offers of `catalogue`, and hands over to `corrections`. Waits for at most 256
    /// records at once, and 10 minutes for each of them.
    pub fn new(
        providers: impl IntoIterator<Item = Arc<dyn Provider>>,
        catalogue: Arc<dyn Catalogue>,
        corrections: Arc<dyn Corrections>,
    ) -> (Doubts, Self) {
        let at_once = 256;
        let (doubts, records) = mpsc::channel(at_once);
        let providers = providers.into_iter().filter(|provider| provider.capabilities().lookup);
        let providers = Arc::new(providers.map(|provider| (provider.name().to_owned(), provider)).collect());
        let asking = Asking { providers, catalogue, corrections, patience: Duration::from_mins(10) };
        (Doubts(doubts), Self { records, at_once, asking })
    }

    /// How long the vendor is asked for the record of one call; default 10 minutes. Too low keeps estimates that would
    /// have been put right; too high asks for what will not come.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.asking.patience = patience;
        self
    }

    /// Works until the last [`Doubts`] is gone and what was handed in is settled. Dropped before, the estimates that are
    /// open then stand; to hand the same records in again later is harmless.
    pub async fn run(mut self) {
        let places = Arc::new(Semaphore::new(self.at_once));
        let mut running = JoinSet::new();
        while let Some(record) = self.records.recv().await {
            while running.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            let asking = self.asking.clone();
            running.spawn(async move {
                asking.settle(&record).await;
                drop(place);
            });
        }
        while running.join_next().await.is_some() {}
    }
}

impl Asking {
    /// Puts one record right, or gives up.
    async fn settle(&self, record: &UsageRecord) {
        let Some((provider, generation, offer)) = self.known(record) else { return };
        let (mut wait, mut waited) = (Corrector::FIRST_WAIT, Duration::ZERO);
        let mut found = None;
        while waited < self.patience {
            tokio::time::sleep(wait).await;
            waited += wait;
            wait = (wait * 2).min(Corrector::LONGEST_WAIT);
            // An error says no more than that it is not known now.
            if found.is_none() {
                found = provider.lookup(generation).await.ok().flatten();
            }
            if let Some(found) = &found {
                let Some(correction) = Correction::of(record, found, &offer) else { return };
                if self.corrections.correct(&correction.corrected).await.is_ok() {
                    return;
                }
            }
        }
    }

    /// Who can be asked, for which answer, and the offer that served it: the one by whose prices the estimate costs what
    /// was booked. Where prices have changed since there may be none, and the estimate stands.
    fn known<'a>(&'a self, record: &'a UsageRecord) -> Option<(&'a Arc<dyn Provider>, &'a str, Offer)> {
        let (name, generation) = (record.provider.as_deref()?, record.generation.as_deref()?);
        let provider = self.providers.get(name)?;
        let model = self.catalogue.find(&record.model)?;
        let fallbacks: Vec<_> = model.fallbacks.iter().filter_map(|id| self.catalogue.find(id)).collect();
        let mut offers = std::iter::once(&model).chain(&fallbacks).flat_map(|model| &model.offers);
        let booked = |offer: &&Offer| {
            let prices = offer.prices.at(record.at);
            *offer.provider == *name
                && prices.is_some_and(|prices| Some(&prices.version) == record.price_version.as_ref())
        };
        Some((provider, generation, offers.find(booked)?.clone()))
    }
}

#[cfg(test)]
mod tests;
