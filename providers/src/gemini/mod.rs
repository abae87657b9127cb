//! Google's Gemini models by their native API (`ai.google.dev/api`, version `v1beta`).
//!
//! The dialects differ in nearly everything that costs money or loses answers, so that nothing is
//! passed through: [`request`](self) turns a conversation into the vendor's request, the answer is
//! read piece by piece into `OpenAI`'s words, and usage is taken apart into buckets that do not
//! overlap.
//!
//! Within one attempt the vendor may be asked again: once where it wrote nothing at all or a call
//! that nobody can read, and a few times where a very long answer goes on in further requests.
//! All of it stays within the hold's limit on output tokens; what is thrown away is reported as
//! discarded.

mod answer;
mod asking;
mod blob;
mod contents;
mod embed;
mod error;
mod finish;
mod level;
mod request;
mod schema;
mod signature;
mod stream;
mod tools;
mod usage;
mod wire;

use std::sync::Arc;

use aihub_core::json::Segments;
use aihub_core::price::Price;
use aihub_core::provider::Listing;
use aihub_core::{
    Attempt, Capabilities, ChatReply, ChatRequest, Clock, EmbedReply, EmbedRequest, Error, ErrorKind, Operation as _,
    Provider, Result,
};
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderName;
use secrecy::SecretString;

use self::asking::Asking;
use self::finish::unusable;
use self::level::Traits;
use self::request::{Extras, Permits, Prepared, prepare};
use self::signature::Signatures;
use self::wire::{CountResponse, ModelList};
use crate::http::{Answer, MOST_BYTES, Outgoing, Upstream, UpstreamSettings};
use crate::media::{Media, MediaSettings};

/// The most pages of the model list that are read.
const MOST_PAGES: usize = 20;

/// How Gemini is spoken to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GeminiSettings {
    /// The name that offers refer to. Default `gemini`.
    pub name: String,
    /// Where it is and with which keys. The version of the API is part of the address.
    pub upstream: UpstreamSettings,
    /// How media given by address are fetched.
    pub media: MediaSettings,
    /// The most bytes of a request to the vendor. Default 20 MiB, what the vendor documents. Too
    /// high and the vendor refuses what was uploaded in vain; too low refuses what it would take.
    pub max_request_bytes: usize,
    /// How many further requests may continue one very long answer. Default 4. Every one of them
    /// is billed with the whole prompt; 0 ends such answers with `length`.
    pub max_continuations: u32,
    /// Whether callers may name explicit caches (`google.cached_content`). Default no: caches
    /// belong to the operator's project, and a caller could read another's.
    pub cached_content: bool,
    /// Whether `service_tier` is passed on. Default no: tiers cost other prices than those that
    /// offers list.
    pub service_tiers: bool,
}

impl GeminiSettings {
    /// The defaults with these keys.
    pub fn new(keys: Vec<SecretString>) -> Self {
        Self {
            name: "gemini".to_owned(),
            upstream: UpstreamSettings::new("https://generativelanguage.googleapis.com/v1beta", keys),
            media: MediaSettings::default(),
            max_request_bytes: 20 << 20,
            max_continuations: 4,
            cached_content: false,
            service_tiers: false,
        }
    }
}

/// Gemini as a provider.
#[derive(Debug, Clone)]
pub struct Gemini(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: GeminiSettings,
    upstream: Upstream,
    media: Media,
    signatures: Signatures,
    clock: Arc<dyn Clock>,
}

impl Gemini {
    /// A provider by `settings`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) naming the setting that is wrong.
    pub fn new(settings: GeminiSettings, clock: Arc<dyn Clock>) -> Result<Self> {
        let media = Media::new(settings.media.clone())?;
        Self::with_media(settings, media, clock)
    }

    fn with_media(settings: GeminiSettings, media: Media, clock: Arc<dyn Clock>) -> Result<Self> {
        // The header, never the query parameter `key`: addresses end up in logs.
        let upstream =
            Upstream::new(&settings.upstream, HeaderName::from_static("x-goog-api-key"), "", Arc::clone(&clock))?;
        Ok(Self(Arc::new(Inner { settings, upstream, media, signatures: Signatures::new(), clock })))
    }
}

#[async_trait]
impl Provider for Gemini {
    fn name(&self) -> &str {
        &self.0.settings.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut all = Capabilities::ALL;
        all.lookup = false;
        all
    }

