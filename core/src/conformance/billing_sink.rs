//! Proves a [`BillingSink`].

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Fixture, at, caller, together};
use crate::billing::{BillingSink, UsageRecord};
use crate::id::{AccountId, CallId};
use crate::money::{Currency, Money};
use crate::plan::Plan;
use crate::quota::Amounts;
use crate::usage::{Outcome, Usage};

/// Makes a test of every check in [`billing_sink`](mod@crate::conformance::billing_sink) out of a
/// future that makes an empty sink: an `Arc<dyn BillingSink>`, a [`Fixture`] of one, or a
/// [`SinkFixture`](crate::conformance::billing_sink::SinkFixture), which can also be read.
///
/// Delivery is at least once, so a sink may keep a call twice, as a file does. One that adds up must
/// not: it says `exactly_once`, and proves by its totals
/// ([`SinkFixture::with_totals`](crate::conformance::billing_sink::SinkFixture::with_totals)) that it
/// [`counts_every_call_once`](crate::conformance::billing_sink::counts_every_call_once):
///
/// ```text
/// conformance::billing_sink!(ledger(), exactly_once);
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __billing_sink {
    ($maker:expr $(,)?) => {
        $crate::__conformance!(billing_sink, $maker.await, [
            takes_a_batch_and_keeps_its_order
            takes_a_batch_again
            takes_an_empty_batch
            takes_batches_of_any_size
            loses_nothing_of_batches_at_once
        ]);
    };
    ($maker:expr, exactly_once $(,)?) => {
        $crate::__billing_sink!($maker);
        $crate::__conformance!(billing_sink, $maker.await, [counts_every_call_once]);
    };
}

type Read<T> = Box<dyn Fn() -> BoxFuture<'static, T> + Send + Sync>;

/// A sink, and how to learn what it has kept.
pub struct SinkFixture {
    sink: Fixture<dyn BillingSink>,
    reader: Option<Read<Vec<CallId>>>,
    wants: fn(&UsageRecord) -> bool,
    totals: Option<Read<Amounts>>,
}

impl SinkFixture {
    /// The calls that the sink has kept, in its order: without this, a suite can only see that
    /// records are accepted.
    #[must_use]
    pub fn with_reader(mut self, reader: impl Fn() -> BoxFuture<'static, Vec<CallId>> + Send + Sync + 'static) -> Self {
        self.reader = Some(Box::new(reader));
        self
    }

    /// Which records the sink keeps; it takes the others, and has nothing to do with them. Default: all.
    #[must_use]
    pub fn keeping_only(mut self, wants: fn(&UsageRecord) -> bool) -> Self {
        self.wants = wants;
        self
    }

    /// The calls among `records` that the sink keeps.
    fn wanted(&self, records: &[UsageRecord]) -> Vec<CallId> {
        records.iter().filter(|record| (self.wants)(record)).map(|record| record.call).collect()
    }

    /// What the sink has added up, of all accounts together: calls, tokens ([`Usage::total_tokens`]) and
    /// [`UsageRecord::cost`], where it is known; no money says that the sink adds none up.
    #[must_use]
    pub fn with_totals(mut self, totals: impl Fn() -> BoxFuture<'static, Amounts> + Send + Sync + 'static) -> Self {
        self.totals = Some(Box::new(totals));
        self
    }

    async fn take(&self, records: &[UsageRecord]) {
        self.sink.subject.record(records).await.expect("a batch");
    }

    /// What is kept is `expected`: each at least once, and in this order by first appearance.
    async fn kept(&self, expected: &[UsageRecord]) {
        if let Some(reader) = &self.reader {
            let mut seen = HashSet::new();
            let kept: Vec<_> = reader().await.into_iter().filter(|call| seen.insert(*call)).collect();
            assert_eq!(kept, self.wanted(expected));
        }
    }
}

impl<T: Into<Fixture<dyn BillingSink>>> From<T> for SinkFixture {
    fn from(sink: T) -> Self {
        Self { sink: sink.into(), reader: None, wants: |_| true, totals: None }
    }
}

impl fmt::Debug for SinkFixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkFixture").field("sink", &self.sink).finish_non_exhaustive()
    }
}

/// `count` records of calls that ended in different ways.
pub fn records(count: i64) -> Vec<UsageRecord> {
    let caller = caller(AccountId::new(at(0)), Plan::unlimited("basic"));
    let each = |step: i64| {
        let mut record = UsageRecord::new(CallId::new(at(step)), at(step), &caller, "chat", "vendor/modèle".into());
        record.stream = step % 2 == 0;
        if step % 3 == 0 {
            record.outcome = Outcome::Completed;
            record.usage = Usage::estimate(step.unsigned_abs() + 1, 7);
            record.cost = Some(Money::from_nanos(step * 1_000 + 1, Currency::USD));
            record.user_agent = Some("line\nbreak \"quoted\" \u{1f980}".into());
        }
        record
    };
    (0..count).map(each).collect()
}

/// A batch is taken, and its records stay in their order.
pub async fn takes_a_batch_and_keeps_its_order(sink: impl Into<SinkFixture>) {
    let (sink, records) = (sink.into(), records(10));
    sink.take(&records[..6]).await;
    sink.take(&records[6..]).await;
    sink.kept(&records).await;
}

