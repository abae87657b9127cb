//! The feed of what the books have settled.

use std::sync::Arc;

use aihub_core::commerce::{Books as _, Settled, SettledCall, Settlement};
use aihub_core::conformance::Fixture;
use aihub_core::conformance::billing_sink::records;
use aihub_core::conformance::feed::FeedFixture;
use aihub_core::feed::Lag;
use aihub_core::{CallId, Clock, Feed, ManualClock, UsageRecord};
use aihub_storage::sql::SqlFeed;
use aihub_storage::{Database, SqlBooks};
use uuid::Uuid;

use crate::usage::{Place, everywhere};

#[cfg(feature = "sqlite")]
mod suite_on_sqlite {
    aihub_core::conformance::feed!(super::fixture(crate::usage::sqlite()));
}

#[cfg(feature = "postgres")]
mod suite_on_postgres {
    aihub_core::conformance::feed!(super::fixture(crate::usage::postgres().await));
}

everywhere! {
    nodes_are_all_delivered_also_those_that_are_gone
    of_two_replicas_one_delivers_a_node
    what_settles_nothing_new_is_passed_over
}

const NODE: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

async fn fixture(place: Place) -> FeedFixture {
    let database = place.database().await;
    let feed = Arc::new(feed(&database, &Arc::new(ManualClock::default()), NODE));
    let letters = Arc::clone(&feed);
    let fixture = Fixture::from(feed as Arc<dyn Feed>).keeping(place);
    FeedFixture::new(
        fixture,
        move |records| {
            let database = database.clone();
            // Of several lengths, and none as long as a piece that the suite asks for.
            Box::pin(async move {
                for (at, part) in records.chunks(4).enumerate() {
                    let middle = part.len().min(1 + at % 4);
                    settle(&database, NODE, &part[..middle]).await;
                    settle(&database, NODE, &part[middle..]).await;
                }
            })
        },
        move |sink| {
            let (feed, sink) = (Arc::clone(&letters), sink.to_owned());
            Box::pin(async move { feed.dead_letters(&sink).await.unwrap() })
        },
    )
}

fn feed(database: &Database, clock: &Arc<ManualClock>, claimer: Uuid) -> SqlFeed {
    SqlFeed::new(database.clone(), Arc::clone(clock) as Arc<dyn Clock>, claimer)
}

/// Settles these as the next stretch of the node's journal.
async fn settle(database: &Database, node: Uuid, records: &[UsageRecord]) {
    let books = SqlBooks::new(database.clone());
    let from = books.position(node).await.unwrap();
    let mut to = from;
    to.offset += 1;
    let calls = records.iter().map(|record| SettledCall { record: record.clone(), windows: Vec::new(), run: node });
    let settlement = Settlement { node, from, to, calls: calls.collect(), at: ManualClock::default().now() };
    assert!(matches!(books.settle(settlement).await.unwrap(), Settled::Now { .. }));
}

fn calls(records: &[UsageRecord]) -> Vec<CallId> {
    records.iter().map(|record| record.call).collect()
}

/// Between nodes there is no order.
fn sorted(mut calls: Vec<CallId>) -> Vec<CallId> {
    calls.sort_unstable();
    calls
}

/// Everything there is for `sink`, in pieces of 3.
async fn rest(feed: &SqlFeed, sink: &str) -> Vec<CallId> {
    let mut all = Vec::new();
    while let Some(batch) = feed.next(sink, 3).await.unwrap() {
        all.extend(calls(&batch.records));
        feed.advance(sink, batch.position).await.unwrap();
    }
    all
}

async fn nodes_are_all_delivered_also_those_that_are_gone(place: Place) {
    let database = place.database().await;
    let records = records(9);
    settle(&database, OTHER, &records[..4]).await;
    settle(&database, NODE, &records[4..]).await;
    let feed = feed(&database, &Arc::new(ManualClock::default()), NODE);
    assert_eq!(feed.lag("one").await.unwrap(), Lag { records: 9, since: Some(records[0].at) });
    assert_eq!(sorted(rest(&feed, "one").await), sorted(calls(&records)));
    assert_eq!(feed.lag("one").await.unwrap(), Lag::default());
}

async fn of_two_replicas_one_delivers_a_node(place: Place) {
    let (database, clock) = (place.database().await, Arc::new(ManualClock::default()));
    let records = records(6);
    settle(&database, NODE, &records[..5]).await;
    let (first, second) = (feed(&database, &clock, NODE), feed(&database, &clock, OTHER));
    let batch = first.next("one", 3).await.unwrap().unwrap();
    assert_eq!(second.next("one", 3).await.unwrap(), None, "it is claimed");
    assert_eq!(calls(&second.next("two", 3).await.unwrap().unwrap().records), calls(&records[..3]));
    settle(&database, OTHER, &records[5..]).await;
    assert_eq!(rest(&second, "one").await, calls(&records[5..]), "there is another node");
    assert_eq!(first.next("one", 3).await.unwrap().as_ref(), Some(&batch), "the one that has it goes on");
    clock.advance(SqlFeed::CLAIM);
    assert_eq!(second.next("one", 3).await.unwrap().as_ref(), Some(&batch), "the first one is gone");
    first.advance("one", batch.position).await.unwrap();
    assert_eq!(rest(&second, "one").await, calls(&records[3..5]), "what it said after all, counts");
}

async fn what_settles_nothing_new_is_passed_over(place: Place) {
    let database = place.database().await;
    let records = records(3);
    settle(&database, NODE, &records[..2]).await;
    settle(&database, NODE, &[]).await;
    // Delivered again, by another journal at that.
    settle(&database, OTHER, &records[..2]).await;
    settle(&database, OTHER, &records).await;
    let feed = feed(&database, &Arc::new(ManualClock::default()), NODE);
    assert_eq!(feed.lag("one").await.unwrap().records, 3);
    assert_eq!(sorted(rest(&feed, "one").await), sorted(calls(&records)));
}
