//! A reply as server-sent events, written as it comes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aihub_core::chat::{ChatChunk, ChatEvent, Finish};
use aihub_core::{CallId, ChatReply, Error};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream as _;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http_body::Frame;

/// How a dialect writes the events of a reply. Each method gives whole events, or nothing.
pub(crate) trait Dialect: Send + Unpin + 'static {
    /// A piece of the answer.
    fn piece(&mut self, event: ChatEvent) -> Result<Bytes, Error>;

    /// Everything that follows the last piece.
    fn finish(&mut self, finish: &Finish) -> Bytes;
}

/// The response that writes `reply` in `dialect`.
pub(crate) fn respond(reply: ChatReply, dialect: impl Dialect, id: CallId) -> Response {
    let mut response = Response::new(Body::new(EventBody { reply, dialect, id, over: false }));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Asks proxies in front (nginx) not to hold events back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

struct EventBody<D> {
    reply: ChatReply,
    dialect: D,
    id: CallId,
    over: bool,
}

impl<D: Dialect> http_body::Body for EventBody<D> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        while !this.over {
            let written = match ready!(Pin::new(&mut this.reply).poll_next(cx)) {
                None => break,
                Some(Ok(ChatEvent::Finish(finish))) => {
                    this.over = true;
                    this.dialect.finish(&finish)
                }
                Some(Ok(event)) => match this.dialect.piece(event) {
                    Ok(bytes) => bytes,
                    Err(error) => this.fail(&error),
                },
                Some(Err(error)) => this.fail(&error),
            };
            if !written.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(written))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}

impl<D> EventBody<D> {
    /// The status is sent already: the error is an event, and the last one. No `[DONE]` follows,
    /// so that no reader takes the answer for complete.
    fn fail(&mut self, error: &Error) -> Bytes {
        self.over = true;
        tracing::warn!(request_id = %self.id, kind = %error.kind(), code = error.code(), error = ?error, "a stream failed after its first event");
        data(&aihub_layers::envelope(error, Some(self.id)))
    }
}

/// One event with this data.
pub(crate) fn data(json: &[u8]) -> Bytes {
    [b"data: ", json, b"\n\n"].concat().into()
}

/// A chunk as an event.
pub(crate) fn chunk(chunk: &ChatChunk) -> Bytes {
    let mut event = Vec::with_capacity(320);
    event.extend_from_slice(b"data: ");
    serde_json::to_writer(&mut event, chunk).expect("a chunk is plain JSON, and a vector takes it");
    event.extend_from_slice(b"\n\n");
    event.into()
}
