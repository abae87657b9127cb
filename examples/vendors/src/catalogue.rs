//! The models both vendors offer, with OpenRouter's prices.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
pub(crate) struct Model {
    pub(crate) id: String,
    /// The name at Gemini, for those that it serves.
    pub(crate) gemini: Option<String>,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) context: u64,
    pub(crate) max_output: Option<u64>,
    pub(crate) inputs: Vec<String>,
    /// USD per million tokens, as everywhere here.
    input: String,
    output: Option<String>,
    cache_read: Option<String>,
    pub(crate) reasoning: Option<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Chat,
    Embedding,
}

static MODELS: LazyLock<Vec<Model>> =
    LazyLock::new(|| serde_json::from_str(include_str!("models.json")).expect("the file is read by a test"));

pub(crate) fn all() -> &'static [Model] {
    &MODELS
}

/// By OpenRouter's name, whose suffix (`:free`, `:nitro`) does not change who answers here.
pub(crate) fn openrouter(id: &str) -> Option<&'static Model> {
    let base = id.split_once(':').map_or(id, |(base, _)| base);
    MODELS.iter().find(|model| model.id == base)
}

pub(crate) fn gemini(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.gemini.as_deref() == Some(name))
}

impl Model {
    /// The price in USD as OpenRouter reports it: exact, as the shortest number that says it.
    pub(crate) fn cost(&self, prompt: u64, cached: u64, completion: u64) -> Value {
        let input = pico(&self.input);
        let read = self.cache_read.as_deref().map_or(input, pico);
        let output = self.output.as_deref().map_or(0, pico);
        let cached = cached.min(prompt);
        let total = u128::from(prompt - cached) * input + u128::from(cached) * read + u128::from(completion) * output;
        let dollars = format!("{}.{:012}", total / 1_000_000_000_000, total % 1_000_000_000_000);
        json!(dollars.parse::<f64>().expect("digits around one dot"))
    }

    /// As `GET /models` of OpenRouter shows it.
    pub(crate) fn listing(&self) -> Value {
        let embedding = self.kind == Kind::Embedding;
        let output = if embedding { "embeddings" } else { "text" };
        json!({
            "id": self.id, "canonical_slug": self.id, "name": self.name, "created": 1_790_000_000,
            "description": self.name, "context_length": self.context, "hugging_face_id": null,
            "architecture": {
                "modality": format!("{}->{output}", self.inputs.join("+")), "input_modalities": self.inputs,
                "output_modalities": [output], "tokenizer": "Other", "instruct_type": null,
            },
            "pricing": {
                "prompt": per_token(&self.input), "completion": self.output.as_deref().map_or("0".into(), per_token),
                "input_cache_read": per_token(self.cache_read.as_deref().unwrap_or(&self.input)),
                "request": "0", "image": "0",
            },
            "top_provider": {
                "context_length": self.context, "max_completion_tokens": self.max_output, "is_moderated": false,
            },
            "per_request_limits": null, "default_parameters": {}, "expiration_date": null,
            "supported_parameters": if embedding { json!([]) } else {
                json!(["max_tokens", "temperature", "top_p", "stop", "seed", "tools", "tool_choice", "response_format",
                    "structured_outputs", "reasoning", "include_reasoning", "logprobs", "top_logprobs"])
            },
            "links": {"details": format!("/api/v1/models/{}/endpoints", self.id)},
            "supported_voices": null,
        })
    }
}

/// USD per million tokens as integer pico-dollars per token.
fn pico(price: &str) -> u128 {
    let (whole, fraction) = price.split_once('.').unwrap_or((price, ""));
    format!("{whole}{fraction:0<6.6}").parse().expect("prices are decimals with at most six places")
}

/// The price of one token as a decimal string.
fn per_token(price: &str) -> String {
    let pico = pico(price);
    let text = format!("{}.{:012}", pico / 1_000_000_000_000, pico % 1_000_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_has_a_price_that_parses() {
        for model in all() {
            assert!(model.cost(1_000_000, 500_000, 1_000).as_f64().unwrap() > 0.0, "{}", model.id);
            assert!(model.listing()["pricing"]["prompt"].as_str().unwrap().starts_with("0.0"), "{}", model.id);
        }
        assert!(openrouter("openai/gpt-5.4-mini").is_some() && gemini("gemini-2.5-flash").is_some());
    }

    #[test]
    fn a_cost_is_exact_to_the_last_digit() {
        assert_eq!(per_token("2.5"), "0.0000025");
        let model = openrouter("google/gemini-2.5-flash").unwrap();
        assert_eq!((model.input.as_str(), model.output.as_deref()), ("0.3", Some("2.5")));
        assert_eq!(model.cost(71, 0, 38).to_string(), "0.0001163");
    }
}
