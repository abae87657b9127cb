use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::call::Attempt;
use crate::caller::Caller;
use crate::chat::{ChatReply, ChatRequest};
use crate::error::{Error, ErrorKind};
use crate::id::{AccountId, CallId};
use crate::key::ApiKey;
use crate::model::{FixedCatalogue, Model};
use crate::money::Currency;
use crate::plan::Plan;
use crate::price::PriceList;
use crate::provider::Capabilities;
use crate::time::Timestamp;
use crate::usage::Usage;

fn usd(nanos: i64) -> Money {
    Money::from_nanos(nanos, Currency::USD)
}

/// A dollar a million, which is a thousand nanos a token.
fn offer() -> Offer {
    Offer::new("vendor", "m", PriceList::flat("1", "1").unwrap())
}

/// The record of a call that used about 30 tokens, with a markup of a half.
fn estimated(waived: bool, most: Option<i64>) -> UsageRecord {
    let at = Timestamp::UNIX_EPOCH;
    let caller = Caller::new(ApiKey::new(AccountId::new(at), "key", "any", at), Plan::unlimited("any"));
    let mut record = UsageRecord::new(CallId::new(at), at, &caller, "chat", "m".into());
    (record.provider, record.generation) = (Some("vendor".into()), Some("gen-1".into()));
    (record.usage, record.markup) = (Usage::estimate(10, 20), "50%".parse().unwrap());
    record.charge_at_most = most.map(usd);
    record.waived = waived;
    let prices = Arc::clone(offer().prices.at(at).unwrap());
    record.price_version = Some(Arc::clone(&prices.version));
    let charge = Charge::of(&prices.list, &record.usage, record.markup, waived, record.charge_at_most);
    (record.cost, record.charge, record.shortfall) = (charge.cost, charge.charge, charge.shortfall);
    record
}

fn found(prompt: u64, completion: u64) -> VendorRecord {
    VendorRecord::new(Some(Usage::new(prompt, completion)), Some(usd(77)))
}

#[test]
fn the_vendors_figures_make_the_record_that_would_have_been_written() {
    for (found, cost, charge) in
        [(found(12, 28), 10_000, 15_000), (found(9, 1), -20_000, -30_000), (found(10, 20), 0, 0)]
    {
        let correction = Correction::of(&estimated(false, None), &found, &offer()).unwrap();
        assert_eq!((correction.cost, correction.charge), (Some(usd(cost)), Some(usd(charge))));
        let corrected = correction.corrected;
        assert_eq!((Some(corrected.usage), corrected.vendor_cost), (found.usage, Some(usd(77))));
        assert_eq!((corrected.cost, corrected.charge), (Some(usd(30_000 + cost)), Some(usd(45_000 + charge))));
        assert!(!corrected.usage.estimated);
    }
}

#[test]
fn nobody_is_charged_beyond_its_hold_and_nobody_who_was_let_off() {
    let held = Correction::of(&estimated(false, Some(50_000)), &found(10, 90), &offer()).unwrap();
    assert_eq!((held.cost, held.charge), (Some(usd(70_000)), Some(usd(5_000))));
    assert_eq!((held.corrected.charge, held.corrected.shortfall), (Some(usd(50_000)), Some(usd(100_000))));
    let back = Correction::of(&estimated(false, Some(40_000)), &found(10, 10), &offer()).unwrap();
    assert_eq!((back.corrected.charge, back.corrected.shortfall), (Some(usd(30_000)), None));
    let waived = Correction::of(&estimated(true, None), &found(10, 90), &offer()).unwrap();
    assert_eq!((waived.cost, waived.charge), (Some(usd(70_000)), Some(usd(0))));
    let nothing = Correction::of(&estimated(false, None), &found(0, 0), &offer()).unwrap();
    assert_eq!(nothing.corrected.charge, Some(usd(0)));
}

