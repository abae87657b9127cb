//! `POST /v1/chat/completions`.

use aihub_core::chat::{ChatEvent, Completion, Finish};
use aihub_core::{ChatReply, ChatRequest, Error, ErrorKind, Operation as _, Result};
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;

use super::schema::{ChatCompletion, ChatCompletionRequest, ErrorEnvelope};
use super::stream::OpenAiStream;
use crate::Gateway;
use crate::door::{Door, Failure, JsonType, Whole, json};
use crate::events;

/// Create a chat completion
///
/// `OpenAI`-compatible. With `stream: true` the answer is a stream of server-sent events that ends
/// with `data: [DONE]`; a failure after the first event is an event with an `error` and no `[DONE]`.
/// Fields that are not listed are handed to upstreams of the same dialect as they are.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "Inference",
    request_body = ChatCompletionRequest,
    responses(
        (status = 200, description = "The completion, or a stream of `chat.completion.chunk` events", body = ChatCompletion),
        (status = "4XX", description = "The request cannot be served as it is", body = ErrorEnvelope),
        (status = "5XX", description = "The upstream or this service failed", body = ErrorEnvelope),
    ),
    security(("api_key" = [])),
)]
pub(crate) async fn create_chat_completion(
    State(gateway): State<Gateway>,
    door: Door,
    _: JsonType,
    Whole(body): Whole,
) -> Result<Response, Failure> {
    let request = ChatRequest::parse(body)?;
    let (streams, include_usage, id) = (request.streams(), request.include_usage(), door.id);
    let reply = gateway.call(door, request, &gateway.0.chat).await?;
    if streams {
        return Ok(events::respond(reply, OpenAiStream::new(include_usage), id));
    }
    let (body, _) = whole(reply).await?;
    Ok(json(body))
}

/// The body of an answer that is not streamed, and how it ended. The reply is read to its end first,
/// so that the books are written before a byte leaves.
pub(crate) async fn whole(mut reply: ChatReply) -> Result<(Bytes, Box<Finish>)> {
    let mut whole = None;
    while let Some(event) = reply.next().await {
        match (event?, &mut whole) {
            (ChatEvent::Whole(body), whole) => *whole = Some(body),
            (ChatEvent::Finish(finish), Some(body)) => return Ok((std::mem::take(body), finish)),
            _ => {}
        }
    }
    Err(Error::new(ErrorKind::BadUpstream, "The upstream answered in pieces what was asked for as a whole"))
}

/// A whole answer, typed. One that cannot be read is the upstream's fault, never the caller's.
pub(crate) fn completion(body: &[u8]) -> Result<Completion> {
    serde_json::from_slice(body).map_err(|error| {
        Error::new(ErrorKind::BadUpstream, "The upstream sent an answer that cannot be read").with_source(error)
    })
}
