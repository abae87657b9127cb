mod leaving;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use aihub_core::idempotency::StoredAnswer;
use aihub_core::{ManualClock, Usage};
use futures_util::stream;
use http::StatusCode;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::sync::mpsc;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use super::*;
use crate::world::{self, Drawer};
use crate::{RescueLayer, failure};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type TestBody = UnsyncBoxBody<Bytes, BoxError>;
type Answer = Result<Response<TestBody>, Error>;

/// A store, a clock, a caller, and how often the handler below was asked.
struct Stage {
    store: Arc<Drawer>,
    clock: Arc<ManualClock>,
    caller: Arc<Caller>,
    asked: Arc<AtomicU32>,
    layer: IdempotencyLayer<TestBody>,
}

/// The service under the layer, and what asks it.
#[derive(Clone)]
struct Service {
    caller: Arc<Caller>,
    inner: BoxCloneSyncService<Request<Bytes>, Response<TestBody>, Error>,
}

fn full(text: &'static str) -> TestBody {
    Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync()
}

impl Stage {
    fn new() -> Self {
        let (store, clock) = (Arc::new(Drawer::default()), world::clock());
        let body = |body: AnswerBody| body.map_err(Into::into).boxed_unsync();
        let layer = IdempotencyLayer::new(store.clone(), clock.clone(), body);
        Self { store, clock, caller: world::caller(), asked: Arc::default(), layer }
    }

    fn service<F, Fut>(&self, handler: F) -> Service
    where
        F: Fn(Request<Bytes>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        let asked = Arc::clone(&self.asked);
        let counting = tower::service_fn(move |request: Request<Bytes>| {
            asked.fetch_add(1, Ordering::SeqCst);
            handler(request)
        });
        Service { caller: Arc::clone(&self.caller), inner: BoxCloneSyncService::new(self.layer.layer(counting)) }
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Keys that are known, ended or not.
    fn keys(&self) -> usize {
        self.store.known.lock().unwrap().len()
    }

    /// How requests have ended, once so many have; a key that was given back is none.
    async fn ended(&self, many: usize) -> Vec<Kept> {
        loop {
            let told = self.store.told.notified();
            let known: Vec<_> = self.store.known.lock().unwrap().values().cloned().collect();
            let ended: Vec<_> = known.into_iter().filter_map(|(_, kept)| kept).collect();
            if ended.len() >= many {
                return ended;
            }
            told.await;
        }
    }
}

impl Service {
    fn request(&self, key: &str, body: &'static str) -> Request<Bytes> {
        let request = Request::post("/v1/chat/completions?a=b").header("idempotency-key", key);
        request.extension(Arc::clone(&self.caller)).body(Bytes::from_static(body.as_bytes())).unwrap()
    }

    async fn ask(&self, key: &str, body: &'static str) -> Answer {
        self.inner.clone().oneshot(self.request(key, body)).await
    }

