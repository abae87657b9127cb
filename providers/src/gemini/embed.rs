//! Embeddings (`batchEmbedContents`): texts in lots, vectors of length one, `OpenAI`'s answer.

use std::fmt::Write as _;

use aihub_core::embedding::{EmbedEncoding, EmbedInput};
use aihub_core::{Attempt, EmbedReply, EmbedRequest, Error, ErrorKind, Operation as _, Result, Served, Usage};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;

use super::Inner;
use super::usage::usage;
use super::wire::{CountResponse, EmbedResponse, Embedding};
use crate::http::MOST_BYTES;

/// The most texts of one request to the vendor.
const LOT: usize = 100;

/// The length at which the vendor's vectors have length one by themselves.
const FULL: usize = 3_072;

/// Embeds the texts of `attempt`; more than the vendor takes at once go in several requests.
pub(super) async fn embed(inner: &Inner, attempt: Attempt<EmbedRequest>) -> Result<EmbedReply> {
    let request = &attempt.call.operation;
    let texts: Vec<&str> = match request.input() {
        EmbedInput::Text(text) => vec![text],
        EmbedInput::Texts(texts) => texts.iter().map(String::as_str).collect(),
        EmbedInput::Tokens(_) | EmbedInput::TokenLists(_) => {
            let message = "This model takes texts, not tokens: send the text itself";
            return Err(Error::unsupported_parameter("input", message));
        }
    };
    let model = &attempt.offer.model;
    let mut vectors: Vec<Embedding> = Vec::with_capacity(texts.len());
    let mut counted = Some(Usage::default());
    for lot in texts.chunks(LOT) {
        let billed = request.demand().prompt_tokens * lot.len() as u64 / texts.len() as u64;
        let response = inner.post(model, "batchEmbedContents", body(model, lot, request.dimensions()), billed).await;
        let response = match response {
            Ok(response) => response.bytes(MOST_BYTES).await?,
            Err(error) if counted.is_some_and(|counted| !counted.is_zero()) => {
                return Err(error.with_spent(counted.unwrap_or_default()));
            }
            Err(error) => return Err(error),
        };
        let response: EmbedResponse =
            serde_json::from_slice(&response).map_err(|error| unreadable().with_source(error))?;
        if response.embeddings.len() != lot.len() {
            return Err(unreadable());
        }
        vectors.extend(response.embeddings);
        counted = counted.zip(response.usage_metadata).map(|(sum, more)| sum.plus(&usage(&more)));
    }
    let usage = match counted {
        Some(counted) if !counted.is_zero() => counted,
        // Older models do not say what they read: counting is free.
        _ => count(inner, model, &texts).await.unwrap_or_else(|_| Usage::estimate(request.demand().prompt_tokens, 0)),
    };
    let mut served = Served::default();
    served.model = Some(std::sync::Arc::clone(model));
    let body = answer(&vectors, request.encoding(), request.model(), &usage);
    Ok(EmbedReply { body, usage, vendor_cost: None, served })
}

fn unreadable() -> Error {
    Error::new(ErrorKind::BadUpstream, "The upstream gave embeddings that cannot be used: try again").with_transient()
}

fn body(model: &str, texts: &[&str], dimensions: Option<u32>) -> Bytes {
    let name = format!("models/{}", super::bare(model));
    let requests = texts.iter().map(|text| {
        let mut request = json!({"model": name, "content": {"parts": [{"text": text}]}});
        if let Some(dimensions) = dimensions {
            request["outputDimensionality"] = dimensions.into();
        }
        request
    });
    json!({"requests": requests.collect::<Vec<_>>()}).to_string().into()
}

async fn count(inner: &Inner, model: &str, texts: &[&str]) -> Result<Usage> {
    let contents: Vec<_> = texts.iter().map(|text| json!({"parts": [{"text": text}]})).collect();
    let answer = inner.post(model, "countTokens", json!({"contents": contents}).to_string(), super::FREE).await?;
    let count: CountResponse = serde_json::from_slice(&answer.bytes(MOST_BYTES).await?).map_err(|_| unreadable())?;
    let tokens = count.total_tokens.filter(|tokens| *tokens > 0).ok_or_else(unreadable)?;
    Ok(Usage::new(tokens, 0))
}

/// `OpenAI`'s answer, written by hand: thousands of numbers need no tree of values.
fn answer(vectors: &[Embedding], encoding: EmbedEncoding, model: &str, usage: &Usage) -> Bytes {
    let mut text =
        String::with_capacity(64 + vectors.iter().map(|vector| 12 * vector.values.len() + 64).sum::<usize>());
    text.push_str(r#"{"object":"list","data":["#);
    for (index, vector) in vectors.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        _ = write!(text, r#"{comma}{{"object":"embedding","index":{index},"embedding":"#);
        let values = unit(&vector.values);
        match encoding {
            EmbedEncoding::Float => text.push_str(&serde_json::to_string(&values).unwrap_or_else(|_| "[]".to_owned())),
            EmbedEncoding::Base64 => {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                _ = write!(text, "\"{}\"", STANDARD.encode(bytes));
            }
        }
        text.push('}');
    }
    let (model, tokens) = (json!(model), usage.prompt_tokens());
    _ = write!(text, r#"],"model":{model},"usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#);
    text.into()
}

/// The vector with length one: the vendor leaves shortened ones as they are cut, and callers
/// compare by dot product.
fn unit(values: &[f32]) -> Vec<f32> {
    let norm = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if values.len() == FULL || norm == 0.0 || !norm.is_finite() {
        return values.to_vec();
    }
    #[expect(clippy::cast_possible_truncation, reason = "a part of a vector of length one fits")]
    values.iter().map(|value| (f64::from(*value) / norm) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_written_as_asked_with_length_one() {
        let vectors = [Embedding { values: vec![3.0, 4.0] }, Embedding { values: vec![0.0, 0.0] }];
        let usage = Usage::new(7, 0);
        let read =
            |encoding| serde_json::from_slice::<serde_json::Value>(&answer(&vectors, encoding, "m\"", &usage)).unwrap();
        let floats = read(EmbedEncoding::Float);
        assert!((floats["data"][0]["embedding"][1].as_f64().unwrap() - 0.8).abs() < 1e-6);
        assert_eq!(floats["usage"], json!({"prompt_tokens": 7, "total_tokens": 7}));
        assert_eq!((&floats["model"], &floats["data"][1]["index"]), (&json!("m\""), &json!(1)));
        let packed = read(EmbedEncoding::Base64);
        let bytes = STANDARD.decode(packed["data"][0]["embedding"].as_str().unwrap()).unwrap();
        assert_eq!(bytes[..4], 0.6_f32.to_le_bytes());
    }

    #[test]
    fn a_full_vector_is_left_as_it_is() {
        let full = vec![0.5; FULL];
        assert_eq!(unit(&full), full);
    }

    #[test]
    fn the_request_names_the_model_in_every_item() {
        let body: serde_json::Value = serde_json::from_slice(&body("models/e-1", &["a", "b"], Some(4))).unwrap();
        assert_eq!(
            body["requests"][1],
            json!({"model": "models/e-1", "content": {"parts": [{"text": "b"}]}, "outputDimensionality": 4})
        );
    }
}
