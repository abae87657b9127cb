//! Any upstream that speaks `OpenAI`'s dialect: the caller's bytes go out with a few fields spliced,
//! and what comes back passes through while its usage is read.

mod chunk;
mod embed;
mod endpoint;
mod fault;
mod passing;
pub(crate) mod priced;
mod redact;
#[cfg(test)]
mod tests;
mod usage;
mod whole;

use std::sync::Arc;

use aihub_core::chat::{ChatReply, ChatRequest};
use aihub_core::embedding::{EmbedReply, EmbedRequest};
use aihub_core::provider::Listing;
use aihub_core::{Attempt, Capabilities, Clock, Error, ErrorKind, Operation as _, Provider, Result};
use async_trait::async_trait;
use serde::Deserialize;

pub(crate) use endpoint::{Dialect, Endpoint, bound_output};
pub(crate) use fault::{Words, callers_fault, ours, refused_content, status_error};

use crate::http::UpstreamSettings;

/// Any upstream that speaks `OpenAI`'s chat completions and embeddings.
#[derive(Debug)]
pub struct OpenAi {
    name: String,
    endpoint: Endpoint,
}

const DIALECT: Dialect = Dialect { repeats_role: false, explain: status_error, priced: priced::OPENAI };

impl OpenAi {
    /// A provider of this `name`, which offers refer to.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) naming the setting that is wrong.
    pub fn new(name: impl Into<String>, settings: &UpstreamSettings, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self { name: name.into(), endpoint: Endpoint::new(settings, DIALECT, clock)? })
    }

    /// Lets callers use what vendors charge for apart from tokens: service tiers other than `auto`
    /// and `default`, `web_search_options`, tools other than functions and custom ones, caching for
    /// longer than five minutes. Off by default: such a call costs something else than was held for it.
    #[must_use]
    pub fn with_paid_extras(mut self) -> Self {
        self.endpoint.paid_extras = true;
        self
    }
}

#[async_trait]
impl Provider for OpenAi {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut all = Capabilities::ALL;
        (all.count_tokens, all.lookup) = (false, false);
        all
    }

    async fn chat(&self, attempt: Attempt<ChatRequest>) -> Result<ChatReply> {
        let request = &attempt.call.operation;
        let mut edit = self.endpoint.edit(request.object(), request.model(), &attempt.offer)?;
        bound_output(&mut edit, &attempt)?;
        if request.streams() && !request.include_usage() {
            edit.set("stream_options", stream_options(request)?);
        }
        let body = edit.finish();
        self.endpoint.chat(body, request).await
    }

    async fn embed(&self, attempt: Attempt<EmbedRequest>) -> Result<EmbedReply> {
        let request = &attempt.call.operation;
        let body = self.endpoint.edit(request.object(), request.model(), &attempt.offer)?.finish();
        self.endpoint.embed(body, request).await
    }

    async fn models(&self) -> Result<Vec<Listing>> {
        #[derive(Deserialize)]
        struct Models {
            data: Vec<Id>,
        }
        #[derive(Deserialize)]
        struct Id {
            id: String,
        }
        let body = self.endpoint.get("/models").await?;
        let models: Models = serde_json::from_slice(&body).map_err(unreadable)?;
        Ok(models.data.into_iter().map(|model| Listing::new(model.id)).collect())
    }
}

/// The caller's `stream_options` with `include_usage` switched on: the usage is always needed here,
/// and taken out again before the caller who did not ask for it.
fn stream_options(request: &ChatRequest) -> Result<String> {
    let mut options: serde_json::Map<_, _> = request.object().read("stream_options")?.unwrap_or_default();
    options.insert("include_usage".to_owned(), true.into());
    Ok(serde_json::Value::Object(options).to_string())
}

/// A 2xx answer that is not what it should be.
pub(crate) fn unreadable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::BadUpstream, "The upstream gave an answer that cannot be read: try again")
        .with_transient()
        .with_source(error)
}
