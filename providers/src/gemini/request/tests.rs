use serde_json::json;

use super::*;

fn told_with(model: &str, body: Value, permits: Permits, limit: Option<u64>) -> Result<Value> {
    let mut body = body;
    body["model"] = json!("public/name");
    if body.get("messages").is_none() {
        body["messages"] = json!([{"role": "user", "content": "hi"}]);
    }
    let request = ChatRequest::parse(body.to_string().into())?;
    let kept = |id: &str| (id == "kept_1").then(|| "S0VQVA==".to_owned());
    let prepared = prepare(request.conversation()?, Extras::read(&request)?, Traits::of(model), permits, limit, &kept)?;
    Ok(serde_json::to_value(prepared.request).unwrap())
}

fn told(model: &str, body: Value) -> Value {
    told_with(model, body, Permits::default(), None).unwrap()
}

fn refused(model: &str, body: Value) -> Error {
    told_with(model, body, Permits::default(), None).unwrap_err()
}

#[expect(clippy::needless_pass_by_value, reason = "made on the spot")]
fn contents(model: &str, messages: Value) -> Value {
    told(model, json!({"messages": messages}))["contents"].clone()
}

fn config(model: &str, body: Value) -> Value {
    told(model, body)["generationConfig"].clone()
}

#[test]
fn turns_alternate_and_start_with_the_user() {
    let messages = json!([
        {"role": "system", "content": "be brief"},
        {"role": "developer", "content": [{"type": "text", "text": "be kind"}]},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "one"},
        {"role": "user", "content": ""},
        {"role": "system", "content": "now be long"},
        {"role": "assistant", "content": null, "refusal": "no"},
    ]);
    let request = told("gemini-2.5-flash", json!({"messages": messages}));
    assert_eq!(request["systemInstruction"], json!({"parts": [{"text": "be brief"}, {"text": "be kind"}]}));
    assert_eq!(
        request["contents"],
        json!([
            {"role": "user", "parts": [{"text": " "}]},
            {"role": "model", "parts": [{"text": "hello"}]},
            {"role": "user", "parts": [{"text": "one"}, {"text": " "}, {"text": "now be long"}]},
            {"role": "model", "parts": [{"text": "no"}]},
        ])
    );
    let only_system = told("gemini-2.5-flash", json!({"messages": [{"role": "system", "content": "x"}]}));
    assert_eq!(only_system["contents"], json!([{"role": "user", "parts": [{"text": " "}]}]));
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn result(id: &str, content: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": content})
}

#[test]
fn results_come_back_in_one_turn_in_call_order() {
    let messages = json!([
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "let me see", "tool_calls": [call("a", "f", "{\"x\":1}"), call("b", "g", "")]},
        result("b", "[1,2]"),
        result("a", "{\"t\":20}"),
        {"role": "user", "content": "and?"},
    ]);
    assert_eq!(
        contents("gemini-2.5-flash", messages.clone()),
        json!([
            {"role": "user", "parts": [{"text": "weather?"}]},
            {"role": "model", "parts": [
                {"text": "let me see"}, {"functionCall": {"name": "f", "args": {"x": 1}}}, {"functionCall": {"name": "g", "args": {}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "f", "response": {"t": 20}}},
                {"functionResponse": {"name": "g", "response": {"output": [1, 2]}}},
            ]},
            {"role": "user", "parts": [{"text": "and?"}]},
        ])
    );
    let newer = contents("gemini-3.5-flash", messages);
    assert_eq!(newer[1]["parts"][1]["functionCall"]["id"], "a");
    assert_eq!(newer[2]["parts"][1]["functionResponse"]["id"], "b");
}

#[test]
fn every_call_needs_its_result_and_sound_arguments() {
    let user = json!({"role": "user", "content": "q"});
    let calls =
        |arguments: &str| json!({"role": "assistant", "tool_calls": [call("a", "f", arguments), call("b", "f", "{}")]});
    let error = refused("gemini-3.5-flash", json!({"messages": [user, calls("{}"), result("a", "x")]}));
    assert_eq!(error.param(), Some("messages[1].tool_calls"));
    let late = json!([user, calls("{}"), result("a", "x"), result("b", "x"), user, result("a", "y")]);
    assert_eq!(refused("gemini-3.5-flash", json!({"messages": late})).param(), Some("messages[5].tool_call_id"));
    for arguments in ["{", "[1]", "7"] {
        let body = json!({"messages": [user, calls(arguments), result("a", "x"), result("b", "x")]});
        let error = refused("gemini-3.5-flash", body);
        assert_eq!(error.param(), Some("messages[1].tool_calls[0].function.arguments"), "{arguments}");
    }
}

