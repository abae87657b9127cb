//! `POST /v1/embeddings`.

use aihub_core::EmbedRequest;
use axum::extract::State;
use axum::response::Response;

use super::schema::{EmbeddingList, EmbeddingRequest, ErrorEnvelope};
use crate::Gateway;
use crate::door::{Door, Failure, JsonType, Whole, json};

/// Create embeddings
///
/// `OpenAI`-compatible; `encoding_format` is `float` or `base64`.
#[utoipa::path(
    post, path = "/v1/embeddings", tag = "Inference",
    request_body = EmbeddingRequest,
    responses(
        (status = 200, description = "One vector for each input, in order", body = EmbeddingList),
        (status = "4XX", description = "The request cannot be served as it is", body = ErrorEnvelope),
        (status = "5XX", description = "The upstream or this service failed", body = ErrorEnvelope),
    ),
    security(("api_key" = [])),
)]
pub(crate) async fn create_embedding(
    State(gateway): State<Gateway>,
    door: Door,
    _: JsonType,
    Whole(body): Whole,
) -> Result<Response, Failure> {
    let request = EmbedRequest::parse(body)?;
    let reply = gateway.call(door, request, &gateway.0.embed).await?;
    Ok(json(reply.body))
}
