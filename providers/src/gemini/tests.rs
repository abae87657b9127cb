//! What takes several requests to the vendor, and what needs one at all: against a scripted server.

#[path = "../../tests/wire_samples/server.rs"]
mod server;

use std::collections::BTreeMap;

use aihub_core::chat::{AssistantMessage, ChatEvent, Completion, Finish};
use aihub_core::embedding::EmbedEncoding;
use aihub_core::{AccountId, ApiKey, Call, Caller, ManualClock, Offer, Operation, Plan, PriceList, Usage};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use self::server::{Answer as Played, Server};
use super::*;

struct Stage {
    gemini: Gemini,
    server: Server,
    account: AccountId,
}

fn settings(address: &str) -> GeminiSettings {
    let mut settings = GeminiSettings::new(vec!["vendor-key".into()]);
    settings.upstream.base_url = format!("{address}/v1beta");
    settings.max_continuations = 2;
    settings
}

/// A vendor that gives these answers, one after the other.
async fn stage(answers: Vec<(u16, String)>) -> Stage {
    let played =
        answers.into_iter().map(|(status, body)| Played { status, headers: BTreeMap::new(), body: body.into() });
    let server = Server::start(played.collect()).await;
    let settings = settings(&server.address);
    let media = crate::media::tests::on_loopback(settings.media.clone());
    let gemini = Gemini::with_media(settings, media, Arc::new(ManualClock::default())).unwrap();
    Stage { gemini, server, account: AccountId::new(aihub_core::Timestamp::UNIX_EPOCH) }
}

impl Stage {
    fn attempt<O: Operation>(&self, operation: O, model: &str, limit: Option<u64>) -> Attempt<O> {
        let clock = ManualClock::default();
        let plan = Plan::unlimited("tests");
        let key = ApiKey::new(self.account, "tests", &plan.name, clock.now());
        let caller = Arc::new(Caller::new(key, plan));
        let offer = Offer::new("gemini", model, PriceList::flat("0", "0").unwrap());
        Attempt { max_output_tokens: limit, ..Attempt::new(Call::new(caller, operation, &clock), offer) }
    }

    async fn ask(&self, body: Value, limit: Option<u64>) -> Result<ChatReply> {
        let mut body = body;
        body["model"] = json!("public/name");
        if body.get("messages").is_none() {
            body["messages"] = json!([{"role": "user", "content": "hi"}]);
        }
        let request = ChatRequest::parse(body.to_string().into()).unwrap();
        self.gemini.chat(self.attempt(request, "gemini-3.5-flash", limit)).await
    }

    fn asked(&self, at: usize) -> Value {
        serde_json::from_slice(&self.server.asked()[at].body).unwrap()
    }
}

fn answer(parts: &Value, reason: &str, (prompt, output): (u64, u64)) -> Value {
    json!({
        "candidates": [{"content": {"parts": parts}, "finishReason": reason, "index": 0}],
        "usageMetadata": {"promptTokenCount": prompt, "candidatesTokenCount": output, "totalTokenCount": prompt + output},
    })
}

fn whole(body: &Value) -> (u16, String) {
    (200, body.to_string())
}

fn stream(events: &[Value]) -> (u16, String) {
    let events: Vec<_> = events.iter().map(|event| format!("data: {event}\r\n\r\n")).collect();
    (200, events.concat())
}

fn said(text: &str) -> Value {
    json!([{"text": text}])
}

async fn collected(reply: ChatReply) -> (String, Finish) {
    let (events, finish) = reply.collect().await.unwrap();
    let text = events.iter().flat_map(|event| match event {
        ChatEvent::Chunk(chunk) => {
            chunk.choices.iter().filter_map(|choice| choice.delta.content.clone()).collect::<Vec<_>>()
        }
        ChatEvent::Whole(body) => vec![message(body).content.unwrap_or_default()],
        _ => Vec::new(),
    });
    (text.collect(), finish)
}

fn message(body: &[u8]) -> AssistantMessage {
    serde_json::from_slice::<Completion>(body).unwrap().choices.remove(0).message
}

fn tokens(usage: Usage) -> (u64, u64) {
    (usage.prompt_tokens(), usage.completion_tokens())
}

