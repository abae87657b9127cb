//! Gemini: routes, keys and the methods of its models.

mod check;
mod fault;
mod fields;
mod model;
mod read;
mod wire;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, Method, Uri},
    response::Response,
    routing::get,
};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    End, GEMINI_KEY, Stage, Vendor,
    book::Bill,
    catalogue::{self, Kind},
    mind,
    play::{self, Answer, Framing},
    script::{self, Script},
    seen::Watch,
};
use check::{Refusal, invalid};
use fault::Gemini;
use model::Name;

pub(crate) fn routes() -> Router<Arc<Stage>> {
    Router::new().route("/models", get(models)).route("/models/{target}", get(one_model).post(call)).fallback(nowhere)
}

/// Notes the request and checks its key, which belongs into the header, not into the query.
fn enter(stage: &Stage, request: (&Method, &Uri, &HeaderMap), body: &[u8]) -> Result<Watch, Box<Response>> {
    let mut watch = stage.journal.open(Vendor::Gemini, request, body);
    let message = match request.2.get("x-goog-api-key").and_then(|key| key.to_str().ok()) {
        Some(GEMINI_KEY) => return Ok(watch),
        None => {
            let refusal = Refusal {
                code: 403,
                status: "PERMISSION_DENIED",
                message:
                    "Method doesn't allow unregistered callers (callers without established identity). Please use \
                          API Key or other form of API consumer identity to call this API."
                        .into(),
                details: Value::Null,
            };
            return Err(Box::new(refuse(&mut watch, &refusal)));
        }
        Some(_) => "API key not valid. Please pass a valid API key.",
    };
    let details = json!([
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"}},
        {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message},
    ]);
    Err(Box::new(refuse(&mut watch, &Refusal { details, ..invalid(message) })))
}

fn refuse(watch: &mut Watch, refusal: &Refusal) -> Response {
    finish(watch, play::json(refusal.code, &refusal.body()))
}

fn finish(watch: &mut Watch, response: Response) -> Response {
    watch.status(response.status());
    watch.end(End::Completed);
    response
}

fn no_model(name: &str, method: &str) -> Refusal {
    Refusal {
        code: 404,
        status: "NOT_FOUND",
        message: format!(
            "models/{name} is not found for API version v1beta, or is not supported for {method}. Call ListModels to see \
             the list of available models and their supported methods."
        ),
        details: Value::Null,
    }
}

async fn call(
    State(stage): State<Arc<Stage>>,
    Path(target): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut watch = match enter(&stage, (&method, &uri, &headers), &body) {
        Ok(watch) => watch,
        Err(response) => return *response,
    };
    let performance = target.rsplit_once(':').ok_or_else(|| no_model(&target, "POST")).and_then(|(name, method)| {
        let sse = uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
        let kind = if method.contains("mbed") { Kind::Embedding } else { Kind::Chat };
        // Any model counts tokens.
        let known = catalogue::gemini(name).filter(|model| method == "countTokens" || model.kind == kind);
        known.ok_or_else(|| no_model(name, method))?;
        let body: Value = serde_json::from_slice(&body)
            .map_err(|error| invalid(format!("Invalid JSON payload received. Unexpected token.\n{error}\n^")))?;
        perform(&stage, &Name(name.to_owned()), method, sse, &body)
    });
    match performance {
        Ok((script, answer, bill)) => {
            if let Some(bill) = bill {
                watch.bill(bill);
            }
            play::play::<Gemini>(&stage, watch, &script, answer, Box::new(|_, _| {})).await
        }
        Err(refused) => refuse(&mut watch, &refused),
    }
}

/// What is played, and what is billed for it.
type Performance = (Script, Answer, Option<Bill>);

