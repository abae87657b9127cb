//! Each directive does what the table says, at both vendors.

use std::time::Duration;

use aihub_vendors::{End, Vendors};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout};

use crate::{BOTH, Dialect, events, get, json_of, read};

const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_status_comes_in_the_vendors_shape_with_its_hint() {
    let vendors = Vendors::start().unwrap();
    let response = Dialect::OpenRouter.ask(&vendors, "[[status 429 retry-after 2]]", true).await;
    assert_eq!(response.headers()["retry-after"], "2");
    let (status, body) = json_of(response).await;
    assert_eq!((status, &body["error"]["metadata"]["error_type"]), (429, &"rate_limit_exceeded".into()));

    let response = Dialect::Gemini.ask(&vendors, "[[status 429 retry-after 2 daily]]", true).await;
    assert!(!response.headers().contains_key("retry-after"));
    let (status, body) = json_of(response).await;
    let details = body["error"]["details"].to_string();
    assert_eq!((status, &body["error"]["status"]), (429, &"RESOURCE_EXHAUSTED".into()));
    assert!(details.contains("\"2s\"") && details.contains("PerDay"), "{details}");
}

#[tokio::test]
async fn times_fails_only_so_often() {
    for dialect in BOTH {
        let vendors = Vendors::start().unwrap();
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(dialect.ask(&vendors, "[[status 503 times 2 id x]]", false).await.status().as_u16());
        }
        assert_eq!(statuses, [503, 503, 200], "{dialect:?}");
    }
}

#[tokio::test]
async fn a_cut_breaks_the_connection_inside_an_event() {
    for dialect in BOTH {
        let vendors = Vendors::start().unwrap();
        let (text, clean) = read(dialect.ask(&vendors, "[[events 9]] [[cut after 3]]", true).await).await;
        assert!(!clean, "{dialect:?}: {text}");
        let (whole, torn) = text.trim_end().rsplit_once("data: ").unwrap();
        assert_eq!(events(whole).len(), 3, "{dialect:?}");
        assert!(serde_json::from_str::<serde_json::Value>(torn).is_err(), "{dialect:?}");
        assert_eq!(vendors.seen()[0].end, Some(End::Cut), "{dialect:?}");
        assert!(dialect.ask(&vendors, "[[cut]]", false).await.into_body().collect().await.is_err(), "{dialect:?}");
    }
}

#[tokio::test]
async fn an_early_end_is_clean_and_says_nothing() {
    for dialect in BOTH {
        let vendors = Vendors::start().unwrap();
        let (text, clean) = read(dialect.ask(&vendors, "[[events 9]] [[end after 2]]", true).await).await;
        assert!(clean && !text.contains("[DONE]") && !text.contains("STOP") && !text.contains("\"stop\""), "{text}");
        assert_eq!(events(&text).len(), 2, "{dialect:?}");
    }
}

#[tokio::test]
async fn an_error_event_is_the_last() {
    for dialect in BOTH {
        let vendors = Vendors::start().unwrap();
        let (text, clean) = read(dialect.ask(&vendors, "[[error-event after 2 code 503]]", true).await).await;
        let events = events(&text);
        assert!(clean && !text.contains("[DONE]"), "{text}");
        assert_eq!((events.len(), &events[2]["error"]["code"]), (3, &503.into()), "{dialect:?}");
        let (text, _) = read(dialect.ask(&vendors, "[[first-event-error]]", true).await).await;
        assert_eq!(crate::events(&text)[0]["error"]["code"], 502, "{dialect:?}");
    }
}

#[tokio::test]
async fn a_raw_error_has_no_data_prefix() {
    let vendors = Vendors::start().unwrap();
    let (text, _) = read(Dialect::Gemini.ask(&vendors, "[[error-event after 1 raw]]", true).await).await;
    assert_eq!(events(&text).len(), 1);
    assert!(text.contains("\n{\n  \"error\": {"), "{text}");
}

#[tokio::test]
async fn a_malformed_event_is_followed_by_good_ones() {
    for dialect in BOTH {
        let vendors = Vendors::start().unwrap();
        let (text, _) = read(dialect.ask(&vendors, "[[events 5]] [[malformed after 2]]", true).await).await;
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        let good: Vec<bool> = lines.map(|data| serde_json::from_str::<serde_json::Value>(data).is_ok()).collect();
        assert_eq!(good[..4], [true, true, false, true], "{dialect:?}: {text}");
        assert_eq!(good.iter().filter(|good| !**good).count(), 1);
        let (_, body) = json_of(dialect.ask(&vendors, "[[malformed]]", false).await).await;
        assert!(body.is_null(), "{dialect:?}");
    }
}

