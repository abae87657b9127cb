//! What the vendor was sent, held against what was recorded. Every difference that is allowed is
//! written down here with its reason.

use serde_json::{Value, json};

use super::expect::ensure;
use super::reverse::lower;
use super::server::Asked;

/// The vendor's key travels in its header, and nowhere else.
pub(crate) fn headers(upstream: &str, asked: &[Asked], key: &str) -> Result<(), String> {
    ensure!(!asked.is_empty(), "the vendor was not asked");
    for asked in asked {
        let (name, value) = match upstream {
            "gemini" => ("x-goog-api-key", key.to_owned()),
            _ => ("authorization", format!("Bearer {key}")),
        };
        let sent: Vec<_> = asked.headers.get_all(name).iter().collect();
        ensure!(sent == [value.as_str()], "{name}: {sent:?}");
        ensure!(!asked.uri.to_string().contains(key), "the key is in the address");
        ensure!(!asked.body.windows(key.len()).any(|window| window == key.as_bytes()), "the key is in the body");
    }
    Ok(())
}

/// A request to Gemini.
pub(crate) fn gemini(recorded: &Value, sent: Value) -> Result<(), String> {
    let (recorded, sent) = (plain(recorded.clone()), plain(sent));
    ensure!(recorded == sent, "sent\n{sent:#}\ninstead of\n{recorded:#}");
    Ok(())
}

/// Takes out what means the same in two ways.
fn plain(mut request: Value) -> Value {
    // The role of an instruction is optional and ignored.
    if let Some(instruction) = request["systemInstruction"].as_object_mut() {
        instruction.remove("role");
    }
    if let Some(fields) = request.as_object_mut() {
        fields.retain(|_, value| !value.is_null() && *value != json!({}));
    }
    for content in request["contents"].as_array_mut().into_iter().flatten() {
        for part in content["parts"].as_array_mut().into_iter().flatten() {
            // An empty text is accepted by some models only: ours is a blank.
            if part["text"] == "" {
                part["text"] = json!(" ");
            }
        }
    }
    for tool in request["tools"].as_array_mut().into_iter().flatten() {
        for function in tool.get_mut("functionDeclarations").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(function) = function.as_object_mut() else { continue };
            // The server takes both spellings.
            if let Some(schema) = function.remove("parameters_json_schema") {
                function.insert("parametersJsonSchema".to_owned(), schema);
            }
            // The older field says the same in capitals; ours is always the newer one.
            if let Some(schema) = function.remove("parameters") {
                function.insert("parametersJsonSchema".to_owned(), lower(&schema));
            }
        }
    }
    if request["contents"].is_null() {
        // What indexing above put in.
        request.as_object_mut().and_then(|fields| fields.remove("contents"));
    }
    if let Some(fields) = request.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    request
}

/// A request to `OpenRouter`: every field as the caller wrote it, except for `provider.max_price`,
/// which caps what the vendor may charge.
pub(crate) fn openrouter(asked: &Value, mut sent: Value) -> Result<(), String> {
    let cap = sent["provider"].as_object_mut().and_then(|routing| routing.remove("max_price"));
    ensure!(cap == Some(json!({"prompt": 1, "completion": 2})), "max_price {cap:?}");
    if asked.get("provider").is_none() {
        ensure!(sent["provider"] == json!({}), "provider {}", sent["provider"]);
        sent.as_object_mut().and_then(|fields| fields.remove("provider"));
    }
    ensure!(*asked == sent, "sent\n{sent:#}\ninstead of\n{asked:#}");
    Ok(())
}
