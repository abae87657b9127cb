//! What `OpenRouter` says of our account: the cost of one answer, and what is left on our key.

use aihub_core::{Currency, Money, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::OpenRouter;
use crate::openai::unreadable;

/// The vendor's record of one answer (`GET /generation`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Generation {
    /// What the vendor charges for it.
    pub cost: Option<Money>,
    /// The billed prompt tokens.
    pub prompt_tokens: Option<u64>,
    /// The billed tokens of the answer.
    pub completion_tokens: Option<u64>,
    /// Whether it was cancelled before its end.
    pub cancelled: bool,
}

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
    cancelled: Option<bool>,
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
    /// The vendor's record of the answer `id` ([`Served::generation`](aihub_core::Served)). It
    /// appears late, most of all for answers that were cut: ask again for minutes.
    ///
    /// # Errors
    ///
    /// [`Invalid`](aihub_core::ErrorKind::Invalid) while there is no such record.
    pub async fn generation(&self, id: &str) -> Result<Generation> {
        let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
        let wire: GenerationWire = self.read(&format!("/generation?id={id}")).await?;
        Ok(Generation {
            cost: money(wire.total_cost),
            prompt_tokens: wire.native_tokens_prompt,
            completion_tokens: wire.native_tokens_completion,
            cancelled: wire.cancelled.unwrap_or(false),
        })
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
