//! A chat request in full, typed: for providers that translate it into another protocol.
//!
//! Field names and meanings are those of `OpenAI`'s chat completions API; what is not listed here
//! is not translated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The whole request.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Conversation {
    /// The model asked for.
    pub model: String,
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Upper bound of the answer's tokens, reasoning included.
    #[serde(default)]
    pub max_completion_tokens: Option<u64>,
    /// The old name of the same.
    #[serde(default)]
    pub max_tokens: Option<u64>,
    /// How many answers.
    #[serde(default)]
    pub n: Option<u32>,
    /// Where to stop.
    #[serde(default)]
    pub stop: Option<Stop>,
    /// Sampling temperature, 0 to 2.
    #[serde(default)]
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 to 1.
    #[serde(default)]
    pub top_p: Option<f64>,
    /// −2 to 2.
    #[serde(default)]
    pub presence_penalty: Option<f64>,
    /// −2 to 2.
    #[serde(default)]
    pub frequency_penalty: Option<f64>,
    /// For answers that repeat.
    #[serde(default)]
    pub seed: Option<i64>,
    /// Likelihood per token.
    #[serde(default)]
    pub logit_bias: Option<BTreeMap<String, f64>>,
    /// Whether to return log probabilities.
    #[serde(default)]
    pub logprobs: Option<bool>,
    /// How many alternatives per token, 0 to 20.
    #[serde(default)]
    pub top_logprobs: Option<u32>,
    /// What the model may call.
    #[serde(default)]
    pub tools: Option<Vec<Tool>>,
    /// Whether and what it must call.
    #[serde(default)]
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may make several calls at once.
    #[serde(default)]
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    #[serde(default)]
    pub response_format: Option<ResponseFormat>,
    /// How hard to think.
    #[serde(default)]
    pub reasoning_effort: Option<ReasoningEffort>,
    /// `OpenRouter`'s long form of the same (`effort`, `max_tokens`, `exclude`, `enabled`).
    #[serde(default)]
    pub reasoning: Option<Value>,
    /// `text`, `image`, `audio`.
    #[serde(default)]
    pub modalities: Option<Vec<String>>,
    /// `auto`, `default`, `flex`, `priority` …
    #[serde(default)]
    pub service_tier: Option<String>,
    /// Web search.
    #[serde(default)]
    pub web_search_options: Option<Value>,
    /// Voice and format of an audio answer.
    #[serde(default)]
    pub audio: Option<Value>,
    /// Text that is expected to come back.
    #[serde(default)]
    pub prediction: Option<Value>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions, in newer words.
    Developer,
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
    /// The result of a function call, in old words.
    Function,
}

/// One message of a conversation, whoever speaks. What the model answers is an
/// [`AssistantMessage`](super::AssistantMessage).
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; absent beside tool calls.
    #[serde(default)]
    pub content: Option<Content>,
    /// The speaker's name.
    #[serde(default)]
    pub name: Option<String>,
    /// What the model refused with.
    #[serde(default)]
    pub refusal: Option<String>,
    /// What the model called.
    #[serde(default)]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a tool message answers.
    #[serde(default)]
    pub tool_call_id: Option<String>,
    /// Vendors' extras that have to come back, such as thought signatures.
    #[serde(default)]
    pub extra_content: Option<Value>,
}

/// The content of a message.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a string or a list of parts")]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Parts of several kinds.
    Parts(Vec<Part>),
}

/// One part of a message.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image.
    ImageUrl {
        /// Where it is.
        image_url: ImageUrl,
    },
    /// A sound.
    InputAudio {
        /// The sound.
        input_audio: AudioData,
    },
    /// A file.
    File {
        /// The file.
        file: FileData,
    },
    /// A refusal, in an assistant message.
    Refusal {
        /// Its words.
        refusal: String,
    },
}

/// An image by address.
#[derive(Debug, Clone, Deserialize)]
pub struct ImageUrl {
    /// An https address or a data URL.
    pub url: String,
    /// `auto`, `low`, `high`.
    #[serde(default)]
    pub detail: Option<String>,
}

/// A sound in base 64.
#[derive(Debug, Clone, Deserialize)]
pub struct AudioData {
    /// Base 64 (RFC 4648).
    pub data: String,
    /// `wav` or `mp3`.
    pub format: String,
}

/// A file.
#[derive(Debug, Clone, Deserialize)]
pub struct FileData {
    /// A data URL.
    #[serde(default)]
    pub file_data: Option<String>,
    /// The id of an uploaded file.
    #[serde(default)]
    pub file_id: Option<String>,
    /// Its name.
    #[serde(default)]
    pub filename: Option<String>,
}

/// Something the model may call.
#[derive(Debug, Clone, Deserialize)]
pub struct Tool {
    /// `function`, `custom`, or a vendor's own.
    #[serde(rename = "type")]
    pub kind: String,
    /// The function, when it is one.
    #[serde(default)]
    pub function: Option<FunctionSpec>,
}

/// A function the model may call.
#[derive(Debug, Clone, Deserialize)]
pub struct FunctionSpec {
    /// At most 64 characters.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub description: Option<String>,
    /// A JSON schema of its arguments.
    #[serde(default)]
    pub parameters: Option<Value>,
    /// Whether the arguments must follow the schema exactly.
    #[serde(default)]
    pub strict: Option<bool>,
}

/// Whether and what the model must call.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "`none`, `auto`, `required`, or an object that names a function")]
pub enum ToolChoice {
    /// `none`, `auto` or `required`.
    Mode(String),
    /// One function.
    Named {
        /// The function.
        function: NamedFunction,
    },
    /// Some of the functions.
    Allowed {
        /// `mode` and `tools`.
        allowed_tools: AllowedTools,
    },
}

/// A function by name.
#[derive(Debug, Clone, Deserialize)]
pub struct NamedFunction {
    /// Its name.
    pub name: String,
}

/// Which functions may be called.
#[derive(Debug, Clone, Deserialize)]
pub struct AllowedTools {
    /// `auto` or `required`.
    pub mode: String,
    /// The tools.
    pub tools: Vec<Tool>,
}

/// A call the model made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ToolCall {
    /// The id that the result names.
    pub id: String,
    /// `function`.
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    /// What is called.
    pub function: FunctionCall,
    /// Vendors' extras that have to come back with the call: `{"google":{"thought_signature":…}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<Value>,
}

fn function() -> String {
    "function".to_owned()
}

/// A function called with arguments.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// A JSON object as text.
    #[serde(default)]
    pub arguments: String,
}

/// Where an answer stops.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a string or a list of strings")]
pub enum Stop {
    /// At this text.
    One(String),
    /// At any of these, at most four.
    Many(Vec<String>),
}

/// The form of the answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Free text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON by a schema.
    JsonSchema {
        /// The schema.
        json_schema: SchemaSpec,
    },
}

/// A named JSON schema.
#[derive(Debug, Clone, Deserialize)]
pub struct SchemaSpec {
    /// Its name.
    pub name: String,
    /// The schema.
    #[serde(default)]
    pub schema: Option<Value>,
    /// Whether the answer must follow it exactly.
    #[serde(default)]
    pub strict: Option<bool>,
}

/// How hard to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum ReasoningEffort {
    /// Not at all.
    None,
    /// The least there is.
    Minimal,
    /// A little.
    Low,
    /// As usual.
    Medium,
    /// Hard.
    High,
    /// Harder.
    Xhigh,
    /// As hard as it can.
    Max,
}
