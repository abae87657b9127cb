//! Answers as they are kept, repeated and passed on.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aihub_core::idempotency::{Kept, StoredAnswer};
use aihub_core::{CallId, Error, ErrorKind};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::Receiver;

use crate::rescue::envelope;

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// What makes sense of a body, or leads to what was made. Everything else is about one exchange, not about
/// the answer, and is said anew by the layers around.
const SELECTED: [HeaderName; 4] = [CONTENT_TYPE, CACHE_CONTROL, LOCATION, HeaderName::from_static("x-accel-buffering")];

/// The body of an answer that is passed on while it is kept, or repeated from the store.
#[derive(Debug)]
pub struct AnswerBody(Source);

#[derive(Debug)]
enum Source {
    Whole(Bytes),
    /// With how much is to come, where that is known.
    Running(Receiver<Piece>, Option<u64>),
}

/// A piece of an answer that is passed on; `Ok(None)` is its end. Without one it has broken off.
pub(super) type Piece = Result<Option<Frame<Bytes>>, Error>;

impl AnswerBody {
    /// A body of these bytes.
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        Self(Source::Whole(bytes.into()))
    }

    pub(super) const fn running(pieces: Receiver<Piece>, length: Option<u64>) -> Self {
        Self(Source::Running(pieces, length))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let (pieces, left) = match &mut self.0 {
            Source::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Source::Whole(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Running(pieces, left) => (pieces, left),
        };
        let piece = match ready!(pieces.poll_recv(cx)) {
            Some(Ok(Some(frame))) => {
                let size = frame.data_ref().map_or(0, Bytes::len) as u64;
                *left = left.map(|left| left.saturating_sub(size));
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(Ok(None)) => None,
            Some(Err(error)) => Some(Err(error)),
            None => Some(Err(broken_off())),
        };
        self.0 = Source::Whole(Bytes::new());
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Source::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Running(_, left) => left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// The answer again.
pub(super) fn replay(stored: StoredAnswer) -> Result<Response<AnswerBody>, Error> {
    let mut response = Response::new(AnswerBody::of(stored.body));
    *response.status_mut() = StatusCode::from_u16(stored.status).map_err(unreadable)?;
    let headers = response.headers_mut();
    for (name, value) in stored.headers {
        let name = HeaderName::try_from(name).map_err(unreadable)?;
        headers.insert(name, HeaderValue::try_from(value).map_err(unreadable)?);
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    // It will not become another one, whatever SDKs think of its status.
    headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    Ok(response)
}

#[cold]
fn unreadable(error: impl Into<http::Error>) -> Error {
    Error::new(ErrorKind::Internal, "A kept answer could not be read: ask the operator")
        .with_alert()
        .with_source(error.into())
}

#[cold]
fn broken_off() -> Error {
    Error::new(ErrorKind::Internal, "The answer broke off: ask for it again under the same idempotency key")
}

/// A failure as [`Rescue`](crate::Rescue) answers it.
pub(super) fn failure(error: &Error, request: CallId) -> Kept {
    Kept::Answer(StoredAnswer {
        status: error.kind().status(),
        headers: vec![(CONTENT_TYPE.as_str().to_owned(), "application/json".to_owned())],
        body: envelope(error, Some(request)),
    })
}

/// An answer while it is passed on: its pieces, which are shared with whoever they are passed to.
#[derive(Debug)]
pub(super) struct Recording {
    status: StatusCode,
    headers: Vec<(String, String)>,
    /// `None` once there are too many.
    pieces: Option<Vec<Bytes>>,
    room: usize,
}

impl Recording {
    /// Of an answer with this head, of at most `max_bytes`.
    pub(super) fn new(status: StatusCode, headers: &HeaderMap, max_bytes: usize) -> Self {
        let named = |name: &HeaderName| Some((name.as_str().to_owned(), headers.get(name)?.to_str().ok()?.to_owned()));
        Self { status, headers: SELECTED.iter().filter_map(named).collect(), pieces: Some(Vec::new()), room: max_bytes }
    }

    pub(super) fn push(&mut self, piece: &Bytes) {
        match self.room.checked_sub(piece.len()) {
            Some(room) => self.room = room,
            None => self.pieces = None,
        }
        if let Some(pieces) = &mut self.pieces {
            pieces.push(piece.clone());
        }
    }

    /// The answer is whole.
    pub(super) fn kept(self) -> Kept {
        let Some(pieces) = self.pieces else { return Kept::TooLarge };
        let body = match &*pieces {
            [piece] => piece.clone(),
            pieces => pieces.concat().into(),
        };
        Kept::Answer(StoredAnswer { status: self.status.as_u16(), headers: self.headers, body })
    }
}
