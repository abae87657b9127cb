//! What the books in memory say of themselves: read off the records, one by one.

use aihub_core::commerce::analytics::{CallFilter, Grid, Group, Series, SeriesQuery, Sums, UsageQuery};
use aihub_core::commerce::{Alert, Alerts, Standing, Standings};
use aihub_core::page::{Page, PageRequest};
use aihub_core::quota::Window;
use aihub_core::{AccountId, CallId, Error, Money, Result, Timestamp, UsageRecord};
use async_trait::async_trait;

use super::MemoryBooks;
use crate::paging::{self, Window as Cut};

/// One call as sums.
fn sums(record: &UsageRecord) -> Sums {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let usage = &record.usage;
    // Both are in one currency; where one of them is unknown it adds nothing.
    let currency = record.charge.or(record.cost).map(Money::currency);
    let money = |money: Option<Money>| money.or(currency.map(Money::zero));
    Sums {
        calls: 1,
        prompt_tokens: count(usage.prompt_tokens()),
        cached_tokens: count(usage.cache_read),
        completion_tokens: count(usage.completion_tokens()),
        reasoning_tokens: count(usage.reasoning),
        charge: money(record.charge),
        cost: money(record.cost),
        duration_us: count(record.duration_us),
    }
}

#[async_trait]
impl UsageQuery for MemoryBooks {
    async fn series(&self, query: &SeriesQuery) -> Result<Series> {
        let grid = Grid::new(query)?;
        let state = self.state();
        let records = state.records.values();
        let counted = records.filter(|record| record.account == query.account && query.filter.matches(record));
        grid.fold(counted.map(|record| (record.at, Group::of(record, query), sums(record))), state.booked_at)
    }

    async fn calls(
        &self,
        account: AccountId,
        filter: &CallFilter,
        page: PageRequest<CallId>,
    ) -> Result<Page<UsageRecord, CallId>> {
        let state = self.state();
        let place = |record: &UsageRecord| (record.at, record.call);
        let message = "There is no such record to go on after: start with the first page";
        let found = |call: CallId| {
            let record = state.records.get(&call).filter(|record| record.account == account);
            record.map(place).ok_or_else(|| Error::invalid("after", message))
        };
        let after = page.after.map(found).transpose()?;
        let records = state.records.values().filter(|record| record.account == account && filter.matches(record));
        let mut rows: Vec<&UsageRecord> =
            records.filter(|record| after.is_none_or(|after| place(record) < after)).collect();
        rows.sort_unstable_by_key(|record| std::cmp::Reverse(place(record)));
        let window = Cut::of(&page);
        let rows: Vec<UsageRecord> = rows.into_iter().take(window.fetch()).cloned().collect();
        Ok(paging::cut(rows, window, |record| record.call))
    }

    async fn call(&self, account: AccountId, call: CallId) -> Result<Option<UsageRecord>> {
        Ok(self.state().records.get(&call).filter(|record| record.account == account).cloned())
    }
}

#[async_trait]
impl Standings for MemoryBooks {
    async fn standings(&self, windows: &[Window]) -> Result<Vec<Standing>> {
        let state = self.state();
        let one = |window: &Window| {
            let standing = state.windows.get(window).copied().unwrap_or_default();
            let raised = state.alerts.range((window.clone(), 0)..=(window.clone(), u16::MAX));
            Standing {
                window: window.clone(),
                settled: standing.settled,
                leased: standing.leased,
                granted: standing.granted,
                alerts: raised.map(|(_, raised)| raised.alert.clone()).collect(),
            }
        };
        Ok(windows.iter().map(one).collect())
    }
}

#[async_trait]
impl Alerts for MemoryBooks {
    async fn pending(&self, limit: usize) -> Result<Vec<Alert>> {
        let state = self.state();
        let mut pending: Vec<Alert> = state
            .alerts
            .values()
            .filter(|raised| raised.fired_at.is_none())
            .map(|raised| raised.alert.clone())
            .collect();
        pending.sort_by_key(|alert| alert.raised_at);
        pending.truncate(limit);
        Ok(pending)
    }

    async fn claim(&self, alert: &Alert, at: Timestamp) -> Result<bool> {
        let mut state = self.state();
        let raised = state.alerts.get_mut(&(alert.window.clone(), alert.percent));
        let Some(raised) = raised.filter(|raised| raised.fired_at.is_none()) else { return Ok(false) };
        raised.fired_at = Some(at);
        Ok(true)
    }

    async fn give_back(&self, alert: &Alert) -> Result<()> {
        if let Some(raised) = self.state().alerts.get_mut(&(alert.window.clone(), alert.percent)) {
            raised.fired_at = None;
        }
        Ok(())
    }
}