    /// The code of the error that this key is answered with.
    async fn refused(&self, key: &str) -> (u16, String) {
        let error = self.ask(key, "{}").await.unwrap_err();
        (error.kind().status(), error.code().to_owned())
    }
}

async fn text(answer: Answer) -> String {
    let body = answer.unwrap().into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

/// A body that the test writes.
fn written() -> (mpsc::UnboundedSender<Result<&'static str, BoxError>>, TestBody) {
    let (write, read) = mpsc::unbounded_channel::<Result<&'static str, BoxError>>();
    let frames = stream::unfold(read, |mut read| async {
        let piece = read.recv().await?;
        Some((piece.map(|piece| Frame::data(Bytes::from_static(piece.as_bytes()))), read))
    });
    (write, StreamBody::new(frames).boxed_unsync())
}

/// A handler that answers once, with this.
fn once(body: TestBody) -> impl Fn(Request<Bytes>) -> std::future::Ready<Answer> + Clone + Send + Sync + 'static {
    let body = Arc::new(Mutex::new(Some(body)));
    move |_| std::future::ready(Ok(Response::new(body.lock().unwrap().take().expect("asked once"))))
}

/// As a door does it: the call of this request has been sent, and has cost `spent`.
fn sent(request: &Request<Bytes>, spent: Option<Usage>) {
    let call = world::call();
    request.extensions().get::<CallTrail>().expect("the layer asks").follow(&call.trail);
    call.trail.attempt(&world::offer("first", "1"));
    if let Some(spent) = spent {
        call.trail.failed(Some(&spent));
        call.trail.conclude(&spent, false);
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_looked_up_or_kept() {
    let stage = Stage::new();
    stage.store.failing.store(99, Ordering::SeqCst);
    let service = stage.service(|request| {
        assert!(request.extensions().get::<CallTrail>().is_none());
        std::future::ready(Ok(Response::new(full("well"))))
    });
    for _ in 0..2 {
        let mut request = service.request("key", "{}");
        request.headers_mut().clear();
        assert_eq!(text(service.inner.clone().oneshot(request).await).await, "well");
    }
    let mut get = service.request("key", "");
    *get.method_mut() = Method::GET;
    assert_eq!(text(service.inner.clone().oneshot(get).await).await, "well");
    assert_eq!(stage.asked(), 3);
}

#[tokio::test]
async fn a_repeat_gets_the_same_answer_and_does_nothing() {
    let stage = Stage::new();
    let service = stage.service(|_| {
        let answer = Response::builder().status(201).header("content-type", "application/json").header("x-once", "1");
        std::future::ready(Ok(answer.body(full("{\"id\":1}")).unwrap()))
    });
    let first = service.ask("key", "{}").await.unwrap();
    assert_eq!(first.headers()["x-once"], "1");
    assert_eq!(first.body().size_hint().exact(), Some(8), "the length that was known is known still");
    assert_eq!(text(Ok(first)).await, "{\"id\":1}");
    for _ in 0..3 {
        let again = service.ask("key", "{}").await.unwrap();
        assert_eq!((again.status(), again.body().size_hint().exact()), (StatusCode::CREATED, Some(8)));
        let names: Vec<_> = again.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type", "idempotent-replayed", "x-should-retry"]);
        assert_eq!(text(Ok(again)).await, "{\"id\":1}");
    }
    assert_eq!(stage.asked(), 1);
}

#[tokio::test]
async fn a_stream_is_repeated_whole_once_its_last_piece_is_out() {
    let stage = Stage::new();
    let (write, body) = written();
    let service = stage.service(once(body));
    let mut first = service.ask("key", "{}").await.unwrap().into_body();
    for piece in ["one ", "two "] {
        write.send(Ok(piece)).unwrap();
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), piece);
        let error = service.ask("key", "{}").await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "idempotency_key_in_use"));
        assert!(error.retry_after().is_some());
    }
    drop(write);
    assert!(first.frame().await.is_none());
    assert_eq!(text(service.ask("key", "{}").await).await, "one two ");
}

/// A body that says when it is over does not keep its caller waiting for the end of its connection.
#[tokio::test]
async fn who_has_the_last_piece_may_repeat_at_once() {
    let stage = Stage::new();
    let service = stage.service(|_| std::future::ready(Ok(Response::new(full("all of it")))));
    let mut first = service.ask("key", "{}").await.unwrap().into_body();
    assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "all of it");
    assert_eq!(text(service.ask("key", "{}").await).await, "all of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_is_done() {
    let stage = Stage::new();
    let service = stage.service(|_| async {
        tokio::task::yield_now().await;
        Ok(Response::new(full("once")))
    });
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move {
                match service.ask("key", "{}").await {
                    Ok(answer) => text(Ok(answer)).await,
                    Err(error) => error.code().to_owned(),
                }
            })
        })
        .collect();
    for answer in asking {
        let answer = answer.await.unwrap();
        assert!(["once", "idempotency_key_in_use"].contains(&&*answer), "{answer}");
    }
    assert_eq!(stage.asked(), 1);
}

