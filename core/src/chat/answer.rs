//! A chat answer in `OpenAI`'s words, whole and in pieces: what translating providers write, and
//! what doors of other dialects read.

mod loose;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::conversation::ToolCall;
use crate::usage::Usage;

/// Who speaks in every answer.
const ASSISTANT: &str = "assistant";

/// A whole answer (`chat.completion`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Completion {
    /// The answer's id.
    #[serde(default, deserialize_with = "loose::value")]
    pub id: String,
    /// `chat.completion`.
    #[serde(default, deserialize_with = "loose::value")]
    pub object: String,
    /// Seconds since 1970.
    #[serde(default, deserialize_with = "loose::number")]
    pub created: i64,
    /// The model.
    #[serde(default, deserialize_with = "loose::value")]
    pub model: String,
    /// One for each of `n`.
    #[serde(default, deserialize_with = "loose::value")]
    pub choices: Vec<Choice>,
    /// What it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageWire>,
}

impl Completion {
    /// An answer of these choices, without its usage: [`ChatReply::whole`](super::ChatReply::whole)
    /// writes what the finish says. `created` is in seconds since 1970.
    pub fn new(id: impl Into<String>, model: impl Into<String>, created: i64, choices: Vec<Choice>) -> Self {
        let object = "chat.completion".to_owned();
        Self { id: id.into(), object, created, model: model.into(), choices, usage: None }
    }
}

/// One of the answers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Choice {
    /// Which of `n`.
    #[serde(default, deserialize_with = "loose::number")]
    pub index: u32,
    /// What the model says.
    #[serde(default, deserialize_with = "loose::value")]
    pub message: AssistantMessage,
    /// Why it stopped: `stop`, `length`, `tool_calls`, `content_filter`.
    pub finish_reason: Option<String>,
    /// Log probabilities.
    #[serde(default)]
    pub logprobs: Option<Value>,
}

impl Choice {
    /// The only choice: this text, and why it stopped (`stop`, `length`, `content_filter`).
    pub fn text(text: impl Into<String>, finish_reason: impl Into<String>) -> Self {
        Self { message: AssistantMessage::text(text), finish_reason: Some(finish_reason.into()), ..Self::default() }
    }
}

/// What the model says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AssistantMessage {
    /// `assistant`.
    #[serde(default, deserialize_with = "loose::value")]
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
    #[serde(default, deserialize_with = "loose::value", skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Citations.
    #[serde(default, deserialize_with = "loose::value", skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Value>,
    /// Images it made, in `OpenRouter`'s form.
    #[serde(default, deserialize_with = "loose::value", skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Value>,
    /// Vendors' extras that have to come back with the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<Value>,
}

impl AssistantMessage {
    /// The model says this text and nothing else.
    pub fn text(text: impl Into<String>) -> Self {
        Self { role: ASSISTANT.to_owned(), content: Some(text.into()), ..Self::default() }
    }
}

/// A piece of a streamed answer (`chat.completion.chunk`). [`ChunkWriter`] writes them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChatChunk {
    /// The answer's id, the same on every piece.
    #[serde(default, deserialize_with = "loose::value")]
    pub id: Arc<str>,
    /// `chat.completion.chunk`.
    #[serde(default, deserialize_with = "loose::value")]
    pub object: std::borrow::Cow<'static, str>,
    /// Seconds since 1970, the same on every piece.
    #[serde(default, deserialize_with = "loose::number")]
    pub created: i64,
    /// The model, the same on every piece.
    #[serde(default, deserialize_with = "loose::value")]
    pub model: Arc<str>,
    /// What is new; empty on the piece that carries the usage.
    #[serde(default, deserialize_with = "loose::value")]
    pub choices: Vec<ChunkChoice>,
    /// What the answer used, on the last piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageWire>,
}

