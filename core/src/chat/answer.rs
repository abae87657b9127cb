//! A chat answer in `OpenAI`'s words, whole and in pieces: what translating providers write, and
//! what doors of other dialects read.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::conversation::ToolCall;
use crate::usage::Usage;

/// A whole answer (`chat.completion`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Completion {
    /// The answer's id.
    pub id: String,
    /// `chat.completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The model.
    pub model: String,
    /// One for each of `n`.
    pub choices: Vec<Choice>,
    /// What it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageWire>,
}

/// One of the answers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Choice {
    /// Which of `n`.
    pub index: u32,
    /// What the model says.
    pub message: Message,
    /// Why it stopped: `stop`, `length`, `tool_calls`, `content_filter`.
    pub finish_reason: Option<String>,
    /// Log probabilities.
    #[serde(default)]
    pub logprobs: Option<Value>,
}

/// What the model says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Message {
    /// `assistant`.
    pub role: String,
    /// The text; `null` beside tool calls.
    pub content: Option<String>,
    /// A refusal's words.
    #[serde(default)]
    pub refusal: Option<String>,
    /// What it thought, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// What it calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Citations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Value>,
    /// Images it made, in `OpenRouter`'s form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Value>,
    /// Vendors' extras that have to come back with the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<Value>,
}

/// A piece of a streamed answer (`chat.completion.chunk`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChatChunk {
    /// The answer's id, the same on every piece.
    pub id: Arc<str>,
    /// `chat.completion.chunk`.
    pub object: std::borrow::Cow<'static, str>,
    /// Seconds since 1970, the same on every piece.
    pub created: i64,
    /// The model, the same on every piece.
    pub model: Arc<str>,
    /// What is new; empty on the piece that carries the usage.
    pub choices: Vec<ChunkChoice>,
    /// What the answer used, on the last piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageWire>,
}

/// What is new of one choice.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ChunkChoice {
    /// Which of `n`.
    pub index: u32,
    /// What is new.
    pub delta: Delta,
    /// Why it stopped; on its last piece only.
    pub finish_reason: Option<String>,
    /// Log probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Value>,
}

/// New text, thoughts or calls.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Delta {
    /// `assistant`, on the first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// New text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// New thoughts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// A refusal's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// New calls, or more of their arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<CallDelta>>,
    /// Citations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Vec<Value>>,
    /// Images, in `OpenRouter`'s form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<Value>>,
    /// Vendors' extras that have to come back with the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<Value>,
}

/// A call, or more of its arguments.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CallDelta {
    /// Which call of the answer; runs on over the whole stream.
    pub index: u32,
    /// The call's id, on its first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`, on its first piece.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name and arguments.
    #[serde(default)]
    pub function: FunctionDelta,
    /// Vendors' extras that have to come back with the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<Value>,
}

/// A function's name, or more of its arguments.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FunctionDelta {
    /// The name, on the first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// More of the arguments' text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
}

/// [`Usage`] in `OpenAI`'s nested form: cached and written inside prompt, reasoning inside completion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageWire {
    /// All tokens in.
    pub prompt_tokens: u64,
    /// All tokens out.
    pub completion_tokens: u64,
    /// All tokens.
    pub total_tokens: u64,
    /// What the tokens in were.
    pub prompt_tokens_details: PromptDetails,
    /// What the tokens out were.
    pub completion_tokens_details: CompletionDetails,
}

/// What the tokens in were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptDetails {
    /// Read from the vendor's cache.
    pub cached_tokens: u64,
    /// Written to the vendor's cache.
    #[serde(default)]
    pub cache_write_tokens: u64,
    /// Audio.
    #[serde(default)]
    pub audio_tokens: u64,
}

/// What the tokens out were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletionDetails {
    /// Thoughts.
    pub reasoning_tokens: u64,
    /// Audio.
    #[serde(default)]
    pub audio_tokens: u64,
}

impl From<&Usage> for UsageWire {
    fn from(usage: &Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens(),
            completion_tokens: usage.completion_tokens(),
            total_tokens: usage.total_tokens(),
            prompt_tokens_details: PromptDetails {
                cached_tokens: usage.cache_read,
                cache_write_tokens: usage.cache_write,
                audio_tokens: usage.audio_input,
            },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: usage.reasoning,
                audio_tokens: usage.audio_output,
            },
        }
    }
}
