//! A journal that cannot be written, and one that is full because nobody takes it over: nothing more is sold, what runs
//! ends well, and all of it is booked.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio_postgres::NoTls;

use crate::hub::{Hub, PATIENCE, chat, last_line, read, stream};
use crate::replicas::{Database, PEPPER};

const MODEL: &str = "openai/gpt-5.4-mini";
const CHATS: &str = "/v1/chat/completions";

async fn is_ready(hub: &Hub) -> bool {
    let request = http::Request::get(format!("http://{}/health/ready", hub.address));
    let response = hub.send(request, "").await;
    let status = response.status();
    drop(read(response).await);
    status == StatusCode::OK
}

async fn until_ready(hub: &Hub) {
    let waiting = async {
        while !is_ready(hub).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it never becomes ready again");
}

/// Stops the server in good order, and gives back how many calls its books have as completed.
async fn completed(mut hub: Hub, database: &Database) -> i64 {
    hub.terminate();
    assert_eq!(hub.wait(), Some(0));
    let audit = hub.run(&["audit"]);
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let query = "SELECT count(*) FROM usage_records WHERE outcome = 'completed'";
    client.query_one(query, &[]).await.unwrap().get(0)
}

// failure: disk | takes nothing | new calls 503 `metering_unavailable`, readiness red; what runs ends and is booked
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_nothing_stops_the_sale_and_nothing_that_runs() {
    let database = Database::new().await;
    let url = database.url();
    // The copy in a file could not be written either, and is not what is looked at here.
    let hub = Hub::start_deaf(&[("DATABASE_URL", &url), PEPPER, ("AIHUB_STORE__USAGE_FILE", "")]);
    let key = last_line(&hub.run(&["keys", "create", "--name", "test", "--plan", "enterprise"]));
    let body = stream(MODEL, "hi [[events 60]] [[slow 20ms]]").to_string();
    let mut running = hub.send(hub.request("POST", CHATS, &key), body).await;
    running.body_mut().frame().await.unwrap().unwrap();

    hub.limit_files("1");
    for _ in 0..3 {
        let (status, body) = hub.post(CHATS, &key, &chat(MODEL, "hi")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
        assert_eq!(body["error"]["code"], "metering_unavailable", "{body}");
    }
    assert!(!is_ready(&hub).await);
    let rest = read(running).await;
    assert!(rest.ends_with(b"data: [DONE]\n\n"), "{}", String::from_utf8_lossy(&rest));

    hub.limit_files("unlimited");
    until_ready(&hub).await;
    let (status, body) = hub.post(CHATS, &key, &chat(MODEL, "hi")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(completed(hub, &database).await, 2, "the stream that ended meanwhile, and the call after it");
}

// failure: store | away until the journal is full | 503 for new calls; everything is booked when it is back
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_nobody_takes_over_fills_up_and_everything_in_it_is_booked_in_the_end() {
    let database = Database::new().await;
    let url = database.url();
    let hub = Arc::new(Hub::start_with(&[
        ("DATABASE_URL", &url),
        PEPPER,
        ("AIHUB_STORE__STATEMENT_TIMEOUT_MS", "1000"),
        ("AIHUB_JOURNAL__SEGMENT_MIB", "1"),
        ("AIHUB_JOURNAL__MOST_MIB", "2"),
    ]));
    let key = last_line(&hub.run(&["keys", "create", "--name", "test", "--plan", "enterprise"]));
    // The books wait for this lock; keys are still looked up.
    let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE journals IN ACCESS EXCLUSIVE MODE").await.unwrap();

    let callers: Vec<_> = (0..24)
        .map(|number| {
            let (hub, key) = (Arc::clone(&hub), key.clone());
            tokio::spawn(async move {
                let text = if number < 4 { "hi [[events 40]] [[slow 10ms]]" } else { "hi" };
                let mut answered = 0;
                loop {
                    let agent = "somebody who has a lot to say of what it is ".repeat(8);
                    let request = hub.request("POST", CHATS, &key).header("user-agent", agent);
                    let response = hub.send(request, stream(MODEL, text).to_string()).await;
                    let status = response.status();
                    let body = String::from_utf8(read(response).await.to_vec()).unwrap();
                    if status != StatusCode::OK {
                        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
                        assert!(body.contains("metering_unavailable"), "{body}");
                        return answered;
                    }
                    assert!(body.ends_with("data: [DONE]\n\n"), "what was admitted was not finished: {body}");
                    answered += 1;
                }
            })
        })
        .collect();
    let mut answered = 0;
    for caller in callers {
        answered += tokio::time::timeout(4 * PATIENCE, caller).await.expect("it is never full").unwrap();
    }
    assert!(answered > 100, "{answered}");
    lock.rollback().await.unwrap();
    until_ready(&hub).await;
    let (status, body) = hub.post(CHATS, &key, &chat(MODEL, "hi")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let hub = Arc::into_inner(hub).expect("no caller is left");
    assert_eq!(completed(hub, &database).await, answered + 1);
}
