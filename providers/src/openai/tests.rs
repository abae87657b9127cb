//! What goes out to an upstream, and what is made of one that hangs up.

use aihub_core::id::AccountId;
use aihub_core::key::ApiKey;
use aihub_core::plan::Plan;
use aihub_core::{Call, Caller, ManualClock, Offer, PriceList};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::openrouter::OpenRouter;

/// An upstream that keeps what it is asked, answers `answer` and hangs up.
async fn upstream(answer: &'static str) -> (String, tokio::task::JoinHandle<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        loop {
            let mut more = [0; 4096];
            let read = socket.read(&mut more).await.unwrap();
            request.extend_from_slice(&more[..read]);
            let body = request.windows(4).position(|end| end == b"\r\n\r\n").map(|end| &request[end + 4..]);
            if let Some(Ok(asked)) = body.map(serde_json::from_slice) {
                socket.write_all(answer.as_bytes()).await.unwrap();
                return asked;
            }
            assert!(read > 0 && !request.starts_with(b"GET"), "the request has a body");
        }
    });
    (address, asked)
}

fn settings(address: &str) -> UpstreamSettings {
    UpstreamSettings::new(address, vec!["a key".into()])
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::default())
}

fn attempt<O: aihub_core::Operation>(operation: O) -> Attempt<O> {
    let clock = ManualClock::default();
    let key = ApiKey::new(AccountId::new(clock.now()), "key", "any", clock.now());
    let caller = Arc::new(Caller::new(key, Plan::unlimited("any")));
    let offer = Offer::new("vendor", "theirs", PriceList::flat("1", "2").unwrap());
    Attempt::new(Call::new(caller, operation, &clock), offer)
}

fn chat(extra: &Value, held: Option<u64>) -> Attempt<ChatRequest> {
    let mut body = json!({"model": "ours", "messages": [{"role": "user", "content": "hello there"}]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let mut attempt = attempt(ChatRequest::parse(body.to_string().into()).unwrap());
    attempt.max_output_tokens = held;
    attempt
}

#[tokio::test]
async fn a_hold_binds_every_name_of_the_limit() {
    for (extra, new, old) in [
        (json!({}), json!(5), json!(null)),
        (json!({"max_tokens": 9}), json!(null), json!(5)),
        (json!({"max_tokens": null, "max_completion_tokens": 9}), json!(5), json!(null)),
        (json!({"max_tokens": 9, "max_completion_tokens": 9}), json!(5), json!(5)),
        (json!({"max_tokens": 3, "max_completion_tokens": 3}), json!(3), json!(3)),
    ] {
        let (address, asked) = upstream("").await;
        let provider = OpenAi::new("local", &settings(&address), clock()).unwrap();
        provider.chat(chat(&extra, Some(5))).await.unwrap_err();
        let asked = asked.await.unwrap();
        assert_eq!((&asked["max_completion_tokens"], &asked["max_tokens"]), (&new, &old), "{extra}");
        assert_eq!(asked["model"], "theirs");
    }
}

#[tokio::test]
async fn two_limits_that_differ_are_refused() {
    let provider = OpenAi::new("local", &settings("http://127.0.0.1:1"), clock()).unwrap();
    for held in [None, Some(5)] {
        let attempt = chat(&json!({"max_completion_tokens": 1, "max_tokens": 99_999}), held);
        let error = provider.chat(attempt).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.param(), error.may_fail_over()),
            (ErrorKind::Invalid, Some("max_tokens"), false)
        );
    }
}

#[tokio::test]
async fn a_request_that_was_sent_is_not_sent_again_and_may_have_cost() {
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n: hm";
    for (answer, streams) in [("", false), ("", true), (begun, false), (begun, true)] {
        let (address, asked) = upstream(answer).await;
        let provider = OpenAi::new("local", &settings(&address), clock()).unwrap();
        let attempt = chat(&json!({"stream": streams}), None);
        let prompt = attempt.call.operation.demand().prompt_tokens;
        let error = provider.chat(attempt).await.unwrap_err();
        assert_eq!((error.kind(), error.is_transient(), error.may_fail_over()), (ErrorKind::BadUpstream, false, true));
        assert_eq!(error.spent(), Some(&aihub_core::Usage::estimate(prompt, 0)));
        asked.await.unwrap();
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_costs_nothing() {
    let provider = OpenAi::new("local", &settings("http://127.0.0.1:1/v1"), clock()).unwrap();
    let error = provider.chat(chat(&json!({}), None)).await.unwrap_err();
    assert!(error.is_transient() && error.spent().is_none());
}

#[tokio::test]
async fn a_moved_upstream_is_ours() {
    let (address, _asked) = upstream("HTTP/1.1 301 Moved\r\nlocation: /v2\r\ncontent-length: 0\r\n\r\n").await;
    let provider = OpenAi::new("local", &settings(&address), clock()).unwrap();
    let error = provider.chat(chat(&json!({}), None)).await.unwrap_err();
    assert_eq!((error.kind().status(), error.needs_operator()), (502, true));
}

#[tokio::test]
async fn embeddings_are_capped_and_checked_as_chats_are() {
    let embed = |extra: &Value| {
        let mut body = json!({"model": "ours", "input": "hello"});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        attempt(EmbedRequest::parse(body.to_string().into()).unwrap())
    };
    let (address, asked) = upstream("").await;
    let provider = OpenRouter::new("openrouter", &settings(&address), clock()).unwrap();
    provider.embed(embed(&json!({"provider": {"max_price": {"prompt": 99}, "order": ["a"]}}))).await.unwrap_err();
    let asked = asked.await.unwrap();
    assert_eq!(asked["provider"], json!({"max_price": {"prompt": 1, "completion": 2}, "order": ["a"]}));
    assert_eq!(asked["model"], "theirs");
    let error = provider.embed(embed(&json!({"models": ["dearer"]}))).await.unwrap_err();
    assert_eq!(error.param(), Some("models"));
    let error = provider.embed(embed(&json!({"Model": "dearer"}))).await.unwrap_err();
    assert_eq!(error.param(), Some("Model"));
}
