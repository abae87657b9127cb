//! The vendors over their socket, without anybody's SDK: faults, the journal, and the end of it all.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod book;
mod faults;
mod shapes;

use aihub_vendors::{GEMINI_KEY, OPENROUTER_KEY, Vendors};
use axum::http::{Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};

/// Whom a test speaks to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Dialect {
    OpenRouter,
    Gemini,
}

const BOTH: [Dialect; 2] = [Dialect::OpenRouter, Dialect::Gemini];

async fn post(url: String, body: &Value) -> Response<Incoming> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::post(url)
        .header("authorization", format!("Bearer {OPENROUTER_KEY}"))
        .header("x-goog-api-key", GEMINI_KEY)
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .unwrap();
    client.request(request).await.unwrap()
}

async fn get(url: String) -> Value {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::get(url)
        .header("authorization", format!("Bearer {OPENROUTER_KEY}"))
        .header("x-goog-api-key", GEMINI_KEY)
        .body(Full::default())
        .unwrap();
    json_of(client.request(request).await.unwrap()).await.1
}

async fn json_of(response: Response<Incoming>) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

impl Dialect {
    /// Sends one user text.
    async fn ask(self, vendors: &Vendors, text: &str, stream: bool) -> Response<Incoming> {
        match self {
            Self::OpenRouter => {
                let messages = json!([{"role": "user", "content": text}]);
                let body = json!({"model": "openai/gpt-5.4-mini", "messages": messages, "stream": stream});
                post(format!("{}/chat/completions", vendors.openrouter_base_url()), &body).await
            }
            Self::Gemini => {
                let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
                let body = json!({"contents": [{"role": "user", "parts": [{"text": text}]}]});
                gemini(vendors, "gemini-2.5-flash", method, &body).await
            }
        }
    }

    fn text_of(self, answer: &Value) -> String {
        let pointer = match self {
            Self::OpenRouter => "/choices/0/message/content",
            Self::Gemini => "/candidates/0/content/parts/0/text",
        };
        answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

async fn gemini(vendors: &Vendors, model: &str, method: &str, body: &Value) -> Response<Incoming> {
    post(format!("{}/models/{model}:{method}", vendors.gemini_base_url()), body).await
}

/// Reads a stream to its end; the flag says whether that was a clean one.
async fn read(response: Response<Incoming>) -> (String, bool) {
    let mut body = response.into_body();
    let mut text = String::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap()),
            Err(_) => return (text, false),
        }
    }
    (text, true)
}

/// The parsed data events of a stream.
fn events(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}
