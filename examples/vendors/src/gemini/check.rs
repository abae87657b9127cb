//! What Gemini refuses although it can read it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::model::Name;

/// A refusal with Google's words.
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) status: &'static str,
    pub(super) message: String,
    pub(super) details: Value,
}

pub(super) fn invalid(message: impl Into<String>) -> Refusal {
    Refusal { code: 400, status: "INVALID_ARGUMENT", message: message.into(), details: Value::Null }
}

impl Refusal {
    pub(super) fn body(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message, "status": self.status});
        if !self.details.is_null() {
            error["details"] = self.details.clone();
        }
        json!({"error": error})
    }
}

/// Checks a request that has been read, for this model.
pub(super) fn generate(name: &Name, request: &Value) -> Result<(), Refusal> {
    contents(request)?;
    turns(name, request)?;
    settings(name, &request["generationConfig"])?;
    tools(name, request)
}

pub(super) fn contents(request: &Value) -> Result<(), Refusal> {
    let contents = request["contents"].as_array().map_or(&[][..], Vec::as_slice);
    if contents.is_empty() {
        return Err(invalid("* GenerateContentRequest.contents: contents is not specified\n"));
    }
    for (index, content) in contents.iter().enumerate() {
        if !matches!(content["role"].as_str(), None | Some("user" | "model" | "function")) {
            return Err(invalid("Please use a valid role: user, model."));
        }
        let at = format!("GenerateContentRequest.contents[{index}].parts");
        let parts = content["parts"].as_array().map_or(&[][..], Vec::as_slice);
        if parts.is_empty() {
            return Err(invalid(format!("* {at}: contents.parts must not be empty.\n")));
        }
        for (index, part) in parts.iter().enumerate() {
            self::part(part, &format!("{at}[{index}]"))?;
        }
    }
    Ok(())
}

fn part(part: &Value, at: &str) -> Result<(), Refusal> {
    let kinds = [
        "text",
        "inlineData",
        "fileData",
        "functionCall",
        "functionResponse",
        "executableCode",
        "codeExecutionResult",
        "toolCall",
        "toolResponse",
    ];
    match kinds.iter().filter(|kind| !part[**kind].is_null()).count() {
        1 => {}
        0 => {
            return Err(invalid(format!("* {at}.data: required oneof field 'data' must have one initialized field\n")));
        }
        _ => {
            return Err(invalid(format!("Invalid value at '{at}' (oneof), oneof field 'data' is already set.")));
        }
    }
    if let Some(signature) = part["thoughtSignature"].as_str()
        && STANDARD.decode(signature.replace('-', "+").replace('_', "/").trim_end_matches('=')).is_err()
        && STANDARD.decode(signature.replace('-', "+").replace('_', "/")).is_err()
        && signature != super::model::SKIP
    {
        return Err(invalid(format!("Invalid value at '{at}.thought_signature' (TYPE_BYTES), Base64 decoding failed")));
    }
    if let Some(blob) = part["inlineData"].as_object() {
        let kind = blob.get("mimeType").and_then(Value::as_str).unwrap_or_default();
        let families = [
            "image/png",
            "image/jpeg",
            "image/webp",
            "image/heic",
            "image/heif",
            "audio/",
            "video/",
            "application/pdf",
            "text/",
        ];
        if !families.iter().any(|family| kind.starts_with(family)) {
            return Err(invalid(format!("Unsupported MIME type: {kind}")));
        }
        let data = blob.get("data").and_then(Value::as_str).unwrap_or_default();
        if data.is_empty() || STANDARD.decode(data).is_err() {
            return Err(invalid(format!(
                "Invalid value at '{at}.inline_data.data' (TYPE_BYTES), Base64 decoding failed"
            )));
        }
    }
    if let Some(uri) = part["fileData"]["fileUri"].as_str()
        && !uri.contains("generativelanguage.googleapis.com/")
        && !uri.contains("youtube.com/")
    {
        return Err(invalid("Cannot fetch content from the provided URL. Please ensure the URL is valid."));
    }
    Ok(())
}

