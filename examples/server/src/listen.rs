//! The accept loop, and how it ends.

use std::convert::Infallible;
use std::time::Duration;

use aihub_layers::Peer;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt as _};

/// How long a connection may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Serves `app` until `stop`, then lets running answers finish for at most `drain`.
///
/// Connections without a running request are closed at once; what still runs at the deadline is
/// cut, and its calls are settled as callers gone.
///
/// A reader who takes nothing for `stalled` loses the connection: what waits for it holds memory, a
/// place and a vendor's stream.
///
/// Gives back what is left of `drain`.
pub(crate) async fn serve<S>(
    listener: TcpListener,
    app: S,
    stop: CancellationToken,
    drain: Duration,
    stalled: Duration,
) -> Duration
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(20)));
    let connections = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: accepting again at once would spin.
                tracing::error!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone before it was served");
            continue;
        }
        let app = app.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            app.clone().oneshot(request)
        });
        let mut stream = Box::pin(TimeoutStream::new(stream));
        stream.as_mut().set_write_timeout_pinned(Some(stalled));
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = connections.watch(connection);
        tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    let running = connections.count();
    tracing::info!(connections = running, drain_s = drain.as_secs(), "stopping: running answers may finish");
    let deadline = Instant::now() + drain;
    if tokio::time::timeout_at(deadline, connections.shutdown()).await.is_err() {
        tracing::warn!("the time to finish is over: what still runs is cut");
        // Dropping a connection drops its answers, which settles their calls.
        tasks.shutdown().await;
    }
    deadline.saturating_duration_since(Instant::now())
}