/// A batch that is delivered again, whole or in part, is taken: delivery is at least once.
pub async fn takes_a_batch_again(sink: impl Into<SinkFixture>) {
    let (sink, records) = (sink.into(), records(10));
    sink.take(&records).await;
    sink.take(&records).await;
    sink.take(&records[3..5]).await;
    sink.kept(&records).await;
}

/// An empty batch is taken.
pub async fn takes_an_empty_batch(sink: impl Into<SinkFixture>) {
    let sink = sink.into();
    sink.take(&[]).await;
    sink.kept(&[]).await;
}

/// Batches of one and of thousands are taken.
pub async fn takes_batches_of_any_size(sink: impl Into<SinkFixture>) {
    let (sink, records) = (sink.into(), records(5_000));
    sink.take(&records[..1]).await;
    sink.take(&records[1..3]).await;
    sink.take(&records[3..]).await;
    sink.kept(&records).await;
}

/// Batches that arrive at the same time are kept, all of them.
pub async fn loses_nothing_of_batches_at_once(sink: impl Into<SinkFixture>) {
    let (sink, records) = (sink.into(), records(200));
    let batches: Vec<_> = records.chunks(5).map(<[UsageRecord]>::to_vec).collect();
    together(batches.into_iter().map(|batch| {
        let sink = Arc::clone(&sink.sink.subject);
        async move { sink.record(&batch).await.expect("a batch") }
    }))
    .await;
    if let Some(reader) = &sink.reader {
        let kept: HashSet<_> = reader().await.into_iter().collect();
        assert_eq!(kept, sink.wanted(&records).into_iter().collect());
    }
}

/// What is delivered again, whole or in part, later or at the same time, adds nothing to the totals.
pub async fn counts_every_call_once(sink: impl Into<SinkFixture>) {
    let (sink, records) = (sink.into(), records(50));
    let totals = sink.totals.as_ref().expect("a sink that counts once is asked for its totals: `with_totals`");
    let calls = sink.wanted(&records).len() as u64;
    let tokens = records.iter().map(|record| record.usage.total_tokens()).sum();
    let costs = records.iter().filter_map(|record| record.cost);
    let cost = costs.fold(Money::zero(Currency::USD), |sum, cost| sum.checked_add(cost).expect("a sum"));
    let once = |found: Amounts| {
        assert_eq!((found.calls, found.tokens), (calls, tokens), "calls and tokens");
        assert!(found.money.is_none_or(|money| money == cost), "{:?} instead of {cost}", found.money);
    };
    together((0..4).map(|_| {
        let (sink, records) = (Arc::clone(&sink.sink.subject), records.clone());
        async move { sink.record(&records).await.expect("a batch") }
    }))
    .await;
    once(totals().await);
    sink.take(&records[3..5]).await;
    sink.take(&[&records[7..9], &records[7..9]].concat()).await;
    once(totals().await);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::error::Result;

    /// A sink that adds up, by call or not.
    #[derive(Debug)]
    struct Sums {
        by_call: Mutex<HashMap<CallId, UsageRecord>>,
        all: Mutex<Vec<UsageRecord>>,
        knows_calls: bool,
    }

    #[async_trait]
    impl BillingSink for Sums {
        async fn record(&self, records: &[UsageRecord]) -> Result<()> {
            let (mut by_call, mut all) = (self.by_call.lock().unwrap(), self.all.lock().unwrap());
            for record in records {
                if by_call.insert(record.call, record.clone()).is_none() || !self.knows_calls {
                    all.push(record.clone());
                }
            }
            Ok(())
        }
    }

    fn sums(knows_calls: bool) -> SinkFixture {
        let sink = Arc::new(Sums { by_call: Mutex::default(), all: Mutex::default(), knows_calls });
        let (kept, read) = (Arc::clone(&sink), Arc::clone(&sink));
        SinkFixture::from(sink as Arc<dyn BillingSink>)
            .with_reader(move || {
                let calls = kept.all.lock().unwrap().iter().map(|record| record.call).collect();
                Box::pin(async move { calls })
            })
            .with_totals(move || {
                let all = read.all.lock().unwrap();
                let tokens = all.iter().map(|record| record.usage.total_tokens()).sum();
                let cost = all.iter().filter_map(|record| record.cost).map(Money::nanos).sum();
                let totals = Amounts::new(all.len() as u64, tokens, Some(Money::from_nanos(cost, Currency::USD)));
                Box::pin(async move { totals })
            })
    }

    crate::conformance::billing_sink!(async { sums(true) }, exactly_once);

    #[test]
    #[should_panic(expected = "calls and tokens")]
    fn a_sink_that_counts_twice_is_found_out() {
        crate::conformance::run(super::counts_every_call_once(sums(false)));
    }

    #[test]
    #[should_panic(expected = "with_totals")]
    fn without_totals_nothing_is_proved() {
        let unread = SinkFixture { totals: None, ..sums(true) };
        crate::conformance::run(super::counts_every_call_once(unread));
    }
}
