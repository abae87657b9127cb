//! A request under a key, in a task of its own.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use aihub_core::idempotency::{Claim, Kept};
use aihub_core::{Error, ErrorKind};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::sync::{mpsc, oneshot};
use tower::Service;
use tracing::Instrument as _;

use super::answer::{self, AnswerBody, Piece, Recording};
use super::{CallTrail, IdempotencyLayer, after, interrupted, repeated};
use crate::rescue::Failure;

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
    pub(super) async fn answer<S>(self: Arc<Self>, claim: Claim, inner: S, request: Request<Bytes>) -> Answer<B>
    where
        S: Service<Request<Bytes>, Response = Response<B>> + Send + 'static,
        S::Error: Into<Error>,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        let (tell, told) = oneshot::channel();
        let (pass, pieces) = mpsc::channel(AHEAD);
        let running = Running { layer: Arc::clone(&self), claim, trail: CallTrail::default() };
        // From the claim on: what was claimed by a caller who leaves at once would belong to nobody.
        self.running.spawn(running.claimed(inner, request, tell, pass).in_current_span());
        match told.await {
            Ok(Head::Passing(head)) => Ok(head.map(|length| (self.body)(AnswerBody::running(pieces, length)))),
            Ok(Head::Whole(answer)) => answer,
            Err(_) => Err(failed()),
        }
    }
}

/// One request that runs, whether its caller is there or not.
struct Running<B> {
    layer: Arc<IdempotencyLayer<B>>,
    claim: Claim,
    trail: CallTrail,
}

impl<B> Running<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    async fn claimed<S>(
        self,
        mut inner: S,
        mut request: Request<Bytes>,
        tell: oneshot::Sender<Head<B>>,
        pass: mpsc::Sender<Piece>,
    ) where
        S: Service<Request<Bytes>, Response = Response<B>>,
        S::Error: Into<Error>,
    {
        match self.layer.store.begin(&self.claim).await.map(|begun| repeated(begun, self.layer.body)) {
            Ok(None) => {}
            Ok(Some(answer)) => return drop(tell.send(Head::Whole(answer))),
            Err(error) => {
                drop(tell.send(Head::Whole(Err(error))));
                // It may stand all the same, where the store's answer was lost on the way.
                return self.write_down_in_the_end(End::GiveBack).await;
            }
        }
        request.extensions_mut().insert(self.trail.clone());
        let answer = async move { inner.call(request).await.map_err(Into::into) };
        let ended = tokio::select! {
            ended = AssertUnwindSafe(self.run(answer, tell, pass)).catch_unwind() => ended,
            never = self.stay_heard_of() => match never {},
        };
        // What a panic said was printed by the panic hook; its caller sees the answer break off, and nobody
        // knows how far it came.
        if let Some(open) = ended.unwrap_or_else(|_| Some(End::Keep(Kept::Interrupted))) {
            self.write_down_in_the_end(open).await;
        }
    }

    /// Says now and then that the request runs.
    async fn stay_heard_of(&self) -> Infallible {
        let patience = self.layer.limits.patience;
        loop {
            tokio::time::sleep(patience / 3).await;
            let until = after(self.layer.clock.now(), patience);
            if let Err(error) = self.layer.store.extend(&self.claim, until).await {
                tracing::debug!(account = %self.claim.account, ?error, "it could not be said that a request still runs");
            }
        }
    }

    /// Runs `answer` and passes it on. Gives back its end if that could not be written down at once.
    async fn run(
        &self,
        answer: impl Future<Output = Answer<B>>,
        tell: oneshot::Sender<Head<B>>,
        pass: mpsc::Sender<Piece>,
    ) -> Option<End> {
        // The caller is there for as long as somebody would take a piece.
        let mut given_up = pin!(async {
            let left = async {
                pass.closed().await;
                tokio::time::sleep(self.layer.limits.linger).await;
            };
            tokio::select! { () = left => {}, () = self.layer.stop.cancelled() => {} }
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
    fn verdict(&self, answered: &Answer<B>) -> Option<End> {
        let failure = match answered {
            Ok(response) => match response.extensions().get::<Failure>() {
                Some(failure) => failure.error(),
                None if response.status().is_success() || self.trail.may_cost() => return None,
                None => return Some(End::GiveBack),
            },
            Err(error) => error,
        };
        let kept = self.trail.may_cost().then(|| End::Keep(answer::failure(failure, self.claim.request)));
        Some(kept.unwrap_or(End::GiveBack))
    }

    /// Passes the body on and keeps it. The end is written down before the last piece is handed on: who has
    /// the whole answer may repeat at once.
    async fn pass_on(
        &self,
        response: Response<B>,
        tell: oneshot::Sender<Head<B>>,
        pass: &mpsc::Sender<Piece>,
        mut given_up: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<End> {
        let (head, body) = response.into_parts();
        let mut body = Box::pin(body);
        let mut recording = Recording::new(head.status, &head.headers, self.layer.limits.max_bytes);
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
        let more = matches!(last, Ok(Some(_)));
        let rest = async {
            // Nobody may be there to take it.
            drop(pass.send(last).await);
            if more {
                drop(pass.send(Ok(None)).await);
            }
        };
        tokio::select! { biased; () = rest => {}, () = self.layer.stop.cancelled() => {} }
        open
    }

    fn without_answer(&self) -> End {
        if self.trail.may_cost() { End::Keep(Kept::Interrupted) } else { End::GiveBack }
    }

    /// Tries once. Gives the end back if it was not taken.
    async fn write_down(&self, end: End) -> Option<End> {
        let written = match &end {
            End::Keep(kept) => self.layer.store.finish(&self.claim, kept.clone()).await,
            End::GiveBack => self.layer.store.abandon(&self.claim).await,
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
