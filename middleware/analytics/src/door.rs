//! Who asks, and how a wrong question is answered.

use std::sync::Arc;

use aihub_core::{Caller, Error, ErrorKind};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::response::{IntoResponse, Response};
use http::request::Parts as Head;
use serde::de::DeserializeOwned;

/// An error on its way to [`Rescue`](aihub_layers::Rescue), which alone makes responses of them.
#[derive(Debug)]
pub(crate) struct Failure(Error);

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

/// Who stands at the door. A key that may only read is enough.
#[derive(Debug, Clone)]
pub(crate) struct Door(pub(crate) Arc<Caller>);

impl<S: Send + Sync> FromRequestParts<S> for Door {
    type Rejection = Failure;

    async fn from_request_parts(head: &mut Head, _: &S) -> Result<Self, Failure> {
        let caller = head.extensions.get::<Arc<Caller>>();
        let caller = caller.ok_or_else(|| Error::new(ErrorKind::Unauthenticated, "This address needs an API key"))?;
        Ok(Self(Arc::clone(caller)))
    }
}

/// The question, as it stands in the address. Not axum's `Query`, which answers for itself what it cannot read.
#[derive(Debug)]
pub(crate) struct Ask<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Ask<T> {
    type Rejection = Failure;

    async fn from_request_parts(head: &mut Head, _: &S) -> Result<Self, Failure> {
        match Query::<T>::try_from_uri(&head.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(unreadable(&rejection).into()),
        }
    }
}

fn unreadable(rejection: &QueryRejection) -> Error {
    let why = std::error::Error::source(rejection).map_or_else(|| rejection.to_string(), ToString::to_string);
    Error::new(ErrorKind::Invalid, format!("The parameters of the address are wrong: {why}"))
}
