//! Proves a [`Feed`].

use std::fmt;

use futures_util::future::BoxFuture;

use super::Fixture;
use super::billing_sink::records;
use crate::billing::UsageRecord;
use crate::feed::{DeadLetter, Feed, Lag, Position};
use crate::id::CallId;

/// Makes a test of every check in [`feed`](mod@crate::conformance::feed) out of a future that makes a
/// [`FeedFixture`](crate::conformance::feed::FeedFixture) of an empty feed, for the sinks `one` and `two`.
#[doc(hidden)]
#[macro_export]
macro_rules! __feed {
    ($maker:expr $(,)?) => {
        $crate::__conformance!(feed, $maker.await, [
            an_empty_feed_has_nothing
            what_is_not_passed_comes_again
            what_is_passed_never_comes_again
            pieces_are_as_long_as_asked_for_and_leave_nothing_out
            each_sink_has_a_place_of_its_own
            the_lag_is_what_is_not_passed
            letters_are_kept_once_with_the_last_reason
        ]);
    };
}

type Fill = Box<dyn Fn(Vec<UsageRecord>) -> BoxFuture<'static, ()> + Send + Sync>;
type Letters = Box<dyn Fn(&str) -> BoxFuture<'static, Vec<DeadLetter>> + Send + Sync>;

/// A feed, how records come into it, and how its dead letters are read.
pub struct FeedFixture {
    feed: Fixture<dyn Feed>,
    fill: Fill,
    letters: Letters,
}

impl FeedFixture {
    /// `fill` settles records, of one node and in their order; `letters` gives back those of a sink, in any order.
    pub fn new(
        feed: impl Into<Fixture<dyn Feed>>,
        fill: impl Fn(Vec<UsageRecord>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
        letters: impl Fn(&str) -> BoxFuture<'static, Vec<DeadLetter>> + Send + Sync + 'static,
    ) -> Self {
        Self { feed: feed.into(), fill: Box::new(fill), letters: Box::new(letters) }
    }

    /// The calls of the next piece, and where it ends.
    async fn next(&self, sink: &str, limit: usize) -> Option<(Vec<CallId>, Position)> {
        let batch = self.feed.subject.next(sink, limit).await.expect("a piece")?;
        Some((calls(&batch.records), batch.position))
    }

    async fn advance(&self, sink: &str, position: Position) {
        self.feed.subject.advance(sink, position).await.expect("a place");
    }

    /// Passes everything, and gives back what it was.
    async fn rest(&self, sink: &str, limit: usize) -> Vec<CallId> {
        let mut all = Vec::new();
        while let Some((calls, position)) = self.next(sink, limit).await {
            assert!(calls.len() <= limit, "{} records instead of {limit}", calls.len());
            all.extend(calls);
            self.advance(sink, position).await;
        }
        all
    }

    async fn lag(&self, sink: &str) -> Lag {
        self.feed.subject.lag(sink).await.expect("a lag")
    }
}

impl fmt::Debug for FeedFixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedFixture").field("feed", &self.feed).finish_non_exhaustive()
    }
}

fn calls(records: &[UsageRecord]) -> Vec<CallId> {
    records.iter().map(|record| record.call).collect()
}

/// Nothing comes of an empty feed, and nobody is behind.
pub async fn an_empty_feed_has_nothing(feed: FeedFixture) {
    assert_eq!(feed.next("one", 10).await, None);
    assert_eq!(feed.lag("one").await, Lag::default());
}

/// A piece that is not passed comes again, the same.
pub async fn what_is_not_passed_comes_again(feed: FeedFixture) {
    let records = records(5);
    (feed.fill)(records.clone()).await;
    let first = feed.next("one", 3).await;
    assert_eq!(first.as_ref().map(|(calls, _)| &calls[..]), Some(&calls(&records)[..3]));
    assert_eq!(feed.next("one", 3).await, first);
}

/// A place that is passed, once or twice, stays passed, also when an earlier one is named later.
pub async fn what_is_passed_never_comes_again(feed: FeedFixture) {
    let records = records(5);
    (feed.fill)(records.clone()).await;
    let (_, first) = feed.next("one", 2).await.expect("a piece");
    feed.advance("one", first).await;
    feed.advance("one", first).await;
    let (found, second) = feed.next("one", 2).await.expect("a piece");
    assert_eq!(found, calls(&records)[2..4]);
    feed.advance("one", second).await;
    feed.advance("one", first).await;
    assert_eq!(feed.rest("one", 9).await, calls(&records)[4..]);
}

/// Pieces of any length, read to the end, are everything once and in order, also what comes after an end.
pub async fn pieces_are_as_long_as_asked_for_and_leave_nothing_out(feed: FeedFixture) {
    let records = records(40);
    (feed.fill)(records[..30].to_vec()).await;
    assert_eq!(feed.rest("one", 7).await, calls(&records)[..30]);
    (feed.fill)(records[30..].to_vec()).await;
    assert_eq!(feed.rest("one", 1).await, calls(&records)[30..]);
}

/// What one sink has passed is still there for the other, from the first record on.
pub async fn each_sink_has_a_place_of_its_own(feed: FeedFixture) {
    let records = records(10);
    (feed.fill)(records.clone()).await;
    assert_eq!(feed.rest("one", 4).await, calls(&records));
    assert_eq!(feed.rest("two", 3).await, calls(&records));
}

/// The lag is the number of records that are not passed, and the oldest of them.
pub async fn the_lag_is_what_is_not_passed(feed: FeedFixture) {
    let records = records(5);
    (feed.fill)(records.clone()).await;
    let (_, first) = feed.next("one", 2).await.expect("a piece");
    assert_eq!(feed.lag("one").await, Lag { records: 5, since: Some(records[0].at) });
    feed.advance("one", first).await;
    assert_eq!(feed.lag("one").await, Lag { records: 3, since: Some(records[2].at) });
    assert_eq!(feed.lag("two").await.records, 5);
    feed.rest("one", 9).await;
    assert_eq!(feed.lag("one").await, Lag::default());
}

/// A letter that is put aside twice is there once, with the last reason, and for its sink alone.
pub async fn letters_are_kept_once_with_the_last_reason(feed: FeedFixture) {
    let records = records(3);
    (feed.fill)(records.clone()).await;
    let letter = |at: usize, reason: &str| DeadLetter { call: records[at].call, reason: reason.to_owned() };
    let sink = &feed.feed.subject;
    sink.dead_letter("one", &[letter(0, "first"), letter(1, "bad")]).await.expect("letters");
    sink.dead_letter("one", &[letter(0, "second")]).await.expect("letters");
    sink.dead_letter("one", &[]).await.expect("no letters");
    let mut found = (feed.letters)("one").await;
    found.sort_by_key(|letter| letter.reason.clone());
    assert_eq!(found, [letter(1, "bad"), letter(0, "second")]);
    assert_eq!((feed.letters)("two").await, []);
    assert_eq!(feed.rest("one", 9).await.len(), 3, "a letter passes no place");
}
