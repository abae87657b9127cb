use std::sync::Mutex;

use super::*;
use crate::chat::{Choice, ChunkWriter};

fn watched(log: &Arc<Mutex<Vec<Ending>>>) -> Hook {
    let log = Arc::clone(log);
    Box::new(move |ending| {
        let ending = ending.clone();
        Some(Box::pin(async move { log.lock().unwrap().push(ending) }))
    })
}

fn frames(text: &'static str) -> ChatEvent {
    ChatEvent::Frames(Bytes::from_static(text.as_bytes()))
}

fn finish() -> ChatEvent {
    ChatEvent::Finish(Box::new(Finish::new(Some(Usage::estimate(1, 2)), None)))
}

async fn reply(events: Vec<ChatEvent>, log: &Arc<Mutex<Vec<Ending>>>) -> ChatReply {
    ChatReply::from_events(7, futures_util::stream::iter(events).map(Ok)).watch(watched(log)).await
}

#[tokio::test]
async fn hooks_are_told_before_the_last_event_is_handed_on() {
    let log = Arc::default();
    let mut reply = reply(vec![frames("a"), finish()], &log).await;
    assert!(matches!(reply.next().await, Some(Ok(ChatEvent::Frames(_)))));
    assert!(log.lock().unwrap().is_empty());
    assert!(matches!(reply.next().await, Some(Ok(ChatEvent::Finish(_)))));
    assert_eq!(log.lock().unwrap()[0].outcome, Outcome::Completed);
    assert!(reply.next().await.is_none());
    drop(reply);
    assert_eq!(log.lock().unwrap().len(), 1, "told twice");
}

#[tokio::test]
async fn a_whole_answer_shows_the_usage_that_is_booked() {
    let completion = Completion::new("a-1", "m-1", 7, vec![Choice::text("hi", "stop")]);
    let reply = ChatReply::whole(5, completion, Finish::new(Some(Usage::new(5, 2)), None));
    let (events, _) = reply.collect().await.unwrap();
    let [ChatEvent::Whole(body)] = &events[..] else { panic!("not one whole answer: {events:?}") };
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    assert_eq!(body["usage"]["total_tokens"], 7);
}

#[tokio::test]
async fn a_stream_without_an_end_is_an_error() {
    let log = Arc::default();
    let mut reply = reply(vec![frames("a")], &log).await;
    reply.next().await.unwrap().unwrap();
    assert_eq!(reply.next().await.unwrap().unwrap_err().kind(), ErrorKind::BadUpstream);
    assert_eq!(log.lock().unwrap()[0].outcome, Outcome::UpstreamFailed);
}

#[tokio::test]
async fn a_dropped_reply_is_settled_with_what_was_used() {
    let log: Arc<Mutex<Vec<Ending>>> = Arc::default();
    let mut reply =
        reply(vec![frames("data: {\"choices\":[{\"delta\":{\"content\":\"abcdef\"}}]}\n\n"), finish()], &log).await;
    reply.next().await.unwrap().unwrap();
    drop(reply);
    while log.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let ending = log.lock().unwrap()[0].clone();
    assert_eq!((ending.outcome, ending.usage.input, ending.usage.output), (Outcome::ClientGone, 7, 2));
    assert!(ending.usage.estimated);
}

#[tokio::test]
async fn a_whole_answer_without_usage_is_measured_by_what_it_says() {
    let image = "A".repeat(900_000);
    let body = format!(
        r#"{{"id":"a-1","system_fingerprint":"{image}","choices":[{{"index":0,"logprobs":{{"content":[1,2]}},"message":{{
            "role":"assistant","content":"abcdef","images":[{{"image_url":{{"url":"data:image/png;base64,{image}"}}}}]}}}}]}}"#
    );
    let (_, finish) = ChatReply::whole_body(9, body.into(), Finish::default()).collect().await.unwrap();
    let usage = finish.usage.unwrap();
    assert_eq!((usage.input, usage.output, usage.image_output, usage.estimated), (9, 2, 1_290, true));
}

#[tokio::test]
async fn an_estimate_without_a_prompt_is_given_the_prompts_estimate() {
    let estimate = Finish::new(Some(Usage::estimate(0, 3)), None);
    let (_, finish) = ChatReply::whole_body(9, "{}".into(), estimate).collect().await.unwrap();
    assert_eq!(finish.usage, Some(Usage::estimate(9, 3)));
    let counted = Finish::new(Some(Usage::new(0, 3)), None);
    let (_, finish) = ChatReply::whole_body(9, "{}".into(), counted).collect().await.unwrap();
    assert_eq!(finish.usage, Some(Usage::new(0, 3)), "a vendor's figure was changed");
}

#[test]
fn events_of_several_lines_are_one_chunk_each() {
    let chunk = serde_json::to_string(&ChunkWriter::new("a-1", "m-1", 7).text("hi")).unwrap();
    let (first, second) = chunk.split_at(chunk.find(",\"choices").unwrap());
    for end in ["\n", "\r", "\r\n"] {
        let lines =
            [": comment", "", "event: x", &format!("data: {first}"), &format!("data:{second}"), "id: 1", "", ""];
        let last = ["data: ", &chunk].concat();
        let frames = ChatEvent::Frames(format!("{}{end}{last}{end}{end}", lines.join(end)).into());
        let chunks = frames.chunks().unwrap();
        let texts: Vec<_> = chunks.iter().map(|chunk| chunk.choices[0].delta.content.as_deref()).collect();
        assert_eq!(texts, [Some("hi"); 2], "{end:?}");
    }
    assert_eq!(frames("data: {\n\n").chunks().unwrap_err().kind(), ErrorKind::BadUpstream);
}