#[tokio::test]
async fn a_bad_first_try_is_discarded_and_the_second_one_handed_on() {
    for reason in ["MALFORMED_FUNCTION_CALL", "STOP"] {
        let (bad, good) = (answer(&json!([]), reason, (10, 5)), answer(&said("good"), "STOP", (10, 3)));
        for (streamed, answers) in
            [(false, vec![whole(&bad), whole(&good)]), (true, vec![stream(&[bad]), stream(&[good])])]
        {
            let stage = stage(answers).await;
            let (text, finish) =
                collected(stage.ask(json!({"stream": streamed, "max_tokens": 100}), Some(20)).await.unwrap()).await;
            assert_eq!(text, "good");
            assert_eq!((tokens(finish.usage.unwrap()), tokens(finish.discarded)), ((10, 3), (10, 5)));
            assert_eq!(stage.asked(0)["generationConfig"]["maxOutputTokens"], 20);
            assert_eq!(
                stage.asked(1)["generationConfig"]["maxOutputTokens"],
                15,
                "what was discarded counts against the hold"
            );
        }
    }
}

#[tokio::test]
async fn no_second_try_goes_past_the_hold() {
    let stage = stage(vec![whole(&answer(&json!([]), "MALFORMED_FUNCTION_CALL", (10, 20)))]).await;
    let error = stage.ask(json!({}), Some(20)).await.unwrap_err();
    assert_eq!((error.kind(), tokens(*error.spent().unwrap())), (ErrorKind::BadUpstream, (10, 20)));
    assert_eq!(stage.server.asked().len(), 1);
}

#[tokio::test]
async fn a_second_try_that_fails_reports_what_the_first_one_used() {
    let stage = stage(vec![whole(&answer(&json!([]), "STOP", (10, 0))), (503, "{}".into())]).await;
    let error = stage.ask(json!({}), None).await.unwrap_err();
    assert_eq!((error.kind(), tokens(*error.spent().unwrap())), (ErrorKind::Unavailable, (10, 0)));
}

/// A vendor that has the request, answers this much, and hangs up, has worked: the prompt is booked.
#[tokio::test]
async fn a_connection_that_breaks_has_cost_the_prompt() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    for heard in ["", "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{"] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stage = stage(Vec::new()).await;
        let address = format!("http://{}", listener.local_addr().unwrap());
        stage.gemini = Gemini::new(settings(&address), Arc::new(ManualClock::default())).unwrap();
        let answering = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            assert!(socket.read(&mut request).await.unwrap() > 0);
            socket.write_all(heard.as_bytes()).await.unwrap();
        });
        let error = stage.ask(json!({}), None).await.unwrap_err();
        let spent = error.spent().expect("the prompt");
        assert!(spent.estimated && spent.input > 0 && spent.output == 0, "{heard}: {spent:?}");
        answering.await.unwrap();
    }
}

fn part(text: &str, token: Option<&str>, counts: (u64, u64)) -> Value {
    let mut part = answer(&said(text), if token.is_some() { "CONTINUATION" } else { "STOP" }, counts);
    part["candidates"][0]["continuationToken"] = json!(token);
    part
}

#[tokio::test]
async fn a_long_answer_goes_on_within_bounds() {
    let parts =
        [part("one ", Some("t1"), (10, 5)), part("two ", Some("t2"), (15, 5)), part("three", Some("t3"), (20, 5))];
    for streamed in [false, true] {
        let play = |part: &Value| if streamed { stream(std::slice::from_ref(part)) } else { whole(part) };
        let stage = stage(parts.iter().map(play).collect()).await;
        let (text, finish) =
            collected(stage.ask(json!({"stream": streamed, "max_tokens": 50}), Some(40)).await.unwrap()).await;
        assert_eq!(
            (text.as_str(), finish.finish_reason.as_deref()),
            ("one two three", Some("length")),
            "two further requests are allowed"
        );
        assert_eq!((tokens(finish.usage.unwrap()), finish.discarded), ((45, 15), Usage::default()));
        assert_eq!(
            (&stage.asked(1)["continuationToken"], &stage.asked(2)["continuationToken"]),
            (&json!("t1"), &json!("t2"))
        );
        assert_eq!(stage.asked(2)["generationConfig"]["maxOutputTokens"], 30);
        assert_eq!(stage.asked(0)["contents"], stage.asked(2)["contents"]);
    }
    let stage = stage(vec![stream(&[part("one", Some("t"), (10, 40))])]).await;
    let (_, finish) = collected(stage.ask(json!({"stream": true}), Some(40)).await.unwrap()).await;
    assert_eq!(
        (stage.server.asked().len(), finish.finish_reason.as_deref()),
        (1, Some("length")),
        "nothing was left of the hold"
    );
}

