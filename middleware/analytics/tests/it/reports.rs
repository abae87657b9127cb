//! What is answered at the addresses.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aihub_core::{AccountId, CallId, Timestamp};
use http_body_util::BodyExt as _;

use crate::world::{Many, ask, asked, reader};

const ROOT: &str = "/api/v1/developer/usage";

#[tokio::test]
async fn nobody_is_told_anything_without_a_key() {
    let usage = Many::new(1);
    for address in ["", "/calls", "/calls/call_0", "/export", "/limits"] {
        let (status, answer) = asked(&usage, None, &format!("{ROOT}{address}")).await;
        assert_eq!((status, &answer["error"]["type"]), (401, &"authentication_error".into()), "{address}");
    }
}

#[tokio::test]
async fn every_bucket_of_the_range_is_there() {
    let usage = Many::new(0);
    let address = format!("{ROOT}?from=2026-03-28&to=2026-03-31&time_zone=Europe/Berlin");
    let (status, answer) = asked(&usage, Some(reader(usage.account)), &address).await;
    assert_eq!(status, 200, "{answer}");
    let starts: Vec<_> = answer["data"].as_array().unwrap().iter().map(|bucket| &bucket["starts_at"]).collect();
    assert_eq!(starts, ["2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"]);
    assert_eq!((&answer["time_zone"], &answer["to"]), (&"Europe/Berlin".into(), &"2026-03-30T22:00:00Z".into()));
}

#[tokio::test]
async fn a_wrong_question_names_the_parameter_in_the_one_envelope() {
    let usage = Many::new(0);
    for (address, param) in [
        ("?bucket=1w", "bucket"),
        ("?bucket=1m&from=2026-11-01&to=2026-11-03", "bucket"),
        ("?group_by=colour", "group_by"),
        ("?from=2026-11-03&to=2026-11-01", "from"),
        ("/calls?limit=0", "limit"),
        ("/calls?after=key_1", "after"),
        ("/export?format=xlsx", "format"),
    ] {
        let (status, answer) = asked(&usage, Some(reader(usage.account)), &format!("{ROOT}{address}")).await;
        assert_eq!((status, &answer["error"]["param"]), (400, &param.into()), "{address}: {answer}");
        assert!(answer["error"]["request_id"].is_string(), "{answer}");
    }
    let (status, answer) = asked(&usage, Some(reader(usage.account)), &format!("{ROOT}?account=acc_1")).await;
    assert!(status == 400 && answer["error"]["message"].as_str().unwrap().contains("account"), "{answer}");
}

#[tokio::test]
async fn pages_go_on_where_the_one_before_ended() {
    let usage = Many::new(5);
    let mut address = format!("{ROOT}/calls?limit=2");
    let mut found = Vec::new();
    loop {
        let (_, answer) = asked(&usage, Some(reader(usage.account)), &address).await;
        found.extend(answer["data"].as_array().unwrap().iter().map(|call| call["id"].as_str().unwrap().to_owned()));
        let Some(next) = answer["next"].as_str() else {
            assert_eq!(answer["has_more"], false);
            break;
        };
        address = format!("{ROOT}/calls?limit=2&after={next}");
    }
    assert_eq!(found, (0..5).map(|number| usage.record(number).call.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_call_of_another_account_is_not_found() {
    let usage = Many::new(1);
    let call = usage.record(0).call;
    let other = reader(AccountId::new(Timestamp::UNIX_EPOCH));
    let (status, answer) = asked(&usage, Some(reader(usage.account)), &format!("{ROOT}/calls/{call}")).await;
    assert_eq!((status, &answer["id"]), (200, &call.to_string().into()));
    let unknown = CallId::new(Timestamp::UNIX_EPOCH).to_string();
    for (caller, id) in [(other, &*call.to_string()), (reader(usage.account), &*unknown), (reader(usage.account), "x")]
    {
        let (status, answer) = asked(&usage, Some(caller), &format!("{ROOT}/calls/{id}")).await;
        assert_eq!((status, &answer["error"]["code"]), (404, &"call_not_found".into()), "{id}");
    }
}

#[tokio::test]
async fn an_export_is_read_from_the_store_as_its_reader_takes_it() {
    let usage = Many::new(5_000);
    let response = ask(&usage, Some(reader(usage.account)), &format!("{ROOT}/export")).await;
    assert_eq!(response.headers()["content-disposition"], "attachment; filename=\"usage.csv\"");
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/csv"));
    let mut body = response.into_body();
    let (mut lines, mut frames) = (0, 0);
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        lines += std::str::from_utf8(&data).unwrap().lines().count();
        frames += 1;
        let pages = usage.pages.load(Ordering::SeqCst);
        assert!(pages <= frames, "{pages} pages were read for {frames} frames: nothing is read ahead");
    }
    assert_eq!((lines, frames), (5_001, 6), "a line of names, and five pages");
}

#[tokio::test]
async fn an_export_that_breaks_off_is_not_taken_for_the_whole() {
    let mut usage = Many::new(5_000);
    Arc::get_mut(&mut usage).unwrap().broken = 2;
    let response = ask(&usage, Some(reader(usage.account)), &format!("{ROOT}/export?format=jsonl")).await;
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn limits_say_what_is_left() {
    let usage = Many::new(0);
    let (status, answer) = asked(&usage, Some(reader(usage.account)), &format!("{ROOT}/limits")).await;
    assert_eq!((status, answer["data"].as_array().unwrap().len()), (200, 1), "{answer}");
    let limit = &answer["data"][0];
    assert_eq!(limit["source"], "plan_monthly_calls");
    assert_eq!((&limit["limit"], &limit["used"], &limit["held"]), (&"10".into(), &"8".into(), &"1".into()));
    assert_eq!((&limit["remaining"], &limit["unit"]), (&"1".into(), &"calls".into()));
    assert_eq!(limit["alerts"][0]["percent"], 80);
    assert!(limit["resets_at"].is_string());
}
