//! A request under a key, in a task of its own.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use aihub_core::idempotency::{Claim, Kept};
use aihub_core::{CallId, Error, ErrorKind, IdempotencyStore};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::Instrument as _;

use super::answer::{self, AnswerBody, Piece, Recording};
use super::{CallTrail, IdempotencyLayer, interrupted, repeated};
use crate::rescue::{Failure, RequestId};

/// Pieces that are read ahead of the caller.
const AHEAD: usize = 1;

/// Waits between the attempts to write down an end: some ten seconds in all. A store that is away for longer
/// finds the request interrupted.
const WAITS_MS: [u64; 4] = [100, 500, 2_000, 8_000];

type Answer<B> = Result<Response<B>, Error>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the caller is told first.
enum Head<B> {
    /// An answer whose body is passed on while it is kept, with its length where that is known.
    Passing(Response<Option<u64>>),
    /// Any other.
    Whole(Answer<B>),
}

/// What is written down of a request that has ended.
#[derive(Debug)]
enum End {
    Keep(Kept),
    GiveBack,
}

impl<B> IdempotencyLayer<B> {
    /// The answer to `request` under its claim: repeated, or from `inner`.
    pub(super) async fn answer<S>(self, claim: Claim, inner: S, request: Request<Bytes>) -> Answer<B>
    where
        S: Service<Request<Bytes>, Response = Response<B>> + Send + 'static,
        S::Error: Into<Error>,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        let (tell, told) = oneshot::channel();
        let (pass, pieces) = mpsc::channel(AHEAD);
        let (body, tasks) = (self.body, self.running.clone());
        // From the claim on: what was claimed by a caller who leaves at once would belong to nobody.
        tasks.spawn(self.run(claim, inner, request, tell, pass).in_current_span());
        match told.await {
            Ok(Head::Passing(head)) => Ok(head.map(|length| body(AnswerBody::running(pieces, length)))),
            Ok(Head::Whole(answer)) => answer,
            Err(_) => Err(failed()),
        }
    }

    async fn run<S>(
        self,
        claim: Claim,
        mut inner: S,
        mut request: Request<Bytes>,
        tell: oneshot::Sender<Head<B>>,
        pass: mpsc::Sender<Piece>,
    ) where
        S: Service<Request<Bytes>, Response = Response<B>>,
        S::Error: Into<Error>,
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let begun = self.store.begin(&claim).await;
        if let Some(answer) = begun.map_or_else(|error| Some(Err(error)), |begun| repeated(begun, self.body)) {
            return drop(tell.send(Head::Whole(answer)));
        }
        let trail = CallTrail::default();
        request.extensions_mut().insert(trail.clone());
        let request_id = request.extensions().get::<RequestId>().map(|id| id.0);
        let (max_bytes, linger) = (self.limits.max_bytes, self.limits.linger);
        let running = Running { store: self.store, claim, trail, request_id, max_bytes, linger, stop: self.stop };
        let answer = async move { inner.call(request).await.map_err(Into::into) };
        let ended = AssertUnwindSafe(running.run(answer, tell, pass)).catch_unwind().await;
        // What a panic said was printed by the panic hook; its caller sees the answer break off.
        if let Some(open) = ended.unwrap_or_else(|_| Some(running.without_answer())) {
            running.write_down_in_the_end(open).await;
        }
    }
}

/// One request that runs, whether its caller is there or not.
struct Running {
    store: Arc<dyn IdempotencyStore>,
    claim: Claim,
    trail: CallTrail,
    request_id: Option<CallId>,
    max_bytes: usize,
    linger: Duration,
    stop: CancellationToken,
}