fn perform(stage: &Stage, name: &Name, method: &str, sse: bool, body: &Value) -> Result<Performance, Refusal> {
    let script = |text: &str| Script::read(text, Vendor::Gemini, &stage.takes).map_err(invalid);
    match method {
        "generateContent" | "streamGenerateContent" => {
            let request = read(body, &fields::GENERATE)?;
            check::generate(name, &request)?;
            let script = script(&wire::last_user_text(&request))?;
            let question = wire::question(name, &request);
            let reply = mind::answer(&question, &script);
            let id = format!("scripted-{}", stage.serial());
            let bill = Bill {
                model: name.0.clone(),
                generation: Some(id.clone()),
                asked: question.asked,
                stream: method != "generateContent",
                prompt: reply.usage.prompt,
                completion: reply.usage.completion + reply.usage.reasoning,
                fails: script.fails(),
            };
            let frame = wire::Frame { name, response_id: id, request: &request };
            let answer = match (method, sse) {
                ("generateContent", _) => Answer::Whole(frame.whole(&reply, &script)),
                (_, true) => Answer::Events(Framing::Bare, frame.events(&reply, &script)),
                (_, false) => Answer::Events(Framing::Array, frame.events(&reply, &script)),
            };
            Ok((script, answer, Some(bill)))
        }
        "countTokens" => {
            let mut request = read(body, &fields::COUNT)?;
            if !request["generateContentRequest"].is_null() {
                request = request["generateContentRequest"].take();
            }
            check::contents(&request)?;
            let script = script(&wire::last_user_text(&request))?;
            let count = wire::question(name, &request).prompt_tokens;
            let count = script.usage.prompt.unwrap_or(count);
            let details = json!([{"modality": "TEXT", "tokenCount": count}]);
            Ok((script, Answer::Whole(json!({"totalTokens": count, "promptTokensDetails": details})), None))
        }
        "embedContent" => {
            let request = read(body, &fields::EMBED)?;
            let (text, embedding) = embed(&request)?;
            let script = script(&text)?;
            let bill = embedding_bill(name, &text, mind::tokens(&text).max(1), &script);
            Ok((script, Answer::Whole(json!({"embedding": embedding})), Some(bill)))
        }
        "batchEmbedContents" => {
            let request = read(body, &fields::BATCH_EMBED)?;
            let requests = request["requests"].as_array().map_or(&[][..], Vec::as_slice);
            if !(1..=100).contains(&requests.len()) {
                return Err(invalid(
                    "* BatchEmbedContentsRequest.requests: at least one and at most 100 requests can be in one batch\n",
                ));
            }
            let wanted = format!("models/{}", name.0);
            if requests.iter().any(|request| request["model"] != wanted.as_str()) {
                return Err(invalid(
                    "* BatchEmbedContentsRequest.requests[0].model: must match the model of the batch\n",
                ));
            }
            let embedded = requests.iter().map(embed).collect::<Result<Vec<_>, _>>()?;
            let script = script(&embedded[0].0)?;
            let count = embedded.iter().map(|(text, _)| mind::tokens(text).max(1)).sum();
            let count: u64 = script.usage.prompt.unwrap_or(count);
            let bill = embedding_bill(name, &embedded[0].0, count, &script);
            let mut answer = json!({"embeddings": embedded.iter().map(|(_, vector)| vector).collect::<Vec<_>>()});
            // The older model says nothing about its usage.
            if !script.no_usage && name.0 != "gemini-embedding-001" {
                let details = json!([{"modality": "TEXT", "tokenCount": count}]);
                answer["usageMetadata"] = json!({"promptTokenCount": count, "promptTokenDetails": details});
            }
            Ok((script, Answer::Whole(answer), Some(bill)))
        }
        _ => Err(no_model(&name.0, method)),
    }
}

/// What an embedding is billed with; it has no id.
fn embedding_bill(name: &Name, text: &str, prompt: u64, script: &Script) -> Bill {
    let (model, asked, fails) = (name.0.clone(), script::plain(text), script.fails());
    Bill { model, generation: None, asked, stream: false, prompt, completion: 0, fails }
}

fn read(body: &Value, kind: &'static fields::Kind) -> Result<Value, Refusal> {
    read::read(body, kind).map_err(|violations| {
        let message: Vec<&str> = violations.iter().map(|violation| violation.description.as_str()).collect();
        let named =
            violations.iter().map(|violation| json!({"field": violation.field, "description": violation.description}));
        let details = json!([{"@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": named.collect::<Vec<_>>()}]);
        Refusal { details, ..invalid(message.join("\n")) }
    })
}

/// The text and its vector.
fn embed(request: &Value) -> Result<(String, Value), Refusal> {
    let parts = request["content"]["parts"].as_array().map_or(&[][..], Vec::as_slice);
    let text: String = parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        return Err(invalid("* EmbedContentRequest.content: contents is not specified\n"));
    }
    let dimensions = request["outputDimensionality"].as_u64().unwrap_or(3072);
    if !(1..=3072).contains(&dimensions) {
        return Err(invalid("* EmbedContentRequest.output_dimensionality: must be in the range [1, 3072].\n"));
    }
    let vector = mind::embed(&text, usize::try_from(dimensions).unwrap_or(3072));
    Ok((text, json!({"values": vector})))
}

async fn models(State(stage): State<Arc<Stage>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let mut watch = match enter(&stage, (&method, &uri, &headers), &[]) {
        Ok(watch) => watch,
        Err(response) => return *response,
    };
    let number = |name: &str| {
        let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(known, _)| *known == name).and_then(|(_, value)| value.parse::<usize>().ok())
    };
    let (size, from) = (number("pageSize").unwrap_or(50).clamp(1, 1000), number("pageToken").unwrap_or(0));
    let all: Vec<Value> = catalogue::all().iter().filter_map(model::listing).collect();
    let page: Vec<&Value> = all.iter().skip(from).take(size).collect();
    let mut answer = json!({"models": page});
    if from + size < all.len() {
        answer["nextPageToken"] = json!((from + size).to_string());
    }
    finish(&mut watch, play::json(200, &answer))
}

async fn one_model(
    State(stage): State<Arc<Stage>>,
    Path(target): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let mut watch = match enter(&stage, (&method, &uri, &headers), &[]) {
        Ok(watch) => watch,
        Err(response) => return *response,
    };
    match catalogue::gemini(&target).and_then(model::listing) {
        Some(model) => finish(&mut watch, play::json(200, &model)),
        None => refuse(&mut watch, &no_model(&target, "GetModel")),
    }
}

async fn nowhere(State(stage): State<Arc<Stage>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let mut watch = stage.journal.open(Vendor::Gemini, (&method, &uri, &headers), &[]);
    refuse(&mut watch, &Refusal { code: 404, status: "NOT_FOUND", message: "Not found".into(), details: Value::Null })
}
