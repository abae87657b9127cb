//! Compression of the responses that gain by it.
//!
//! `tower_http`'s layer around everything would do the same and cost every response: its body carries
//! room for each encoder, 4.5 KiB, also through streams that are never compressed. Here it is put
//! around a response only once it is known to be worth it.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::body::Body;
use futures_util::future::{BoxFuture, Either};
use http::header::ACCEPT_ENCODING;
use http::{Request, Response};
use tower::{Layer, Service, ServiceExt as _, service_fn};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};

/// Makes [`Compress`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct CompressLayer;

impl<S> Layer<S> for CompressLayer {
    type Service = Compress<S>;

    fn layer(&self, inner: S) -> Compress<S> {
        Compress { inner }
    }
}

/// Compresses responses of some size for callers who take it; never streams of events, which a
/// compressor would hold back.
#[derive(Debug, Clone)]
pub(crate) struct Compress<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Compress<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let accepted = request.headers().get(ACCEPT_ENCODING).cloned();
        let answer = self.inner.call(request);
        let Some(accepted) = accepted else { return Either::Left(answer) };
        Either::Right(Box::pin(async move {
            let response = answer.await?;
            let worth_it = SizeAbove::new(1_024).and(NotForContentType::SSE);
            if !worth_it.should_compress(&response) {
                return Ok(response);
            }
            let mut question = Request::new(());
            question.headers_mut().insert(ACCEPT_ENCODING, accepted);
            let mut ready = Some(response);
            let given = service_fn(move |_| std::future::ready(Ok::<_, Infallible>(ready.take().unwrap_or_default())));
            let compressed = CompressionLayer::new().layer(given).oneshot(question).await?;
            Ok(compressed.map(Body::new))
        }))
    }
}
