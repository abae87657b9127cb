//! [`Intake`]: gathers a request's body, as long as it is neither too large nor too slow.
//!
//! The layers below see [`Bytes`]. A body that comes in one piece is handed on as that piece; only one
//! that comes in several is copied, once. One that is too large, or says beforehand that it will be,
//! is kept no further; it is read off within bounds, so that its sender sees the answer.
//!
//! All bodies that are being gathered have one bound on top ([`IntakeLayer::with_total`]): what a body
//! announces is taken from it beforehand, what it does not announce as it comes.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use std::time::Duration;
//!
//! use aihub_core::{Error, ErrorKind};
//! use aihub_layers::IntakeLayer;
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! let echo = service_fn(|request: Request<Bytes>| async { Ok::<_, Error>(Response::new(request.into_body())) });
//! let service = IntakeLayer::new(1_000, Duration::from_secs(10)).layer(echo);
//! let large = Request::new(Full::new(Bytes::from(vec![0; 1_001])));
//! assert_eq!(service.oneshot(large).await.unwrap_err().kind(), ErrorKind::TooLarge);
//! # Ok(())
//! # }
//! ```
//!
//! # Where it stands
//!
//! Below [`Authenticate`](crate::Authenticate) and [`RateLimit`](crate::RateLimit), so that nobody's
//! body is read who is refused anyway; directly above the handlers, which want bytes.
//!
//! # A wrong order
//!
//! Intake above Authenticate lets strangers fill the memory, up to the limit for every connection.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aihub_core::{Error, ErrorKind};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt as _;
use tower::{Layer, Service};

/// How long a refused body is read on at most.
const LINGER: Duration = Duration::from_secs(5);

/// Makes [`Intake`]. All services made of one layer share its total.
#[derive(Debug, Clone)]
pub struct IntakeLayer {
    max_bytes: usize,
    timeout: Duration,
    total: usize,
    gathering: Arc<AtomicUsize>,
}

impl IntakeLayer {
    /// Bodies of at most `max_bytes` (too high lets one request fill the memory; too low refuses
    /// long conversations and images) that are complete within `timeout` (too high lets slow senders
    /// hold connections; too low refuses large bodies on thin lines).
    pub fn new(max_bytes: usize, timeout: Duration) -> Self {
        Self { max_bytes, timeout, total: 512 << 20, gathering: Arc::default() }
    }

    /// At most `bytes` of bodies that are being gathered, all together; default 512 MiB. One body
    /// always fits. Too high lets many large bodies fill the memory; too low refuses some of them
    /// while there is room.
    #[must_use]
    pub fn with_total(mut self, bytes: usize) -> Self {
        self.total = bytes;
        self
    }
}

/// What one body takes of the total, for as long as it is gathered.
struct Room<'a> {
    of: &'a IntakeLayer,
    bytes: usize,
}

impl Room<'_> {
    /// Takes as much more as `bytes` in all need.
    fn grow_to(&mut self, bytes: usize) -> Result<(), Error> {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else { return Ok(()) };
        let taken = self.of.gathering.fetch_add(more, Ordering::Relaxed);
        self.bytes = bytes;
        if taken + more > self.of.total.max(self.of.max_bytes) { Err(full()) } else { Ok(()) }
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.of.gathering.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl<S> Layer<S> for IntakeLayer {
    type Service = Intake<S>;

    fn layer(&self, inner: S) -> Intake<S> {
        Intake { inner, limits: self.clone() }
    }
}

/// Gathers bodies. See the [module](self).
#[derive(Debug, Clone)]
pub struct Intake<S> {
    inner: S,
    limits: IntakeLayer,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Intake<S>
where
    S: Service<Request<Bytes>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Error: Into<Error>,
    S::Future: Send + 'static,
    ReqBody: Body<Data = Bytes> + Send + 'static,
    ReqBody::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<ResBody>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<ResBody>, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        // The service that was polled ready is the one that is called:
        // https://docs.rs/tower-service/latest/tower_service/trait.Service.html#be-careful-when-cloning-inner-services
        let other = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, other);
        let limits = self.limits.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let mut body = std::pin::pin!(body);
            let gathered = tokio::time::timeout(limits.timeout, limits.gather(body.as_mut())).await;
            let body = match gathered.map_err(|_| limits.too_slow())? {
                Err(error) if matches!(error.kind(), ErrorKind::TooLarge | ErrorKind::Unavailable) => {
                    limits.read_off(body).await;
                    return Err(error);
                }
                gathered => gathered?,
            };
            inner.call(Request::from_parts(parts, body)).await.map_err(Into::into)
        })
    }
}

