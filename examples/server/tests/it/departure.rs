//! Callers who leave, on the wire: what their vendors see, and what they are charged.

use aihub_vendors::End;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::hub::{Hub, PATIENCE, chat, read, stream};

/// Left at once, and stops.
const STOPS: &str = "openai/gpt-5.4-mini";
/// Works on and bills.
const WORKS_ON: &str = "google/gemini-2.5-flash";

/// Sends a chat over a connection of its own, reads this many bytes of the answer and hangs up.
async fn cut(hub: &Hub, key: &str, body: &Value, bytes: usize) {
    let body = body.to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = TcpStream::connect(hub.address).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(body.as_bytes()).await.unwrap();
    if bytes == 0 {
        // Not before the vendor has been asked: until then there is nothing to leave.
        let asked = hub.vendors.until(|seen| seen.body.to_string().contains("[[delay"));
        tokio::time::timeout(PATIENCE, asked).await.unwrap();
    }
    let mut answer = vec![0; bytes];
    tokio::time::timeout(PATIENCE, connection.read_exact(&mut answer)).await.unwrap().unwrap();
}

fn nanos(money: &Value) -> i64 {
    let (whole, rest) = money["amount"].as_str().unwrap().split_once('.').unwrap_or(("0", ""));
    format!("{whole}{rest:0<9}").parse().unwrap()
}

#[tokio::test]
async fn a_vendor_that_works_on_is_read_to_its_end_wherever_the_connection_was_cut() {
    let hub = Hub::start();
    let key = hub.key("pro");
    // In the head, in the first event, in the middle.
    let places = [1, 300, 2_000];
    for bytes in places {
        cut(&hub, &key, &stream(WORKS_ON, "hi [[events 120]] [[slow 5ms]] [[usage prompt 40 completion 100]]"), bytes)
            .await;
    }
    let records = hub.stop_and_read_records();
    assert_eq!(records.len(), places.len());
    for record in records {
        assert_eq!((&record["outcome"], &record["status"]), (&"client_gone".into(), &499.into()), "{record}");
        assert_eq!((&record["usage"]["input"], &record["usage"]["output"]), (&40.into(), &100.into()), "{record}");
        assert!(record["usage"]["estimated"].is_null() && record["charge"] == record["cost"], "{record}");
        // 40 × 0.30 + (100 + 8 of reasoning) × 2.50 dollars a million.
        assert_eq!(nanos(&record["charge"]), 282_000, "{record}");
    }
}

#[tokio::test]
async fn a_vendor_that_stops_is_left_and_what_came_is_charged() {
    let hub = Hub::start();
    let key = hub.key("pro");
    for bytes in [1, 300, 2_000] {
        hub.vendors.forget();
        cut(&hub, &key, &stream(STOPS, "hi [[events 2000]] [[slow 20ms]]"), bytes).await;
        let left = hub.vendors.until(|seen| seen.end == Some(End::ClientLeft));
        tokio::time::timeout(PATIENCE, left).await.unwrap();
    }
    for record in hub.stop_and_read_records() {
        assert_eq!(
            (&record["outcome"], &record["usage"]["estimated"]),
            (&"client_gone".into(), &true.into()),
            "{record}"
        );
        assert!(record["usage"]["output"].as_u64().unwrap() < 500 && nanos(&record["charge"]) > 0, "{record}");
    }
}

#[tokio::test]
async fn a_whole_answer_is_waited_for_in_the_place_of_its_caller() {
    for (then, output) in [("drain\",within_s=60}", Some(100)), ("cancel\"}", None), ("void\"}", None)] {
        let table = format!("[{{provider=\"openrouter\",model=\"*\",policy=\"{then}]");
        let hub = Hub::start_with(&[("AIHUB_UPSTREAM__DEPARTURES", &table)]);
        let key = hub.key("pro");
        cut(&hub, &key, &chat(STOPS, "hi [[delay 500ms]] [[usage prompt 40 completion 100]]"), 0).await;
        let records = hub.stop_and_read_records();
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!(
            (&record["outcome"], record["usage"]["output"].as_u64().filter(|n| *n > 0)),
            (&"client_gone".into(), output)
        );
        assert_eq!(record["usage"]["estimated"].is_null(), output.is_some(), "{record}");
        assert_eq!(nanos(&record["charge"]) == 0, then.starts_with("void"), "{record}");
        assert!(nanos(&record["cost"]) > 0, "{record}");
    }
}

#[tokio::test]
async fn a_stop_ends_what_is_read_on_in_its_time_and_records_it() {
    let hub = Hub::start_with(&[("AIHUB_SERVER__DRAIN_TIMEOUT_S", "1")]);
    cut(&hub, &hub.key("pro"), &stream(WORKS_ON, "hi [[events 5000]] [[slow 20ms]]"), 1_000).await;
    let records = hub.stop_and_read_records();
    assert_eq!((records.len(), &records[0]["outcome"]), (1, &"client_gone".into()));
    assert!(nanos(&records[0]["charge"]) > 0, "{}", records[0]);
}

#[tokio::test]
async fn what_is_done_is_told_of_every_model() {
    let hub = Hub::start();
    let key = hub.key("pro");
    for (id, policy, whole) in [
        (STOPS, "cancel", Some("drain")),
        (WORKS_ON, "drain", Some("drain")),
        ("google/gemini-embedding-001", "drain", None),
    ] {
        let card = read(hub.send(hub.request("GET", &format!("/v1/models/{id}"), &key), "").await).await;
        let card: Value = serde_json::from_slice(&card).unwrap();
        let told = &card["disconnect"];
        assert_eq!((told["policy"].as_str(), told["whole"]["policy"].as_str()), (Some(policy), whole), "{card}");
        assert!(told["charged"].as_str().is_some_and(|text| !text.is_empty()), "{card}");
        assert_eq!(card["zero_completion"], "not_charged");
    }
}

#[tokio::test]
async fn what_gives_nothing_is_booked_and_not_charged() {
    let hub = Hub::start();
    let key = hub.key("pro");
    let failing = [
        stream(STOPS, "hi [[error-event after 0]] [[usage prompt 40 completion 0]]"),
        chat(STOPS, "hi [[error-event after 0]] [[usage prompt 40 completion 0]]"),
        chat(STOPS, "hi [[status 502]]"),
    ];
    for body in &failing {
        let response = hub.send(hub.request("POST", "/v1/chat/completions", &key), body.to_string()).await;
        drop(read(response).await);
    }
    let records = hub.stop_and_read_records();
    assert_eq!(records.len(), failing.len());
    for (at, record) in records.iter().enumerate() {
        assert_eq!((&record["outcome"], nanos(&record["charge"])), (&"upstream_failed".into(), 0), "{record}");
        assert_eq!(nanos(&record["cost"]) > 0, at == 1, "only the second said what it had counted: {record}");
    }
}
