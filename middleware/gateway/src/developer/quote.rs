//! `POST /api/v1/developer/quote`: what a request would cost at most.

use aihub_core::json::Object;
use aihub_core::{Call, ChatRequest, EmbedRequest, Error, Money, Operation, Result};
use aihub_layers::{Estimate, Routed};
use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::chat::SimpleChat;
use crate::Gateway;
use crate::door::{Door, Failure, JsonType, Whole};
use crate::openai::schema::ErrorEnvelope;

/// What a request would cost at most, if it were made now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Quote {
    /// `quote`.
    object: &'static str,
    /// The id of the model that was asked for.
    model: String,
    /// The instant whose prices are told, RFC 3339.
    at: String,
    /// An upper estimate of the prompt's tokens: the highest by any model that may come to answer.
    prompt_tokens: u64,
    /// The longest answer that would be asked for, in tokens: what the request names, else what the plan says; never
    /// more than a model can give. Of embeddings there is none.
    max_output_tokens: u64,
    /// How many answers the request asks for, each as long as that.
    choices: u64,
    /// The most that is charged, whichever offer comes to serve it; `null` where it is not one known amount.
    most: Option<Amount>,
    /// What the plan adds to the vendors' prices; it is in every amount here.
    #[schema(value_type = String, example = "20%")]
    markup: aihub_core::Markup,
    /// Every offer that may come to serve the request, in the order in which they are tried.
    offers: Vec<QuotedOffer>,
}

/// One offer. Who makes it is not said: that is the business of the service.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuotedOffer {
    /// The model that would answer: the one asked for, or one that stands in for it.
    model: String,
    /// The version of its prices; the record of a call says by which it was charged.
    price_version: String,
    /// The prompt's tokens in this model's vocabulary.
    prompt_tokens: u64,
    /// The longest answer of this model.
    max_output_tokens: u64,
    /// The most that is charged if it serves.
    most: Option<Amount>,
}

/// An amount of money.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Amount {
    /// A decimal.
    #[schema(example = "0.00256995")]
    amount: String,
    /// ISO 4217.
    #[schema(example = "USD")]
    currency: String,
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self { amount: money.decimal().to_string(), currency: money.currency().to_string() }
    }
}

/// Ask what a request would cost at most
///
/// Takes the body of a chat completion, of embeddings, or of a chat in the developer form, and makes no call: nothing is
/// charged, held or recorded. What cannot be called is refused as the call would be. The call itself may be granted
/// fewer tokens, where less is left of a limit.
#[utoipa::path(
    post, path = "/api/v1/developer/quote", tag = "Models",
    request_body(content = Object, description = "A request as it would be sent", example = json!({
        "model": "openai/gpt-5.4-mini", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 500})),
    responses(
        (status = 200, description = "The most that it can cost", body = Quote),
        (status = "4XX", description = "The request could not be served as it is", body = ErrorEnvelope),
        (status = "5XX", description = "Nobody serves the model at present", body = ErrorEnvelope),
    ),
    security(("api_key" = [])),
)]
pub(crate) async fn quote(
    State(gateway): State<Gateway>,
    door: Door,
    _: JsonType,
    Whole(body): Whole,
) -> Result<Json<Quote>, Failure> {
    let quote = match Asked::read(body, gateway.0.default_model.as_deref())? {
        Asked::Chat(request) => gateway.quote(door, request),
        Asked::Embeddings(request) => gateway.quote(door, request),
    };
    Ok(Json(quote?))
}

/// A body in one of the forms that cost something.
#[derive(Debug)]
enum Asked {
    Chat(ChatRequest),
    Embeddings(EmbedRequest),
}

impl Asked {
    /// Tells the forms by their fields: only embeddings have `input`; only the developer form has `message`, or no model.
    fn read(body: Bytes, default_model: Option<&str>) -> Result<Self> {
        let object = Object::scan(body.clone())?;
        let has = |field| object.get(field).is_some();
        if has("input") {
            return EmbedRequest::parse(body).map(Self::Embeddings);
        }
        if has("message") || has("messages") && !has("model") {
            let asked: SimpleChat = aihub_core::json::decode(&body)?;
            return asked.into_request(default_model).map(Self::Chat);
        }
        if has("messages") {
            return ChatRequest::parse(body).map(Self::Chat);
        }
        Err(Error::invalid(
            "messages",
            "Send what you would call with: `messages`, `message`, or `input` for embeddings",
        ))
    }
}

impl Gateway {
    fn quote<O: Operation>(&self, door: Door, operation: O) -> Result<Quote> {
        let call = Call::with_id(door.id, door.caller, operation, &*self.0.clock);
        let routed = Routed::find(&*self.0.catalogue, call)?;
        let estimate = Estimate::of(&routed);
        let offers = estimate.by_offer(&routed)?;
        Ok(Quote {
            object: "quote",
            model: routed.model.id.to_string(),
            at: routed.call.received_at.to_string(),
            prompt_tokens: offers.iter().map(|offer| offer.prompt_tokens).max().unwrap_or_default(),
            max_output_tokens: offers.iter().map(|offer| offer.output_tokens).max().unwrap_or_default(),
            choices: estimate.choices(),
            most: estimate.most().money.map(Amount::from),
            markup: routed.call.caller.plan.markup,
            offers: offers
                .iter()
                .map(|offer| QuotedOffer {
                    model: offer.model.id.to_string(),
                    price_version: offer.prices.version.to_string(),
                    prompt_tokens: offer.prompt_tokens,
                    max_output_tokens: offer.output_tokens,
                    most: offer.most.map(Amount::from),
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_form_of_a_request_is_told_from_the_others() {
        let read = |body: Value| Asked::read(body.to_string().into(), Some("default"));
        let messages = serde_json::json!([{"role": "user", "content": "hi"}]);
        let model = |asked: Asked| match asked {
            Asked::Chat(request) => request.model().to_owned(),
            Asked::Embeddings(request) => format!("embeds {}", request.model()),
        };
        for (body, told) in [
            (serde_json::json!({"model": "m", "messages": messages}), "m"),
            (serde_json::json!({"messages": messages, "session_id": "s"}), "default"),
            (serde_json::json!({"model": "m", "message": "hi", "system": "be brief"}), "m"),
            (serde_json::json!({"model": "m", "input": ["a", "b"]}), "embeds m"),
        ] {
            assert_eq!(model(read(body).unwrap()), told);
        }
        assert_eq!(read(serde_json::json!({"model": "m"})).unwrap_err().param(), Some("messages"));
    }
}