#[tokio::test]
async fn a_continuation_that_fails_ends_the_stream_with_everything_spent() {
    let stage = stage(vec![stream(&[part("one", Some("t"), (10, 5))]), (500, "{}".into())]).await;
    let mut reply = stage.ask(json!({"stream": true}), None).await.unwrap();
    assert!(matches!(reply.next().await, Some(Ok(ChatEvent::Chunk(_)))));
    let error = reply.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), tokens(*error.spent().unwrap())), (ErrorKind::Internal, (10, 5)));
    assert!(reply.next().await.is_none());
}

#[tokio::test]
async fn wherever_a_stream_is_cut_it_is_an_error() {
    let mut first = answer(&said("Once upon"), "", (14, 2));
    first["candidates"][0]["finishReason"] = Value::Null;
    let (_, text) = stream(&[first, answer(&said(" a time"), "STOP", (14, 5))]);
    let end = text.rfind('}').unwrap() + 1;
    for cut in (0..=text.len()).step_by(5).chain([end - 1, end, text.len()]) {
        let stage = stage(vec![(200, text[..cut].to_owned())]).await;
        let complete = match stage.ask(json!({"stream": true}), None).await {
            Ok(reply) => reply.collect().await.map(|(_, finish)| finish),
            Err(error) => Err(error),
        };
        match complete {
            Ok(finish) => assert!(cut >= end && tokens(finish.usage.unwrap()) == (14, 5), "cut at {cut} passed"),
            Err(error) => assert!(cut < end && error.kind() == ErrorKind::BadUpstream, "cut at {cut}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn a_signature_goes_out_and_comes_back_even_if_the_client_drops_it() {
    let call = json!([{"text": "see"}, {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "U0lH"}]);
    let stage = stage(vec![whole(&answer(&call, "STOP", (1, 1)))]).await;
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let (events, finish) = stage.ask(json!({"tools": tools}), None).await.unwrap().collect().await.unwrap();
    let [ChatEvent::Whole(body)] = events.as_slice() else { panic!("{events:?}") };
    let call = message(body).tool_calls.remove(0);
    assert_eq!(finish.finish_reason.as_deref(), Some("tool_calls"));
    assert_eq!(call.extra_content, Some(json!({"google": {"thought_signature": "U0lH"}})));
    assert!(call.id.starts_with("call_") && call.function.arguments == "{\"a\":1}", "{call:?}");

    let history = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{"id": call.id, "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": call.id, "content": "r"},
    ]);
    stage.ask(json!({"messages": history, "tools": tools}), None).await.unwrap();
    assert_eq!(stage.asked(1)["contents"][1]["parts"][0]["thoughtSignature"], "U0lH");
}

#[tokio::test]
async fn media_by_address_are_fetched_before_the_vendor_is_asked() {
    let stage = stage(vec![whole(&answer(&said("a picture"), "STOP", (1, 1)))]).await;
    let content = |url: &str| json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]});
    let error = stage.ask(content("http://10.0.0.1/x"), None).await.unwrap_err();
    assert_eq!((error.code(), stage.server.asked().len()), ("media_fetch_failed", 0));

    let png = Played { status: 200, headers: BTreeMap::new(), body: Bytes::from_static(b"\x89PNG\r\n\x1a\n") };
    let host = Server::start(vec![png]).await;
    stage.ask(content(&format!("{}/x", host.address.replace("127.0.0.1", "files.example"))), None).await.unwrap();
    assert_eq!(
        stage.asked(0)["contents"][0]["parts"][0]["inlineData"],
        json!({"mimeType": "image/png", "data": "iVBORw0KGgo="})
    );
}

/// The usage that a reply is left with whose vendor has sent this event.
async fn left_after(event: Value) -> Usage {
    let stage = stage(vec![stream(&[event])]).await;
    let reply = stage.ask(json!({"stream": true}), None).await.unwrap();
    let told = Arc::new(std::sync::Mutex::new(None));
    let log = Arc::clone(&told);
    let reply = aihub_core::call::Reply::watch(
        reply,
        Box::new(move |ending| {
            *log.lock().unwrap() = Some(ending.usage);
            None
        }),
    )
    .await;
    drop(reply);
    told.lock().unwrap().unwrap()
}