#[tokio::test]
async fn slow_waits_between_events_and_delay_before_them() {
    for dialect in BOTH {
        let vendors = Vendors::start().unwrap();
        let start = Instant::now();
        let (text, _) = read(dialect.ask(&vendors, "[[delay 30ms]] [[slow 10ms]] [[events 5]]", true).await).await;
        assert!(events(&text).len() > 5);
        assert!(start.elapsed() >= Duration::from_millis(80), "{dialect:?}: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_at_once() {
    for dialect in BOTH {
        let vendors = Vendors::start().unwrap();
        let mut body = dialect.ask(&vendors, "[[events 9]] [[hang after 2]]", true).await.into_body();
        let _first = body.frame().await.unwrap().unwrap();
        let left = Instant::now();
        drop(body);
        let seen = timeout(PATIENCE, vendors.until(|seen| seen.end == Some(End::ClientLeft))).await.unwrap();
        assert!(left.elapsed() < Duration::from_millis(100), "{dialect:?}: {:?}", left.elapsed());
        assert!(seen.left_after_ms.is_some() && seen.events <= 2, "{seen:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_headers_is_noticed_too() {
    for dialect in BOTH {
        let vendors = Vendors::start().unwrap();
        let asked = timeout(Duration::from_millis(50), dialect.ask(&vendors, "[[hang]]", false)).await;
        assert!(asked.is_err(), "{dialect:?} answered");
        let seen = timeout(PATIENCE, vendors.until(|seen| seen.end.is_some())).await.unwrap();
        assert_eq!((seen.end, seen.status), (Some(End::ClientLeft), None), "{dialect:?}");
    }
}

#[tokio::test]
async fn the_journal_is_read_over_http_and_waits() {
    let vendors = Vendors::start().unwrap();
    let url = format!("{}/_vendors/seen", vendors.url());
    let waiting = get(format!("{url}?contains=marker-7&end=completed&wait_ms=5000"));
    let asking = Dialect::Gemini.ask(&vendors, "marker-7", false);
    let (journal, _) = tokio::join!(waiting, asking);
    assert_eq!(journal["requests"][0]["vendor"], "gemini");
    assert_eq!(journal["requests"][0]["body"]["contents"][0]["parts"][0]["text"], "marker-7");
    vendors.forget();
    assert_eq!(get(url).await["requests"], serde_json::json!([]));
}

#[tokio::test]
async fn a_left_stream_is_recorded_for_what_it_sent() {
    let vendors = Vendors::start().unwrap();
    let response = Dialect::OpenRouter.ask(&vendors, "[[events 9]] [[hang after 2]] [[generation late 1]]", true).await;
    let id = response.headers()["x-generation-id"].to_str().unwrap().to_owned();
    let body = response.into_body();
    timeout(PATIENCE, vendors.until(|seen| seen.events == 2)).await.unwrap();
    drop(body);
    timeout(PATIENCE, vendors.until(|seen| seen.end.is_some())).await.unwrap();
    let look = || get(format!("{}/generation?id={id}", vendors.openrouter_base_url()));
    assert_eq!(look().await["error"]["code"], 404);
    let record = look().await["data"].clone();
    assert_eq!((&record["cancelled"], &record["native_tokens_completion"]), (&true.into(), &2.into()));
    assert!(record["total_cost"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn a_hanging_answer_does_not_hold_the_drop() {
    let vendors = Vendors::start().unwrap();
    let url = vendors.url();
    let response = Dialect::Gemini.ask(&vendors, "[[hang after 1]]", true).await;
    let dropped = Instant::now();
    drop(vendors);
    assert!(dropped.elapsed() < Duration::from_secs(2));
    assert!(!read(response).await.1);
    let address = url.trim_start_matches("http://").to_owned();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_slip_in_a_directive_is_refused() {
    for dialect in BOTH {
        let vendors = Vendors::start().unwrap();
        let (status, body) = json_of(dialect.ask(&vendors, "[[sttus 500]]", false).await).await;
        assert_eq!(status, 400);
        assert!(body["error"]["message"].as_str().unwrap().contains("[[sttus 500]]"), "{dialect:?}");
    }
}
