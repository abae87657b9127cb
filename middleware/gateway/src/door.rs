//! What every door does: find out who calls, take the body, hand over the call.

use std::sync::Arc;

use aihub_core::{Call, CallId, Caller, Error, ErrorKind, Operation, Result};
use aihub_layers::{CallTrail, RequestId};
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts as Head;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use crate::Gateway;

/// An error on its way to [`Rescue`](aihub_layers::Rescue), which alone makes responses of them.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        aihub_layers::failure(self.0)
    }
}

/// Who stands at the door.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) caller: Arc<Caller>,
    pub(crate) id: CallId,
    /// Who asks what becomes of the call, if somebody does.
    trail: Option<CallTrail>,
}

impl<S: Send + Sync> FromRequestParts<S> for Door {
    type Rejection = Failure;

    async fn from_request_parts(head: &mut Head, _: &S) -> Result<Self, Failure> {
        let caller = head.extensions.get::<Arc<Caller>>();
        let caller = caller.ok_or_else(|| Error::new(ErrorKind::Unauthenticated, "This address needs an API key"))?;
        let id = head.extensions.get::<RequestId>();
        let id =
            id.ok_or_else(|| Error::new(ErrorKind::Internal, "The request has no id: Rescue is missing in the stack"))?;
        let trail = head.extensions.get::<CallTrail>().cloned();
        Ok(Self { caller: Arc::clone(caller), id: id.0, trail })
    }
}

/// Proof that the body is JSON by its content type; absent is taken for JSON.
#[derive(Debug)]
pub(crate) struct JsonType;

impl<S: Send + Sync> FromRequestParts<S> for JsonType {
    type Rejection = Failure;

    async fn from_request_parts(head: &mut Head, _: &S) -> Result<Self, Failure> {
        let Some(given) = head.headers.get(CONTENT_TYPE) else { return Ok(Self) };
        let essence = given.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        if essence.trim_ascii().eq_ignore_ascii_case(b"application/json") {
            return Ok(Self);
        }
        let message = "The body has to be JSON: send it with `content-type: application/json`";
        Err(Error::new(ErrorKind::UnsupportedMedia, message).into())
    }
}

/// The body, whole. Not axum's `Bytes`, which has a limit of its own, below that of
/// [`Intake`](aihub_layers::Intake), and answers for itself what is beyond it.
#[derive(Debug)]
pub(crate) struct Whole(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Whole {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let mut body = request.into_body();
        let size = body.size_hint().exact();
        // What Intake has gathered comes in one piece.
        let first = match body.frame().await {
            Some(frame) => frame.map_err(broken)?.into_data().unwrap_or_default(),
            None => Bytes::new(),
        };
        if size == Some(first.len() as u64) {
            return Ok(Self(first));
        }
        let rest = body.collect().await.map_err(broken)?.to_bytes();
        Ok(Self([first, rest].concat().into()))
    }
}

#[cold]
fn broken(error: axum::Error) -> Error {
    Error::new(ErrorKind::Invalid, "The request body broke off: send the request again").with_source(error)
}

impl Gateway {
    /// Hands an operation to `service` as a call of whoever stands at the door.
    pub(crate) async fn call<O: Operation>(
        &self,
        door: Door,
        operation: O,
        service: &BoxCloneSyncService<Call<O>, O::Reply, Error>,
    ) -> Result<O::Reply> {
        let call = Call::with_id(door.id, door.caller, operation, &*self.0.clock);
        if let Some(trail) = door.trail {
            trail.follow(&call.trail);
        }
        service.clone().oneshot(call).await
    }
}

/// A JSON answer from bytes.
pub(crate) fn json(body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn taken(body: Body) -> Result<Bytes, Failure> {
        Whole::from_request(Request::new(body), &()).await.map(|whole| whole.0)
    }

    #[tokio::test]
    async fn a_body_is_taken_whole_however_long_and_in_how_many_pieces() {
        let long = Bytes::from(vec![b' '; 3 << 20]);
        assert_eq!(taken(Body::from(long.clone())).await.unwrap(), long);
        assert_eq!(taken(Body::empty()).await.unwrap(), "");
        let pieces = stream::iter(["he", "", "llo"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece))));
        assert_eq!(taken(Body::from_stream(pieces)).await.unwrap(), "hello");
    }

    #[tokio::test]
    async fn what_breaks_off_is_no_shorter_body() {
        let broken = stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("reset"))]);
        assert_eq!(taken(Body::from_stream(broken)).await.unwrap_err().0.kind(), ErrorKind::Invalid);
    }
}