#[tokio::test]
async fn another_request_under_the_key_is_refused_and_another_account_is_not() {
    let stage = Stage::new();
    let service = stage.service(|_| std::future::ready(Ok(Response::new(full("well")))));
    text(service.ask("key", "{}").await).await;
    let error = service.ask("key", "{ }").await.unwrap_err();
    assert_eq!((error.kind().status(), error.code()), (422, "idempotency_key_reused"));
    let mut elsewhere = service.request("key", "{}");
    *elsewhere.uri_mut() = "/v1/embeddings".parse().unwrap();
    assert_eq!(service.inner.clone().oneshot(elsewhere).await.unwrap_err().code(), "idempotency_key_reused");
    let stranger = Service { caller: world::caller(), ..service };
    text(stranger.ask("key", "{ }").await).await;
    assert_eq!(stage.asked(), 2);
}

#[tokio::test]
async fn what_cost_nothing_may_be_done_again_under_its_key() {
    let refused = || Error::new(ErrorKind::PaymentRequired, "Used up");
    let stage = Stage::new();
    let service = stage.service(move |request| {
        std::future::ready(match &request.body()[..] {
            b"error" => Err(refused()),
            b"failure" => Ok(failure::<Option<Full<Bytes>>>(refused()).map(|_| full(""))),
            b"upstream" => {
                sent(&request, Some(Usage::default()));
                Err(Error::new(ErrorKind::RateLimited, "overloaded"))
            }
            _ => Ok(Response::builder().status(404).body(full("nothing there")).unwrap()),
        })
    });
    for body in ["error", "failure", "upstream", "other"] {
        for turn in 1..=2 {
            drop(service.ask(body, body).await);
            assert_eq!(stage.keys(), 0, "{body} {turn}");
        }
    }
    assert_eq!(stage.asked(), 8);
}

#[tokio::test]
async fn a_failure_that_is_paid_for_is_repeated_as_it_was_rendered() {
    let stage = Stage::new();
    let service = stage.service(move |request| {
        sent(&request, (request.body() != "in flight").then(|| Usage::new(5, 0)));
        let error = Error::new(ErrorKind::BadUpstream, "The upstream failed").with_code("bad");
        std::future::ready(match &request.body()[..] {
            b"failure" => Ok(failure::<Option<Full<Bytes>>>(error).map(|_| full(""))),
            b"plain" => Ok(Response::builder().status(502).body(full("an error")).unwrap()),
            _ => Err(error),
        })
    });
    let rescued = RescueLayer::new(stage.clock.clone()).layer(Rendered(service.clone()));
    for body in ["error", "failure", "plain", "in flight"] {
        let mut answers = Vec::new();
        for turn in 0..2 {
            let Ok(answer) = rescued.clone().oneshot(service.request(&body.replace(' ', "-"), body)).await;
            assert_eq!(answer.status(), 502, "{body} {turn}");
            assert_eq!(answer.headers().contains_key("idempotent-replayed"), turn == 1, "{body} {turn}");
            answers.push(answer.into_body());
        }
        assert_eq!(answers[0], answers[1], "{body}");
    }
    assert_eq!(stage.asked(), 4);
}

/// Whole bodies, for [`RescueLayer`], which makes them.
#[derive(Clone)]
struct Rendered(Service);

