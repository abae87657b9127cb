//! The signed HTTP sink, against a receiver that verifies with the library of the standard.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aihub_core::conformance::Fixture;
use aihub_core::conformance::billing_sink::{SinkFixture, records};
use aihub_core::{BillingSink, CallId, Clock, ErrorKind, SystemClock};
use aihub_storage::HttpSink;
use aihub_storage::sink::{HttpSettings, Reach};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEXT_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// A receiver that keeps what was signed well, and answers what it was told to.
#[derive(Clone)]
struct Place(Arc<Seen>);

struct Seen {
    secret: &'static str,
    posts: Mutex<Vec<(HeaderMap, Bytes)>>,
    answers: Mutex<VecDeque<(StatusCode, &'static str)>>,
    url: String,
    task: Mutex<Option<AbortHandle>>,
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.task.lock().unwrap().take().unwrap().abort();
    }
}

impl Place {
    async fn open(secret: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/usage", listener.local_addr().unwrap());
        let (posts, answers, task) = (Mutex::default(), Mutex::default(), Mutex::default());
        let place = Self(Arc::new(Seen { secret, posts, answers, url, task }));
        // It must not hold what ends it.
        let app = Router::new().fallback(receive).with_state(Arc::downgrade(&place.0));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        *place.0.task.lock().unwrap() = Some(serving.abort_handle());
        place
    }

    fn settings(&self) -> HttpSettings {
        let mut settings = HttpSettings::new(self.0.url.clone(), SECRET.to_owned().into());
        settings.reach = Reach::Loopback;
        settings
    }

    fn sink(&self) -> HttpSink {
        HttpSink::new(&self.settings(), clock()).unwrap()
    }

    fn answer(&self, answers: impl IntoIterator<Item = (u16, &'static str)>) {
        let answers = answers.into_iter().map(|(status, after)| (StatusCode::from_u16(status).unwrap(), after));
        self.0.answers.lock().unwrap().extend(answers);
    }

    fn posts(&self) -> Vec<(HeaderMap, Bytes)> {
        self.0.posts.lock().unwrap().clone()
    }

    fn calls(&self) -> Vec<CallId> {
        let posts = self.posts();
        let bodies = posts.iter().map(|(_, body)| serde_json::from_slice::<Value>(body).unwrap());
        bodies.flat_map(|body| body["records"].as_array().unwrap().clone()).map(|record| call(&record)).collect()
    }
}

async fn receive(
    State(seen): State<std::sync::Weak<Seen>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let seen = seen.upgrade().unwrap();
    let verified = Webhook::new(seen.secret).unwrap().verify(&body, &headers);
    if verified.is_err() || uri.path() != "/usage" || headers["content-type"] != "application/json" {
        return (StatusCode::UNAUTHORIZED, [("x-why", "unverified")]).into_response();
    }
    if let Some((status, after)) = seen.answers.lock().unwrap().pop_front() {
        return (status, [("retry-after", after)]).into_response();
    }
    seen.posts.lock().unwrap().push((headers, body));
    StatusCode::NO_CONTENT.into_response()
}

fn call(record: &Value) -> CallId {
    record["call"].as_str().unwrap().parse().unwrap()
}

/// The library judges by the time of the machine.
fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

mod suite {
    aihub_core::conformance::billing_sink!(super::fixture());
}

async fn fixture() -> SinkFixture {
    let place = Place::open(SECRET).await;
    let sink = Fixture::from(Arc::new(place.sink()) as Arc<dyn BillingSink>);
    SinkFixture::from(sink).with_reader(move || {
        let calls = place.calls();
        Box::pin(async move { calls })
    })
}

#[tokio::test]
async fn the_body_is_the_records_as_they_are_everywhere() {
    let place = Place::open(SECRET).await;
    let records = records(3);
    place.sink().record(&records).await.unwrap();
    let body: Value = serde_json::from_slice(&place.posts()[0].1).unwrap();
    assert_eq!(body, serde_json::json!({ "records": records }));
}

#[tokio::test]
async fn the_same_batch_has_the_same_id_and_another_one_has_another() {
    let place = Place::open(SECRET).await;
    let (sink, records) = (place.sink(), records(3));
    for batch in [&records[..2], &records[..2], &records[1..]] {
        sink.record(batch).await.unwrap();
    }
    let posts = place.posts();
    let id = |at: usize| posts[at].0["webhook-id"].clone();
    assert_eq!(id(0), id(1));
    assert_ne!(id(0), id(2));
}

#[tokio::test]
async fn while_a_secret_is_replaced_either_one_verifies() {
    for knows in [SECRET, NEXT_SECRET] {
        let place = Place::open(knows).await;
        let mut settings = place.settings();
        settings.secrets.push(NEXT_SECRET.to_owned().into());
        HttpSink::new(&settings, clock()).unwrap().record(&records(1)).await.unwrap();
        assert_eq!(place.calls().len(), 1);
    }
    let place = Place::open(NEXT_SECRET).await;
    let error = place.sink().record(&records(1)).await.unwrap_err();
    assert!(error.needs_operator() && !error.is_rejection(), "a secret that does not fit says nothing of the records");
}

#[tokio::test]
async fn a_long_batch_is_several_requests() {
    let place = Place::open(SECRET).await;
    let mut settings = place.settings();
    settings.most_records = 4;
    let records = records(9);
    HttpSink::new(&settings, clock()).unwrap().record(&records).await.unwrap();
    assert_eq!(place.posts().len(), 3);
    assert_eq!(place.calls(), records.iter().map(|record| record.call).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_the_receiver_answers_is_told_apart() {
    let place = Place::open(SECRET).await;
    let sink = place.sink();
    place.answer([(429, "7"), (500, "0"), (422, "0"), (413, "0"), (307, "0")]);
    let mut errors = Vec::new();
    for _ in 0..5 {
        errors.push(sink.record(&records(1)).await.unwrap_err());
    }
    assert_eq!(errors[0].retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(
        errors.iter().map(aihub_core::Error::is_rejection).collect::<Vec<_>>(),
        [false, false, true, true, false]
    );
    sink.record(&records(1)).await.unwrap();
}

#[tokio::test]
async fn a_receiver_that_is_gone_or_silent_is_unavailable() {
    let place = Place::open(SECRET).await;
    let mut settings = place.settings();
    drop(place);
    let error = HttpSink::new(&settings, clock()).unwrap().record(&records(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");

    // One that accepts, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    settings.url = format!("http://{}/", silent.local_addr().unwrap());
    settings.time_limit = Duration::from_millis(100);
    let error = HttpSink::new(&settings, clock()).unwrap().record(&records(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "The receiver did not answer in time"));
}

#[test]
fn secrets_are_checked_and_never_shown() {
    for wrong in ["", "whsec_", "whsec_c2hvcnQ=", "not base 64 at all, however long it may be"] {
        let error = HttpSink::new(&HttpSettings::new("https://example.com/", wrong.to_owned().into()), clock());
        assert_eq!(error.unwrap_err().param(), Some("secrets"), "{wrong}");
    }
    let settings = HttpSettings::new("https://example.com/", SECRET.to_owned().into());
    let shown = format!("{settings:?} {:?}", HttpSink::new(&settings, clock()).unwrap());
    assert!(!shown.contains("MfKQ9r8G"), "{shown}");
}