#[tokio::test]
async fn a_stream_that_is_left_reports_what_was_used() {
    let mut event = answer(&json!([{"text": "hello there"}]), "", (9, 0));
    event["candidates"][0]["finishReason"] = Value::Null;
    let measured = left_after(event.clone()).await;
    assert_eq!((tokens(measured), measured.estimated), ((9, 3), true), "measured, not free");
    event["usageMetadata"]["candidatesTokenCount"] = json!(2);
    let counted = left_after(event.clone()).await;
    assert_eq!((tokens(counted), counted.estimated), ((9, 2), true), "counted up to here, and written on");
    event["candidates"][0]["finishReason"] = json!("STOP");
    let last = left_after(event).await;
    assert_eq!((tokens(last), last.estimated), ((9, 2), false), "its last word");
}

#[tokio::test]
async fn what_has_no_price_or_is_too_large_is_not_sent() {
    let mut stage = stage(vec![]).await;
    let error = stage.ask(json!({"web_search_options": {}}), None).await.unwrap_err();
    assert_eq!((error.param(), error.may_fail_over()), (Some("web_search_options"), true));
    let mut settings = settings(&stage.server.address);
    settings.max_request_bytes = 50;
    stage.gemini = Gemini::new(settings, Arc::new(ManualClock::default())).unwrap();
    assert_eq!(stage.ask(json!({}), None).await.unwrap_err().kind(), ErrorKind::TooLarge);
    assert!(stage.server.asked().is_empty());
}

#[tokio::test]
async fn many_texts_are_embedded_in_lots_and_counted() {
    let lot = |count: usize| whole(&json!({"embeddings": vec![json!({"values": [1.0, 0.0]}); count]}));
    let texts = vec!["x"; 130];
    let body = json!({"model": "e", "input": texts, "encoding_format": "base64"}).to_string();
    for (counter, expected) in
        [(whole(&json!({"totalTokens": 260})), (260, false)), ((500, String::new()), (130, true))]
    {
        let stage = stage(vec![lot(100), lot(30), counter]).await;
        let request = EmbedRequest::parse(body.clone().into()).unwrap();
        assert_eq!(request.encoding(), EmbedEncoding::Base64);
        let reply = stage.gemini.embed(stage.attempt(request, "gemini-embedding-001", None)).await.unwrap();
        assert_eq!((reply.usage.prompt_tokens(), reply.usage.estimated), expected);
        let answer: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!((answer["data"].as_array().unwrap().len(), &answer["data"][129]["index"]), (130, &json!(129)));
        assert_eq!(answer["data"][0]["embedding"], "AACAPwAAAAA=");
    }
    let stage = stage(vec![lot(1)]).await;
    let tokens = EmbedRequest::parse(json!({"model": "e", "input": [1, 2]}).to_string().into()).unwrap();
    assert_eq!(stage.gemini.embed(stage.attempt(tokens, "e", None)).await.unwrap_err().param(), Some("input"));
}

#[tokio::test]
async fn models_are_read_page_by_page() {
    let page = |name: &str, next: Option<&str>| {
        whole(
            &json!({"models": [{"name": name, "inputTokenLimit": 10, "outputTokenLimit": 5, "supportedGenerationMethods": ["generateContent"]}], "nextPageToken": next}),
        )
    };
    let stage = stage(vec![page("models/a", Some("n/1")), page("models/b", None)]).await;
    let listed = stage.gemini.models().await.unwrap();
    assert_eq!(listed.iter().map(|listing| listing.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(listed[0].max_output_tokens, Some(5));
    let asked = stage.server.asked();
    assert_eq!(asked[1].uri.query(), Some("pageSize=1000&pageToken=n%2F1"));
    assert_eq!(asked[1].headers["x-goog-api-key"], "vendor-key", "in the header, not in the address");
}

#[test]
fn names_of_models_become_paths() {
    assert_eq!(escaped(bare("google/gemini-2.5-flash")), "gemini-2.5-flash");
    assert_eq!(escaped(bare("models/../x?key=1")), "..%2Fx%3Fkey%3D1");
}