#[test]
fn signatures_go_back_in_every_form_once() {
    let mut first = call("a__thought__SU5JRA==", "f", "{}");
    let signed = |first: Value, extra: Value| {
        let answered = result(first["id"].as_str().unwrap(), "007");
        let messages = json!([
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "text", "tool_calls": [first, call("b", "f", "{}")], "extra_content": extra},
            answered, result("b", "x"),
        ]);
        contents("gemini-3.5-flash", messages)
    };
    let extra = |signature: &str| json!({"google": {"thought_signature": signature}});
    let parts = |contents: &Value| {
        let parts = contents[1]["parts"].as_array().unwrap().clone();
        parts.iter().map(|part| part["thoughtSignature"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    // In the id, which goes on without it.
    let said = signed(first.clone(), Value::Null);
    assert_eq!(parts(&said), [None, Some("SU5JRA==".into()), None]);
    assert_eq!(said[1]["parts"][1]["functionCall"]["id"], "a");
    assert_eq!(said[2]["parts"][0]["functionResponse"]["response"], json!({"output": "007"}));
    // On the call and, the same again, on the message: only once.
    first["id"] = json!("a");
    first["extra_content"] = extra("Q0FMTA==");
    assert_eq!(parts(&signed(first.clone(), extra("Q0FMTA=="))), [None, Some("Q0FMTA==".into()), None]);
    assert_eq!(parts(&signed(first, extra("VEVYVA=="))), [Some("VEVYVA==".into()), Some("Q0FMTA==".into()), None]);
    // Nowhere: kept here, else the stand-in, on the first call only.
    let history = |id: &str| json!([{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call(id, "f", "{}")]}, result(id, "x")]);
    assert_eq!(parts(&contents("gemini-3.5-flash", history("kept_1"))), [Some("S0VQVA==".into())]);
    assert_eq!(parts(&contents("gemini-3.5-flash", history("b"))), [Some("skip_thought_signature_validator".into())]);
    assert_eq!(parts(&contents("gemini-2.5-flash", history("b"))), [None]);
}

#[test]
fn open_models_take_instructions_as_the_users_words() {
    let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "q"}]);
    let request = told("gemma-3-27b-it", json!({"messages": messages}));
    assert_eq!(request["contents"], json!([{"role": "user", "parts": [{"text": "be brief"}, {"text": "q"}]}]));
    assert!(request.get("systemInstruction").is_none());
}

#[test]
fn limits_are_the_lesser_of_both() {
    let most = |body: Value, limit| {
        told_with("gemini-2.0-flash", body, Permits::default(), limit).unwrap()["generationConfig"]["maxOutputTokens"]
            .as_u64()
    };
    assert_eq!(most(json!({"max_tokens": 9, "max_completion_tokens": 5}), None), Some(5));
    assert_eq!(most(json!({"max_tokens": 9}), Some(7)), Some(7));
    assert_eq!(most(json!({"max_tokens": 9}), Some(70)), Some(9));
    assert_eq!(most(json!({}), Some(7)), Some(7));
    assert_eq!(most(json!({}), None), None);
}

#[test]
fn sampling_is_passed_where_the_model_takes_it() {
    let body = json!({
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 4_294_967_297_i64, "stop": ["a", ""], "n": 2,
        "logprobs": true, "top_logprobs": 3, "presence_penalty": 1, "frequency_penalty": -1, "user": "u", "store": true,
    });
    assert_eq!(
        config("gemini-2.0-flash", body.clone()),
        json!({
            "temperature": 0.5, "topP": 0.9, "topK": 40, "seed": 1, "stopSequences": ["a"], "candidateCount": 2,
            "responseLogprobs": true, "logprobs": 3, "presencePenalty": 1.0, "frequencyPenalty": -1.0,
        })
    );
    assert!(config("gemini-2.5-flash", body).get("presencePenalty").is_none());
}

