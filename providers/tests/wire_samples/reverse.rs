//! A recorded request of the vendor's, as the caller who would have caused it wrote it: the way
//! back of the provider's translation, written independently of it.

use serde_json::{Map, Value, json};

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

/// A chat.
pub(crate) fn chat(native: &Value) -> Value {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            body.insert(name.to_owned(), value);
        }
    };
    set("messages", messages(native).into());
    let config = &native["generationConfig"];
    set("temperature", config["temperature"].clone());
    set("top_p", config["topP"].clone());
    set("seed", config["seed"].clone());
    set("stop", config["stopSequences"].clone());
    set("n", config["candidateCount"].clone());
    set("max_completion_tokens", config["maxOutputTokens"].clone());
    let modalities: Vec<Value> =
        list(config, "responseModalities").filter_map(Value::as_str).map(|word| word.to_lowercase().into()).collect();
    if !modalities.is_empty() {
        set("modalities", modalities.into());
    }
    if config["responseJsonSchema"].is_object() {
        let schema = json!({"name": "answer", "schema": config["responseJsonSchema"]});
        set("response_format", json!({"type": "json_schema", "json_schema": schema}));
    } else if config["responseMimeType"] == "application/json" {
        set("response_format", json!({"type": "json_object"}));
    }
    if config["thinkingConfig"].is_object() {
        set(
            "google",
            json!({"thinking_config": config["thinkingConfig"], "safety_settings": native["safetySettings"]}),
        );
    } else if native["safetySettings"].is_array() || native["cachedContent"].is_string() {
        set("google", json!({"safety_settings": native["safetySettings"], "cached_content": native["cachedContent"]}));
    }
    let calling = &native["toolConfig"]["functionCallingConfig"];
    let strict = calling["mode"] == "VALIDATED" && calling["allowedFunctionNames"].is_null();
    let functions: Vec<Value> = list(native, "tools")
        .flat_map(|tool| list(tool, "functionDeclarations"))
        .map(|f| function(f, strict))
        .collect();
    if !functions.is_empty() {
        set("tools", functions.into());
    }
    if list(native, "tools").any(|tool| tool["googleSearch"].is_object()) {
        set("web_search_options", json!({}));
    }
    set("tool_choice", choice(calling));
    Value::Object(body)
}

fn function(native: &Value, strict: bool) -> Value {
    let schema = ["parametersJsonSchema", "parameters_json_schema"]
        .iter()
        .map(|name| &native[*name])
        .find(|schema| !schema.is_null());
    let schema = schema.cloned().unwrap_or_else(|| lower(&native["parameters"]));
    let mut function = json!({"name": native["name"], "description": native["description"], "parameters": schema});
    if strict {
        function["strict"] = json!(true);
    }
    json!({"type": "function", "function": function})
}

/// A schema of the older field, whose types are in capitals.
pub(crate) fn lower(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let lowered = fields.iter().map(|(name, value)| match value.as_str() {
                Some(kind) if name == "type" => (name.clone(), kind.to_lowercase().into()),
                _ => (name.clone(), lower(value)),
            });
            Value::Object(lowered.collect())
        }
        other => other.clone(),
    }
}

fn choice(calling: &Value) -> Value {
    let names: Vec<Value> = list(calling, "allowedFunctionNames")
        .map(|name| json!({"type": "function", "function": {"name": name}}))
        .collect();
    match (calling["mode"].as_str(), names.as_slice()) {
        (Some("NONE"), _) => json!("none"),
        (Some("ANY"), []) => json!("required"),
        (Some("ANY"), [only]) => only.clone(),
        (Some("ANY"), _) => json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": names}}),
        (Some("VALIDATED"), [_, ..]) => {
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": names}})
        }
        _ => Value::Null,
    }
}

fn messages(native: &Value) -> Vec<Value> {
    let mut messages: Vec<Value> = list(&native["systemInstruction"], "parts")
        .map(|part| json!({"role": "system", "content": part["text"]}))
        .collect();
    for content in list(native, "contents") {
        if content["role"] == "model" {
            messages.push(assistant(content));
            continue;
        }
        let mut said = Vec::new();
        for part in list(content, "parts") {
            let answer = &part["functionResponse"];
            if answer.is_object() {
                let id = answer["id"].as_str().or(answer["name"].as_str());
                messages.push(json!({"role": "tool", "tool_call_id": id, "content": answer["response"].to_string()}));
            } else if part["inlineData"].is_object() {
                let data = &part["inlineData"];
                let url = format!(
                    "data:{};base64,{}",
                    data["mimeType"].as_str().unwrap_or_default(),
                    data["data"].as_str().unwrap_or_default()
                );
                said.push(json!({"type": "image_url", "image_url": {"url": url}}));
            } else {
                said.push(json!({"type": "text", "text": part["text"]}));
            }
        }
        match said.as_slice() {
            [] => {}
            [only] if only["type"] == "text" => messages.push(json!({"role": "user", "content": only["text"]})),
            _ => messages.push(json!({"role": "user", "content": said})),
        }
    }
    messages
}

fn assistant(content: &Value) -> Value {
    let extra = |part: &Value| json!({"google": {"thought_signature": part["thoughtSignature"]}});
    let mut message = json!({"role": "assistant", "content": null});
    let mut calls = Vec::new();
    for part in list(content, "parts") {
        let call = &part["functionCall"];
        if call.is_object() {
            let id = call["id"].as_str().or(call["name"].as_str());
            let mut call = json!({"id": id, "type": "function", "function": {"name": call["name"], "arguments": call["args"].to_string()}});
            if part["thoughtSignature"].is_string() {
                call["extra_content"] = extra(part);
            }
            calls.push(call);
        } else {
            message["content"] = part["text"].clone();
            if part["thoughtSignature"].is_string() {
                message["extra_content"] = extra(part);
            }
        }
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    message
}

/// Embeddings.
pub(crate) fn embed(native: &Value) -> Value {
    let texts: Vec<&Value> = list(native, "requests").map(|request| &request["content"]["parts"][0]["text"]).collect();
    let mut body = json!({"input": texts});
    if let Some(dimensions) = native["requests"][0]["outputDimensionality"].as_u64() {
        body["dimensions"] = dimensions.into();
    }
    body
}
