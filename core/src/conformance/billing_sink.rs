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
use crate::usage::{Outcome, Usage};

/// Makes a test of every check in [`billing_sink`](mod@crate::conformance::billing_sink) out of a
/// future that makes an empty sink: an `Arc<dyn BillingSink>`, a [`Fixture`] of one, or a
/// [`SinkFixture`](crate::conformance::billing_sink::SinkFixture), which can also be read.
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
}

type Reader = Box<dyn Fn() -> BoxFuture<'static, Vec<CallId>> + Send + Sync>;

/// A sink, and how to learn what it has kept.
pub struct SinkFixture {
    sink: Fixture<dyn BillingSink>,
    reader: Option<Reader>,
}

impl SinkFixture {
    /// The calls that the sink has kept, in its order: without this, a suite can only see that
    /// records are accepted.
    #[must_use]
    pub fn with_reader(mut self, reader: impl Fn() -> BoxFuture<'static, Vec<CallId>> + Send + Sync + 'static) -> Self {
        self.reader = Some(Box::new(reader));
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
            assert_eq!(kept, expected.iter().map(|record| record.call).collect::<Vec<_>>());
        }
    }
}

impl<T: Into<Fixture<dyn BillingSink>>> From<T> for SinkFixture {
    fn from(sink: T) -> Self {
        Self { sink: sink.into(), reader: None }
    }
}

impl fmt::Debug for SinkFixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkFixture").field("sink", &self.sink).field("readable", &self.reader.is_some()).finish()
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
        assert_eq!(kept, records.iter().map(|record| record.call).collect());
    }
}
