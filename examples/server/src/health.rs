//! Whether the process lives, and whether it can serve.

use std::sync::Arc;

use aihub_core::{KeyHash, KeyStore};
use aihub_storage::journal::FileJournal;
use aihub_storage::redis::Redis;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What readiness depends on.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) redis: Option<Redis>,
    pub(crate) journal: FileJournal,
    pub(crate) providers: usize,
    pub(crate) stop: CancellationToken,
}

impl Health {
    pub(crate) fn router(self) -> OpenApiRouter {
        Self::routes().with_state(self)
    }

    pub(crate) fn documentation() -> utoipa::openapi::OpenApi {
        Self::routes().into_openapi()
    }

    fn routes() -> OpenApiRouter<Self> {
        OpenApiRouter::new().routes(routes!(live)).routes(routes!(ready))
    }
}

/// The process lives
#[utoipa::path(get, path = "/health/live", tag = "Health", responses((status = 200, description = "It does")))]
pub(crate) async fn live() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// The service can serve
///
/// 503 while the key store or Redis does not answer, while nothing can be written down, while no provider is enabled, and from the moment a
/// stop was asked for, so that a load balancer sends nothing more.
#[utoipa::path(get, path = "/health/ready", tag = "Health",
    responses((status = 200, description = "It can"), (status = 503, description = "It cannot; the parts say why")))]
pub(crate) async fn ready(State(health): State<Health>) -> (StatusCode, Json<Value>) {
    let nobody = KeyHash::from_bytes([0; 32]);
    let keys = match health.keys.find(&nobody).await {
        Ok(_) => "ok",
        Err(error) => {
            tracing::warn!(error = ?error, "the key store does not answer");
            "unavailable"
        }
    };
    let redis = match &health.redis {
        None => "none",
        Some(redis) => match redis.ping().await {
            Ok(()) => "ok",
            Err(error) => {
                tracing::warn!(error = ?error, "Redis does not answer");
                "unavailable"
            }
        },
    };
    let journal =
        if health.journal.has_room() { "ok" } else { "full, or its disk fails: nothing is sold until it is not" };
    let providers =
        if health.providers > 0 { "ok" } else { "none is enabled: set OPENROUTER_API_KEY or GEMINI_API_KEY" };
    let running = if health.stop.is_cancelled() { "stopping" } else { "ok" };
    let ready = keys == "ok" && redis != "unavailable" && health.providers > 0 && running == "ok" && journal == "ok";
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (
        status,
        Json(
            json!({"status": if ready { "ok" } else { "unavailable" }, "keys": keys, "redis": redis, "journal": journal, "providers": providers, "server": running}),
        ),
    )
}
