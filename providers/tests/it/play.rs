//! A vendor of both dialects that always works.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response, header};
use serde_json::{Value, json};

/// The answer that is on record.
pub(crate) const GENERATION: &str = "gen-1";

/// The last number of output tokens that was asked for.
pub(crate) type Asked = Arc<Mutex<Option<u64>>>;

/// A vendor that plays until it is dropped.
pub(crate) struct Vendor {
    pub(crate) address: String,
    pub(crate) asked: Asked,
    serving: tokio::task::JoinHandle<()>,
}

impl Vendor {
    pub(crate) async fn start() -> Self {
        let asked = Asked::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let app = axum::Router::new().fallback(play).with_state(Arc::clone(&asked));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.expect("a server") });
        Self { address, asked, serving }
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn play(State(asked): State<Asked>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let looked_up = request.uri().query() == Some(&format!("id={GENERATION}"));
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.expect("a body");
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let method = path.rsplit(['/', ':']).next().unwrap_or_default();
    if matches!(method, "generateContent" | "streamGenerateContent" | "completions") {
        let limits =
            [&body["generationConfig"]["maxOutputTokens"], &body["max_completion_tokens"], &body["max_tokens"]];
        *asked.lock().expect("a lock") = limits.into_iter().find_map(Value::as_u64);
    }
    match method {
        "generateContent" => whole(&gemini("Hello there.", Some("STOP"))),
        "streamGenerateContent" => stream(&[gemini("Hello", None), gemini(" there.", Some("STOP"))], ""),
        "countTokens" => whole(&json!({"totalTokens": 9})),
        "batchEmbedContents" => whole(&json!({"embeddings": [{"values": [0.5, 0.5]}, {"values": [1, 0]}]})),
        "completions" if body["stream"] == true => {
            let usage = json!({"object": "chat.completion.chunk", "id": "c", "created": 1, "model": "m", "choices": [], "usage": usage()});
            stream(&[chunk("Hello", None), chunk(" there.", None), chunk("", Some("stop")), usage], "data: [DONE]\n\n")
        }
        "completions" => whole(&json!({
            "object": "chat.completion", "id": "c", "created": 1, "model": "m", "usage": usage(),
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello there."}, "finish_reason": "stop"}],
        })),
        "embeddings" => whole(&json!({
            "object": "list", "model": "m", "usage": {"prompt_tokens": 4, "total_tokens": 4},
            "data": [{"object": "embedding", "index": 0, "embedding": [1]}, {"object": "embedding", "index": 1, "embedding": [1]}],
        })),
        "models" => whole(&json!({"models": [{"name": "models/m"}], "data": [{"id": "vendor/model", "pricing": {}}]})),
        "generation" if looked_up => whole(&json!({"data": {
            "id": GENERATION, "total_cost": 0.5, "cancelled": true, "native_tokens_prompt": 9,
            "native_tokens_completion": 21, "native_tokens_reasoning": 4, "native_tokens_cached": 2,
        }})),
        _ => Response::builder().status(404).body(Body::empty()).expect("a response"),
    }
}

fn gemini(text: &str, reason: Option<&str>) -> Value {
    json!({
        "candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": reason, "index": 0}],
        "usageMetadata": {"promptTokenCount": 6, "candidatesTokenCount": 3, "totalTokenCount": 9},
    })
}

fn chunk(text: &str, reason: Option<&str>) -> Value {
    json!({
        "object": "chat.completion.chunk", "id": "c", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}],
    })
}

fn usage() -> Value {
    json!({"prompt_tokens": 6, "completion_tokens": 3, "total_tokens": 9})
}

fn whole(body: &Value) -> Response<Body> {
    let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
    response.body(body.to_string().into()).expect("a response")
}

fn stream(events: &[Value], end: &str) -> Response<Body> {
    let text: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let response = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
    response.body((text.concat() + end).into()).expect("a response")
}
