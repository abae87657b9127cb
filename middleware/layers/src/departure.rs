//! [`Departure`]: what becomes of a call whose caller leaves before its end, by a table.
//!
//! Dropping the future of a call, or its reply, is how a caller leaves. Some vendors stop then, others work on and send
//! their bill: [`Departures`] says which, by offer, and this layer sees to it.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use std::time::Duration;
//!
//! use aihub_core::{Call, ChatRequest, DepartureRule, Departures, Drains, Error, OnDeparture};
//! use aihub_layers::DepartureLayer;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! # let call = world::call();
//! let bills_to_the_end = OnDeparture::Drain { within: Duration::from_secs(30), cost_cap: None };
//! let rule = DepartureRule { provider: "first".into(), model: "*".to_owned(), stream: None, then: bills_to_the_end };
//! let drains = Drains::default();
//! let vendor = service_fn(|_: Call<ChatRequest>| async { Ok::<_, Error>(world::answer()) });
//! let service = DepartureLayer::new(Departures::from_iter([rule]), drains.clone()).layer(vendor);
//! drop(service.oneshot(call).await?);
//! // Before the process ends: calls that run on are books that are not closed.
//! drains.finish(Duration::from_secs(30)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # What is done
//!
//! | the caller leaves | cancel | drain | void |
//! |---|---|---|---|
//! | before anything was sent to a vendor | dropped | dropped | dropped |
//! | before there is a reply | dropped: the prompt is charged | the call runs on until its reply is there and, then, as below; no further attempt is made | dropped, not charged |
//! | before the reply has ended | dropped: what was measured is charged | the reply is read on within time and cost, and what the vendor counts is charged | dropped, not charged |
//!
//! A call that runs on keeps its hold, its place and its record as if somebody still waited, and they end as usual. A
//! whole answer says nothing until it is there: of it only the time bounds how long it is waited for.
//!
//! # Where it stands
//!
//! Around Meter: what runs on has to take its record and its hold along. It never refuses and never fails, so that
//! nothing goes unrecorded above Meter. It needs no place near the vendor either: the call's
//! [`Trail`] knows the offer that is being asked.
//!
//! # A wrong order
//!
//! Between Meter and Access it compiles: the guard of the record is dropped with the caller and writes down the estimate
//! of the prompt, while the call runs on below and its hold is settled with the whole answer. Nearer to the vendor it does
//! not compile.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aihub_core::{Call, Departures, Draining, Drains, Error, OnDeparture, Operation, Reply, Trail};
use futures_util::future::{BoxFuture, Either, select};
use tokio::time::Instant;
use tower::{Layer, Service};

/// Makes [`Departure`].
#[derive(Debug, Clone)]
pub struct DepartureLayer {
    departures: Departures,
    drains: Drains,
}

impl DepartureLayer {
    /// Leaves by this table; what runs on does so among `drains`, which whoever ends the process waits for.
    pub fn new(departures: Departures, drains: Drains) -> Self {
        Self { departures, drains }
    }

    /// Where calls without callers run.
    pub fn drains(&self) -> &Drains {
        &self.drains
    }
}

impl<S> Layer<S> for DepartureLayer {
    type Service = Departure<S>;

    fn layer(&self, inner: S) -> Departure<S> {
        Departure { inner, layer: self.clone() }
    }
}

/// Ends calls, or lets them run on, when their callers leave. See the [module](self).
#[derive(Debug, Clone)]
pub struct Departure<S> {
    inner: S,
    layer: DepartureLayer,
}

impl<S, O> Service<Call<O>> for Departure<S>
where
    O: Operation,
    S: Service<Call<O>, Response = O::Reply, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = O::Reply;
    type Error = Error;
    type Future = Attended<O::Reply>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call<O>) -> Attended<O::Reply> {
        let (trail, stream) = (Arc::clone(&call.trail), call.operation.streams());
        let answer: BoxFuture<'static, _> = Box::pin(self.inner.call(call));
        Attended { answer: Some(answer), trail, stream, layer: self.layer.clone() }
    }
}

/// A call that its caller waits for. Dropped before its reply is there, it ends as the table says.
pub struct Attended<R: Reply> {
    /// `None` once the reply is there.
    answer: Option<BoxFuture<'static, Result<R, Error>>>,
    trail: Arc<Trail>,
    stream: bool,
    layer: DepartureLayer,
}

impl<R: Reply> Future for Attended<R> {
    type Output = Result<R, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // Taken out while it is polled: one that panics is not polled again by the drop below.
        let mut answer = this.answer.take().expect("a future is not polled again when it has ended");
        let Poll::Ready(answer) = answer.as_mut().poll(cx) else {
            this.answer = Some(answer);
            return Poll::Pending;
        };
        let mut reply = answer?;
        if let Some(offer) = &reply.served().offer {
            let then = this.layer.departures.of(offer, this.stream);
            reply.on_departure(then, &this.layer.drains);
        }
        Poll::Ready(Ok(reply))
    }
}

impl<R: Reply> Drop for Attended<R> {
    fn drop(&mut self) {
        let Some(answer) = self.answer.take() else { return };
        // What is not with a vendor costs nothing, and is dropped.
        let Some(offer) = self.trail.offer().filter(|_| self.trail.in_flight()) else { return };
        match self.layer.departures.of(&offer, self.stream) {
            OnDeparture::Cancel => {}
            OnDeparture::Void => self.trail.leave(true),
            then @ OnDeparture::Drain { .. } => {
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    self.trail.leave(false);
                    let drains = self.layer.drains.clone();
                    runtime.spawn(run_on(answer, then, drains.enter(), drains));
                }
            }
        }
    }
}

/// Waits for a reply in the place of its caller, and leaves it to be read on with the rest of the time.
async fn run_on<R: Reply>(
    answer: BoxFuture<'static, Result<R, Error>>,
    then: OnDeparture,
    mut draining: Draining,
    drains: Drains,
) {
    let OnDeparture::Drain { within, cost_cap } = then else { return };
    let deadline = Instant::now() + within;
    let over = std::pin::pin!(draining.over(deadline));
    if let Either::Right((Ok(mut reply), _)) = select(over, answer).await {
        let within = deadline.saturating_duration_since(Instant::now());
        reply.on_departure(OnDeparture::Drain { within, cost_cap }, &drains);
        drop(reply);
    }
}

impl<R: Reply> std::fmt::Debug for Attended<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attended").field("trail", &self.trail).field("stream", &self.stream).finish_non_exhaustive()
    }
}
