use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::chat::{Choice, ChunkWriter};
use crate::money::Currency;
use crate::price::PriceList;

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

/// A vendor that says a word of one token each second, and in the end what it counted.
fn slow(words: usize) -> impl Stream<Item = Result<ChatEvent>> + Send {
    let word = || frames("data: {\"choices\":[{\"delta\":{\"content\":\"wow\"}}]}\n\n");
    let finish = ChatEvent::from(Finish::new(Some(Usage::new(7, 100)), Some("stop".into())));
    let events = std::iter::repeat_with(word).take(words).chain([finish]);
    futures_util::stream::iter(events).then(|event| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(event)
    })
}

fn drain(seconds: u64, cost_cap: Option<&str>) -> OnDeparture {
    let cost_cap = cost_cap.map(|cap| Money::parse(cap, Currency::USD).unwrap());
    OnDeparture::Drain { within: Duration::from_secs(seconds), cost_cap }
}

/// How a reply of ten words ended that was left after the first, and after how many seconds.
async fn left(then: OnDeparture, priced: bool) -> (Ending, u64) {
    let (log, drains, started) = (Arc::default(), Drains::default(), tokio::time::Instant::now());
    let mut reply = ChatReply::from_events(7, slow(10)).watch(watched(&log)).await;
    if priced {
        // A dollar a token.
        let offer = Offer::new("vendor", "m", PriceList::flat("1000000", "1000000").unwrap());
        reply.set_offer(offer);
    }
    reply.on_departure(then, &drains);
    reply.next().await.unwrap().unwrap();
    drop(reply);
    assert_eq!(drains.running(), usize::from(matches!(then, OnDeparture::Drain { .. })));
    while log.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let seconds = started.elapsed().as_secs();
    drains.finish(Duration::from_mins(1)).await;
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 1, "told more than once");
    (log[0].clone(), seconds)
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_read_on_ends_with_the_vendors_own_figures() {
    let (ending, seconds) = left(drain(60, None), false).await;
    assert_eq!((ending.outcome, ending.error, seconds), (Outcome::ClientGone, Some(ErrorKind::Cancelled), 11));
    assert_eq!((ending.usage, ending.finish_reason.as_deref()), (Usage::new(7, 100), Some("stop")));
    assert!(!ending.waived);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_it_with_what_was_measured() {
    let (ending, seconds) = left(drain(4, None), false).await;
    assert_eq!((ending.outcome, seconds), (Outcome::ClientGone, 5));
    // The first word, and those of three or four seconds.
    assert!(ending.usage.estimated && (4..=5).contains(&ending.usage.output), "{:?}", ending.usage);
}

#[tokio::test(start_paused = true)]
async fn a_cost_cap_ends_it_before_more_is_spent_than_that() {
    // The first word was the caller's: the cap counts from there.
    let (ending, seconds) = left(drain(60, Some("3")), true).await;
    assert_eq!((ending.outcome, ending.usage.output, seconds), (Outcome::ClientGone, 4, 4));
    let (ending, seconds) = left(drain(60, Some("1000")), true).await;
    assert_eq!((ending.usage, seconds), (Usage::new(7, 100), 11));
    for cap in ["0", "3"] {
        let (ending, seconds) = left(drain(60, Some(cap)), cap == "0").await;
        assert_eq!((ending.usage.output, seconds), (1, 1), "a cap of nothing, and one without a price to hold it to");
    }
}

#[tokio::test(start_paused = true)]
async fn a_void_lets_the_caller_off_and_a_cancel_does_not() {
    for (then, waived) in [(OnDeparture::Void, true), (OnDeparture::Cancel, false)] {
        let (ending, seconds) = left(then, true).await;
        assert_eq!((ending.outcome, ending.waived, ending.usage.output, seconds), (Outcome::ClientGone, waived, 1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_fails_while_it_is_read_on_is_still_a_caller_who_left() {
    let (log, drains) = (Arc::default(), Drains::default());
    let broken = Error::new(ErrorKind::BadUpstream, "cut").with_spent(Usage::new(7, 3));
    let events = [Ok(frames("a")), Ok(frames("b")), Err(broken)];
    let mut reply = ChatReply::from_events(7, futures_util::stream::iter(events)).watch(watched(&log)).await;
    reply.on_departure(drain(60, None), &drains);
    reply.next().await.unwrap().unwrap();
    drop(reply);
    drains.finish(Duration::from_mins(1)).await;
    let ending = log.lock().unwrap()[0].clone();
    assert_eq!((ending.outcome, ending.usage), (Outcome::ClientGone, Usage::new(7, 3)));
}

#[test]
fn a_runtime_that_ends_tells_the_hooks_and_one_that_is_not_there_does_at_once() {
    let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let hook = || {
        let told = Arc::clone(&told);
        Box::new(move |ending: &Ending| {
            assert_eq!(ending.outcome, Outcome::ClientGone);
            told.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            None
        })
    };
    let drains = Drains::default();
    let reply = || async {
        let mut reply = ChatReply::from_events(7, slow(10)).watch(hook()).await;
        reply.on_departure(drain(60, None), &drains);
        reply
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let kept = runtime.block_on(async {
        drop(reply().await);
        tokio::task::yield_now().await;
        assert_eq!(drains.running(), 1);
        reply().await
    });
    drop(runtime);
    assert_eq!((told.load(std::sync::atomic::Ordering::SeqCst), drains.running()), (1, 0));
    drop(kept);
    assert_eq!((told.load(std::sync::atomic::Ordering::SeqCst), drains.running()), (2, 0));
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