/// Calls, results and signatures.
fn turns(name: &Name, request: &Value) -> Result<(), Refusal> {
    let contents = request["contents"].as_array().map_or(&[][..], Vec::as_slice);
    let count = |content: &Value, kind: &str| parts(content).filter(|part| !part[kind].is_null()).count();
    for (index, content) in contents.iter().enumerate() {
        let results = count(content, "functionResponse");
        let calls_before = index.checked_sub(1).map_or(0, |before| count(&contents[before], "functionCall"));
        if results != calls_before {
            return Err(invalid(
                "Please ensure that the number of function response parts is equal to the number of function call parts \
                 of the function call turn.",
            ));
        }
        if results > 0 && name.generation() >= 3 && results != parts(content).count() {
            return Err(invalid("Function response parts must not be mixed with other parts."));
        }
        if count(content, "functionCall") > 0 && (index == 0 || contents[index - 1]["role"] == "model") {
            return Err(invalid(
                "Please ensure that function call turn comes immediately after a user turn or after a function response \
                 turn.",
            ));
        }
    }
    if contents.last().is_some_and(|last| count(last, "functionCall") > 0) {
        return Err(invalid("Please ensure that single turn requests end with a user role or a function response."));
    }
    signatures(name, contents)
}

fn parts(content: &Value) -> impl Iterator<Item = &Value> {
    content["parts"].as_array().into_iter().flatten()
}

