//! Embeddings in `OpenAI`'s dialect.

use std::borrow::Cow;
use std::sync::Arc;

use aihub_core::embedding::{EmbedReply, EmbedRequest};
use aihub_core::json::Object;
use aihub_core::{Operation as _, Result, Served, Usage};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Dialect, Words, unreadable, usage};

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default, borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

/// Reads a 200 and forwards its bytes, without the vendor's cost.
pub(crate) fn reply(body: Bytes, request: &EmbedRequest, dialect: Dialect) -> Result<EmbedReply> {
    let head: Head<'_> = serde_json::from_slice(&body).map_err(unreadable)?;
    if let Some(error) = &head.error {
        return Err((dialect.explain)(&Words::read(error)));
    }
    let reported = head.usage.map(|raw| usage::read_input(raw.get())).unwrap_or_default();
    let mut served = Served::default();
    served.model = head.model.as_deref().map(Arc::from);
    let used = reported.usage.unwrap_or_else(|| Usage::estimate(request.demand().prompt_tokens.max(1), 0));
    let shown = if reported.usage.is_some() && !reported.has_cost {
        body
    } else {
        let plain = format!(r#"{{"prompt_tokens":{0},"total_tokens":{0}}}"#, used.prompt_tokens());
        Object::scan(body)?.edit().set("usage", plain).finish().into_bytes()
    };
    Ok(EmbedReply { body: shown, usage: used, vendor_cost: reported.cost, served })
}