impl tower::Service<Request<Bytes>> for Rendered {
    type Response = Response<Bytes>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let inner = self.0.inner.clone();
        Box::pin(async move {
            let (head, body) = inner.oneshot(request).await?.into_parts();
            Ok(Response::from_parts(head, body.collect().await.unwrap().to_bytes()))
        })
    }
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_passed_on_and_not_kept() {
    let mut stage = Stage::new();
    stage.layer = stage.layer.with_max_bytes(8);
    for (key, pieces, kept) in [("fits", ["1234", "5678"], true), ("large", ["1234", "56789"], false)] {
        let (write, body) = written();
        for piece in pieces {
            write.send(Ok(piece)).unwrap();
        }
        drop(write);
        let service = stage.service(once(body));
        assert_eq!(text(service.ask(key, "{}").await).await, pieces.concat());
        if kept {
            assert_eq!(text(service.ask(key, "{}").await).await, pieces.concat());
        } else {
            assert_eq!(service.refused(key).await, (409, "idempotent_answer_too_large".to_owned()));
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_interrupted() {
    let stage = Stage::new();
    let (write, body) = written();
    let service = stage.service(once(body));
    write.send(Ok("half")).unwrap();
    write.send(Err("reset".into())).unwrap();
    service.ask("key", "{}").await.unwrap().into_body().collect().await.unwrap_err();
    assert_eq!(service.refused("key").await, (409, "idempotency_interrupted".to_owned()));
}

#[tokio::test]
async fn a_panic_is_an_error_and_what_it_may_have_cost_is_not_done_again() {
    let stage = Stage::new();
    let early = stage.service(|request| {
        assert!(request.body().is_empty(), "before the answer");
        std::future::ready(Ok(Response::new(full("well"))))
    });
    assert_eq!(early.ask("early", "{}").await.unwrap_err().kind(), ErrorKind::Internal);
    let panics = stream::poll_fn(|_| -> Poll<Option<Result<Frame<Bytes>, BoxError>>> { panic!("within the answer") });
    let late = stage.service(once(StreamBody::new(panics).boxed_unsync()));
    late.ask("late", "{}").await.unwrap().into_body().collect().await.unwrap_err();
    assert_eq!(stage.ended(2).await, [Kept::Interrupted, Kept::Interrupted]);
    for key in ["early", "late"] {
        assert_eq!(early.refused(key).await, (409, "idempotency_interrupted".to_owned()));
    }
    assert_eq!(stage.asked(), 2);
}

/// Also where the claim has come to stand: nobody runs it, and it is given back.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_refuses() {
    let stage = Stage::new();
    stage.store.failing.store(2, Ordering::SeqCst);
    let service = stage.service(|_| std::future::ready(Ok(Response::new(full("well")))));
    assert_eq!(service.ask("key", "{}").await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!((stage.asked(), stage.keys()), (0, 1));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(text(service.ask("key", "{}").await).await, "well");
}

/// Who has its answer does not wait for a store that is away, and finds it kept when that is back.
#[tokio::test(start_paused = true)]
async fn an_end_that_could_not_be_kept_is_kept_later() {
    let stage = Stage::new();
    let store = Arc::clone(&stage.store);
    let service = stage.service(move |_| {
        store.failing.store(3, Ordering::SeqCst);
        std::future::ready(Ok(Response::new(full("well"))))
    });
    assert_eq!(text(service.ask("key", "{}").await).await, "well");
    let kept = Kept::Answer(StoredAnswer { status: 200, headers: Vec::new(), body: "well".into() });
    assert_eq!(stage.ended(1).await, [kept]);
}

#[tokio::test]
async fn a_key_that_is_none_is_told_so() {
    let stage = Stage::new();
    let service = stage.service(|_| std::future::ready(Ok(Response::new(full("well")))));
    for key in ["", "two words", &"k".repeat(256)] {
        assert_eq!(service.ask(key, "{}").await.unwrap_err().code(), "invalid_idempotency_key", "{key:?}");
    }
    let mut two = service.request("one", "{}");
    two.headers_mut().append(KEY, http::HeaderValue::from_static("two"));
    assert_eq!(service.inner.clone().oneshot(two).await.unwrap_err().code(), "invalid_idempotency_key");
    let mut nobody = service.request("key", "{}");
    nobody.extensions_mut().clear();
    assert_eq!(service.inner.clone().oneshot(nobody).await.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(stage.asked(), 0);
}
