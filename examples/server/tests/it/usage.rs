//! What was used, asked for through the server.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::hub::{Hub, PATIENCE, chat, read};

const MODEL: &str = "openai/gpt-5.4-mini";
const ROOT: &str = "/api/v1/developer/usage";

async fn get(hub: &Hub, key: &str, address: &str) -> (StatusCode, Value) {
    let response = hub.send(hub.request("GET", &format!("{ROOT}{address}"), key), "").await;
    let status = response.status();
    (status, serde_json::from_slice(&read(response).await).unwrap())
}

/// The sums of the last days, once there are so many calls in them.
async fn booked(hub: &Hub, key: &str, calls: i64) -> Value {
    let waiting = async {
        loop {
            let (status, answer) = get(hub, key, "?from=2026-01-01").await;
            assert_eq!(status, 200, "{answer}");
            let days = answer["data"].as_array().unwrap().iter();
            let rows = days.flat_map(|day| day["results"].as_array().unwrap());
            let sum: i64 = rows.map(|row| row["calls"].as_i64().unwrap()).sum();
            assert!(sum <= calls, "{answer}");
            if sum == calls {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap()
}

#[tokio::test]
async fn every_account_is_told_of_its_own_calls() {
    let hub = Hub::start();
    let (key, other) = (hub.key("pro"), hub.key("pro"));
    let asked = chat(MODEL, "hi [[usage prompt 1000 completion 100 cached 400]]");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let request = hub.request("POST", "/v1/chat/completions", &key);
        let response = hub.send(request, asked.to_string()).await;
        ids.push(response.headers()["x-request-id"].to_str().unwrap().to_owned());
        read(response).await;
    }
    hub.post("/v1/chat/completions", &key, &chat("no/such", "hi")).await;
    hub.post("/v1/chat/completions", &other, &asked).await;
    booked(&hub, &key, 4).await;
    booked(&hub, &other, 1).await;

    for zone in ["UTC", "Asia/Kathmandu", "America/New_York"] {
        let address = format!("?from=2026-01-01&group_by=model,status,endpoint&time_zone={zone}");
        let (_, sums) = get(&hub, &key, &address).await;
        let rows: Vec<&Value> =
            sums["data"].as_array().unwrap().iter().flat_map(|day| day["results"].as_array().unwrap()).collect();
        assert_eq!(rows.len(), 2, "{rows:?}");
        let sold = rows.iter().find(|row| row["model"] == MODEL).unwrap();
        assert_eq!((&sold["calls"], &sold["status"], &sold["endpoint"]), (&3.into(), &200.into(), &"chat".into()));
        assert_eq!((&sold["prompt_tokens"], &sold["cached_tokens"]), (&3_000.into(), &1_200.into()));
        // Three times 600 × 0.75 + 400 × 0.075 + 100 × 4.5 dollars a million.
        assert_eq!(sold["charge"], json!({"amount": "0.00279", "currency": "USD"}), "{zone}");
        let refused = rows.iter().find(|row| row["model"] == "no/such").unwrap();
        assert_eq!((&refused["calls"], &refused["status"]), (&1.into(), &404.into()));
        assert!(refused["charge"].is_null(), "{refused}");
    }
    let (_, minutes) = get(&hub, &key, "?bucket=1m").await;
    let last = minutes["data"].as_array().unwrap().iter().rev().take(5);
    let calls: i64 =
        last.flat_map(|minute| minute["results"].as_array().unwrap()).map(|row| row["calls"].as_i64().unwrap()).sum();
    assert_eq!(calls, 4, "minutes are read off the records");

    let (_, list) = get(&hub, &key, "/calls?status=200").await;
    let listed: Vec<_> =
        list["data"].as_array().unwrap().iter().rev().map(|call| call["id"].as_str().unwrap()).collect();
    assert_eq!(listed, ids);
    let (status, one) = get(&hub, &key, &format!("/calls/{}", ids[1])).await;
    assert_eq!((status.as_u16(), &one["charge"]["amount"]), (200, &"0.00093".into()));
    assert!(!one.to_string().contains("openrouter") && one.get("cost").is_none(), "{one}");
    let (status, none) = get(&hub, &other, &format!("/calls/{}", ids[1])).await;
    assert_eq!((status.as_u16(), &none["error"]["code"]), (404, &"call_not_found".into()));
    let (status, _) = get(&hub, &other, &format!("/calls?after={}", ids[1])).await;
    assert_eq!(status, 400);
    let (_, foreign) = get(&hub, &other, "/calls").await;
    assert_eq!(foreign["data"].as_array().unwrap().len(), 1);

    let (_, limits) = get(&hub, &key, "/limits").await;
    let limit =
        limits["data"].as_array().unwrap().iter().find(|limit| limit["source"] == "plan_monthly_calls").unwrap();
    // The refused one counts in no quota.
    assert_eq!((&limit["limit"], &limit["used"]), (&"10000".into(), &"3".into()), "{limits}");
    let number = |name: &str| limit[name].as_str().unwrap().parse::<i64>().unwrap();
    assert_eq!(number("remaining"), 10_000 - 3 - number("held"), "{limits}");
}

#[tokio::test]
async fn an_export_has_every_call_and_comes_in_pieces() {
    const CALLS: i64 = 2_300;
    let hub = Hub::start();
    let key = hub.key("enterprise");
    // Refused at once, and recorded as all are.
    let body = chat("no/such", "hi").to_string();
    for _ in 0..CALLS / 100 {
        let some = (0..100).map(|_| async {
            read(hub.send(hub.request("POST", "/v1/chat/completions", &key), body.clone()).await).await
        });
        futures_util::future::join_all(some).await;
    }
    booked(&hub, &key, CALLS).await;
    for (format, names) in [("csv", 1), ("jsonl", 0)] {
        let address = format!("{ROOT}/export?format={format}");
        let mut response = hub.send(hub.request("GET", &address, &key), "").await;
        assert_eq!(response.status(), 200);
        assert!(response.headers().get("content-length").is_none(), "its length is not known before it is written");
        let (mut text, mut pieces) = (Vec::new(), 0);
        while let Some(frame) = response.body_mut().frame().await {
            text.extend_from_slice(&frame.unwrap().into_data().unwrap());
            pieces += 1;
        }
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().count(), usize::try_from(CALLS).unwrap() + names, "{format}");
        let id = |line: &str| line[line.find("call_").unwrap()..][..31].to_owned();
        let ids: std::collections::BTreeSet<_> = text.lines().skip(names).map(id).collect();
        assert_eq!(ids.len(), usize::try_from(CALLS).unwrap(), "{format}: each once");
        assert!(pieces > 2, "{format}: {pieces} pieces");
    }
}

#[tokio::test]
async fn a_key_that_may_only_read_may_ask() {
    let hub = Hub::start();
    let made = hub.run(&["keys", "create", "--name", "reader", "--plan", "pro", "--permission", "read_only"]);
    let key = crate::hub::last_line(&made);
    for address in ["", "/calls", "/limits"] {
        let (status, answer) = get(&hub, &key, address).await;
        assert_eq!(status, 200, "{address}: {answer}");
    }
    let (status, _) = hub.post("/v1/chat/completions", &key, &chat(MODEL, "hi")).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn a_limit_near_its_end_shows_its_alerts() {
    let hub = Hub::start_with(&[("AIHUB_PLANS__PRO__MONTHLY_CALLS", "5")]);
    let key = hub.key("pro");
    for _ in 0..5 {
        let (status, answer) = hub.post("/v1/chat/completions", &key, &chat(MODEL, "hi")).await;
        assert_eq!(status, 200, "{answer}");
    }
    booked(&hub, &key, 5).await;
    let (_, limits) = get(&hub, &key, "/limits").await;
    let limit =
        limits["data"].as_array().unwrap().iter().find(|limit| limit["source"] == "plan_monthly_calls").unwrap();
    let percents: Vec<_> = limit["alerts"].as_array().unwrap().iter().map(|alert| &alert["percent"]).collect();
    assert_eq!(percents, [80, 100], "{limits}");
    assert_eq!((&limit["remaining"], &limit["used"]), (&"0".into(), &"5".into()));
}