    async fn chat(&self, attempt: Attempt<ChatRequest>) -> Result<ChatReply> {
        let (asking, scribe, budget) = Asking::new(&self.0, &attempt).await?;
        let prompt_tokens = attempt.call.operation.demand().prompt_tokens;
        if attempt.call.operation.streams() {
            asking.stream(scribe, budget, prompt_tokens).await
        } else {
            asking.whole(scribe, budget, prompt_tokens).await
        }
    }

    async fn embed(&self, attempt: Attempt<EmbedRequest>) -> Result<EmbedReply> {
        embed::embed(&self.0, attempt).await
    }

    async fn count_tokens(&self, attempt: Attempt<ChatRequest>) -> Result<u64> {
        let prepared = self.0.prepare(&attempt).await?;
        let model = &attempt.offer.model;
        // Only in this form are instructions and tools counted too.
        let body = serde_json::json!({"generateContentRequest": Named { model: format!("models/{}", bare(model)), request: &prepared.request }});
        let answer = self.0.post(model, "countTokens", body.to_string(), FREE).await?;
        let count: CountResponse = serde_json::from_slice(&answer.bytes(MOST_BYTES).await?).map_err(unreadable)?;
        count.total_tokens.ok_or_else(unusable)
    }

    async fn models(&self) -> Result<Vec<Listing>> {
        let mut listings = Vec::new();
        let mut page = String::new();
        for _ in 0..MOST_PAGES {
            let uri = self.0.upstream.uri(&format!("/models?pageSize=1000{page}"))?;
            let answer = self.0.upstream.send(Outgoing::get(uri), |fault| error::of_fault(&fault)).await?;
            let list: ModelList = serde_json::from_slice(&answer.bytes(MOST_BYTES).await?).map_err(unreadable)?;
            listings.extend(list.models.into_iter().map(|model| {
                let mut listing = Listing::new(bare(&model.name));
                let answers = model.supported_generation_methods.iter().any(|method| method == "generateContent");
                listing.context_tokens = model.input_token_limit;
                listing.max_output_tokens = model.output_token_limit.filter(|_| answers);
                listing
            }));
            match list.next_page_token.filter(|token| !token.is_empty()) {
                Some(token) => page = format!("&pageToken={}", escaped(&token)),
                None => break,
            }
        }
        Ok(listings)
    }
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::BadUpstream, "The upstream gave an answer that cannot be read: try again")
        .with_transient()
        .with_source(error)
}

/// A request that names its model, as `countTokens` wants it.
#[derive(serde::Serialize)]
struct Named<'a> {
    model: String,
    #[serde(flatten)]
    request: &'a wire::GenerateRequest,
}

/// The prompt tokens that are billed for counting them.
const FREE: u64 = 0;

/// A model's name without what may stand before it.
fn bare(model: &str) -> &str {
    let model = model.strip_prefix("google/").unwrap_or(model);
    model.strip_prefix("models/").unwrap_or(model)
}

/// A text as part of an address (RFC 3986).
fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

impl Inner {
    /// `billed` is as in [`send`](Self::send).
    async fn post(&self, model: &str, method: &str, body: impl Into<Bytes>, billed: u64) -> Result<Answer> {
        self.send(&format!("/models/{}:{method}", escaped(bare(model))), body.into().into(), billed).await
    }

    /// Sends a request that the vendor bills for so many prompt tokens once it has it.
    async fn send(&self, path: &str, body: Segments, billed: u64) -> Result<Answer> {
        let outgoing = Outgoing::post(self.upstream.uri(path)?, body).billing(billed);
        self.upstream.send(outgoing, |fault| error::of_fault(&fault)).await
    }

    /// Translates the request, after everything it names by address has been fetched.
    async fn prepare(&self, attempt: &Attempt<ChatRequest>) -> Result<Prepared> {
        let request = &attempt.call.operation;
        let extras = Extras::read(request)?;
        let mut conversation = request.conversation()?;
        self.media.fetch(&mut conversation).await?;
        let permits = Permits {
            cached_content: self.settings.cached_content,
            service_tiers: self.settings.service_tiers,
            // A search costs money of its own: without a price for it, none is sold.
            search: attempt.prices().is_some_and(|prices| prices.list.base().search > Price::FREE),
        };
        let account = attempt.call.caller.account();
        let kept = |id: &str| self.signatures.find(account, id);
        prepare(conversation, extras, Traits::of(bare(&attempt.offer.model)), permits, attempt.max_output_tokens, &kept)
    }
}

#[cfg(test)]
mod tests;