/// Writes a streamed answer of one choice: it says once what every piece repeats, and who speaks on
/// the first piece only.
///
/// ```
/// use aihub_core::chat::{ChatEvent, ChatReply, ChunkWriter, Finish};
/// use aihub_core::{Result, Usage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let mut writer = ChunkWriter::new("answer-1", "model-1", 1_790_000_000);
/// let finish = Finish::new(Some(Usage::new(5, 2)), Some("stop".into()));
/// let events: [Result<ChatEvent>; 4] = [
///     Ok(writer.text("Hello, ").into()),
///     Ok(writer.text("world").into()),
///     Ok(writer.finish("stop").into()),
///     Ok(finish.into()),
/// ];
/// let reply = ChatReply::from_events(5, futures_util::stream::iter(events));
/// # assert_eq!(reply.collect().await?.0.len(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ChunkWriter {
    id: Arc<str>,
    model: Arc<str>,
    created: i64,
    spoke: bool,
}

impl ChunkWriter {
    /// Writes the answer of this id by this model; `created` is in seconds since 1970.
    pub fn new(id: impl Into<Arc<str>>, model: impl Into<Arc<str>>, created: i64) -> Self {
        Self { id: id.into(), model: model.into(), created, spoke: false }
    }

    /// The next piece of the text.
    pub fn text(&mut self, text: impl Into<String>) -> ChatChunk {
        self.piece(Delta { content: Some(text.into()), ..Delta::default() }, None)
    }

    /// The piece that says why the answer stops: `stop`, `length`, `tool_calls`, `content_filter`. After
    /// it comes the [`Finish`](super::Finish), from which the door writes the usage.
    pub fn finish(&mut self, reason: impl Into<String>) -> ChatChunk {
        self.piece(Delta::default(), Some(reason.into()))
    }

    /// A piece of anything else, such as thoughts or a tool call.
    pub fn delta(&mut self, delta: Delta) -> ChatChunk {
        self.piece(delta, None)
    }

    fn piece(&mut self, mut delta: Delta, finish_reason: Option<String>) -> ChatChunk {
        if !std::mem::replace(&mut self.spoke, true) {
            delta.role.get_or_insert_with(|| ASSISTANT.to_owned());
        }
        ChatChunk {
            id: Arc::clone(&self.id),
            object: "chat.completion.chunk".into(),
            created: self.created,
            model: Arc::clone(&self.model),
            choices: vec![ChunkChoice { delta, finish_reason, ..ChunkChoice::default() }],
            usage: None,
        }
    }
}

/// What is new of one choice.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ChunkChoice {
    /// Which of `n`.
    #[serde(default, deserialize_with = "loose::number")]
    pub index: u32,
    /// What is new.
    #[serde(default, deserialize_with = "loose::value")]
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
    #[serde(default, deserialize_with = "loose::number")]
    pub index: u32,
    /// The call's id, on its first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`, on its first piece.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name and arguments.
    #[serde(default, deserialize_with = "loose::value")]
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
    #[serde(default, deserialize_with = "loose::number")]
    pub prompt_tokens: u64,
    /// All tokens out.
    #[serde(default, deserialize_with = "loose::number")]
    pub completion_tokens: u64,
    /// All tokens.
    #[serde(default, deserialize_with = "loose::number")]
    pub total_tokens: u64,
    /// What the tokens in were.
    #[serde(default, deserialize_with = "loose::value")]
    pub prompt_tokens_details: PromptDetails,
    /// What the tokens out were.
    #[serde(default, deserialize_with = "loose::value")]
    pub completion_tokens_details: CompletionDetails,
}

/// What the tokens in were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptDetails {
    /// Read from the vendor's cache.
    #[serde(default, deserialize_with = "loose::number")]
    pub cached_tokens: u64,
    /// Written to the vendor's cache.
    #[serde(default, deserialize_with = "loose::number")]
    pub cache_write_tokens: u64,
    /// Audio.
    #[serde(default, deserialize_with = "loose::number")]
    pub audio_tokens: u64,
}

/// What the tokens out were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletionDetails {
    /// Thoughts.
    #[serde(default, deserialize_with = "loose::number")]
    pub reasoning_tokens: u64,
    /// Audio.
    #[serde(default, deserialize_with = "loose::number")]
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

#[cfg(test)]
mod tests;
