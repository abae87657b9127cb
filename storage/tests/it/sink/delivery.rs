//! Delivery to several sinks, each at its own pace.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aihub_core::conformance::billing_sink::records;
use aihub_core::conformance::feed::FeedFixture;
use aihub_core::feed::{Batch, DeadLetter, Lag, Position};
use aihub_core::{BillingSink, CallId, Clock, Error, ErrorKind, Feed, ManualClock, Result, UsageRecord};
use aihub_storage::sink::DeliverySettings;
use aihub_storage::{Deliveries, MemoryFeed};
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// A sink that does what it is told to, and tells when it has been asked.
#[derive(Debug)]
struct Told {
    /// What it answers next; then `Ok`.
    answers: Mutex<VecDeque<Answer>>,
    /// What it never takes.
    rejects: HashSet<CallId>,
    taken: watch::Sender<Vec<CallId>>,
    asked: watch::Sender<Vec<(Instant, usize)>>,
}

#[derive(Debug)]
enum Answer {
    Fail,
    FailFor(Duration),
    Hang,
    Panic,
}

impl Told {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Self::rejecting(answers, [])
    }

    fn rejecting(answers: impl IntoIterator<Item = Answer>, rejects: impl IntoIterator<Item = CallId>) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::new(answers.into_iter().collect()),
            rejects: rejects.into_iter().collect(),
            taken: watch::Sender::default(),
            asked: watch::Sender::default(),
        })
    }

    /// Waits until so many records were taken, and gives all of them back.
    async fn took(&self, count: usize) -> Vec<CallId> {
        let mut taken = self.taken.subscribe();
        let enough = taken.wait_for(|taken| taken.len() >= count);
        timeout(Duration::from_hours(48), enough).await.expect("records in time").unwrap().clone()
    }

    /// How long it was between the times that it was asked.
    fn waits(&self) -> Vec<Duration> {
        let asked = self.asked.borrow();
        asked.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
    }
}

#[async_trait]
impl BillingSink for Told {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        self.asked.send_modify(|asked| asked.push((Instant::now(), records.len())));
        let answer = self.answers.lock().unwrap().pop_front();
        let away = Error::new(ErrorKind::Unavailable, "away");
        match answer {
            None => {}
            Some(Answer::Fail) => return Err(away),
            Some(Answer::FailFor(after)) => return Err(away.with_retry_after(after)),
            Some(Answer::Hang) => std::future::pending().await,
            Some(Answer::Panic) => panic!("as it was told to"),
        }
        if records.iter().any(|record| self.rejects.contains(&record.call)) {
            return Err(Error::new(ErrorKind::Invalid, "not this one"));
        }
        self.taken.send_modify(|taken| taken.extend(records.iter().map(|record| record.call)));
        Ok(())
    }
}

fn settings() -> DeliverySettings {
    let mut settings = DeliverySettings::default();
    (settings.batch, settings.seed) = (8, Some(7));
    settings
}

/// Starts deliveries of these records to these sinks.
async fn start(sinks: &[(&str, &Arc<Told>)], records: &[UsageRecord]) -> (Arc<MemoryFeed>, Deliveries) {
    let feed = Arc::new(MemoryFeed::new(sinks.iter().map(|(name, _)| *name)));
    feed.record(records).await.unwrap();
    let sinks = sinks.iter().map(|(name, sink)| ((*name).into(), Arc::clone(sink) as Arc<dyn BillingSink>));
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    let deliveries = Deliveries::start(Arc::clone(&feed) as Arc<dyn Feed>, sinks, &clock, &settings());
    (feed, deliveries)
}

fn calls(records: &[UsageRecord]) -> Vec<CallId> {
    records.iter().map(|record| record.call).collect()
}

