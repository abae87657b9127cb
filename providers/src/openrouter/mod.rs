//! `OpenRouter`: `OpenAI`'s dialect with costs, price caps and errors of its own.

mod account;
mod fault;
pub(crate) mod listing;

use std::fmt::Write as _;
use std::sync::Arc;

use aihub_core::chat::{ChatReply, ChatRequest};
use aihub_core::embedding::{EmbedReply, EmbedRequest};
use aihub_core::json::{Edit, Object};
use aihub_core::price::{Price, PriceList};
use aihub_core::provider::Listing;
use aihub_core::{Attempt, Capabilities, Clock, Error, ErrorKind, Operation as _, Provider, Result, VendorRecord};
use async_trait::async_trait;
use serde_json::{Map, Value};

pub use account::KeyState;

use crate::http::UpstreamSettings;
use crate::openai::{self, Dialect, Endpoint, bound_output, priced};

const DIALECT: Dialect = Dialect { repeats_role: true, explain: fault::explain, priced: priced::OPENROUTER };

/// `OpenRouter`, at `https://openrouter.ai/api/v1`.
#[derive(Debug)]
pub struct OpenRouter {
    name: String,
    endpoint: Endpoint,
}

impl OpenRouter {
    /// The address of the public service.
    pub const BASE_URL: &str = "https://openrouter.ai/api/v1";

    /// A provider of this `name`, which offers refer to.
    ///
    /// # Errors
    ///
    /// [`Invalid`](aihub_core::ErrorKind::Invalid) naming the setting that is wrong.
    pub fn new(name: impl Into<String>, settings: &UpstreamSettings, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self { name: name.into(), endpoint: Endpoint::new(settings, DIALECT, clock)? })
    }

    /// Lets callers use what changes the vendor's price: `models`, `route`, `preset`, `plugins`,
    /// `transforms`, `web_search_options`, tools that the vendor runs, service tiers, `speed`, caching
    /// for longer than five minutes; and `debug`, which shows our dealings with it. Off by default:
    /// such a call costs something else than was held for it.
    #[must_use]
    pub fn with_paid_extras(mut self) -> Self {
        self.endpoint.paid_extras = true;
        self
    }
}

#[async_trait]
impl Provider for OpenRouter {
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
        let mut edit = self.endpoint.edit(request.object(), request.model(), &attempt.offer)?;
        bound_output(&mut edit, &attempt)?;
        cap_price(&mut edit, request.object(), prices_of(&attempt)?)?;
        let body = edit.finish();
        self.endpoint.chat(body, request).await
    }

    async fn embed(&self, attempt: Attempt<EmbedRequest>) -> Result<EmbedReply> {
        let request = &attempt.call.operation;
        let mut edit = self.endpoint.edit(request.object(), request.model(), &attempt.offer)?;
        cap_price(&mut edit, request.object(), prices_of(&attempt)?)?;
        let body = edit.finish();
        self.endpoint.embed(body, request).await
    }

    async fn models(&self) -> Result<Vec<Listing>> {
        listing::read(&self.endpoint.get("/models").await?)
    }

    async fn lookup(&self, generation: &str) -> Result<Option<VendorRecord>> {
        self.generation(generation).await
    }
}

/// What the attempt is made at. Who tries an offer that is not sold has forgotten to ask, and sells below the price.
fn prices_of<O>(attempt: &Attempt<O>) -> Result<&PriceList> {
    let priced = attempt.prices().map(|prices| &*prices.list);
    priced.ok_or_else(|| Error::new(ErrorKind::Internal, "An offer was tried that has no price in force"))
}

/// Tells the vendor the price that the hold was made with: where only dearer hosts are left, it
/// refuses instead of overspending.
fn cap_price(edit: &mut Edit<'_>, object: &Object, prices: &PriceList) -> Result<()> {
    let mut routing = String::with_capacity(64);
    // Writing to a string cannot fail.
    let _ = write!(
        routing,
        r#"{{"max_price":{{"prompt":{},"completion":{}}}}}"#,
        dearest(prices, |rates| rates.input).decimal_per_million(),
        dearest(prices, |rates| rates.output).decimal_per_million()
    );
    // Nearly no call has wishes of its own, so that there is nearly never anything to parse.
    if let Some(mut wishes) = object.read::<Map<String, Value>>("provider")? {
        wishes.append(&mut serde_json::from_str(&routing).map_err(openai::unreadable)?);
        routing = Value::Object(wishes).to_string();
    }
    edit.set("provider", routing);
    Ok(())
}

fn dearest(prices: &PriceList, rate: fn(&aihub_core::price::Rates) -> Price) -> Price {
    let tiers = prices.tiers().iter().map(|tier| rate(&tier.rates));
    tiers.fold(rate(prices.base()), Price::max)
}
