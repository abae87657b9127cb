//! The shapes of the dialect, for the API document only: requests are read by
//! [`ChatRequest`](aihub_core::ChatRequest), which keeps their bytes, and answers are written by
//! whoever made them.

use serde::Serialize;
use utoipa::ToSchema;

/// A request for a chat completion. Every other field of `OpenAI`'s API may be there as well.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChatCompletionRequest {
    /// A model id from `/v1/models`.
    #[schema(example = "google/gemini-2.5-flash")]
    model: String,
    /// The conversation, oldest message first.
    #[schema(min_items = 1)]
    messages: Vec<ChatMessage>,
    /// Whether to answer piece by piece.
    stream: Option<bool>,
    /// `include_usage` asks for a last chunk with the usage.
    stream_options: Option<StreamOptions>,
    /// The most tokens of the answer, reasoning included.
    max_completion_tokens: Option<u64>,
    /// Sampling temperature, 0 to 2.
    temperature: Option<f64>,
    /// What the model may call.
    tools: Option<Vec<serde_json::Value>>,
    /// `text`, `json_object` or `json_schema`.
    response_format: Option<serde_json::Value>,
    /// `none`, `minimal`, `low`, `medium`, `high`.
    reasoning_effort: Option<String>,
}

/// One message.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChatMessage {
    /// `developer`, `system`, `user`, `assistant` or `tool`.
    #[schema(example = "user")]
    role: String,
    /// Text, or a list of parts (`text`, `image_url`, `input_audio`, `file`).
    content: Option<serde_json::Value>,
}

/// What a stream carries besides the answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamOptions {
    /// Whether the last chunk carries the usage.
    include_usage: Option<bool>,
}

/// A chat completion.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChatCompletion {
    /// The answer's id.
    id: String,
    /// `chat.completion`.
    object: String,
    /// Seconds since 1970.
    created: i64,
    /// The model that answered.
    model: String,
    /// The answers: `index`, `message`, `finish_reason`, `logprobs`.
    choices: Vec<serde_json::Value>,
    /// What it used.
    usage: TokenUsage,
}

/// Tokens of one call.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names on the wire")]
pub(crate) struct TokenUsage {
    /// Tokens in, cached ones included.
    pub(crate) prompt_tokens: u64,
    /// Tokens out, reasoning included.
    pub(crate) completion_tokens: u64,
    /// Both.
    pub(crate) total_tokens: u64,
}

/// A request for embeddings.
#[derive(Serialize, ToSchema)]
pub(crate) struct EmbeddingRequest {
    /// A model id from `/v1/models`.
    #[schema(example = "google/gemini-embedding-001")]
    model: String,
    /// A text, a list of texts, tokens, or lists of tokens; at most 2048.
    input: serde_json::Value,
    /// The length of the vectors.
    dimensions: Option<u32>,
    /// `float` or `base64`.
    encoding_format: Option<String>,
}

/// Embeddings.
#[derive(Serialize, ToSchema)]
pub(crate) struct EmbeddingList {
    /// `list`.
    object: String,
    /// The vectors: `object`, `index`, `embedding`.
    data: Vec<serde_json::Value>,
    /// The model that made them.
    model: String,
    /// What it used: `prompt_tokens`, `total_tokens`.
    usage: serde_json::Value,
}

/// What went wrong: the one shape of every error.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorEnvelope {
    error: ErrorBody,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// What to do about it, for people.
    message: String,
    /// The kind, such as `invalid_request_error`.
    r#type: String,
    /// The stable code, such as `model_not_found`.
    code: String,
    /// The field that is wrong.
    param: Option<String>,
    /// The id to name when asking for help; also the header `x-request-id`.
    request_id: String,
}
