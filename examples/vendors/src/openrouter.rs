//! OpenRouter: routes, keys and the records of generations.

mod account;
mod check;
mod fault;
mod wire;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header},
    response::Response,
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    End, OPENROUTER_KEY, Stage, Vendor,
    book::Bill,
    catalogue::{self, Kind, Model},
    lock, mind,
    play::{self, Answer, Framing},
    script::{self, Script},
    seen::Watch,
};
use check::{Refusal, refusal};
use fault::OpenRouter;

/// What `/generation` knows of one call.
#[derive(Debug)]
pub(crate) struct Generation {
    record: Value,
    /// How many look-ups come too early.
    late: u64,
}

pub(crate) fn routes() -> Router<Arc<Stage>> {
    Router::new()
        .route("/chat/completions", post(chat))
        .route("/embeddings", post(embeddings))
        .route("/models", get(models))
        .route("/models/{author}/{slug}/endpoints", get(endpoints))
        .route("/generation", get(generation))
        .route("/key", get(key))
        .fallback(nowhere)
}

/// Notes the request and checks its key.
fn enter(stage: &Stage, request: (&Method, &Uri, &HeaderMap), body: &[u8]) -> Result<Watch, Box<Response>> {
    let mut watch = stage.journal.open(Vendor::OpenRouter, request, body);
    let bearer = request.2.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match bearer.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(OPENROUTER_KEY) => Ok(watch),
        Some(_) => Err(Box::new(refuse(&mut watch, &refusal(401, "User not found.", "authentication")))),
        None => Err(Box::new(refuse(&mut watch, &refusal(401, "No auth credentials found", "authentication")))),
    }
}

fn refuse(watch: &mut Watch, refusal: &Refusal) -> Response {
    finish(watch, play::json(refusal.status, &refusal.body))
}

fn finish(watch: &mut Watch, response: Response) -> Response {
    watch.status(response.status());
    watch.end(End::Completed);
    response
}

async fn chat(State(stage): State<Arc<Stage>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut watch = match enter(&stage, (&method, &uri, &headers), &body) {
        Ok(watch) => watch,
        Err(response) => return *response,
    };
    let (body, model, script) = match read(&stage, &body, Kind::Chat, check::chat, wire::last_user_text) {
        Ok(read) => read,
        Err(refused) => return refuse(&mut watch, &refused),
    };
    let question = wire::question(&body, model);
    let reply = mind::answer(&question, &script);
    let serial = stage.serial();
    let id = format!("gen-{}-{serial:020}", 1_790_000_000 + serial);
    let frame = wire::Frame { id: &id, created: 1_790_000_000 + serial, model, body: &body };
    let streamed = body["stream"] == true;
    watch.bill(Bill {
        model: model.id.clone(),
        generation: Some(id.clone()),
        asked: question.asked.clone(),
        stream: streamed,
        prompt: reply.usage.prompt,
        completion: reply.usage.completion + reply.usage.reasoning,
        fails: script.fails(),
    });
    let answer = if streamed {
        Answer::Events(Framing::Commented, frame.events(&reply, &script))
    } else {
        Answer::Whole(frame.whole(&reply, &script))
    };
    let (books, name, late) = (Arc::clone(&stage), id.clone(), script.late_lookups);
    let closing = Box::new(move |sent, cancelled| {
        let record = account::record(&name, model, &reply, streamed.then_some(sent), cancelled);
        lock(&books.generations).insert(name, Generation { record, late });
    });
    let mut response = play::play::<OpenRouter>(&stage, watch, &script, answer, closing).await;
    if response.status().is_success() {
        let value = HeaderValue::from_str(&id).expect("made of digits and dashes");
        response.headers_mut().insert(HeaderName::from_static("x-generation-id"), value);
    }
    response
}

/// Parses and checks a body, and finds its model and its directives.
fn read(
    stage: &Stage,
    body: &[u8],
    kind: Kind,
    check: fn(&Value) -> Result<(), Refusal>,
    text: fn(&Value) -> String,
) -> Result<(Value, &'static Model, Script), Refusal> {
    let body: Value = serde_json::from_slice(body)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| refusal(400, "Invalid JSON in the request body", "invalid_request"))?;
    check(&body)?;
    let names = body["model"]
        .as_str()
        .into_iter()
        .chain(body["models"].as_array().into_iter().flatten().filter_map(Value::as_str));
    let names: Vec<&str> = names.collect();
    let Some(first) = names.first() else {
        return Err(refusal(400, "No models provided", "invalid_request"));
    };
    let Some(model) = names.iter().find_map(|name| catalogue::openrouter(name)).filter(|model| model.kind == kind)
    else {
        return Err(refusal(400, format!("{first} is not a valid model ID"), "invalid_request"));
    };
    let script = Script::read(&text(&body), Vendor::OpenRouter, &stage.takes)
        .map_err(|message| refusal(400, message, "invalid_request"))?;
    Ok((body, model, script))
}

