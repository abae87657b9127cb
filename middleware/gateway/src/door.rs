//! What every door does: find out who calls, take the body, hand over the call.

use std::sync::Arc;

use aihub_core::{Call, CallId, Caller, Error, ErrorKind, Operation, Result};
use aihub_layers::RequestId;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts as Head;
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
}

impl<S: Send + Sync> FromRequestParts<S> for Door {
    type Rejection = Failure;

    async fn from_request_parts(head: &mut Head, _: &S) -> Result<Self, Failure> {
        let caller = head.extensions.get::<Arc<Caller>>();
        let caller = caller.ok_or_else(|| Error::new(ErrorKind::Unauthenticated, "This address needs an API key"))?;
        let id = head.extensions.get::<RequestId>();
        let id =
            id.ok_or_else(|| Error::new(ErrorKind::Internal, "The request has no id: Rescue is missing in the stack"))?;
        Ok(Self { caller: Arc::clone(caller), id: id.0 })
    }
}

/// Proof that the body is JSON by its content type; absent is taken for JSON.
#[derive(Debug)]
pub(crate) struct JsonType;

impl<S: Send + Sync> FromRequestParts<S> for JsonType {
    type Rejection = Failure;

    async fn from_request_parts(head: &mut Head, _: &S) -> Result<Self, Failure> {
        let Some(given) = head.headers.get(CONTENT_TYPE) else { return Ok(Self) };
        let essence = given.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/json") {
            return Ok(Self);
        }
        let message = "The body has to be JSON: send it with `content-type: application/json`";
        Err(Error::new(ErrorKind::UnsupportedMedia, message).into())
    }
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
        service.clone().oneshot(call).await
    }
}

/// A JSON answer from bytes.
pub(crate) fn json(body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
