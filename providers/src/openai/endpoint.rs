//! An upstream of this dialect: what is refused, changed and sent.

use std::sync::Arc;

use aihub_core::chat::{ChatReply, ChatRequest};
use aihub_core::embedding::{EmbedReply, EmbedRequest};
use aihub_core::json::{Edit, Object, Segments};
use aihub_core::{Attempt, Clock, Error, Offer, Operation as _, Result, Served, Usage};
use bytes::Bytes;
use http::{HeaderName, Uri, header};

use super::passing::Passing;
use super::priced::{self, Priced};
use super::whole::whole;
use super::{Words, embed, fault};
use crate::http::{Answer, MOST_BYTES, Outgoing, Upstream, UpstreamSettings};

/// What `OpenRouter` calls an answer by, where its cost can be asked for later.
const GENERATION_ID: HeaderName = HeaderName::from_static("x-generation-id");

/// What differs between vendors that speak this dialect. Data, not a trait: the differences are few
/// and known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    /// Whether the vendor says the role in every piece of a stream.
    pub(crate) repeats_role: bool,
    /// How the vendor explains an answer that is not 2xx, or an error inside a 200.
    pub(crate) explain: fn(&Words<'_>) -> Error,
    /// The fields by which a caller changes what the vendor charges.
    pub(crate) priced: &'static [Priced],
}

/// An upstream of this dialect, with the addresses that are needed for every call made once.
#[derive(Debug)]
pub(crate) struct Endpoint {
    upstream: Upstream,
    dialect: Dialect,
    chat: Uri,
    embeddings: Uri,
    /// Whether callers may use the fields of [`Dialect::priced`].
    pub(crate) paid_extras: bool,
}

impl Endpoint {
    pub(crate) fn new(settings: &UpstreamSettings, dialect: Dialect, clock: Arc<dyn Clock>) -> Result<Self> {
        let upstream = Upstream::new(settings, header::AUTHORIZATION, "Bearer ", clock)?;
        let (chat, embeddings) = (upstream.uri("/chat/completions")?, upstream.uri("/embeddings")?);
        Ok(Self { upstream, dialect, chat, embeddings, paid_extras: false })
    }

    /// Starts the request that goes out for `object`, under the vendor's own name of the model that
    /// was `asked` for; refuses what changes the price of `offer`.
    pub(crate) fn edit<'a>(&self, object: &'a Object, asked: &str, offer: &Offer) -> Result<Edit<'a>> {
        priced::check(object, self.dialect.priced, self.paid_extras)?;
        let mut edit = object.edit();
        if asked != &*offer.model {
            edit.set("model", serde_json::Value::from(&*offer.model).to_string());
        }
        Ok(edit)
    }

    /// Sends a chat and gives back its reply once the first event is in hand.
    pub(crate) async fn chat(&self, body: Segments, request: &ChatRequest) -> Result<ChatReply> {
        let prompt_tokens = request.demand().prompt_tokens;
        let spent = Usage::estimate(prompt_tokens, 0);
        let answer = self.send(Outgoing::post(self.chat.clone(), body).billing(prompt_tokens)).await?;
        let generation = answer.headers.get(GENERATION_ID).and_then(|id| id.to_str().ok()).map(Arc::from);
        let mut reply = if request.streams() {
            let source = Passing::first(answer.frames(), self.dialect).await;
            let source = source.map_err(|error| if broke(&error) { error.with_spent(spent) } else { error })?;
            ChatReply::new(Served::default(), prompt_tokens, source)
        } else {
            whole(bytes(answer, spent).await?, prompt_tokens, self.dialect)?
        };
        reply.served_mut().generation = generation;
        Ok(reply)
    }

    /// Sends a request for embeddings.
    pub(crate) async fn embed(&self, body: Segments, request: &EmbedRequest) -> Result<EmbedReply> {
        let prompt_tokens = request.demand().prompt_tokens;
        let answer = self.send(Outgoing::post(self.embeddings.clone(), body).billing(prompt_tokens)).await?;
        let spent = Usage::estimate(prompt_tokens, 0);
        embed::reply(bytes(answer, spent).await?, request, self.dialect)
    }

    /// Reads what is at `path`.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes> {
        self.send(Outgoing::get(self.upstream.uri(path)?)).await?.bytes(MOST_BYTES).await
    }

    async fn send(&self, outgoing: Outgoing) -> Result<Answer> {
        self.upstream.send(outgoing, |fault| fault::explain(&fault, self.dialect.explain)).await
    }
}

/// A whole answer; the vendor may bill for one that breaks off, too.
async fn bytes(answer: Answer, spent: Usage) -> Result<Bytes> {
    answer.bytes(MOST_BYTES).await.map_err(|error| error.with_spent(spent))
}

/// Whether the connection broke, and not the vendor said or left out something.
fn broke(error: &Error) -> bool {
    matches!(std::error::Error::source(error), Some(source) if source.is::<hyper::Error>())
}

/// Asks for no more output than is held.
pub(crate) fn bound_output(edit: &mut Edit<'_>, attempt: &Attempt<ChatRequest>) -> Result<()> {
    let request = &attempt.call.operation;
    let new = request.object().read::<u64>("max_completion_tokens")?;
    let old = request.object().read::<u64>("max_tokens")?;
    // The hold was made from one of them, and the vendor may go by the other.
    if new.zip(old).is_some_and(|(new, old)| new != old) {
        return Err(Error::invalid(
            "max_tokens",
            "`max_tokens` and `max_completion_tokens` differ: give one of the two",
        ));
    }
    if let Some(most) = attempt.max_output_tokens
        && request.max_output_tokens().is_none_or(|asked| asked > most)
    {
        if old.is_some() {
            edit.set("max_tokens", most.to_string());
        }
        if new.is_some() || old.is_none() {
            edit.set("max_completion_tokens", most.to_string());
        }
    }
    Ok(())
}
