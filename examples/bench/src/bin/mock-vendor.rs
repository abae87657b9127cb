//! A vendor that answers at once from memory: OpenAI's dialect at `…/chat/completions`, Gemini's at `…:generateContent`
//! and `…:streamGenerateContent`.
//!
//! `mock-vendor [--listen 127.0.0.1:0]`; a stream is paced by the header `x-pace-ms` or by `pace-ms=N` in the prompt.

use std::rc::Rc;
use std::time::Duration;

use aihub_bench::replies::{Events, Replies, pace, wants_stream};
use aihub_bench::{Failure, options, serve};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Reply = Response<Either<Full<Bytes>, Events>>;

fn main() -> Result<(), Failure> {
    let options = options(std::env::args().skip(1), &["listen"])?;
    let replies = Rc::new(Replies::default());
    serve(options.get("listen").map_or("127.0.0.1:0", String::as_str), move |request| {
        let replies = Rc::clone(&replies);
        async move {
            let (head, body) = request.into_parts();
            // The whole prompt is read before the answer, as a model does.
            match body.collect().await {
                Ok(body) => answer(&replies, head.uri.path(), &head.headers, &body.to_bytes()),
                Err(_) => plain(StatusCode::BAD_REQUEST, Bytes::new()),
            }
        }
    })
}

fn answer(replies: &Replies, path: &str, headers: &HeaderMap, request: &[u8]) -> Reply {
    let header = headers.get("x-pace-ms").and_then(|pace| pace.to_str().ok()?.parse().ok()).map(Duration::from_millis);
    let pace = || header.or_else(|| pace(request));
    if path.ends_with("/chat/completions") {
        if wants_stream(request) {
            return events(Events::new(replies.openai_events.clone(), pace()));
        }
        return plain(StatusCode::OK, replies.openai.clone());
    }
    if path.ends_with(":streamGenerateContent") {
        return events(Events::new(replies.gemini_events.clone(), pace()));
    }
    if path.ends_with(":generateContent") {
        return plain(StatusCode::OK, replies.gemini.clone());
    }
    plain(StatusCode::NOT_FOUND, Bytes::from_static(br#"{"error":{"code":404,"message":"no such path"}}"#))
}

fn plain(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    reply
}

fn events(events: Events) -> Reply {
    let mut reply = Response::new(Either::Right(events));
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    reply
}
