#![doc = include_str!("../README.md")]

mod departure;
mod developer;
mod door;
mod events;
mod models;
mod openai;

use std::sync::Arc;

use aihub_core::{Call, Catalogue, ChatReply, ChatRequest, Clock, Departures, EmbedReply, EmbedRequest, Error};
use tower::util::BoxCloneSyncService;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Whatever answers a chat: in the reference server the whole stack of layers.
pub type ChatService = BoxCloneSyncService<Call<ChatRequest>, ChatReply, Error>;

/// Whatever answers a request for embeddings.
pub type EmbedService = BoxCloneSyncService<Call<EmbedRequest>, EmbedReply, Error>;

/// The doors of inference.
///
/// Every door decodes its dialect into a [`Call`], hands it to the same service value, and encodes
/// the reply: there is no other way to a model, so nothing goes unmetered.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    chat: ChatService,
    embed: EmbedService,
    catalogue: Arc<dyn Catalogue>,
    clock: Arc<dyn Clock>,
    default_model: Option<String>,
    departures: Departures,
}

impl Gateway {
    /// Doors in front of these services.
    pub fn new(chat: ChatService, embed: EmbedService, catalogue: Arc<dyn Catalogue>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Parts { chat, embed, catalogue, clock, default_model: None, departures: Departures::default() }))
    }

    /// The model of the developer form where the caller names none. By default it has to name one.
    ///
    /// # Panics
    ///
    /// When the gateway was cloned before: it is a setting, not a switch.
    #[must_use]
    pub fn with_default_model(mut self, id: impl Into<String>) -> Self {
        let parts = Arc::get_mut(&mut self.0).expect("settings come before the first clone");
        parts.default_model = Some(id.into());
        self
    }

    /// What the lists of models say is done when a caller leaves: what [`Departure`](aihub_layers::Departure) does in the
    /// services. By default it is cancelled.
    ///
    /// # Panics
    ///
    /// When the gateway was cloned before: it is a setting, not a switch.
    #[must_use]
    pub fn with_departures(mut self, departures: Departures) -> Self {
        let parts = Arc::get_mut(&mut self.0).expect("settings come before the first clone");
        parts.departures = departures;
        self
    }

    /// The routes, with their documentation. They expect the extensions that
    /// [`Authenticate`](aihub_layers::Authenticate) and [`Rescue`](aihub_layers::Rescue) set, and
    /// leave their errors to the latter.
    pub fn router(self) -> OpenApiRouter {
        Self::routes().with_state(self)
    }

    /// The documentation of the routes alone.
    pub fn documentation() -> utoipa::openapi::OpenApi {
        Self::routes().into_openapi()
    }

    fn routes() -> OpenApiRouter<Self> {
        OpenApiRouter::new()
            .routes(routes!(openai::chat::create_chat_completion))
            .routes(routes!(openai::embeddings::create_embedding))
            .routes(routes!(models::list_models))
            .routes(routes!(models::retrieve_model))
            .routes(routes!(developer::chat::developer_chat))
            .routes(routes!(developer::quote::quote))
            .routes(routes!(models::developer_models))
    }
}
