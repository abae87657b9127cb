//! A chat request: the caller's bytes, and the little that policy reads from them.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Deserialize;

use super::conversation::Conversation;
use super::prompt::{Prompt, PromptSeed};
use super::reply::ChatReply;
use crate::call::{Attempt, Demand, Operation};
use crate::error::{Error, Result};
use crate::json::Object;
use crate::model::ModelKind;
use crate::provider::Provider;
use crate::tokens;

/// A request for a chat completion in the `OpenAI` dialect (`POST /v1/chat/completions`).
///
/// The body is kept as it came, unknown fields included; cloning shares it.
#[derive(Debug, Clone)]
pub struct ChatRequest(Arc<Parsed>);

#[derive(Debug)]
struct Parsed {
    object: Object,
    model: String,
    stream: bool,
    include_usage: bool,
    max_output_tokens: Option<u64>,
    choices: u64,
    prompt: Prompt,
    tool_tokens: u64,
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

impl ChatRequest {
    /// Reads a request body in one pass.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) with the field that is wrong: malformed JSON, wrong
    /// types, no messages, a tool result without its call, data that is not base 64.
    pub fn parse(body: Bytes) -> Result<Self> {
        let kept = body.clone();
        let (object, prompt) = Object::scan_with(body, "messages", PromptSeed).map_err(|error| {
            // The fast pass says line and column; the slow one, taken only now, says the path.
            match crate::json::decode::<Conversation>(&kept) {
                Err(located) => located,
                Ok(_) => crate::json::about("messages", &error),
            }
        })?;
        let model: String = object.read("model")?.ok_or_else(|| missing("model"))?;
        let prompt: Prompt = prompt.ok_or_else(|| missing("messages"))?;
        if prompt.messages == 0 {
            return Err(Error::invalid("messages", "There is nothing to answer: `messages` is empty"));
        }
        let choices = object.read::<u64>("n")?.unwrap_or(1);
        if !(1..=128).contains(&choices) {
            return Err(Error::invalid("n", "`n` is a number from 1 to 128"));
        }
        let asked = match object.read::<u64>("max_completion_tokens")? {
            None => object.read::<u64>("max_tokens")?,
            some => some,
        };
        if asked == Some(0) {
            return Err(Error::invalid("max_completion_tokens", "An answer needs at least one token"));
        }
        let parsed = Parsed {
            model,
            stream: object.read("stream")?.unwrap_or(false),
            include_usage: object
                .read::<StreamOptions>("stream_options")?
                .and_then(|o| o.include_usage)
                .unwrap_or(false),
            max_output_tokens: asked,
            choices,
            prompt,
            tool_tokens: ["tools", "response_format", "functions"]
                .iter()
                .filter_map(|name| object.get(name))
                .map(tokens::count)
                .sum(),
            object,
        };
        Ok(Self(Arc::new(parsed)))
    }

    /// The request as it came.
    pub fn object(&self) -> &Object {
        &self.0.object
    }

    /// Everything in it, typed: for providers that translate. Parses the whole body.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) with the path of what is wrong.
    pub fn conversation(&self) -> Result<Conversation> {
        self.0.object.decode()
    }

    /// Whether the caller asked for the usage at the end of its stream.
    pub fn include_usage(&self) -> bool {
        self.0.include_usage
    }

    /// The most tokens that one choice may have, as far as the caller said.
    pub fn max_output_tokens(&self) -> Option<u64> {
        self.0.max_output_tokens
    }

    /// How many choices the caller wants.
    pub fn choices(&self) -> u64 {
        self.0.choices
    }

    /// The size of the prompt.
    pub fn prompt(&self) -> Prompt {
        self.0.prompt
    }
}

fn missing(field: &'static str) -> Error {
    Error::invalid(field, format!("`{field}` is missing")).with_code("missing_required_parameter")
}

impl Operation for ChatRequest {
    type Reply = ChatReply;

    const KIND: ModelKind = ModelKind::Chat;

    fn model(&self) -> &str {
        &self.0.model
    }

    fn demand(&self) -> Demand {
        Demand {
            prompt_tokens: self.0.prompt.tokens() + self.0.tool_tokens,
            output_tokens: self.0.max_output_tokens.map(|most| most.saturating_mul(self.0.choices)),
            choices: self.0.choices,
        }
    }

    fn streams(&self) -> bool {
        self.0.stream
    }

    fn dispatch(provider: &dyn Provider, attempt: Attempt<Self>) -> BoxFuture<'_, Result<ChatReply>> {
        provider.chat(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &serde_json::Value) -> Result<ChatRequest> {
        ChatRequest::parse(body.to_string().into())
    }

    #[test]
    fn reads_what_policy_needs() {
        let request = parse(&serde_json::json!({
            "model": "m", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 10, "n": 2,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}], "custom": {"kept": 1},
        }))
        .unwrap();
        assert!(request.streams() && request.include_usage());
        assert_eq!(request.demand().output_tokens, Some(20));
        assert_eq!(request.prompt().text_tokens, 2);
        assert_eq!(request.object().get("custom"), Some(r#"{"kept":1}"#));
    }

    #[test]
    fn says_which_field_is_wrong() {
        let user = serde_json::json!([{"role": "user", "content": "hi"}]);
        let cases = [
            (serde_json::json!({"messages": user}), "model"),
            (serde_json::json!({"model": "m"}), "messages"),
            (serde_json::json!({"model": "m", "messages": []}), "messages"),
            (serde_json::json!({"model": "m", "messages": "hi"}), "messages"),
            (serde_json::json!({"model": 1, "messages": user}), "model"),
            (serde_json::json!({"model": "m", "messages": user, "stream": "yes"}), "stream"),
            (serde_json::json!({"model": "m", "messages": user, "n": 0}), "n"),
            (serde_json::json!({"model": "m", "messages": [{"role": "user", "content": 7}]}), "messages[0].content"),
            (
                serde_json::json!({"model": "m", "messages": [{"role": "tool", "tool_call_id": "x", "content": "r"}]}),
                "messages[0]",
            ),
            (
                serde_json::json!({"model": "m", "messages": [{"role": "user", "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,@@"}}]}]}),
                "messages[0].content[0].image_url.url",
            ),
        ];
        for (body, param) in cases {
            let error = parse(&body).unwrap_err();
            assert_eq!(error.param(), Some(param), "{body}: {error}");
        }
    }

    #[test]
    fn a_tool_result_after_its_call_is_sound() {
        parse(&serde_json::json!({"model": "m", "messages": [
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        ]}))
        .unwrap();
    }
}
