//! What becomes of batches: whole or absent, and once, whoever delivers them.

use aihub_core::{AccountId, BillingSink, ErrorKind, UsageRecord};

use super::{Place, all, at, ever, everywhere, given_up, records};

everywhere! {
    several_processes_deliver_the_same_calls_in_any_order
    a_batch_given_up_midway_is_whole_or_absent
    a_call_that_is_there_is_left_as_it_is
    what_was_taken_is_there_after_opening_again
}

async fn several_processes_deliver_the_same_calls_in_any_order(place: Place) {
    let records = records(300);
    let account = records[0].account;
    let mut deliveries = Vec::new();
    for process in 0..4 {
        let usage = place.open().await;
        let mut mine = records.clone();
        // Batches of other sizes, from the other end: each holds calls that somebody else is writing.
        if process % 2 == 1 {
            mine.reverse();
        }
        deliveries.push(tokio::spawn(async move {
            for batch in mine.chunks(40 + process * 7) {
                usage.record(batch).await.unwrap();
            }
        }));
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let usage = place.open().await;
    let kept: Vec<UsageRecord> = all(&usage, account).await.into_iter().rev().collect();
    assert_eq!(kept, records);
    assert_eq!(ever(&usage, account).await.calls, 300);
}

/// As a sink is treated whose caller has a deadline.
async fn a_batch_given_up_midway_is_whole_or_absent(place: Place) {
    let (usage, elsewhere) = (place.open().await, place.open().await);
    for turn in 0..20 {
        let records = records(50);
        let account = records[0].account;
        given_up(turn % 5, usage.record(&records)).await;
        let found = all(&elsewhere, account).await.len();
        assert!(found == 0 || found == 50, "{found} of a batch of 50");
        // It is delivered again, and locks nobody out.
        elsewhere.record(&records).await.unwrap();
        usage.record(&records).await.unwrap();
        assert_eq!(all(&usage, account).await.len(), 50);
    }
}

async fn a_call_that_is_there_is_left_as_it_is(place: Place) {
    let usage = place.open().await;
    let records = records(3);
    usage.record(&records).await.unwrap();
    let mut other = records.clone();
    for record in &mut other {
        record.model = "another".into();
    }
    usage.record(&other).await.unwrap();
    let kept: Vec<UsageRecord> = all(&usage, records[0].account).await.into_iter().rev().collect();
    assert_eq!(kept, records);
}

async fn what_was_taken_is_there_after_opening_again(place: Place) {
    let records = records(10);
    place.open().await.record(&records).await.unwrap();
    let usage = place.open().await;
    assert_eq!(all(&usage, records[0].account).await.len(), 10);
    let nobody = AccountId::new(at(0));
    assert_eq!(all(&usage, nobody).await, []);
    assert_eq!(ever(&usage, nobody).await, aihub_core::quota::Amounts::default());
}

/// A lock that another process keeps: the batch is refused, and taken when it comes again.
#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_locked_file_refuses_and_takes_it_later() {
    use aihub_storage::{Database, Migrate, PoolSettings, SqlUsage};
    use diesel::connection::SimpleConnection as _;
    use diesel::{Connection as _, SqliteConnection};

    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("hub.db");
    let settings = PoolSettings { statement: std::time::Duration::from_millis(50), ..PoolSettings::default() };
    let usage = SqlUsage::new(Database::sqlite(&file, settings, Migrate::Run).await.unwrap());
    let mut other = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    let records = records(5);
    assert_eq!(usage.record(&records).await.unwrap_err().kind(), ErrorKind::Unavailable);
    other.batch_execute("COMMIT").unwrap();
    usage.record(&records).await.unwrap();
    assert_eq!(all(&usage, records[0].account).await.len(), 5);
}

/// A row that the database refuses takes its batch with it.
#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_refused_row_leaves_nothing_of_its_batch() {
    let schema = crate::postgres::Schema::new().await;
    let usage = aihub_storage::SqlUsage::new(schema.open().await);
    schema.execute("ALTER TABLE usage_records ADD CHECK (status <> 599)").await;
    let mut records = records(5);
    records[3].status = 599;
    assert_eq!(usage.record(&records).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(all(&usage, records[0].account).await, []);
}
