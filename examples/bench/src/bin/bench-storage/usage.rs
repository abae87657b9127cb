//! Writing usage records by the batch, and paging through them.

use std::cmp::Reverse;
use std::time::Duration;

use aihub_bench::Failure;
use aihub_core::page::PageRequest;
use aihub_core::{AccountId, BillingSink, CallId, Clock, Currency, KeyId, Money, Outcome, Usage, UsageRecord};
use aihub_storage::SqlUsage;

use crate::keys::{DEPTHS, PAGE, grouped};
use crate::place::{self, Place};
use crate::table::Table;

/// Records of a batch.
const BATCH: usize = 500;
/// Batches: every other record is the great account's, which then has more than the deepest page.
const BATCHES: usize = 440;
/// Accounts that share the other records.
const OTHERS: usize = 1_000;

/// Measures records in `place`.
pub(crate) async fn measure<P: Place>(place: &P, goal: u64, table: &mut Table) -> Result<(), Failure> {
    let name = P::NAME;
    let usage = SqlUsage::new(place.database().clone());
    let accounts: Vec<(AccountId, KeyId)> = (0..=OTHERS)
        .map(|_| Ok((AccountId::new(place::at(0)?), KeyId::new(place::at(0)?))))
        .collect::<Result<_, Failure>>()?;
    let (great, mut calls, mut took) = (accounts[0].0, Vec::new(), Duration::ZERO);
    for batch in 0..BATCHES {
        let records =
            (0..BATCH).map(|place| record(batch * BATCH + place, &accounts)).collect::<Result<Vec<_>, _>>()?;
        let mine = records.iter().filter(|record| record.account == great);
        calls.extend(mine.map(|record| Reverse((record.at, record.call))));
        let start = table.clock.elapsed();
        usage.record(&records).await?;
        took += table.clock.elapsed().saturating_sub(start);
    }
    let rows = BATCHES * BATCH;
    let per_second = rows as u128 * 1_000_000 / took.as_micros().max(1);
    table.line(
        format!("{name}: usage records, {} in batches of {BATCH}, one at a time", grouped(rows)),
        format!("{} rows/s", grouped(usize::try_from(per_second)?)),
        format!("≥ {} rows/s", grouped(usize::try_from(goal)?)),
    );
    place.settle().await?;
    calls.sort_unstable();
    pages(name, &usage, great, &calls.iter().map(|Reverse((_, call))| *call).collect::<Vec<_>>(), table).await
}

async fn pages(
    name: &str,
    usage: &SqlUsage,
    account: AccountId,
    calls: &[CallId],
    table: &mut Table,
) -> Result<(), Failure> {
    for depth in DEPTHS {
        let after = depth.checked_sub(2).map(|last| calls[last]);
        let page = PageRequest { after, limit: PAGE };
        let found = usage.of_account(account, page).await?;
        if found.rows.first().map(|record| record.call) != Some(calls[depth - 1]) {
            return Err(format!("{name}: the page at {depth} begins with another record").into());
        }
        let read = table.times(table.rounds * 10, |_| usage.of_account(account, page)).await;
        table.line(
            format!(
                "{name}: page of {PAGE} usage records of {} of one account, at {}, median / p99",
                grouped(calls.len()),
                grouped(depth)
            ),
            read.shown(),
            "the same at any depth",
        );
    }
    Ok(())
}

/// One of many records: of the great account, or of one of the others in turn.
fn record(place: usize, accounts: &[(AccountId, KeyId)]) -> Result<UsageRecord, Failure> {
    let at = place::at(i64::try_from(place)?)?;
    let (account, key) = if place.is_multiple_of(2) { accounts[0] } else { accounts[1 + place / 2 % OTHERS] };
    let mut record =
        UsageRecord::from_parts(CallId::new(at), at, account, key, "pro".into(), "chat", "openai/gpt-4o-mini".into());
    record.stream = true;
    record.provider = Some("openrouter".into());
    record.served_model = Some("openai/gpt-4o-mini-2024-07-18".into());
    record.generation = Some("gen-1763712000-AbCdEfGhIjKlMnOpQrSt".into());
    record.usage = Usage::new(1_200, 345);
    record.usage.cache_read = 256;
    record.cost = Some(Money::from_nanos(406_200, Currency::USD));
    record.vendor_cost = Some(Money::from_nanos(387_000, Currency::USD));
    record.outcome = Outcome::Completed;
    record.status = 200;
    record.finish_reason = Some("stop".into());
    record.attempts = 1;
    record.duration_us = 4_321_000;
    record.first_event_us = Some(432_000);
    record.ip = Some("203.0.113.7".parse()?);
    record.user_agent = Some("OpenAI/Python 1.99.1".into());
    Ok(record)
}
