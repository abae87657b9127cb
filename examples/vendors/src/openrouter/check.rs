//! What OpenRouter refuses before it asks a provider.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// A 400 (or other status) with OpenRouter's words.
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

pub(crate) fn refusal(status: u16, message: impl Into<String>, kind: &str) -> Refusal {
    let message = message.into();
    Refusal { status, body: json!({"error": {"code": status, "message": message, "metadata": {"error_type": kind}}}) }
}

/// What the provider behind it refuses is wrapped.
fn provider(message: &str, param: &str) -> Refusal {
    let raw = json!({"error": {
        "message": message, "type": "invalid_request_error", "param": param, "code": Value::Null,
    }});
    let metadata = json!({"provider_name": "OpenAI", "raw": raw.to_string(), "error_type": "invalid_request"});
    let body = json!({"error": {"code": 400, "message": "Provider returned error", "metadata": metadata},
        "user_id": "user_scripted"});
    Refusal { status: 400, body }
}

fn invalid(message: impl Into<String>) -> Refusal {
    refusal(400, message, "invalid_request")
}

/// Checks a chat request; what is unknown is let through, as OpenRouter does.
pub(crate) fn chat(body: &Value) -> Result<(), Refusal> {
    let Some(messages) = body["messages"].as_array() else {
        return Err(invalid("Input required: specify \"prompt\" or \"messages\""));
    };
    if messages.is_empty() {
        return Err(invalid("Input must have at least 1 token."));
    }
    for (position, message) in messages.iter().enumerate() {
        self::message(position, message)?;
    }
    results_answer_calls(messages)?;
    number(body, "temperature", 0.0, 2.0)?;
    number(body, "top_p", 0.0, 1.0)?;
    number(body, "presence_penalty", -2.0, 2.0)?;
    number(body, "frequency_penalty", -2.0, 2.0)?;
    for name in ["max_tokens", "max_completion_tokens", "n"] {
        if !body[name].is_null() && body[name].as_u64().is_none_or(|count| count == 0) {
            return Err(invalid(format!("{name}: expected a positive integer")));
        }
    }
    if body["stop"].as_array().is_some_and(|stops| stops.len() > 4) {
        return Err(invalid("stop: at most 4 sequences"));
    }
    if !body["reasoning_effort"].is_null()
        && !body["reasoning"]["effort"].is_null()
        && body["reasoning_effort"] != body["reasoning"]["effort"]
    {
        return Err(invalid("reasoning_effort and reasoning.effort must not differ"));
    }
    if !matches!(body["stream"], Value::Null | Value::Bool(_)) {
        return Err(invalid("stream: expected a boolean"));
    }
    tools(body)?;
    match body["response_format"]["type"].as_str() {
        Some("json_schema") if !body["response_format"]["json_schema"]["schema"].is_object() => {
            Err(invalid("response_format.json_schema.schema: required"))
        }
        Some("text" | "json_object" | "json_schema" | "grammar" | "python") => Ok(()),
        None if body["response_format"].is_null() => Ok(()),
        _ => Err(invalid("response_format.type: invalid value")),
    }
}

fn message(position: usize, message: &Value) -> Result<(), Refusal> {
    let role = message["role"].as_str().unwrap_or_default();
    if !matches!(role, "system" | "developer" | "user" | "assistant" | "tool") {
        return Err(invalid(format!("messages[{position}].role: invalid value {}", message["role"])));
    }
    let content = &message["content"];
    match content {
        Value::String(_) => {}
        Value::Null if role == "assistant" => {}
        Value::Array(parts) => {
            for (index, part) in parts.iter().enumerate() {
                self::part(part).map_err(|what| invalid(format!("messages[{position}].content[{index}]: {what}")))?;
                if let Some(url) = part["image_url"]["url"].as_str() {
                    image(url)?;
                }
            }
        }
        _ => {
            return Err(invalid(format!("messages[{position}].content: expected a string or a list of parts")));
        }
    }
    if role == "tool" && !message["tool_call_id"].is_string() {
        return Err(invalid(format!("messages[{position}].tool_call_id: required")));
    }
    for (index, call) in message["tool_calls"].as_array().into_iter().flatten().enumerate() {
        let function = &call["function"];
        if !call["id"].is_string() || !function["name"].is_string() || !function["arguments"].is_string() {
            return Err(invalid(format!(
                "messages[{position}].tool_calls[{index}]: id, name and arguments are strings"
            )));
        }
    }
    Ok(())
}

