//! `index.json`: what there is, and what is expected of it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// One sample.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Sample {
    pub(crate) id: String,
    /// `gemini` or `openrouter`.
    pub(crate) upstream: String,
    /// Path and query that were asked.
    pub(crate) endpoint: String,
    pub(crate) stream: bool,
    pub(crate) http_status: u16,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) request_file: Option<String>,
    pub(crate) response_file: String,
    /// Read strictly only when the sample is run, so that one that is not understood fails alone.
    #[serde(default)]
    pub(crate) expect: Value,
}

impl Sample {
    pub(crate) fn expected(&self) -> Result<Expect, String> {
        match &self.expect {
            Value::Null => Ok(Expect::default()),
            expect => {
                Expect::deserialize(expect).map_err(|error| format!("an expectation that nothing checks: {error}"))
            }
        }
    }
}

/// What the gateway is to make of the answer.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    pub(crate) finish_reason: Option<String>,
    /// `null` is another expectation than none.
    #[expect(clippy::option_option, reason = "absent, null and a text are three things")]
    #[serde(deserialize_with = "present")]
    pub(crate) content: Option<Option<String>>,
    pub(crate) content_prefix: Option<String>,
    pub(crate) usage: Option<Counts>,
    pub(crate) tool_calls: Option<usize>,
    pub(crate) choices: Option<usize>,
    pub(crate) reasoning_chunks: Option<usize>,
    /// The vendor's own id of the call reaches the caller.
    pub(crate) native_call_id: Option<bool>,
    pub(crate) openai_error: Option<ErrorShape>,
    pub(crate) retry_after_s: Option<u64>,
    pub(crate) failover: Option<bool>,
    pub(crate) alert_operator: Option<bool>,
    /// The error comes in the stream, after something was sent.
    pub(crate) error_after_content: Option<bool>,
    pub(crate) truncated: Option<bool>,
    /// The answer goes on in another request.
    pub(crate) must_continue: Option<bool>,
    pub(crate) cost_usd: Option<String>,
    pub(crate) cost_missing: Option<bool>,
    pub(crate) is_byok: Option<bool>,
    pub(crate) finish_reason_emitted_once: Option<bool>,
    /// Paths in the answer whose text must not reach the caller.
    pub(crate) leaks: Option<Vec<String>>,
    pub(crate) embeddings: Option<usize>,
    pub(crate) models: Option<usize>,
    /// The models that come with a usable price.
    pub(crate) sellable_by_list: Option<Vec<String>>,
    pub(crate) total_tokens: Option<u64>,
    /// The vendor ends its stream without `[DONE]`.
    pub(crate) no_done_sentinel: Option<bool>,
    /// In words, with the least tokens of prompt and answer that are to be settled.
    pub(crate) bill: Option<String>,
}

/// Usage as the caller sees it.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "the dialect's names")]
pub(crate) struct Counts {
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    pub(crate) total_tokens: u64,
    pub(crate) reasoning_tokens: Option<u64>,
    pub(crate) cached_tokens: Option<u64>,
    pub(crate) cache_write_tokens: Option<u64>,
}

/// An error as the caller sees it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ErrorShape {
    pub(crate) status: Option<u16>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) code: Option<String>,
}

#[expect(clippy::option_option, reason = "absent, null and a text are three things")]
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

pub(crate) fn read(folder: &Path) -> Result<Vec<Sample>, String> {
    #[derive(Deserialize)]
    struct Index {
        samples: Vec<Sample>,
    }
    let text = std::fs::read(folder.join("index.json")).map_err(|error| error.to_string())?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if index.samples.is_empty() {
        return Err("there are none".to_owned());
    }
    Ok(index.samples)
}
