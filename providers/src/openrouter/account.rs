//! What `OpenRouter` says of our account: the cost of one answer, and what is left on our key.

use aihub_core::{Currency, Money, Result, Usage, VendorRecord};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::OpenRouter;
use crate::openai::unreadable;

/// The state of the key in use (`GET /key`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyState {
    /// What the key may spend in all; `None` is no limit.
    pub limit: Option<Money>,
    /// What is left of it.
    pub remaining: Option<Money>,
    /// What it has spent.
    pub usage: Option<Money>,
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

#[derive(Deserialize)]
struct GenerationWire {
    #[serde(default)]
    total_cost: Option<Box<RawValue>>,
    #[serde(default)]
    native_tokens_prompt: Option<u64>,
    #[serde(default)]
    native_tokens_completion: Option<u64>,
    #[serde(default)]
    native_tokens_reasoning: Option<u64>,
    #[serde(default)]
    native_tokens_cached: Option<u64>,
    #[serde(default)]
    cancelled: Option<bool>,
}

impl GenerationWire {
    /// The billed tokens, of which cached and reasoning ones are said again.
    fn usage(&self) -> Option<Usage> {
        let (prompt, completion) = (self.native_tokens_prompt?, self.native_tokens_completion?);
        let cached = self.native_tokens_cached.unwrap_or_default().min(prompt);
        let reasoning = self.native_tokens_reasoning.unwrap_or_default().min(completion);
        let mut usage = Usage::new(prompt - cached, completion - reasoning);
        (usage.cache_read, usage.reasoning) = (cached, reasoning);
        Some(usage)
    }
}

#[derive(Deserialize)]
struct KeyWire {
    #[serde(default)]
    limit: Option<Box<RawValue>>,
    #[serde(default)]
    limit_remaining: Option<Box<RawValue>>,
    #[serde(default)]
    usage: Option<Box<RawValue>>,
}

fn money(raw: Option<Box<RawValue>>) -> Option<Money> {
    Money::parse_rounded(raw?.get(), Currency::USD).ok()
}

impl OpenRouter {
    /// The vendor's record of the answer `id`, once there is one (`GET /generation`).
    pub(super) async fn generation(&self, id: &str) -> Result<Option<VendorRecord>> {
        let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
        let wire: GenerationWire = match self.read(&format!("/generation?id={id}")).await {
            Ok(wire) => wire,
            // A 404: at this address no model is unavailable, but the record is not there yet.
            Err(error) if error.code() == "model_unavailable" => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut record = VendorRecord::new(wire.usage(), money(wire.total_cost));
        record.finished = !wire.cancelled.unwrap_or(false);
        Ok(Some(record))
    }

    /// The state of the key that is next in turn.
    ///
    /// # Errors
    ///
    /// As for any request to the vendor.
    pub async fn key_state(&self) -> Result<KeyState> {
        let wire: KeyWire = self.read("/key").await?;
        Ok(KeyState { limit: money(wire.limit), remaining: money(wire.limit_remaining), usage: money(wire.usage) })
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        let envelope: Envelope<T> = serde_json::from_slice(&self.endpoint.get(path).await?).map_err(unreadable)?;
        Ok(envelope.data)
    }
}
