//! `OpenRouter`: `OpenAI`'s dialect with costs, price caps and errors of its own.

mod account;
mod fault;
mod listing;

use std::sync::Arc;

use aihub_core::chat::{ChatReply, ChatRequest};
use aihub_core::embedding::{EmbedReply, EmbedRequest};
use aihub_core::json::Edit;
use aihub_core::price::{Price, PriceList};
use aihub_core::provider::Listing;
use aihub_core::{Attempt, Capabilities, Clock, Error, Provider, Result};
use async_trait::async_trait;
use serde_json::{Map, Value};

pub use account::{Generation, KeyState};

use crate::http::UpstreamSettings;
use crate::openai::{self, Dialect, Endpoint};

const DIALECT: Dialect = Dialect { repeats_role: true, explain: fault::explain };

/// Fields by which a caller changes what the vendor charges: other models, plugins and tools with
/// fees, dearer tiers.
const PAID_FIELDS: [&str; 4] = ["models", "plugins", "route", "transforms"];

/// `OpenRouter`, at `https://openrouter.ai/api/v1`.
#[derive(Debug)]
pub struct OpenRouter {
    name: String,
    endpoint: Endpoint,
    paid_extras: bool,
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
        Ok(Self { name: name.into(), endpoint: Endpoint::new(settings, DIALECT, clock)?, paid_extras: false })
    }

    /// Lets callers use what changes the vendor's price (`models`, `plugins`, `openrouter:` tools,
    /// service tiers). Off by default: such a call costs something else than was held for it.
    #[must_use]
    pub fn with_paid_extras(mut self) -> Self {
        self.paid_extras = true;
        self
    }

    fn refuse_paid_extras(&self, request: &ChatRequest) -> Result<()> {
        if self.paid_extras {
            return Ok(());
        }
        let object = request.object();
        let refused = |field: &str| {
            Err(Error::invalid(
                field,
                format!("`{field}` is not sold here: it changes the price of the call. Leave it out"),
            )
            .with_code("unsupported_parameter"))
        };
        if let Some(field) = PAID_FIELDS.iter().find(|field| object.has(field)) {
            return refused(field);
        }
        if object.read::<String>("service_tier")?.is_some_and(|tier| !matches!(&*tier, "auto" | "default")) {
            return refused("service_tier");
        }
        let tools = object.get("tools").filter(|tools| tools.contains("openrouter:"));
        if tools.is_some() && object.read::<Vec<Value>>("tools")?.iter().flatten().any(is_server_tool) {
            return refused("tools");
        }
        Ok(())
    }
}

fn is_server_tool(tool: &Value) -> bool {
    tool.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("openrouter:"))
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
        self.refuse_paid_extras(request)?;
        let mut edit = request.object().edit();
        openai::common_edits(&mut edit, &attempt)?;
        cap_price(&mut edit, &attempt)?;
        let body = edit.finish();
        self.endpoint.chat(body, request).await
    }

    async fn embed(&self, attempt: Attempt<EmbedRequest>) -> Result<EmbedReply> {
        self.endpoint.embed(&attempt).await
    }

    async fn models(&self) -> Result<Vec<Listing>> {
        listing::read(&self.endpoint.get("/models").await?)
    }
}

/// Tells the vendor the price that the hold was made with: where only dearer hosts are left, it
/// refuses instead of overspending.
fn cap_price(edit: &mut Edit<'_>, attempt: &Attempt<ChatRequest>) -> Result<()> {
    let mut routing: Map<String, Value> = attempt.call.operation.object().read("provider")?.unwrap_or_default();
    let prices = &attempt.offer.prices;
    let dearest = |rate: fn(&aihub_core::price::Rates) -> Price| dearest(prices, rate);
    let cap = format!(
        r#"{{"prompt":{},"completion":{}}}"#,
        dearest(|rates| rates.input).decimal_per_million(),
        dearest(|rates| rates.output).decimal_per_million()
    );
    let cap: Value = serde_json::from_str(&cap).map_err(openai::unreadable)?;
    routing.insert("max_price".to_owned(), cap);
    edit.set("provider", Value::Object(routing).to_string());
    Ok(())
}

fn dearest(prices: &PriceList, rate: fn(&aihub_core::price::Rates) -> Price) -> Price {
    let tiers = prices.tiers().iter().map(|tier| rate(&tier.rates));
    tiers.fold(rate(prices.base()), Price::max)
}
