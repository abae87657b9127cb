//! The lists of models: `OpenAI`'s form with prices beside, and the developer form.

use aihub_core::{Error, ErrorKind, Model, Timestamp};
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Gateway;
use crate::departure::Disconnect;
use crate::door::{Door, Failure};

/// A model in `OpenAI`'s form, and what that form does not say.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelCard {
    /// The id to name in requests.
    id: String,
    /// `model`.
    object: &'static str,
    /// Seconds since 1970; 0, since vendors do not say it of every model.
    created: i64,
    /// Who made it.
    owned_by: String,
    /// The name for people.
    name: String,
    /// `chat` or `embedding`.
    kind: &'static str,
    /// The most tokens of prompt and answer together.
    context_length: u64,
    /// The most tokens of an answer.
    max_output_tokens: Option<u64>,
    /// What it reads.
    input_modalities: Vec<String>,
    /// What it writes.
    output_modalities: Vec<String>,
    /// Whether it thinks before it answers.
    reasoning: bool,
    /// What it costs the caller, by the cheapest upstream, with the markup of the plan.
    pricing: Pricing,
    /// What becomes of a call whose caller leaves before the end of its answer.
    disconnect: Disconnect,
    /// What is charged for an answer without a token or with an error in place of one: `not_charged`.
    zero_completion: &'static str,
    /// Whether the plan and the key of the caller include it.
    included: bool,
}

/// Prices per million tokens, as decimal strings.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pricing {
    /// ISO 4217.
    currency: String,
    /// Tokens in.
    input_per_million: String,
    /// Tokens in that the vendor had in its cache.
    cached_input_per_million: String,
    /// Tokens out.
    output_per_million: String,
}

/// Every model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// `list`.
    object: &'static str,
    /// The models, by id.
    data: Vec<ModelCard>,
}

/// In the caller's prices. `None` while no offer has a price in force: what is not priced is not sold.
fn card(model: &Model, gateway: &Gateway, door: &Door, at: Timestamp) -> Option<ModelCard> {
    let prices = &model.offers.iter().find_map(|offer| offer.prices.at(at))?.list;
    let rates = prices.base();
    let shown = |price| Some(door.caller.plan.markup.on_price(price)?.decimal_per_million().to_string());
    Some(ModelCard {
        id: model.id.to_string(),
        object: "model",
        created: 0,
        owned_by: model.id.split('/').next().unwrap_or_default().to_owned(),
        name: model.name.clone(),
        kind: model.kind.into(),
        context_length: model.context_tokens,
        max_output_tokens: model.max_output_tokens,
        input_modalities: model.input_modalities.clone(),
        output_modalities: model.output_modalities.clone(),
        reasoning: model.reasoning,
        pricing: Pricing {
            currency: prices.currency().to_string(),
            input_per_million: shown(rates.input)?,
            cached_input_per_million: shown(rates.cache_read)?,
            output_per_million: shown(rates.output)?,
        },
        disconnect: Disconnect::of(model, &gateway.0.departures),
        zero_completion: "not_charged",
        included: door.caller.plan.models.permits(model) && door.caller.key.models.permits(model),
    })
}

fn all(gateway: &Gateway, door: &Door) -> Json<ModelList> {
    let at = gateway.0.clock.now();
    let data = gateway.0.catalogue.list().iter().filter_map(|model| card(model, gateway, door, at)).collect();
    Json(ModelList { object: "list", data })
}

/// List the models
///
/// `OpenAI`-compatible; every model, with `included` telling what the caller's plan and key reach.
#[utoipa::path(get, path = "/v1/models", tag = "Models",
    responses((status = 200, body = ModelList)), security(("api_key" = [])))]
pub(crate) async fn list_models(State(gateway): State<Gateway>, door: Door) -> Json<ModelList> {
    all(&gateway, &door)
}

/// List the models (developer form)
#[utoipa::path(get, path = "/api/v1/developer/models", tag = "Models",
    responses((status = 200, body = ModelList)), security(("api_key" = [])))]
pub(crate) async fn developer_models(State(gateway): State<Gateway>, door: Door) -> Json<ModelList> {
    all(&gateway, &door)
}

/// Retrieve a model
///
/// The id may hold slashes, escaped or not; an alias gives the model that it stands for.
#[utoipa::path(get, path = "/v1/models/{*id}", tag = "Models",
    params(("id" = String, Path, description = "The model's id")),
    responses((status = 200, body = ModelCard), (status = 404, description = "There is no such model")),
    security(("api_key" = [])))]
pub(crate) async fn retrieve_model(
    State(gateway): State<Gateway>,
    door: Door,
    Path(id): Path<String>,
) -> Result<Json<ModelCard>, Failure> {
    let model = gateway.0.catalogue.find(&id);
    let card = model.and_then(|model| card(&model, &gateway, &door, gateway.0.clock.now()));
    let unknown = || {
        let shown: String = id.chars().take(100).collect();
        Error::new(ErrorKind::NotFound, format!("There is no model `{shown}`: ask for the list of models"))
            .with_code("model_not_found")
            .with_param("model")
    };
    Ok(Json(card.ok_or_else(unknown)?))
}
