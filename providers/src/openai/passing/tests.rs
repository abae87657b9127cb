//! What is made of streams that are not as they should be.

use aihub_core::ErrorKind;
use aihub_core::chat::Finish;

use super::super::{priced, status_error};
use super::*;

const DIALECT: Dialect = Dialect { repeats_role: true, explain: status_error, priced: priced::OPENAI };
const DONE: &str = "[DONE]";
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

type Frames = futures_util::stream::Iter<std::vec::IntoIter<Result<Bytes>>>;

/// A stream of these events, all in one frame.
async fn stream(events: &[&str]) -> Result<Passing<Frames>> {
    let all: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    Passing::first(futures_util::stream::iter(vec![Ok(all.concat().into())]), DIALECT).await
}

/// All that is forwarded, and how it ends.
async fn play(events: &[&str]) -> (String, Result<Finish>) {
    let mut source = match stream(events).await {
        Ok(source) => source,
        Err(error) => return ("nothing".to_owned(), Err(error)),
    };
    let mut shown = String::new();
    loop {
        match source.next().await.expect("an end") {
            Ok(ChatEvent::Finish(finish)) => return (shown, Ok(*finish)),
            Ok(ChatEvent::Frames(bytes)) => shown += std::str::from_utf8(&bytes).unwrap(),
            Ok(ChatEvent::Chunk(chunk)) => shown += &serde_json::to_string(&chunk).unwrap(),
            Ok(event) => panic!("{event:?}"),
            Err(error) => return (shown, Err(error)),
        }
    }
}

fn says(delta: &str) -> String {
    format!(r#"{{"id":"1","choices":[{{"index":0,"delta":{delta}}}]}}"#)
}

#[tokio::test]
async fn nothing_but_an_end_is_an_error_before_the_reply() {
    for events in [&[DONE][..], &["{broken", DONE], &["{broken", "[]"], &[]] {
        let (shown, end) = play(events).await;
        let error = end.unwrap_err();
        assert_eq!((shown.as_str(), error.kind()), ("nothing", ErrorKind::BadUpstream), "{events:?}");
        assert!(error.may_fail_over(), "{events:?}");
    }
    assert!(play(&[DONE]).await.1.unwrap_err().is_transient());
}

#[tokio::test]
async fn an_error_behind_a_comment_is_an_error_before_the_reply() {
    let frame = ": wait\n\ndata: {\"error\":{\"code\":503,\"message\":\"full\"}}\n\n";
    let error =
        Passing::first(futures_util::stream::iter([Ok(Bytes::from(frame))]), DIALECT).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn an_event_that_is_no_json_is_left_out_of_an_answer_and_is_no_answer() {
    let hello = says(r#"{"content":"hello"}"#);
    let (shown, end) = play(&[&hello, "{broken", "", STOP, DONE]).await;
    assert!(shown.contains("hello") && !shown.contains("broken"));
    assert_eq!(end.unwrap().finish_reason.as_deref(), Some("stop"));
    let (_, end) = play(&[&says(r#"{"role":"assistant"}"#), "{broken", STOP, DONE]).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::BadUpstream);
}

#[tokio::test]
async fn fields_of_other_types_pass_and_are_read() {
    let odd = r#"{"id":5,"created":1.5,"choices":[{"index":"0","delta":{"content":"hello"}}]}"#;
    let (shown, end) = play(&[odd, STOP, DONE]).await;
    assert!(shown.contains("hello") && end.is_ok(), "{shown} {end:?}");
}

#[tokio::test]
async fn a_choice_that_is_cut_makes_the_answer_incomplete_unless_the_end_was_said() {
    let second = r#"{"choices":[{"index":1,"delta":{"tool_calls":[{"index":0,"function":{"name":"f"}}]}}]}"#;
    let hello = says(r#"{"content":"hello"}"#);
    let (_, end) = play(&[&hello, second, STOP]).await;
    assert_eq!(end.unwrap_err().code(), "upstream_truncated");
    let (shown, end) = play(&[&hello, second, STOP, DONE]).await;
    assert!(shown.ends_with(r#""choices":[{"index":1,"delta":{},"finish_reason":"tool_calls"}]}"#), "{shown}");
    assert!(end.is_ok());
}

#[tokio::test]
async fn an_error_in_a_choice_ends_the_stream() {
    let hello = says(r#"{"content":"hello"}"#);
    let told = r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error","error":{"code":429,"message":"slow"}}]}"#;
    assert_eq!(play(&[&hello, told, DONE]).await.1.unwrap_err().kind(), ErrorKind::RateLimited);
    let untold = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}"#;
    assert_eq!(play(&[&hello, untold, DONE]).await.1.unwrap_err().kind(), ErrorKind::BadUpstream);
}

#[tokio::test]
async fn a_role_is_said_once_also_beside_usage() {
    let usage = r#""usage":{"prompt_tokens":5,"completion_tokens":1,"cost":0.5}"#;
    let last = format!(
        r#"{{"choices":[{{"index":0,"delta":{{"role":"assistant","content":"!"}},"finish_reason":"stop"}}],{usage}}}"#
    );
    let (shown, end) = play(&[&says(r#"{"role":"assistant","content":"hello"}"#), &last, DONE]).await;
    assert_eq!(shown.matches("\"assistant\"").count(), 1, "{shown}");
    assert!(shown.contains("\"!\"") && !shown.contains("cost"), "{shown}");
    assert_eq!(end.unwrap().usage, Some(Usage::new(5, 1)));
}

#[tokio::test]
async fn usage_that_says_nothing_is_none_and_none_of_it_is_shown() {
    let hello = says(r#"{"content":"hello"}"#);
    let finish = play(&[&hello, STOP, r#"{"choices":[],"usage":{}}"#, DONE]).await.1.unwrap();
    assert_eq!((finish.usage, finish.usage_event), (None, None));
    let zero = r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":0,"total_tokens":5}}"#;
    let finish = play(&[&hello, STOP, zero, DONE]).await.1.unwrap();
    assert_eq!(finish.usage, Some(Usage::estimate(5, 2)));
    let event = finish.usage_event.unwrap();
    assert!(std::str::from_utf8(&event).unwrap().contains(r#""completion_tokens":2"#), "{event:?}");
}

#[tokio::test]
async fn what_was_said_is_measured_with_its_media() {
    let image = "A".repeat(100_000);
    let delta =
        format!(r#"{{"reasoning":"abc","content":"","images":[{{"image_url":{{"url":"data:x;base64,{image}"}}}}]}}"#);
    let source = stream(&[&says(&delta)]).await.unwrap();
    let usage = source.so_far();
    assert_eq!((usage.output, usage.image_output, usage.estimated), (1, 1_290, true));
}