impl IntakeLayer {
    async fn gather<B>(&self, mut body: Pin<&mut B>) -> Result<Bytes, Error>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let announced = body.size_hint().lower();
        if announced > self.max_bytes as u64 {
            return Err(self.too_large());
        }
        let announced = usize::try_from(announced).unwrap_or(0);
        let mut room = Room { of: self, bytes: 0 };
        room.grow_to(announced)?;
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            // Trailers say nothing that anybody here would read.
            let Ok(piece) = frame.map_err(|error| broken(error.into()))?.into_data() else { continue };
            let so_far = first.len() + rest.len() + piece.len();
            if so_far > self.max_bytes {
                return Err(self.too_large());
            }
            room.grow_to(so_far)?;
            if first.is_empty() && rest.is_empty() {
                first = piece;
                continue;
            }
            if rest.is_empty() {
                // What is announced is within the limit, so that a lie costs no more than the truth.
                rest.reserve(announced.max(so_far));
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&piece);
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    }

    /// Reads on what is refused, without keeping it: a sender whose connection is closed while it
    /// still sends sees it reset, not the answer (RFC 9112 §9.6), and an SDK tries again. Bounded by
    /// twice the limit and by [`LINGER`], after which the sender sees what it sees.
    async fn read_off<B: Body<Data = Bytes>>(&self, mut body: Pin<&mut B>) {
        let reading = async {
            let mut left = self.max_bytes.saturating_mul(2);
            while let Some(Ok(frame)) = body.frame().await {
                let size = frame.data_ref().map_or(0, Bytes::len);
                let Some(rest) = left.checked_sub(size) else { return };
                left = rest;
            }
        };
        // Out of time or out of bytes, the answer goes out.
        drop(tokio::time::timeout(LINGER, reading).await);
    }

    #[cold]
    fn too_large(&self) -> Error {
        Error::new(
            ErrorKind::TooLarge,
            format!("The request body is larger than {} bytes: send less at once", self.max_bytes),
        )
    }

    #[cold]
    fn too_slow(&self) -> Error {
        Error::new(
            ErrorKind::SlowCaller,
            format!("The request body did not arrive within {} s: send it faster", self.timeout.as_secs()),
        )
    }
}

#[cold]
fn full() -> Error {
    Error::new(ErrorKind::Unavailable, "There are more request bodies than can be taken at present: try again shortly")
        .with_code("overloaded")
        .with_retry_after(Duration::from_secs(1))
}

#[cold]
fn broken(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::new(ErrorKind::Invalid, "The request body broke off: send the request again").with_source(error)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use http_body::Frame;
    use http_body_util::{Empty, Full, StreamBody};
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    async fn take<B>(body: B) -> Result<Bytes, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let echo =
            service_fn(|request: Request<Bytes>| async { Ok::<_, Infallible>(Response::new(request.into_body())) });
        IntakeLayer::new(10, Duration::from_secs(2))
            .layer(echo)
            .oneshot(Request::new(body))
            .await
            .map(Response::into_body)
    }

    fn pieces(pieces: &[&'static str]) -> impl Body<Data = Bytes, Error = Infallible> + Send + use<> {
        let frames: Vec<_> = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect();
        StreamBody::new(stream::iter(frames))
    }

    #[tokio::test]
    async fn pieces_are_put_together() {
        assert_eq!(take(Empty::<Bytes>::new()).await.unwrap(), "");
        assert_eq!(take(pieces(&["", "hello", ""])).await.unwrap(), "hello");
        assert_eq!(take(pieces(&["he", "", "ll", "o"])).await.unwrap(), "hello");
        assert_eq!(take(pieces(&["12345", "67890"])).await.unwrap(), "1234567890");
    }

    /// A body that says that it is too long.
    struct Announced<S>(S);
    impl<S: Body<Data = Bytes> + Unpin> Body for Announced<S> {
        type Data = Bytes;
        type Error = S::Error;
        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, S::Error>>> {
            Pin::new(&mut self.0).poll_frame(cx)
        }
        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(11)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_large_is_read_off_within_bounds_and_refused() {
        let silent = stream::pending::<Result<Frame<Bytes>, Infallible>>();
        assert_eq!(take(Announced(StreamBody::new(silent))).await.unwrap_err().kind(), ErrorKind::TooLarge);
        let endless =
            StreamBody::new(stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"1234")))));
        assert_eq!(take(endless).await.unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn all_bodies_together_are_bounded() {
        let echo =
            service_fn(|request: Request<Bytes>| async { Ok::<_, Infallible>(Response::new(request.into_body())) });
        let layer = IntakeLayer::new(10, Duration::from_secs(2)).with_total(11);
        let service = layer.layer(echo);
        let stalled = || {
            let begun = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"1234")))]);
            StreamBody::new(begun.chain(stream::pending()))
        };
        let mut first = Box::pin(service.clone().oneshot(Request::new(stalled())));
        let mut second = Box::pin(service.clone().oneshot(Request::new(stalled())));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        assert_eq!(layer.gathering.load(Ordering::Relaxed), 8);
        for body in [Full::new(Bytes::from_static(b"1234")).boxed_unsync(), pieces(&["12", "34"]).boxed_unsync()] {
            let error = service.clone().oneshot(Request::new(body)).await.unwrap_err();
            assert_eq!((error.code(), error.retry_after()), ("overloaded", Some(Duration::from_secs(1))));
        }
        service.clone().oneshot(Request::new(pieces(&["123"]))).await.unwrap();
        drop(first);
        assert_eq!(second.await.unwrap_err().kind(), ErrorKind::SlowCaller);
        assert_eq!(layer.gathering.load(Ordering::Relaxed), 0, "nothing is kept of bodies that are gone");
        let tight =
            layer.with_total(0).layer(service_fn(|_: Request<Bytes>| async { Ok::<_, Infallible>(Response::new(())) }));
        tight.oneshot(Request::new(pieces(&["1234567890"]))).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_slow_is_refused() {
        let stalled =
            stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"{")))]).chain(stream::pending());
        assert_eq!(take(StreamBody::new(stalled)).await.unwrap_err().kind(), ErrorKind::SlowCaller);
    }

    #[tokio::test]
    async fn what_breaks_off_is_no_shorter_body() {
        let broken = stream::iter([Ok(Frame::data(Bytes::from_static(b"{"))), Err(std::io::Error::other("reset"))]);
        assert_eq!(take(StreamBody::new(broken)).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