async fn embeddings(
    State(stage): State<Arc<Stage>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut watch = match enter(&stage, (&method, &uri, &headers), &body) {
        Ok(watch) => watch,
        Err(response) => return *response,
    };
    let texts = |body: &Value| inputs(body).into_iter().next().unwrap_or_default();
    let (body, model, script) = match read(&stage, &body, Kind::Embedding, has_input, texts) {
        Ok(read) => read,
        Err(refused) => return refuse(&mut watch, &refused),
    };
    let full = if model.id.ends_with("3-small") { 1536 } else { 3072 };
    let wanted = body["dimensions"].as_u64().and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(full);
    if wanted == 0 || wanted > full {
        return refuse(&mut watch, &refusal(400, format!("dimensions: at most {full}"), "invalid_request"));
    }
    let inputs = inputs(&body);
    let tokens = script.usage.prompt.unwrap_or_else(|| inputs.iter().map(|text| mind::tokens(text).max(1)).sum());
    let data = inputs.iter().enumerate().map(|(index, text)| {
        let vector = mind::embed(text, wanted);
        let embedding = if body["encoding_format"] == "base64" {
            json!(STANDARD.encode(vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()))
        } else {
            json!(vector)
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let id = format!("gen-emb-{}", stage.serial());
    watch.bill(Bill {
        model: model.id.clone(),
        generation: Some(id.clone()),
        asked: asked(inputs.first().map_or("", String::as_str)),
        stream: false,
        prompt: tokens,
        completion: 0,
        fails: script.fails(),
    });
    let mut answer = json!({
        "object": "list", "id": id, "model": model.id, "provider": "OpenAI",
        "data": data.collect::<Vec<_>>(),
    });
    if !script.no_usage {
        let cost = model.cost(tokens, 0, 0);
        answer["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens, "cost": cost});
    }
    play::play::<OpenRouter>(&stage, watch, &script, Answer::Whole(answer), Box::new(|_, _| {})).await
}

fn has_input(body: &Value) -> Result<(), Refusal> {
    let texts = inputs(body);
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(refusal(400, "input: expected text, a list of texts or of tokens", "invalid_request"));
    }
    match body["encoding_format"].as_str() {
        Some("float" | "base64") => Ok(()),
        None if body["encoding_format"].is_null() => Ok(()),
        _ => Err(refusal(400, "encoding_format: expected float or base64", "invalid_request")),
    }
}

/// A list of tokens is one input, whose text is its JSON.
fn inputs(body: &Value) -> Vec<String> {
    match &body["input"] {
        Value::String(text) => vec![text.clone()],
        Value::Array(list) if list.first().is_some_and(Value::is_u64) => {
            vec![body["input"].to_string()]
        }
        Value::Array(list) => list.iter().map(|item| item.as_str().map_or(item.to_string(), str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

async fn models(State(stage): State<Arc<Stage>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    // The list is public: a missing key is no error, only noted.
    let mut watch = stage.journal.open(Vendor::OpenRouter, (&method, &uri, &headers), &[]);
    let everything = uri.query().is_some_and(|query| query.contains("output_modalities=all"));
    let shown = catalogue::all().iter().filter(|model| everything || model.kind == Kind::Chat);
    let mut data: Vec<Value> = shown.map(Model::listing).collect();
    // A router has no price of its own; whoever sells it by this list loses money, so it must be here to be refused.
    let mut router = data[0].clone();
    for name in ["id", "canonical_slug"] {
        router[name] = json!("openrouter/auto");
    }
    router["name"] = json!("Auto Router");
    router["pricing"] = json!({"prompt": "-1", "completion": "-1"});
    data.push(router);
    let total = data.len();
    finish(&mut watch, play::json(200, &json!({"data": data, "total_count": total, "links": {"next": null}})))
}

async fn endpoints(
    State(stage): State<Arc<Stage>>,
    Path((author, slug)): Path<(String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let mut watch = stage.journal.open(Vendor::OpenRouter, (&method, &uri, &headers), &[]);
    match catalogue::openrouter(&format!("{author}/{slug}")) {
        Some(model) => {
            let mut data = model.listing();
            data["endpoints"] = json!([]);
            finish(&mut watch, play::json(200, &json!({"data": data})))
        }
        None => refuse(&mut watch, &refusal(404, "Model not found", "not_found")),
    }
}

async fn generation(
    State(stage): State<Arc<Stage>>,
    Query(query): Query<Vec<(String, String)>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let mut watch = match enter(&stage, (&method, &uri, &headers), &[]) {
        Ok(watch) => watch,
        Err(response) => return *response,
    };
    let Some((_, id)) = query.into_iter().find(|(name, _)| name == "id") else {
        return refuse(&mut watch, &refusal(400, "id: required", "invalid_request"));
    };
    let known = match lock(&stage.generations).get_mut(&id) {
        Some(generation) if generation.late == 0 => Some(generation.record.clone()),
        Some(generation) => {
            generation.late -= 1;
            None
        }
        None => None,
    };
    match known {
        Some(record) => finish(&mut watch, play::json(200, &json!({"data": record}))),
        None => refuse(&mut watch, &refusal(404, format!("Generation {id} not found"), "not_found")),
    }
}

async fn key(State(stage): State<Arc<Stage>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let mut watch = match enter(&stage, (&method, &uri, &headers), &[]) {
        Ok(watch) => watch,
        Err(response) => return *response,
    };
    finish(&mut watch, play::json(200, &json!({"data": account::key()})))
}

async fn nowhere(State(stage): State<Arc<Stage>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let mut watch = stage.journal.open(Vendor::OpenRouter, (&method, &uri, &headers), &[]);
    let mut response = play::json(404, &Value::Null);
    *response.body_mut() = Body::from("<!DOCTYPE html><html><body>404</body></html>");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    finish(&mut watch, response)
}

/// The question without its directives.
fn asked(text: &str) -> String {
    script::plain(text)
}