/// From Gemini 3 on, the first call of every step of the running turn brings back the signature it came with.
fn signatures(name: &Name, contents: &[Value]) -> Result<(), Refusal> {
    if name.generation() < 3 {
        return Ok(());
    }
    let plain =
        |content: &Value| content["role"] != "model" && parts(content).all(|part| part["functionResponse"].is_null());
    let turn = contents.iter().rposition(plain).map_or(0, |position| position + 1);
    for (index, content) in contents.iter().enumerate().skip(turn) {
        let Some(first) = parts(content).find(|part| !part["functionCall"].is_null()) else {
            continue;
        };
        let function = first["functionCall"]["name"].as_str().unwrap_or_default();
        match first["thoughtSignature"].as_str() {
            None => {
                return Err(invalid(format!(
                    "Function call is missing a thought_signature in functionCall parts. This is required for tools to \
                     work correctly, and missing thought_signature may lead to degraded model performance. Additional \
                     data, function call `default_api:{function}` , position {}.",
                    index + 1
                )));
            }
            Some(signature) if !name.signed(signature, function) => {
                return Err(invalid("Thought signature is not valid."));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn settings(name: &Name, config: &Value) -> Result<(), Refusal> {
    let between = |field: &str, least: f64, most: f64| match config[field].as_f64() {
        Some(value) if !(least..=most).contains(&value) => Err(invalid(format!(
            "* GenerateContentRequest.generation_config.{field}: {field} must be in the range [{least}, {most}].\n"
        ))),
        _ => Ok(()),
    };
    between("temperature", 0.0, 2.0)?;
    between("topP", 0.0, 1.0)?;
    between("candidateCount", 1.0, 8.0)?;
    between("maxOutputTokens", 1.0, 1_000_000.0)?;
    between("seed", f64::from(i32::MIN), f64::from(i32::MAX))?;
    between("logprobs", 0.0, 20.0)?;
    let model = &name.0;
    for penalty in ["presencePenalty", "frequencyPenalty"] {
        if !config[penalty].is_null() && (name.generation() >= 3 || model.starts_with("gemini-2.5")) {
            return Err(invalid(format!("Penalty is not enabled for models/{model}")));
        }
    }
    if name.generation() >= 3 && config["candidateCount"].as_u64().is_some_and(|count| count > 1) {
        return Err(invalid("Multiple candidates is not enabled for this model"));
    }
    if name.generation() >= 3 && config["responseLogprobs"] == true {
        return Err(invalid(format!("Logprobs is not enabled for models/{model}")));
    }
    if !config["logprobs"].is_null() && config["responseLogprobs"] != true {
        return Err(invalid("logprobs requires response_logprobs to be true"));
    }
    if config["stopSequences"].as_array().is_some_and(|stops| stops.len() > 5) {
        return Err(invalid("* GenerateContentRequest.generation_config.stop_sequences: at most 5 are allowed.\n"));
    }
    let schemas = ["responseSchema", "responseJsonSchema"].map(|field| !config[field].is_null());
    if schemas == [true, true] {
        return Err(invalid("Only one of response_schema and response_json_schema may be set."));
    }
    if schemas.contains(&true) && config["responseMimeType"] != "application/json" {
        return Err(invalid("Response schema is only supported with the response mime type 'application/json'."));
    }
    thinking(name, &config["thinkingConfig"])
}

fn thinking(name: &Name, config: &Value) -> Result<(), Refusal> {
    let model = &name.0;
    match (config["thinkingLevel"].as_str(), config["thinkingBudget"].as_i64()) {
        (Some(_), Some(_)) => Err(invalid("You can only set only one of thinking budget and thinking level.")),
        (Some(_), None) if name.generation() < 3 => Err(invalid("Thinking level is not supported for this model.")),
        (Some(level), None) => {
            let known = match level.to_uppercase().as_str() {
                "LOW" | "HIGH" => true,
                "MEDIUM" => !model.starts_with("gemini-3-pro"),
                "MINIMAL" => !model.contains("pro"),
                "XHIGH" => name.generation() >= 4,
                _ => false,
            };
            let refused = format!("Thinking level {level} is not supported for this model.");
            if known { Ok(()) } else { Err(invalid(refused)) }
        }
        (None, Some(0)) if model.starts_with("gemini-2.5-pro") || (name.generation() >= 3 && model.contains("pro")) => {
            Err(invalid("Budget 0 is invalid. This model only works in thinking mode."))
        }
        (None, Some(budget)) if !(-1..=32_768).contains(&budget) => {
            Err(invalid(format!("The thinking budget {budget} is invalid. Please choose a value between 0 and 32768.")))
        }
        (None, _) => Ok(()),
    }
}

fn tools(name: &Name, request: &Value) -> Result<(), Refusal> {
    let tools = request["tools"].as_array().map_or(&[][..], Vec::as_slice);
    let mut names: Vec<&str> = Vec::new();
    for declaration in tools.iter().flat_map(|tool| tool["functionDeclarations"].as_array().into_iter().flatten()) {
        let function = declaration["name"].as_str().unwrap_or_default();
        let legal = |letter: char| letter.is_ascii_alphanumeric() || "_.:-".contains(letter);
        let starts = function.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
        if !starts || function.len() > 128 || !function.chars().all(legal) {
            return Err(invalid(format!(
                "Invalid function name: {function}. Must start with a letter or an underscore. Must be alphameric (a-z, \
                 A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128."
            )));
        }
        if names.contains(&function) {
            return Err(invalid(format!("Duplicate function declaration found: {function}")));
        }
        if !declaration["parameters"].is_null() && !declaration["parametersJsonSchema"].is_null() {
            return Err(invalid("Only one of parameters and parameters_json_schema may be set."));
        }
        names.push(function);
    }
    let builtin =
        tools.iter().any(|tool| tool.as_object().is_some_and(|tool| !tool.contains_key("functionDeclarations")));
    let mixed = builtin && !names.is_empty();
    if mixed && (name.generation() < 3 || request["toolConfig"]["includeServerSideToolInvocations"] != true) {
        return Err(invalid("Tool use with function calling is unsupported"));
    }
    let json = request["generationConfig"]["responseMimeType"] == "application/json";
    if json && !names.is_empty() && name.generation() < 3 {
        return Err(invalid("Function calling with a response mime type: 'application/json' is unsupported"));
    }
    let config = &request["toolConfig"]["functionCallingConfig"];
    let allowed: Vec<_> =
        config["allowedFunctionNames"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match config["mode"].as_str().unwrap_or("AUTO").to_uppercase().as_str() {
        _ if !config.is_null() && names.is_empty() => {
            Err(invalid("Function calling config is set without function_declarations."))
        }
        "AUTO" | "NONE" if !allowed.is_empty() => {
            Err(invalid("Allowed function names are only supported with the modes ANY and VALIDATED."))
        }
        "AUTO" | "NONE" | "ANY" | "VALIDATED" => match allowed.iter().find(|name| !names.contains(name)) {
            Some(name) => Err(invalid(format!("allowed_function_names contains {name}, which is not declared."))),
            None => Ok(()),
        },
        mode => Err(invalid(format!(
            "Invalid value at 'tool_config.function_calling_config.mode' (type.googleapis.com/\
             google.ai.generativelanguage.v1beta.FunctionCallingConfig.Mode), \"{mode}\""
        ))),
    }
}
