//! What is read. Everything may be absent, unknown fields and unknown words pass, so that a new
//! finish reason or part of the vendor's never fails an answer that was paid for.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Blob;

/// `null`, and whatever else is not of the expected shape, is the default.
fn lenient<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// One answer, or one event of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::gemini) struct GenerateResponse {
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) candidates: Vec<Candidate>,
    pub(in crate::gemini) prompt_feedback: Option<PromptFeedback>,
    pub(in crate::gemini) usage_metadata: Option<UsageMetadata>,
    pub(in crate::gemini) model_version: Option<String>,
    pub(in crate::gemini) response_id: Option<String>,
    /// An error inside a stream, or inside an answer with status 200.
    pub(in crate::gemini) error: Option<Status>,
}

/// One of the answers.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::gemini) struct Candidate {
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) content: AnswerContent,
    pub(in crate::gemini) finish_reason: Option<String>,
    pub(in crate::gemini) index: Option<u32>,
    pub(in crate::gemini) grounding_metadata: Option<Grounding>,
    pub(in crate::gemini) logprobs_result: Option<LogprobsResult>,
    pub(in crate::gemini) continuation_token: Option<String>,
}

/// What the model says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::gemini) struct AnswerContent {
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) parts: Vec<AnswerPart>,
}

/// One part of what the model says; kinds that are not listed come out empty.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::gemini) struct AnswerPart {
    pub(in crate::gemini) text: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) thought: bool,
    pub(in crate::gemini) thought_signature: Option<String>,
    pub(in crate::gemini) function_call: Option<AnswerCall>,
    pub(in crate::gemini) inline_data: Option<Blob>,
}

/// A call that the model makes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::gemini) struct AnswerCall {
    pub(in crate::gemini) id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) name: String,
    pub(in crate::gemini) args: Option<Box<serde_json::value::RawValue>>,
}

/// Why the prompt was refused.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::gemini) struct PromptFeedback {
    pub(in crate::gemini) block_reason: Option<String>,
}

impl PromptFeedback {
    pub(in crate::gemini) fn blocks(&self) -> bool {
        self.block_reason.as_deref().is_some_and(|reason| !reason.is_empty() && !reason.ends_with("UNSPECIFIED"))
    }
}

/// What a search brought in.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_field_names, reason = "the vendor's names")]
pub(in crate::gemini) struct Grounding {
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) grounding_chunks: Vec<GroundingChunk>,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) grounding_supports: Vec<GroundingSupport>,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) web_search_queries: Vec<String>,
}

/// One source.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::gemini) struct GroundingChunk {
    pub(in crate::gemini) web: Option<WebSource>,
}

/// A page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::gemini) struct WebSource {
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) uri: String,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) title: String,
}

/// Which sources support which segment.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::gemini) struct GroundingSupport {
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) segment: Segment,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) grounding_chunk_indices: Vec<usize>,
}

/// A piece of the answer, in bytes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_field_names, reason = "the vendor's names")]
pub(in crate::gemini) struct Segment {
    pub(in crate::gemini) part_index: usize,
    pub(in crate::gemini) start_index: usize,
    pub(in crate::gemini) end_index: usize,
}

/// Log probabilities.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::gemini) struct LogprobsResult {
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) chosen_candidates: Vec<Logprob>,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) top_candidates: Vec<TopLogprobs>,
}

/// The alternatives of one token.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::gemini) struct TopLogprobs {
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) candidates: Vec<Logprob>,
}

/// One token's.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::gemini) struct Logprob {
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) token: String,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) log_probability: f64,
}

/// What the vendor counted; cumulative within a stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::gemini) struct UsageMetadata {
    /// Cached tokens included.
    pub(in crate::gemini) prompt_token_count: Option<u64>,
    pub(in crate::gemini) cached_content_token_count: Option<u64>,
    /// Thoughts not included; absent when 0.
    pub(in crate::gemini) candidates_token_count: Option<u64>,
    pub(in crate::gemini) thoughts_token_count: Option<u64>,
    pub(in crate::gemini) tool_use_prompt_token_count: Option<u64>,
    pub(in crate::gemini) total_token_count: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) prompt_tokens_details: Vec<ModalityCount>,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) cache_tokens_details: Vec<ModalityCount>,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) candidates_tokens_details: Vec<ModalityCount>,
}

/// Tokens of one kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::gemini) struct ModalityCount {
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) modality: String,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) token_count: u64,
}

/// An error (`google.rpc.Status`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "the vendor's names")]
pub(in crate::gemini) struct Status {
    pub(in crate::gemini) code: Option<u16>,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) message: String,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) status: String,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) details: Vec<Value>,
}

/// The answer of `countTokens`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::gemini) struct CountResponse {
    pub(in crate::gemini) total_tokens: Option<u64>,
}

/// The answer of `batchEmbedContents`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::gemini) struct EmbedResponse {
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) embeddings: Vec<Embedding>,
    pub(in crate::gemini) usage_metadata: Option<UsageMetadata>,
}

/// One vector.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::gemini) struct Embedding {
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) values: Vec<f32>,
}

/// A page of the model list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::gemini) struct ModelList {
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) models: Vec<ModelEntry>,
    pub(in crate::gemini) next_page_token: Option<String>,
}

/// A model as the vendor lists it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::gemini) struct ModelEntry {
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) name: String,
    pub(in crate::gemini) input_token_limit: Option<u64>,
    pub(in crate::gemini) output_token_limit: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(in crate::gemini) supported_generation_methods: Vec<String>,
}
