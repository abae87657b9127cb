use aihub_core::ManualClock;

use super::*;

fn scribe(one_call: bool) -> Scribe {
    Scribe {
        id: "chatcmpl-1".into(),
        created: 7,
        model: "public/name".into(),
        names: Names::default(),
        one_call,
        account: AccountId::new(aihub_core::Timestamp::UNIX_EPOCH),
        signatures: Signatures::new(),
        bills_each_search: true,
        clock: Arc::new(ManualClock::default()),
    }
}

fn completion(response: Value, scribe: &Scribe) -> Completion {
    let mut gathered = Gathered::default();
    let counted = gathered.add(serde_json::from_value(response).unwrap(), scribe).unwrap();
    assert_eq!(gathered.judge(), Judgement::Finished);
    let reply = gathered.reply(scribe, 0, counted, Usage::default());
    let (mut events, _) = futures_executor(reply.collect()).unwrap();
    let Some(ChatEvent::Whole(body)) = events.pop() else { panic!("{events:?}") };
    serde_json::from_slice(&body).unwrap()
}

fn futures_executor<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn candidate(fields: Value) -> Value {
    let mut fields = fields;
    fields["finishReason"] = json!("STOP");
    json!({"candidates": [fields]})
}

#[test]
fn offsets_are_counted_in_characters() {
    let grounding: Grounding = serde_json::from_value(json!({
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}, {"maps": {}}],
        "groundingSupports": [
            {"segment": {"startIndex": 6, "endIndex": 13}, "groundingChunkIndices": [0, 1, 9]},
            {"segment": {"startIndex": 1, "endIndex": 2}, "groundingChunkIndices": [0]},
            {"segment": {"partIndex": 1, "startIndex": 0, "endIndex": 2}, "groundingChunkIndices": [0]},
        ],
    }))
    .unwrap();
    let places = |text: Option<&str>, ascii| {
        let all = citations(&grounding, text, ascii);
        all.iter()
            .map(|one| {
                (
                    one["url_citation"]["start_index"].as_u64().unwrap(),
                    one["url_citation"]["end_index"].as_u64().unwrap(),
                )
            })
            .collect::<Vec<_>>()
    };
    // "é" and "ü" take two bytes each; 1 is in the middle of one.
    assert_eq!(places(Some("é is ü here"), false), [(5, 11), (0, 0), (0, 0)]);
    assert_eq!(places(None, true), [(6, 13), (1, 2), (0, 0)]);
    assert_eq!(places(None, false), [(0, 0); 3]);
}

#[test]
fn log_probabilities_are_listed_with_their_alternatives() {
    let result: LogprobsResult = serde_json::from_value(json!({
        "chosenCandidates": [{"token": "Hi", "tokenId": 5, "logProbability": -0.25}],
        "topCandidates": [{"candidates": [{"token": "Hi", "logProbability": -0.25}, {"token": "é", "logProbability": -2.0}]}],
    }))
    .unwrap();
    let listed = logprobs(&result).unwrap();
    assert_eq!(listed["content"][0]["logprob"], -0.25);
    assert_eq!(listed["content"][0]["top_logprobs"][1], json!({"token": "é", "logprob": -2.0, "bytes": [195, 169]}));
    assert_eq!(logprobs(&LogprobsResult::default()), None);
}

#[test]
fn images_thoughts_and_signatures_have_places_of_their_own() {
    let made = completion(
        candidate(json!({"content": {"parts": [
            {"text": "hm", "thought": true, "thoughtSignature": "QQ=="},
            {"text": "here", "thoughtSignature": "Qg=="},
            {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
            {"text": "", "thoughtSignature": "Qw=="},
        ]}})),
        &scribe(false),
    );
    let message = &made.choices[0].message;
    assert_eq!((message.content.as_deref(), message.reasoning_content.as_deref()), (Some("here"), Some("hm")));
    assert_eq!(message.images[0]["image_url"]["url"], "data:image/png;base64,QUJD");
    assert_eq!(message.extra_content, Some(extra("Qw==")), "the last one");
    assert_eq!((made.model.as_str(), made.id.as_str(), made.created), ("public/name", "chatcmpl-1", 7));
}

#[test]
fn calls_keep_their_ids_or_get_one_and_are_trimmed_on_request() {
    let calls = candidate(json!({"content": {"parts": [
        {"functionCall": {"name": "f", "id": "native"}},
        {"functionCall": {"name": "f", "id": "native", "args": {"again": true}}},
        {"functionCall": {"name": "f", "args": null}},
        {"functionCall": {"name": "f", "args": {"n": 5}}},
    ]}}));
    let made = completion(calls.clone(), &scribe(false));
    let calls_made = &made.choices[0].message.tool_calls;
    assert_eq!(calls_made.len(), 3, "the one that was sent again is not another one");
    assert_eq!((calls_made[0].id.as_str(), calls_made[0].function.arguments.as_str()), ("native", "{}"));
    assert!(calls_made[1].id.starts_with("call_") && calls_made[1].id != calls_made[2].id);
    assert_eq!(completion(calls, &scribe(true)).choices[0].message.tool_calls.len(), 1);
}

#[test]
fn arguments_pass_digit_by_digit() {
    let response: GenerateResponse = serde_json::from_str(
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"n":0.10000000000000000001}}}]}}]}"#,
    )
    .unwrap();
    let mut gathered = Gathered::default();
    gathered.add(response, &scribe(false)).unwrap();
    assert_eq!(gathered.choices[0].1.tool_calls[0].function.arguments, r#"{"n":0.10000000000000000001}"#);
}
