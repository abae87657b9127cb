//! Which address goes where, and the document that says so.

use aihub_analytics::Analytics;
use aihub_core::{Error, ErrorKind};
use aihub_gateway::Gateway;
use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::header::{CONTENT_TYPE, HeaderValue};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::health::Health;
use crate::idempotency;

/// The addresses that need a key, and those that do not, with one document over both.
pub(crate) struct Routes {
    pub(crate) doors: Router,
    pub(crate) open: Router,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "AI Hub",
    description = "Language models of many vendors behind one key, one bill and one OpenAI-compatible API.",
))]
struct Document;

impl Routes {
    pub(crate) fn new(gateway: Gateway, analytics: Analytics, health: Health) -> Self {
        let (doors, gateway_document) = gateway.router().split_for_parts();
        let (reports, analytics_document) = analytics.router().split_for_parts();
        let (open, health_document) = health.router().split_for_parts();
        let json = document([gateway_document, analytics_document, health_document]);
        Self {
            doors: doors.merge(reports).fallback(nowhere).method_not_allowed_fallback(wrong_method),
            open: open.route("/openapi.json", get(move || async move { as_json(json) })),
        }
    }
}

fn document(parts: [utoipa::openapi::OpenApi; 3]) -> String {
    let mut document = Document::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    for part in parts {
        document.merge(part);
    }
    idempotency::document(&mut document);
    let key = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("ahub_…").build());
    document.components.get_or_insert_default().add_security_scheme("api_key", key);
    document.to_pretty_json().expect("a document is plain JSON")
}

/// `aihub openapi`.
pub(crate) fn print_document() {
    println!("{}", document([Gateway::documentation(), Analytics::documentation(), Health::documentation()]));
}

fn as_json(json: String) -> Response {
    let mut response = Response::new(json.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn nowhere() -> Response {
    aihub_layers::failure(Error::new(ErrorKind::NotFound, "There is nothing at this address: see /openapi.json"))
}

async fn wrong_method() -> Response {
    aihub_layers::failure(Error::new(
        ErrorKind::WrongMethod,
        "This address does not know this method: see /openapi.json",
    ))
}
