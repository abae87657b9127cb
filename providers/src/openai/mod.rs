//! Any upstream that speaks `OpenAI`'s dialect: the caller's bytes go out with a few fields spliced,
//! and what comes back passes through while its usage is read.

mod chunk;
mod embed;
mod fault;
mod passing;
mod usage;
mod whole;

use std::sync::Arc;

use aihub_core::chat::{ChatReply, ChatRequest};
use aihub_core::embedding::{EmbedReply, EmbedRequest};
use aihub_core::json::{Edit, Segments};
use aihub_core::provider::Listing;
use aihub_core::{Attempt, Capabilities, Clock, Error, ErrorKind, Operation as _, Provider, Result, Served};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Uri, header};
use serde::Deserialize;

pub(crate) use fault::{Words, callers_fault, ours, status_error};
use passing::Passing;
use whole::whole;

use crate::http::{Answer, MOST_BYTES, Outgoing, Upstream, UpstreamSettings};

/// What differs between vendors that speak this dialect. Data, not a trait: the differences are few
/// and known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    /// Whether the vendor says the role in every piece of a stream.
    pub(crate) repeats_role: bool,
    /// How the vendor explains an answer that is not 2xx, or an error inside a 200.
    pub(crate) explain: fn(&Words<'_>) -> Error,
}

/// Any upstream that speaks `OpenAI`'s chat completions and embeddings.
#[derive(Debug)]
pub struct OpenAi {
    name: String,
    endpoint: Endpoint,
}

const DIALECT: Dialect = Dialect { repeats_role: false, explain: status_error };

impl OpenAi {
    /// A provider of this `name`, which offers refer to.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) naming the setting that is wrong.
    pub fn new(name: impl Into<String>, settings: &UpstreamSettings, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self { name: name.into(), endpoint: Endpoint::new(settings, DIALECT, clock)? })
    }
}

#[async_trait]
impl Provider for OpenAi {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut all = Capabilities::ALL;
        all.count_tokens = false;
        all
    }

    async fn chat(&self, attempt: Attempt<ChatRequest>) -> Result<ChatReply> {
        let request = &attempt.call.operation;
        let mut edit = request.object().edit();
        common_edits(&mut edit, &attempt)?;
        if request.streams() && !request.include_usage() {
            edit.set("stream_options", stream_options(request)?);
        }
        let body = edit.finish();
        self.endpoint.chat(body, request).await
    }

    async fn embed(&self, attempt: Attempt<EmbedRequest>) -> Result<EmbedReply> {
        self.endpoint.embed(&attempt).await
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

/// The splices that every vendor of this dialect needs: its own name of the model, and no more
/// output than is held.
pub(crate) fn common_edits(edit: &mut Edit<'_>, attempt: &Attempt<ChatRequest>) -> Result<()> {
    let request = &attempt.call.operation;
    if request.model() != &*attempt.offer.model {
        edit.set("model", json_string(&attempt.offer.model));
    }
    if let Some(most) = attempt.max_output_tokens
        && request.max_output_tokens().is_none_or(|asked| asked > most)
    {
        // Whichever of the two names the caller used, so that it never has both with different figures.
        let field = if request.object().has("max_tokens") && !request.object().has("max_completion_tokens") {
            "max_tokens"
        } else {
            "max_completion_tokens"
        };
        edit.set(field, most.to_string());
    }
    Ok(())
}

/// The caller's `stream_options` with `include_usage` switched on: the usage is always needed here,
/// and taken out again before the caller who did not ask for it.
fn stream_options(request: &ChatRequest) -> Result<String> {
    let mut options: serde_json::Map<_, _> = request.object().read("stream_options")?.unwrap_or_default();
    options.insert("include_usage".to_owned(), true.into());
    Ok(serde_json::Value::Object(options).to_string())
}

/// An upstream of this dialect, with the addresses that are needed for every call made once.
#[derive(Debug)]
pub(crate) struct Endpoint {
    upstream: Upstream,
    dialect: Dialect,
    chat: Uri,
    embeddings: Uri,
}

impl Endpoint {
    pub(crate) fn new(settings: &UpstreamSettings, dialect: Dialect, clock: Arc<dyn Clock>) -> Result<Self> {
        let upstream = Upstream::new(settings, header::AUTHORIZATION, "Bearer ", clock)?;
        let (chat, embeddings) = (upstream.uri("/chat/completions")?, upstream.uri("/embeddings")?);
        Ok(Self { upstream, dialect, chat, embeddings })
    }

    /// Sends a chat and gives back its reply once the first event is in hand.
    pub(crate) async fn chat(&self, body: Segments, request: &ChatRequest) -> Result<ChatReply> {
        let answer = self.send(Outgoing::post(self.chat.clone(), body)).await?;
        let generation = answer.headers.get("x-generation-id").and_then(|id| id.to_str().ok()).map(Arc::from);
        let mut reply = if request.streams() {
            let source = Passing::first(answer.frames(), self.dialect).await?;
            ChatReply::new(Served::default(), request.demand().prompt_tokens, source)
        } else {
            whole(answer.bytes(MOST_BYTES).await?, self.dialect)?
        };
        reply.served_mut().generation = generation;
        Ok(reply)
    }

    /// Sends a request for embeddings.
    pub(crate) async fn embed(&self, attempt: &Attempt<EmbedRequest>) -> Result<EmbedReply> {
        let request = &attempt.call.operation;
        let mut edit = request.object().edit();
        if request.model() != &*attempt.offer.model {
            edit.set("model", json_string(&attempt.offer.model));
        }
        let answer = self.send(Outgoing::post(self.embeddings.clone(), edit.finish())).await?;
        embed::reply(answer.bytes(MOST_BYTES).await?, request, self.dialect)
    }

    /// Reads what is at `path`.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes> {
        self.send(Outgoing::get(self.upstream.uri(path)?)).await?.bytes(MOST_BYTES).await
    }

    async fn send(&self, outgoing: Outgoing) -> Result<Answer> {
        self.upstream.send(outgoing, |fault| fault::explain(&fault, self.dialect.explain)).await
    }
}

/// `text` as a JSON string.
pub(crate) fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A 2xx answer that is not what it should be.
pub(crate) fn unreadable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::BadUpstream, "The upstream gave an answer that cannot be read: try again")
        .with_transient()
        .with_source(error)
}