#[test]
fn what_was_counted_stays_and_a_cost_alone_is_noted() {
    let mut counted = estimated(false, None);
    counted.usage.estimated = false;
    assert_eq!(Correction::of(&counted, &found(1, 1), &offer()), None);
    assert_eq!(Correction::of(&estimated(false, None), &VendorRecord::default(), &offer()), None);
    let cost = Correction::of(&estimated(false, None), &VendorRecord::new(None, Some(usd(5))), &offer()).unwrap();
    assert_eq!((cost.charge, cost.corrected.vendor_cost), (Some(usd(0)), Some(usd(5))));
    assert!(cost.corrected.usage.estimated);
}

/// A vendor whose records appear late.
#[derive(Debug)]
struct Late {
    look_ups: AtomicU32,
    late: u32,
}

#[async_trait]
impl Provider for Late {
    fn name(&self) -> &'static str {
        "vendor"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { lookup: true, ..Capabilities::CHAT }
    }

    async fn chat(&self, _: Attempt<ChatRequest>) -> Result<ChatReply> {
        Err(Error::unsupported("Chatting"))
    }

    async fn lookup(&self, generation: &str) -> Result<Option<VendorRecord>> {
        assert_eq!(generation, "gen-1");
        match self.look_ups.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Error::new(ErrorKind::Unavailable, "away")),
            n if n < self.late => Ok(None),
            _ => Ok(Some(found(12, 28))),
        }
    }
}

/// Keeps what was put right; fails at first.
#[derive(Debug, Default)]
struct Ledger {
    failing: AtomicU32,
    corrected: Mutex<Vec<UsageRecord>>,
}

#[async_trait]
impl Corrections for Ledger {
    async fn correct(&self, corrected: &UsageRecord) -> Result<()> {
        if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(Error::new(ErrorKind::Unavailable, "away"));
        }
        self.corrected.lock().unwrap().push(corrected.clone());
        Ok(())
    }
}

/// How often the vendor was asked, what was put right, and after how many seconds all was settled.
async fn corrected(records: &[UsageRecord], late: u32, failing: u32) -> (u32, Vec<UsageRecord>, u64) {
    let vendor = Arc::new(Late { look_ups: AtomicU32::new(0), late });
    let ledger = Arc::new(Ledger { failing: AtomicU32::new(failing), ..Ledger::default() });
    let catalogue = Arc::new(FixedCatalogue::new([Model::chat("m", [offer()])], &[]));
    let (doubts, corrector) = Corrector::new([vendor.clone() as Arc<dyn Provider>], catalogue, ledger.clone());
    let started = tokio::time::Instant::now();
    let running = tokio::spawn(corrector.run());
    doubts.record(records).await.unwrap();
    drop(doubts);
    running.await.unwrap();
    let corrected = ledger.corrected.lock().unwrap().clone();
    (vendor.look_ups.load(Ordering::SeqCst), corrected, started.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_record_that_appears_late_is_waited_for_and_handed_over_once() {
    let (look_ups, corrected, seconds) = corrected(&[estimated(false, None)], 3, 2).await;
    // After 5, 15, 35 and 75 seconds; twice more until it was taken.
    assert_eq!((look_ups, seconds), (4, 75 + 60 + 60));
    assert_eq!(corrected.iter().map(|record| record.charge).collect::<Vec<_>>(), [Some(usd(60_000))]);
}

#[tokio::test(start_paused = true)]
async fn one_that_never_appears_leaves_the_estimate() {
    let (look_ups, corrected, seconds) = corrected(&[estimated(false, None)], u32::MAX, 0).await;
    assert!((600..700).contains(&seconds) && look_ups > 10 && corrected.is_empty(), "{look_ups} in {seconds} s");
}

#[tokio::test(start_paused = true)]
async fn what_no_vendor_can_put_right_is_not_asked_for() {
    let (mut counted, mut nameless, mut foreign) =
        (estimated(false, None), estimated(false, None), estimated(false, None));
    counted.usage.estimated = false;
    nameless.generation = None;
    foreign.provider = Some("other".into());
    // Priced by another list than there is now.
    let mut repriced = estimated(false, None);
    repriced.price_version = Some("another".into());
    let (look_ups, corrected, seconds) = corrected(&[counted, nameless, foreign, repriced], 0, 0).await;
    assert_eq!((look_ups, corrected.len(), seconds), (0, 0, 0));
}
