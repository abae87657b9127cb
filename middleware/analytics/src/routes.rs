//! The addresses: decode, ask, encode.

use aihub_core::commerce::analytics;
use aihub_core::{CallId, Error, ErrorKind};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use std::sync::Arc;

use crate::Analytics;
use crate::ask::{AskCalls, AskExport, AskSeries};
use crate::door::{Ask, Door, Failure};
use crate::limit::LimitList;
use crate::view::{CallList, CallView, UsageView};

/// Usage over time
///
/// Sums of calls, tokens and charges by minutes, hours or days of any time zone, taken apart by key, model, endpoint and
/// status. Buckets are whole, and every one of the range is there. Sums in several currencies are rows of their own.
#[utoipa::path(get, path = "/api/v1/developer/usage", tag = "Usage", params(AskSeries),
    responses((status = 200, body = UsageView), (status = 400, description = "The question is wrong, or too large")),
    security(("api_key" = [])))]
pub(crate) async fn usage(
    State(analytics): State<Analytics>,
    Door(caller): Door,
    Ask(ask): Ask<AskSeries>,
) -> Result<Json<UsageView>, Failure> {
    let query = ask.query(&caller, analytics.0.clock.now())?;
    let series = analytics.0.usage.series(&query).await?;
    Ok(Json(UsageView::of(&query, series)))
}

/// List calls
///
/// Newest first, page by page.
#[utoipa::path(get, path = "/api/v1/developer/usage/calls", tag = "Usage", params(AskCalls),
    responses((status = 200, body = CallList)), security(("api_key" = [])))]
pub(crate) async fn calls(
    State(analytics): State<Analytics>,
    Door(caller): Door,
    Ask(ask): Ask<AskCalls>,
) -> Result<Json<CallList>, Failure> {
    let (filter, page) = ask.query(&caller)?;
    Ok(Json(analytics.0.usage.calls(caller.account(), &filter, page).await?.into()))
}

/// Retrieve a call
#[utoipa::path(get, path = "/api/v1/developer/usage/calls/{id}", tag = "Usage",
    params(("id" = String, Path, description = "The call's id, which is the `x-request-id` of its answer")),
    responses((status = 200, body = CallView), (status = 404, description = "The account has no such call")),
    security(("api_key" = [])))]
pub(crate) async fn call(
    State(analytics): State<Analytics>,
    Door(caller): Door,
    Path(id): Path<String>,
) -> Result<Json<CallView>, Failure> {
    let unknown = || {
        let message = "There is no such call: ids begin with `call_`, and a call is listed seconds after it has ended";
        Error::new(ErrorKind::NotFound, message).with_code("call_not_found").with_param("id")
    };
    let id: CallId = id.parse().map_err(|_| unknown())?;
    let record = analytics.0.usage.call(caller.account(), id).await?;
    Ok(Json(record.ok_or_else(unknown)?.into()))
}

/// Export calls
///
/// All that match, newest first, as CSV (RFC 4180, with a line of names) or JSON Lines, written while they are read: a file
/// may be of any size. One that breaks off is not whole. In CSV, text that begins with `=`, `+`, `-` or `@` has an apostrophe
/// before it, so that no spreadsheet takes it for a formula.
#[utoipa::path(get, path = "/api/v1/developer/usage/export", tag = "Usage", params(AskExport),
    responses((status = 200, description = "The file", content((String = "text/csv"), (String = "application/jsonl")))),
    security(("api_key" = [])))]
pub(crate) async fn export(
    State(analytics): State<Analytics>,
    Door(caller): Door,
    Ask(ask): Ask<AskExport>,
) -> Result<Response, Failure> {
    let (filter, format) = ask.query(&caller, analytics.0.clock.now())?;
    let batches = analytics::export(Arc::clone(&analytics.0.usage), caller.account(), filter);
    Ok(crate::export::respond(batches, format))
}

/// What is left
///
/// Every limit that calls of this key have to pass, as it stands now: what is used, what is held, what is left, and when it
/// starts anew.
#[utoipa::path(get, path = "/api/v1/developer/usage/limits", tag = "Usage",
    responses((status = 200, body = LimitList)), security(("api_key" = [])))]
pub(crate) async fn limits(State(analytics): State<Analytics>, Door(caller): Door) -> Result<Json<LimitList>, Failure> {
    Ok(Json(analytics.limits(&caller, analytics.0.clock.now()).await?))
}