fn part(part: &Value) -> Result<(), &'static str> {
    let present = match part["type"].as_str() {
        Some("text") => part["text"].is_string(),
        Some("image_url") => part["image_url"]["url"].is_string(),
        Some("input_audio") => part["input_audio"]["data"].is_string(),
        Some("file") => part["file"].is_object(),
        Some("video_url") => part["video_url"]["url"].is_string(),
        _ => return Err("unknown part type"),
    };
    if present { Ok(()) } else { Err("the part lacks what its type says") }
}

fn image(url: &str) -> Result<(), Refusal> {
    let Some(data) = url.strip_prefix("data:") else {
        return Ok(());
    };
    let bytes = data.split_once(";base64,").and_then(|(_, data)| STANDARD.decode(data).ok());
    match bytes {
        Some(bytes) if !bytes.is_empty() => Ok(()),
        _ => Err(refusal(400, "Invalid base64 image_url.", "invalid_image")),
    }
}

/// Every result answers a call of the last assistant turn, and every call is answered.
fn results_answer_calls(messages: &[Value]) -> Result<(), Refusal> {
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let Some(at) = open.iter().position(|call| *call == id) else {
                let text = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
                return Err(provider(text, "messages"));
            };
            open.swap_remove(at);
        } else {
            if !open.is_empty() {
                return Err(unanswered());
            }
            open =
                message["tool_calls"].as_array().into_iter().flatten().filter_map(|call| call["id"].as_str()).collect();
        }
    }
    if open.is_empty() { Ok(()) } else { Err(unanswered()) }
}

fn unanswered() -> Refusal {
    let text =
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'.";
    provider(text, "messages")
}

fn tools(body: &Value) -> Result<(), Refusal> {
    for (index, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        let name = tool["function"]["name"].as_str().unwrap_or_default();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        match tool["type"].as_str() {
            Some("function") if !name.is_empty() && name.len() <= 64 && name.chars().all(plain) => {}
            Some(kind) if kind.starts_with("openrouter:") => {}
            _ => {
                return Err(invalid(format!("tools[{index}]: expected a function with a name")));
            }
        }
    }
    let wanted = body["tool_choice"]["function"]["name"].as_str();
    let known = |name: &str| {
        body["tools"].as_array().is_some_and(|tools| tools.iter().any(|tool| tool["function"]["name"] == name))
    };
    match wanted {
        Some(name) if !known(name) => {
            Err(provider("Tool choice names a function that is not in 'tools'.", "tool_choice"))
        }
        _ => Ok(()),
    }
}

fn number(body: &Value, name: &str, least: f64, most: f64) -> Result<(), Refusal> {
    match &body[name] {
        Value::Null => Ok(()),
        value if value.as_f64().is_some_and(|value| (least..=most).contains(&value)) => Ok(()),
        _ => Err(invalid(format!("{name}: expected a number from {least} to {most}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(body: &Value) -> u16 {
        chat(body).map_or_else(|refusal| refusal.status, |()| 200)
    }

    #[test]
    fn plain_requests_pass_with_fields_nobody_knows() {
        let messages = json!([{"role": "user", "content": "hi"}]);
        assert_eq!(status(&json!({"messages": messages, "top_k": 3, "whatever": {}})), 200);
        assert_eq!(status(&json!({"messages": []})), 400);
        assert_eq!(status(&json!({"messages": messages, "temperature": 3})), 400);
        assert_eq!(status(&json!({"messages": [{"role": "robot", "content": "hi"}]})), 400);
    }

    #[test]
    fn results_without_calls_and_calls_without_results_are_refused() {
        let call = json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
        let result = json!({"role": "tool", "tool_call_id": "a", "content": "1"});
        assert_eq!(status(&json!({"messages": [call, result]})), 200);
        assert_eq!(status(&json!({"messages": [result]})), 400);
        assert_eq!(status(&json!({"messages": [call]})), 400);
        assert_eq!(status(&json!({"messages": [call, result, result]})), 400);
    }

    #[test]
    fn an_image_that_is_not_base64_is_refused() {
        let with = |url: &str| {
            status(&json!({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": url}}]}]}))
        };
        assert_eq!(with("data:image/png;base64,aGk="), 200);
        assert_eq!(with("data:image/png;base64,***"), 400);
    }
}
