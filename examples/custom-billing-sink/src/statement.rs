//! A billing sink that adds up what each account has spent.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aihub_core::{AccountId, BillingSink, CallId, Currency, Error, ErrorKind, Money, Result, UsageRecord};
use async_trait::async_trait;

/// What accounts have spent, call by call.
///
/// It forgets with the process. One that writes to a table does the same with a unique index on the
/// call, and `INSERT … ON CONFLICT DO NOTHING` in one transaction for the batch.
#[derive(Debug, Default)]
pub(crate) struct Statement(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    entered: HashSet<CallId>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    call: CallId,
    account: AccountId,
    tokens: u64,
    /// `None` for what nobody has priced: shown, and never taken for free.
    cost: Option<Money>,
}

/// What an account has used. Totals are derived from the entries and kept nowhere, so that they
/// cannot part from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) calls: u64,
    pub(crate) tokens: u64,
    pub(crate) cost: Money,
    pub(crate) unpriced: u64,
}

impl Statement {
    /// What each account has used.
    ///
    /// # Errors
    ///
    /// When an account has spent in more than one currency, or more than fits: there is no sum then.
    pub(crate) fn totals(&self) -> Result<BTreeMap<AccountId, Total>> {
        let nothing = Total { calls: 0, tokens: 0, cost: Money::zero(Currency::USD), unpriced: 0 };
        let mut totals = BTreeMap::new();
        for entry in &self.book().entries {
            let total: &mut Total = totals.entry(entry.account).or_insert(nothing);
            total.calls += 1;
            total.tokens += entry.tokens;
            match entry.cost {
                Some(cost) => total.cost = total.cost.checked_add(cost).ok_or_else(no_sum)?,
                None => total.unpriced += 1,
            }
        }
        Ok(totals)
    }

    /// The calls that were entered, in their order.
    pub(crate) fn calls(&self) -> Vec<CallId> {
        self.book().entries.iter().map(|entry| entry.call).collect()
    }

    /// A panic while the lock is held leaves whole entries behind: there is nothing to mend.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl BillingSink for Statement {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        let mut book = self.book();
        for record in records {
            // Delivery is at least once: what is known already was delivered again.
            if book.entered.insert(record.call) {
                book.entries.push(Entry {
                    call: record.call,
                    account: record.account,
                    tokens: record.usage.total_tokens(),
                    cost: record.cost,
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls, {} tokens, {}, {} unpriced", self.calls, self.tokens, self.cost, self.unpriced)
    }
}

fn no_sum() -> Error {
    Error::new(ErrorKind::Internal, "These costs have no sum: convert them to one currency first")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aihub_core::conformance::billing_sink::{SinkFixture, records};
    use aihub_core::quota::Amounts;

    use super::*;

    fn made() -> SinkFixture {
        let statement = Arc::new(Statement::default());
        let (kept, summed) = (Arc::clone(&statement), Arc::clone(&statement));
        SinkFixture::from(statement as Arc<dyn BillingSink>)
            .with_reader(move || {
                let calls = kept.calls();
                Box::pin(async move { calls })
            })
            .with_totals(move || {
                let total = summed.totals().unwrap().into_values().next().unwrap();
                Box::pin(async move { Amounts::new(total.calls, total.tokens, Some(total.cost)) })
            })
    }

    // This sink adds up, so what is delivered again must add nothing.
    aihub_core::conformance::billing_sink!(async { made() }, exactly_once);

    #[tokio::test]
    async fn costs_of_two_currencies_have_no_sum() {
        let statement = Statement::default();
        let mut records = records(4);
        statement.record(&records).await.unwrap();
        let total = *statement.totals().unwrap().values().next().unwrap();
        assert_eq!((total.calls, total.unpriced, total.cost.nanos()), (4, 2, 3_002));
        records.truncate(1);
        records[0].call = CallId::new(records[0].at);
        records[0].cost = Some(Money::from_nanos(1, "JPY".parse().unwrap()));
        statement.record(&records).await.unwrap();
        assert!(statement.totals().is_err());
    }
}
