//! The port to a vendor of models.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::call::Attempt;
use crate::chat::{ChatReply, ChatRequest};
use crate::embedding::{EmbedReply, EmbedRequest};
use crate::error::{Error, Result};
use crate::money::Money;
use crate::usage::Usage;

/// What a provider can do: data that code asks, so that nobody has to probe by error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each stands for one method of the trait; any set of them is sound")]
pub struct Capabilities {
    /// [`Provider::chat`].
    pub chat: bool,
    /// [`Provider::embed`].
    pub embed: bool,
    /// [`Provider::count_tokens`].
    pub count_tokens: bool,
    /// [`Provider::models`].
    pub models: bool,
    /// [`Provider::lookup`].
    pub lookup: bool,
}

impl Capabilities {
    /// Chat only: what the smallest provider has.
    pub const CHAT: Self = Self { chat: true, embed: false, count_tokens: false, models: false, lookup: false };

    /// Everything.
    pub const ALL: Self = Self { chat: true, embed: true, count_tokens: true, models: true, lookup: true };
}

/// A model as a vendor lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The vendor's name of it.
    pub id: String,
    /// The most tokens of prompt and answer, where the vendor says.
    pub context_tokens: Option<u64>,
    /// The most tokens of an answer, where the vendor says.
    pub max_output_tokens: Option<u64>,
    /// Prices where the vendor lists usable ones; a model without is not sold.
    pub prices: Option<Arc<crate::price::PriceList>>,
}

impl Listing {
    /// A listing of which only the id is known.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), context_tokens: None, max_output_tokens: None, prices: None }
    }
}

/// What a vendor has on record of an answer that it gave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VendorRecord {
    /// What it counted; `None` when it does not say, never zero for that. Not estimated.
    pub usage: Option<Usage>,
    /// What it charges; absent is unknown, never zero.
    pub cost: Option<Money>,
    /// Whether it wrote the answer to its end; not where it was cancelled.
    pub finished: bool,
}

impl VendorRecord {
    /// A record of an answer that was written to its end.
    pub const fn new(usage: Option<Usage>, cost: Option<Money>) -> Self {
        Self { usage, cost, finished: true }
    }
}

/// A vendor of models.
///
/// The smallest implementation has a name, capabilities and [`Provider::chat`]; the methods of
/// capabilities that it does not list keep their default, which answers
/// [`Error::unsupported`]. Proved by `conformance::provider` (feature `conformance`).
///
/// What an error tells the layers above is the provider's to decide, since only it knows its
/// vendor: a fault of the caller's request is [`Invalid`](crate::ErrorKind::Invalid) and final; a
/// fault of the vendor or of *our* account with it is never shown as the caller's, and says by
/// [`Error::with_failover`] or [`Error::with_transient`] what may help.
#[async_trait]
pub trait Provider: Debug + Send + Sync + 'static {
    /// The name that offers refer to, such as `openrouter`. Never changes.
    fn name(&self) -> &str;

    /// What it can do. Never changes.
    fn capabilities(&self) -> Capabilities;

    /// Has `attempt.offer.model` answer a chat.
    ///
    /// Promise: comes back once the first event of the answer is in hand; keeps the contract of
    /// [`ChatReply`]; asks the vendor for no more output tokens than `attempt.max_output_tokens`.
    ///
    /// Units: usage in tokens, as the vendor bills them. A cost in the vendor's currency.
    ///
    /// Errors: before the first event as `Err`, after it in the stream. When the vendor counted
    /// tokens for an attempt that failed, the error carries them ([`Error::with_spent`]).
    ///
    /// Cancellation: dropping the future or the reply closes the request to the vendor.
    ///
    /// Idempotence: none; every call is billed by the vendor.
    async fn chat(&self, attempt: Attempt<ChatRequest>) -> Result<ChatReply>;

    /// Has `attempt.offer.model` embed texts. The same contract as [`Provider::chat`], in one piece.
    async fn embed(&self, attempt: Attempt<EmbedRequest>) -> Result<EmbedReply> {
        drop(attempt);
        Err(Error::unsupported("Embedding"))
    }

    /// How many tokens the vendor counts for the prompt of `attempt`. Free of charge, idempotent.
    async fn count_tokens(&self, attempt: Attempt<ChatRequest>) -> Result<u64> {
        drop(attempt);
        Err(Error::unsupported("Counting tokens"))
    }

    /// The models that the vendor lists. Free of charge, idempotent.
    async fn models(&self) -> Result<Vec<Listing>> {
        Err(Error::unsupported("Listing models"))
    }

    /// What the vendor has on record of the answer that it calls `generation`
    /// ([`Served::generation`](crate::Served)). `None` while it has none: it may appear late, most of all for answers
    /// that were cut. Free of charge, idempotent.
    async fn lookup(&self, generation: &str) -> Result<Option<VendorRecord>> {
        let _ = generation;
        Err(Error::unsupported("Looking up an answer"))
    }
}

const _: fn(&dyn Provider) = |_| {};