impl Running {
    /// Runs `answer` and passes it on. Gives back its end if that could not be written down at once.
    async fn run<B>(
        &self,
        answer: impl Future<Output = Answer<B>>,
        tell: oneshot::Sender<Head<B>>,
        pass: mpsc::Sender<Piece>,
    ) -> Option<End>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        // The caller is there for as long as somebody would take a piece.
        let mut given_up = pin!(async {
            let left = async {
                pass.closed().await;
                tokio::time::sleep(self.linger).await;
            };
            tokio::select! { () = left => {}, () = self.stop.cancelled() => {} }
        });
        let mut answer = Box::pin(answer);
        let answered = tokio::select! {
            answered = &mut answer => answered,
            () = &mut given_up => {
                // At once: what runs below is cancelled by this.
                drop(answer);
                let open = self.write_down(self.without_answer()).await;
                drop(tell.send(Head::Whole(Err(interrupted()))));
                return open;
            }
        };
        match (self.verdict(&answered), answered) {
            (None, Ok(response)) => self.pass_on(response, tell, &pass, given_up).await,
            (end, answered) => {
                // Before the caller knows: it may repeat at once.
                let open = self.write_down(end.unwrap_or(End::GiveBack)).await;
                drop(tell.send(Head::Whole(answered)));
                open
            }
        }
    }

    /// What becomes of an answer; `None`: its body is passed on and kept.
    fn verdict<B>(&self, answered: &Answer<B>) -> Option<End> {
        let failure = match answered {
            Ok(response) => match response.extensions().get::<Failure>() {
                Some(failure) => failure.error(),
                None if response.status().is_success() || self.trail.may_cost() => return None,
                None => return Some(End::GiveBack),
            },
            Err(error) => error,
        };
        let kept = self.trail.may_cost().then(|| End::Keep(answer::failure(failure, self.request_id)));
        Some(kept.unwrap_or(End::GiveBack))
    }

    /// Passes the body on and keeps it. The end is written down before the last piece is handed on: who has
    /// the whole answer may repeat at once.
    async fn pass_on<B>(
        &self,
        response: Response<B>,
        tell: oneshot::Sender<Head<B>>,
        pass: &mpsc::Sender<Piece>,
        mut given_up: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<End>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (head, body) = response.into_parts();
        let mut body = Box::pin(body);
        let mut recording = Recording::new(head.status, &head.headers, self.max_bytes);
        drop(tell.send(Head::Passing(Response::from_parts(head, body.size_hint().exact()))));
        let (end, last) = loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = &mut given_up => break (Kept::Interrupted, Err(interrupted())),
            };
            let frame = match frame {
                None => break (recording.kept(), Ok(None)),
                Some(Err(error)) => break (Kept::Interrupted, Err(failed().with_source(error))),
                Some(Ok(frame)) => frame,
            };
            if let Some(piece) = frame.data_ref() {
                recording.push(piece);
            }
            if body.is_end_stream() {
                break (recording.kept(), Ok(Some(frame)));
            }
            tokio::select! {
                // A caller who left is no reason to stop, until it is given up.
                _ = pass.send(Ok(Some(frame))) => {}
                () = &mut given_up => break (Kept::Interrupted, Err(interrupted())),
            }
        };
        drop(body);
        let open = self.write_down(End::Keep(end)).await;
        let over = matches!(last, Ok(Some(_)));
        // Nobody may be there to take them.
        drop(pass.send(last).await);
        if over {
            drop(pass.send(Ok(None)).await);
        }
        open
    }

    fn without_answer(&self) -> End {
        if self.trail.may_cost() { End::Keep(Kept::Interrupted) } else { End::GiveBack }
    }

    /// Tries once. Gives the end back if it was not taken.
    async fn write_down(&self, end: End) -> Option<End> {
        let written = match &end {
            End::Keep(kept) => self.store.finish(&self.claim, kept.clone()).await,
            End::GiveBack => self.store.abandon(&self.claim).await,
        };
        let error = written.err()?;
        tracing::warn!(account = %self.claim.account, ?error, "the end of a request under an idempotency key could not be kept");
        Some(end)
    }

    async fn write_down_in_the_end(&self, end: End) {
        let mut open = Some(end);
        for wait_ms in WAITS_MS {
            let Some(end) = open else { return };
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            open = self.write_down(end).await;
        }
    }
}

#[cold]
fn failed() -> Error {
    Error::new(ErrorKind::Internal, "The service failed internally: try again")
}
