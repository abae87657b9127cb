//! A loopback server that plays a vendor: it gives the answers it was told to, one after the
//! other, and keeps what it was asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Request, Uri};
use http_body_util::BodyExt as _;

/// What the server was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What the server answers.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

#[derive(Debug)]
struct Script {
    answers: VecDeque<Answer>,
    asked: Vec<Asked>,
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: String,
    script: Arc<Mutex<Script>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Serves `answers` in order; the last one again and again.
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let script = Arc::new(Mutex::new(Script { answers: answers.into(), asked: Vec::new() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&script));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.expect("a server") });
        Self { address, script, serving }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.script.lock().expect("a lock").asked.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let answer = {
        let mut script = script.lock().expect("a lock");
        script.asked.push(Asked { uri: head.uri, headers: head.headers, body });
        if script.answers.len() > 1 { script.answers.pop_front() } else { script.answers.front().cloned() }
    };
    let answer = answer.expect("an answer");
    // In small pieces, so that events are cut everywhere.
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        answer.body.chunks(17).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from_stream(futures_util::stream::iter(pieces))).expect("a response")
}