#[tokio::test(start_paused = true)]
async fn each_sink_goes_its_own_way() {
    let records = records(30);
    let (quick, hanging, failing) =
        (Told::new([]), Told::new([Answer::Hang]), Told::new([Answer::Fail, Answer::Panic, Answer::Fail]));
    let sinks = [("quick", &quick), ("hanging", &hanging), ("failing", &failing)];
    let (feed, deliveries) = start(&sinks, &records).await;
    let begun = Instant::now();
    assert_eq!(quick.took(30).await, calls(&records));
    assert!(begun.elapsed() < Duration::from_millis(100), "it waited for the others");
    assert_eq!(feed.lag("hanging").await.unwrap(), Lag { records: 30, since: Some(records[0].at) });
    assert_eq!(failing.took(30).await, calls(&records), "what failed comes again, and nothing twice");
    assert_eq!(hanging.took(30).await, calls(&records));
    // What comes later is delivered too.
    feed.record(&records[..1]).await.unwrap();
    assert_eq!(quick.took(31).await.len(), 31);
    deliveries.stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn waits_grow_and_end_with_success() {
    let fails = || (0..12).map(|_| Answer::Fail);
    let sink = Told::new(fails());
    let (_feed, deliveries) = start(&[("sink", &sink)], &records(1)).await;
    sink.took(1).await;
    let waits = sink.waits();
    let mut least = Duration::from_secs(1);
    for wait in &waits {
        // Timers tick by the millisecond.
        assert!(*wait >= least && *wait <= least * 2 + Duration::from_millis(1), "{wait:?} after {least:?}");
        least = (least * 2).min(Duration::from_mins(5));
    }
    assert_eq!(waits.len(), 12);
    assert!(waits.iter().any(|wait| wait.subsec_millis() != 0), "nothing is left to chance");
    deliveries.stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_is_not_asked_before_it_wants_to() {
    let sink = Told::new([Answer::FailFor(Duration::from_mins(40)), Answer::FailFor(Duration::from_hours(30))]);
    let (_feed, deliveries) = start(&[("sink", &sink)], &records(1)).await;
    sink.took(1).await;
    let waits = sink.waits();
    assert!(waits[0] >= Duration::from_mins(40) && waits[0] < Duration::from_mins(41), "{waits:?}");
    assert!(waits[1] >= Duration::from_hours(1) && waits[1] < Duration::from_hours(2), "no longer: {waits:?}");
    deliveries.stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn the_records_that_are_rejected_are_found_and_put_aside() {
    let records = records(20);
    let mut bad = [records[3].call, records[4].call, records[19].call];
    bad.sort();
    let sink = Told::rejecting([Answer::Fail, Answer::Fail], bad);
    let (feed, deliveries) = start(&[("sink", &sink)], &records).await;
    let good: Vec<_> = calls(&records).into_iter().filter(|call| !bad.contains(call)).collect();
    assert_eq!(sink.took(17).await, good, "all others, each once and in their order");
    let drained = async {
        while feed.lag("sink").await.unwrap().records > 0 {
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(5), drained).await.expect("the place is passed");
    let letter = |call| DeadLetter { call, reason: "not this one".to_owned() };
    assert_eq!(feed.dead_letters("sink"), bad.map(letter));
    tokio::task::yield_now().await;
    let status = deliveries.status().remove(0);
    assert_eq!((&*status.sink, status.delivered, status.dead_letters, status.failures), ("sink", 17, 3, 0));
    assert_eq!(deliveries.lag().await.unwrap(), [Lag::default()]);
    deliveries.stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn the_status_tells_what_is_wrong() {
    let sink = Told::new([Answer::Fail, Answer::Fail, Answer::Hang]);
    let (_feed, deliveries) = start(&[("sink", &sink)], &records(1)).await;
    let mut asked = sink.asked.subscribe();
    let third = timeout(Duration::from_mins(1), asked.wait_for(|asked| asked.len() == 3));
    third.await.unwrap().unwrap();
    let status = deliveries.status().remove(0);
    assert_eq!((status.failures, status.delivered), (2, 0));
    assert_eq!(status.last_error.unwrap().1, "away");
    sink.took(1).await;
    tokio::task::yield_now().await;
    assert_eq!(deliveries.status()[0].failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_waits_at_once_and_deliveries_in_time() {
    let (waiting, hanging) = (Told::new((0..20).map(|_| Answer::Fail)), Told::new([Answer::Hang]));
    let (feed, deliveries) = start(&[("waiting", &waiting), ("hanging", &hanging)], &records(1)).await;
    let mut asked = hanging.asked.subscribe();
    asked.wait_for(|asked| !asked.is_empty()).await.unwrap();
    let begun = Instant::now();
    deliveries.stop(Duration::from_secs(3)).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(3), "what hangs is given that long");
    for sink in ["waiting", "hanging"] {
        assert_eq!(feed.lag(sink).await.unwrap().records, 1, "what was not taken is still there");
    }
}

/// A feed whose every second answer is an error.
#[derive(Debug)]
struct Shaky {
    feed: MemoryFeed,
    asked: Mutex<HashMap<&'static str, u32>>,
}

impl Shaky {
    fn shake(&self, what: &'static str) -> Result<()> {
        let mut asked = self.asked.lock().unwrap();
        let asked = asked.entry(what).or_default();
        *asked += 1;
        if *asked % 2 == 1 { Err(Error::new(ErrorKind::Unavailable, what)) } else { Ok(()) }
    }
}

#[async_trait]
impl Feed for Shaky {
    async fn next(&self, sink: &str, limit: usize) -> Result<Option<Batch>> {
        self.shake("next")?;
        self.feed.next(sink, limit).await
    }

    async fn advance(&self, sink: &str, position: Position) -> Result<()> {
        // It may be passed although it says that it is not.
        self.feed.advance(sink, position).await?;
        self.shake("advance")
    }

    async fn dead_letter(&self, sink: &str, letters: &[DeadLetter]) -> Result<()> {
        self.feed.dead_letter(sink, letters).await?;
        self.shake("dead_letter")
    }

    async fn lag(&self, sink: &str) -> Result<Lag> {
        self.feed.lag(sink).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_fails_is_asked_again_and_delivers_nothing_twice() {
    let records = records(20);
    let bad = records[9].call;
    let feed = Arc::new(Shaky { feed: MemoryFeed::new(["sink"]), asked: Mutex::default() });
    feed.feed.record(&records).await.unwrap();
    let sink = Told::rejecting([], [bad]);
    let sinks = [("sink".into(), Arc::clone(&sink) as Arc<dyn BillingSink>)];
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    let deliveries = Deliveries::start(Arc::clone(&feed) as Arc<dyn Feed>, sinks, &clock, &settings());
    let good: Vec<_> = calls(&records).into_iter().filter(|call| *call != bad).collect();
    assert_eq!(sink.took(19).await, good);
    deliveries.stop(Duration::from_secs(1)).await;
    assert_eq!(feed.feed.dead_letters("sink").len(), 1);
}

mod feed_in_memory {
    aihub_core::conformance::feed!(async { super::in_memory() });
}

fn in_memory() -> FeedFixture {
    let feed = Arc::new(MemoryFeed::new(["one", "two"]));
    let (filled, read) = (Arc::clone(&feed), Arc::clone(&feed));
    FeedFixture::new(
        feed as Arc<dyn Feed>,
        move |records| {
            let feed = Arc::clone(&filled);
            Box::pin(async move { feed.record(&records).await.unwrap() })
        },
        move |sink| {
            let letters = read.dead_letters(sink);
            Box::pin(async move { letters })
        },
    )
}

#[tokio::test]
async fn a_feed_in_memory_knows_its_sinks() {
    let feed = MemoryFeed::new(["one"]);
    assert_eq!(feed.next("three", 1).await.unwrap_err().kind(), ErrorKind::Invalid);
    let none = MemoryFeed::new(Vec::<String>::new());
    none.record(&records(1)).await.unwrap();
    assert!(!format!("{none:?}").contains("call_"), "nobody will ever pass it");
}