#[test]
fn thoughts_are_shown_to_those_who_ask() {
    for (body, shown) in [
        (json!({"reasoning_effort": "low"}), false),
        (json!({"reasoning": {"effort": "low"}}), true),
        (json!({"reasoning": {"effort": "low", "exclude": true}}), false),
        (json!({"reasoning": {"enabled": true}}), true),
        (json!({"reasoning": {"enabled": false}}), false),
        (json!({"include_reasoning": true}), true),
        (json!({"include_reasoning": true, "reasoning_effort": "none"}), false),
        (json!({"extra_body": {"google": {"thinking_config": {"include_thoughts": true}}}}), true),
        (json!({"google": {"thinkingConfig": {"thinkingBudget": 100}}}), false),
    ] {
        let config = config("gemini-2.5-flash", body.clone());
        assert_eq!(config["thinkingConfig"]["includeThoughts"] == json!(true), shown, "{body}");
    }
    let level = |body| config("gemini-3.5-flash", body)["thinkingConfig"]["thinkingLevel"].clone();
    assert_eq!(level(json!({"reasoning_effort": "none"})), "MINIMAL");
    assert_eq!(level(json!({"google": {"thinking_config": {"thinking_level": "HIGH"}}})), "HIGH");
    assert_eq!(
        config("gemini-2.5-flash", json!({"reasoning": {"max_tokens": 900}}))["thinkingConfig"]["thinkingBudget"],
        900
    );
    assert_eq!(config("gemini-2.0-flash", json!({"reasoning": {"effort": "high"}})), json!({}));
    assert_eq!(refused("gemini-2.5-flash", json!({"reasoning": {"effort": "huge"}})).param(), Some("reasoning"));
}

#[test]
fn json_answers_carry_their_schema() {
    let schema = json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {"type": "object", "$schema": "x"}}});
    let config = config("gemini-2.5-flash", json!({"response_format": schema}));
    assert_eq!(config, json!({"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}}));
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let both = json!({"response_format": {"type": "json_object"}, "tools": tools});
    assert_eq!(refused("gemini-2.5-flash", both.clone()).param(), Some("response_format"));
    assert_eq!(told("gemini-3.5-flash", both)["generationConfig"]["responseMimeType"], "application/json");
}

#[test]
fn what_would_change_the_answer_is_refused_with_another_upstream_in_mind() {
    for (body, param) in [
        (json!({"logit_bias": {"50256": -100}}), "logit_bias"),
        (json!({"audio": {"voice": "x"}}), "audio"),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (json!({"n": 9}), "n"),
        (json!({"stop": ["1", "2", "3", "4", "5", "6"]}), "stop"),
        (json!({"functions": [{"name": "f"}]}), "functions"),
        (json!({"web_search_options": {}}), "web_search_options"),
        (json!({"google": {"cached_content": "cachedContents/1"}}), "google.cached_content"),
    ] {
        let error = refused("gemini-2.5-flash", body.clone());
        assert_eq!((error.param(), error.may_fail_over()), (Some(param), true), "{body}");
    }
}

#[test]
fn what_the_operator_permits_is_passed_on() {
    let permits = Permits { cached_content: true, service_tiers: true, search: true };
    let told = |body| told_with("gemini-2.5-flash-image", body, permits, None);
    let all = told(json!({
        "google": {"cached_content": "cachedContents/1", "safety_settings": [{"category": "C", "threshold": "T"}]},
        "service_tier": "priority", "modalities": ["text", "image"],
    }))
    .unwrap();
    assert_eq!(all["cachedContent"], "cachedContents/1");
    assert_eq!(all["safetySettings"][0]["category"], "C");
    assert_eq!(all["serviceTier"], "priority");
    assert_eq!(all["generationConfig"]["responseModalities"], json!(["TEXT", "IMAGE"]));
    let repeated = json!({"google": {"cached_content": "c"}, "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]});
    assert_eq!(told(repeated).unwrap_err().param(), Some("google.cached_content"));
    assert_eq!(told(json!({"web_search_options": {}})).unwrap()["tools"], json!([{"googleSearch": {}}]));
}

#[test]
fn media_of_tool_results_goes_where_the_model_takes_it() {
    let messages = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call("a", "f", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": [
            {"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}}]},
    ]);
    let inline = json!({"inlineData": {"mimeType": "image/png", "data": "QUJD"}});
    let newer = told("gemini-3.5-flash", json!({"messages": messages}));
    assert_eq!(newer["contents"][2]["parts"][0]["functionResponse"]["parts"], json!([inline]));
    assert_eq!(newer["generationConfig"]["mediaResolution"], "MEDIA_RESOLUTION_LOW");
    let older = contents("gemini-2.5-flash", messages);
    assert_eq!(older[3]["parts"], json!([{"text": "What the tools returned:"}, inline]));
}
