//! Sinks of the settings: every record comes, whatever becomes of the receiver and of the server.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::hub::{Hub, PATIENCE, aihub, chat};

const MODEL: &str = "openai/gpt-5.4-mini";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A receiver that answers as it is told, then 204, and keeps the calls of what it has taken.
struct Receiver {
    url: String,
    answers: Arc<Mutex<VecDeque<u16>>>,
    asked: watch::Sender<usize>,
    taken: watch::Sender<Vec<String>>,
}

impl Receiver {
    async fn open(answers: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/usage", listener.local_addr().unwrap());
        let answers = Arc::new(Mutex::new(answers.iter().copied().collect()));
        let receiver = Self { url, answers, asked: watch::Sender::default(), taken: watch::Sender::default() };
        let (answers, asked, taken) = (Arc::clone(&receiver.answers), receiver.asked.clone(), receiver.taken.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, asked, taken) = (Arc::clone(&answers), asked.clone(), taken.clone());
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (answers, asked, taken) = (Arc::clone(&answers), asked.clone(), taken.clone());
                    async move {
                        assert!(request.headers().contains_key("webhook-signature"));
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let status = answers.lock().unwrap().pop_front().unwrap_or(204);
                        if status == 204 {
                            taken.send_modify(|taken| taken.extend(calls(&body)));
                        }
                        asked.send_modify(|asked| *asked += 1);
                        Ok::<_, Infallible>(Response::builder().status(status).body(Full::<Bytes>::default()).unwrap())
                    }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        receiver
    }

    async fn asked(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        tokio::time::timeout(PATIENCE, asked.wait_for(|asked| *asked >= times)).await.unwrap().unwrap();
    }

    async fn took(&self, count: usize) -> Vec<String> {
        let mut taken = self.taken.subscribe();
        let enough = taken.wait_for(|taken| taken.len() >= count);
        tokio::time::timeout(PATIENCE, enough).await.unwrap().unwrap().clone()
    }
}

fn calls(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap();
    body["records"].as_array().unwrap().iter().map(|record| record["call"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_gets_every_record_once_over_failures_and_a_restart() {
    // Whatever comes before the restart is refused, as long as that takes.
    let receiver = Receiver::open(&[503; 100]).await;
    let environment = [
        ("AIHUB_SINKS__BOOKS__KIND", "http"),
        ("AIHUB_SINKS__BOOKS__URL", &*receiver.url),
        ("AIHUB_SINKS__BOOKS__REACH", "loopback"),
        ("AIHUB_SINKS__BOOKS__SECRETS", SECRET),
    ];
    let mut hub = Hub::start_with(&environment);
    let key = hub.key("pro");
    for _ in 0..3 {
        assert_eq!(hub.post("/v1/chat/completions", &key, &chat(MODEL, "hi")).await.0, 200);
    }
    receiver.asked(2).await;
    let ready = hub.send(Request::get(format!("http://{}/health/ready", hub.address)), "").await;
    assert_eq!(ready.status(), 200, "a receiver that is away is no reason to sell nothing");
    hub.terminate();
    assert_eq!(hub.wait(), Some(0), "the server did not stop cleanly");
    assert!(receiver.taken.borrow().is_empty());
    receiver.answers.lock().unwrap().clear();

    let folder = std::mem::replace(&mut hub.folder, tempfile::tempdir().unwrap());
    let hub = Hub::started(folder, &environment);
    for _ in 0..2 {
        assert_eq!(hub.post("/v1/chat/completions", &key, &chat(MODEL, "hi")).await.0, 200);
    }
    receiver.took(5).await;
    let recorded = hub.stop_and_read_records();
    let mut recorded: Vec<_> = recorded.iter().map(|record| record["call"].as_str().unwrap()).collect();
    let mut taken = receiver.taken.borrow().clone();
    recorded.sort_unstable();
    taken.sort_unstable();
    assert_eq!(taken, recorded);
}

#[test]
fn a_sink_that_is_set_wrongly_is_named() {
    let wrong = |settings: &str, environment: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("aihub.toml"), format!("[sinks.books]\n{settings}\n")).unwrap();
        let mut check = aihub(folder.path(), &["--config", "aihub.toml", "check"]);
        let output = check.envs(environment.iter().copied()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{settings}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "more than one line: {said}");
        assert!(said.contains("`sinks.books") && !said.contains("hunter2"), "{settings}: {said}");
        said
    };
    let post = "kind = \"http\"\nurl = \"https://example.com/usage\"";
    for (settings, environment, part) in [
        ("kind = \"fax\"", &[][..], "one of"),
        ("kind = \"file\"", &[], "path"),
        ("kind = \"file\"\npath = \"usage.jsonl\"", &[("DATABASE_URL", "memory:")], "store.url"),
        (post, &[], "AIHUB_SINKS__BOOKS__SECRETS"),
        (post, &[("AIHUB_SINKS__BOOKS__SECRETS", "hunter2")], "whsec_"),
        (post, &[("AIHUB_SINKS__BOOKS__SUBJECT", "x")], "subject"),
        (post, &[("AIHUB_SINKS__BOOKS__SECRETS_FILE", "nowhere")], "nowhere"),
        ("kind = \"http\"\nurl = \"http://example.com/\"", &[("AIHUB_SINKS__BOOKS__SECRETS", SECRET)], "https://"),
        ("kind = \"stripe\"\nevent_name = \"x\"\nmeasure = \"tokens\"\ncustomers = {}", &[], "AIHUB_SINKS__BOOKS__KEY"),
        ("kind = \"nats\"", &[], "AIHUB_SINKS__BOOKS__URL"),
        (
            "kind = \"nats\"\nsubject = \"a b\"",
            &[("AIHUB_SINKS__BOOKS__URL", "nats://u:hunter2@127.0.0.1:1")],
            "subject",
        ),
    ] {
        let said = wrong(settings, environment);
        assert!(said.contains(part), "{part} is missing: {said}");
    }
}

#[test]
fn sinks_that_are_set_rightly_are_named_by_check() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "[sinks.lines]\nkind = \"file\"\npath = \"lines.jsonl\"\n\
        [sinks.meter]\nkind = \"stripe\"\nkey_file = \"key\"\nevent_name = \"usd\"\nmeasure = { charge = \"USD\" }\n\
        customers = { acc_01m7z39crpe09tjk0d5bf9p81t = \"cus_1\" }\n";
    std::fs::write(folder.path().join("aihub.toml"), settings).unwrap();
    std::fs::write(folder.path().join("key"), "sk_test_x\n").unwrap();
    let output = aihub(folder.path(), &["--config", "aihub.toml", "check"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("lines, meter"), "{said} {}", String::from_utf8_lossy(&output.stderr));
    assert!(!folder.path().join("lines.jsonl").exists(), "the file is for the process that serves");
}
