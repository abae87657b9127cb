//! What the answers look like when nothing goes wrong.

use aihub_vendors::Vendors;
use serde_json::{Value, json};

use crate::{BOTH, Dialect, events, gemini, get, json_of, post, read};

#[tokio::test]
async fn the_answer_repeats_the_question() {
    for dialect in BOTH {
        let vendors = Vendors::start().unwrap();
        let (status, answer) = json_of(dialect.ask(&vendors, "[[delay 1ms]] hello there", false).await).await;
        assert_eq!(status, 200);
        assert!(dialect.text_of(&answer).ends_with("You said: hello there"), "{answer}");
    }
}

#[tokio::test]
async fn an_openrouter_stream_has_comments_a_repeated_finish_and_an_end_mark() {
    let vendors = Vendors::start().unwrap();
    let (text, clean) = read(Dialect::OpenRouter.ask(&vendors, "[[events 3]]", true).await).await;
    assert!(clean && text.starts_with(": OPENROUTER PROCESSING\n\n") && text.ends_with("data: [DONE]\n\n"), "{text}");
    let events = events(&text);
    let finish: Vec<_> = events.iter().map(|event| event["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!(finish, [None, None, None, Some("stop"), Some("stop")]);
    assert_eq!(events[4]["usage"]["completion_tokens"], 3);
    assert!(events[4]["usage"]["cost"].as_f64().unwrap() > 0.0 && events[3]["usage"].is_null());
}

#[tokio::test]
async fn a_gemini_stream_has_crlf_and_usage_that_grows() {
    let vendors = Vendors::start().unwrap();
    let (text, clean) = read(Dialect::Gemini.ask(&vendors, "[[events 3]]", true).await).await;
    assert!(clean && text.ends_with("\r\n\r\n") && !text.contains("[DONE]"), "{text}");
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    let events = events(&text);
    let counts: Vec<_> = events.iter().map(|event| event["usageMetadata"]["candidatesTokenCount"].as_u64()).collect();
    assert_eq!(counts, [Some(1), Some(2), Some(3), Some(3)]);
    assert_eq!(events[3]["candidates"][0]["finishReason"], "STOP");
    let usage = &events[3]["usageMetadata"];
    let sum =
        ["promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"].map(|name| usage[name].as_u64().unwrap());
    assert_eq!(usage["totalTokenCount"], sum.iter().sum::<u64>());
}

#[tokio::test]
async fn a_gemini_stream_without_sse_is_an_array() {
    let vendors = Vendors::start().unwrap();
    let body = json!({"contents": [{"parts": [{"text": "[[events 3]]"}]}]});
    let (_, answer) = json_of(gemini(&vendors, "gemini-2.5-flash", "streamGenerateContent", &body).await).await;
    assert_eq!(answer.as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn scripted_usage_is_what_is_reported() {
    let vendors = Vendors::start().unwrap();
    let ask = "[[usage prompt 1000 completion 20 cached 400 reasoning 5]]";
    let (_, answer) = json_of(Dialect::OpenRouter.ask(&vendors, ask, false).await).await;
    let usage = &answer["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&1000.into(), &25.into()));
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 400);
    let (text, _) = read(Dialect::Gemini.ask(&vendors, ask, true).await).await;
    let usage = events(&text).pop().unwrap()["usageMetadata"].clone();
    assert_eq!((&usage["candidatesTokenCount"], &usage["thoughtsTokenCount"]), (&20.into(), &5.into()));
    assert_eq!((&usage["totalTokenCount"], &usage["cachedContentTokenCount"]), (&1025.into(), &400.into()));
    let (_, answer) = json_of(Dialect::Gemini.ask(&vendors, "[[no-usage]]", false).await).await;
    assert!(answer.get("usageMetadata").is_none());
}

/// The first turn of a conversation with a tool, as Gemini 3 sees it, and the content it answered with.
async fn first_turn(vendors: &Vendors) -> (Value, Value) {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let body = json!({
        "contents": [{"role": "user", "parts": [{"text": "What is the weather in Paris and Rome?"}]}],
        "tools": [{"functionDeclarations": [{"name": "get_weather", "parametersJsonSchema": schema}]}],
    });
    let (_, answer) = json_of(gemini(vendors, "gemini-3.5-flash", "generateContent", &body).await).await;
    (body, answer["candidates"][0]["content"].clone())
}

fn second_turn(mut body: Value, content: Value, results: usize) -> Value {
    let result = json!({"functionResponse": {"name": "get_weather", "response": {"result": "18 degrees"}}});
    let contents = body["contents"].as_array_mut().unwrap();
    contents.push(content);
    contents.push(json!({"role": "user", "parts": vec![result; results]}));
    body
}

#[tokio::test]
async fn gemini_3_wants_its_signature_back() {
    let vendors = Vendors::start().unwrap();
    let (body, content) = first_turn(&vendors).await;
    let parts = content["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2);
    assert!(parts[0]["thoughtSignature"].is_string() && parts[1].get("thoughtSignature").is_none());
    assert!(parts[1]["functionCall"]["id"].is_string());

    let good = second_turn(body.clone(), content.clone(), 2);
    let (status, answer) = json_of(gemini(&vendors, "gemini-3.5-flash", "generateContent", &good).await).await;
    assert_eq!(status, 200, "{answer}");
    assert!(Dialect::Gemini.text_of(&answer).contains("18 degrees"));

    let mut unsigned = content.clone();
    unsigned["parts"][0].as_object_mut().unwrap().remove("thoughtSignature");
    let bad = second_turn(body, unsigned, 2);
    let (status, answer) = json_of(gemini(&vendors, "gemini-3.5-flash", "generateContent", &bad).await).await;
    assert_eq!(status, 400);
    assert!(answer["error"]["message"].as_str().unwrap().contains("missing a thought_signature"), "{answer}");
    let (status, _) = json_of(gemini(&vendors, "gemini-2.5-flash", "generateContent", &bad).await).await;
    assert_eq!(status, 200, "the older generation does not ask for it");
}

#[tokio::test]
async fn gemini_counts_calls_and_results() {
    let vendors = Vendors::start().unwrap();
    let (body, content) = first_turn(&vendors).await;
    let (status, answer) =
        json_of(gemini(&vendors, "gemini-3.5-flash", "generateContent", &second_turn(body, content, 1)).await).await;
    assert_eq!(status, 400);
    assert!(answer["error"]["message"].as_str().unwrap().contains("number of function response parts"), "{answer}");
}

#[tokio::test]
async fn gemini_refuses_what_it_would_refuse() {
    let vendors = Vendors::start().unwrap();
    let contents = json!([{"role": "user", "parts": [{"text": "hi"}]}]);
    let refused = [
        (json!({"contents": []}), "contents is not specified"),
        (json!({"contents": [{"role": "user", "parts": []}]}), "must not be empty"),
        (json!({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}), "valid role"),
        (json!({"contents": contents, "stream": true}), "Unknown name \"stream\""),
        (json!({"contents": contents, "generationConfig": {"presencePenalty": 1}}), "Penalty is not enabled"),
        (
            json!({"contents": contents, "generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}),
            "not supported",
        ),
        (json!({"contents": contents, "generationConfig": {"responseJsonSchema": {"type": "object"}}}), "mime type"),
        (json!({"contents": contents, "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}), "without function"),
    ];
    for (body, words) in refused {
        let (status, answer) = json_of(gemini(&vendors, "gemini-2.5-flash", "generateContent", &body).await).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(words), "{body} was answered {status} {message}");
    }
    let body = json!({"contents": contents});
    assert_eq!(gemini(&vendors, "gemini-0", "generateContent", &body).await.status(), 404);
}

#[tokio::test]
async fn both_vendors_embed_the_same_text_alike() {
    let vendors = Vendors::start().unwrap();
    let body =
        json!({"model": "models/gemini-embedding-2", "content": {"parts": [{"text": "a"}]}, "outputDimensionality": 4});
    let (_, one) = json_of(gemini(&vendors, "gemini-embedding-2", "embedContent", &body).await).await;
    let (_, many) =
        json_of(gemini(&vendors, "gemini-embedding-2", "batchEmbedContents", &json!({"requests": [body]})).await).await;
    assert_eq!(one["embedding"], many["embeddings"][0]);
    let body = json!({"model": "openai/text-embedding-3-small", "input": ["a", "b"], "dimensions": 4});
    let (_, list) = json_of(post(format!("{}/embeddings", vendors.openrouter_base_url()), &body).await).await;
    assert_eq!(list["data"][0]["embedding"], one["embedding"]["values"]);
    assert_eq!(list["data"][1]["index"], 1);
}

#[tokio::test]
async fn the_lists_of_models_have_prices_where_the_vendor_says_them() {
    let vendors = Vendors::start().unwrap();
    let list = get(format!("{}/models", vendors.openrouter_base_url())).await;
    assert_eq!(list["total_count"].as_u64().unwrap(), list["data"].as_array().unwrap().len() as u64);
    assert!(list["data"].as_array().unwrap().iter().any(|model| model["pricing"]["prompt"] == "-1"));
    let one = get(format!("{}/models/gemini-2.5-flash", vendors.gemini_base_url())).await;
    assert_eq!(one["name"], "models/gemini-2.5-flash");
    let page = get(format!("{}/models?pageSize=2", vendors.gemini_base_url())).await;
    assert_eq!((page["models"].as_array().unwrap().len(), &page["nextPageToken"]), (2, &"2".into()));
}
