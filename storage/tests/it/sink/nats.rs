//! Messages to a stream of a real NATS.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::conformance::Fixture;
use aihub_core::conformance::billing_sink::{SinkFixture, records};
use aihub_core::quota::Amounts;
use aihub_core::{BillingSink, ErrorKind, Usage};
use aihub_storage::NatsSink;
use aihub_storage::sink::NatsSettings;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, stream};
use async_nats::{ConnectOptions, Message, ServerAddr};
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::servers::variable;

/// A stream with subjects of its own, and a sink that publishes to it.
struct Stage {
    stream: stream::Stream,
    context: jetstream::Context,
    prefix: String,
    sink: NatsSink,
}

impl Stage {
    async fn new(change: impl FnOnce(&mut stream::Config)) -> Self {
        let url = variable("AIHUB_TEST_NATS_URL");
        let prefix = format!("test-{}", uuid::Uuid::now_v7());
        let address: ServerAddr = url.parse().unwrap();
        let (user, password) = (address.username().unwrap(), address.password().unwrap());
        let options = ConnectOptions::with_user_and_password(user.into(), password.into());
        let context = jetstream::new(options.connect(address.clone()).await.unwrap());
        let mut config = stream::Config {
            name: prefix.clone(),
            subjects: vec![format!("{prefix}.>")],
            storage: stream::StorageType::File,
            ..stream::Config::default()
        };
        change(&mut config);
        let stream = context.create_stream(config).await.unwrap();
        Self { stream, context, sink: sink(&format!("{prefix}.{{account}}")).await, prefix }
    }

    /// What the stream has, in its order.
    async fn messages(&self) -> Vec<Message> {
        // With acknowledgements there would be no more than a thousand at once.
        let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
        let consumer = self.stream.create_consumer(config).await.unwrap();
        let count = consumer.cached_info().num_pending;
        let batch = consumer.fetch().max_messages(count.try_into().unwrap()).messages().await.unwrap();
        batch.map(|message| message.unwrap().message).collect().await
    }
}

/// A sink that is connected.
async fn sink(subject: &str) -> NatsSink {
    let mut settings = NatsSettings::new(variable("AIHUB_TEST_NATS_URL").into());
    settings.subject = subject.to_owned();
    let sink = NatsSink::open(&settings).await.unwrap();
    connected(&sink).await;
    sink
}

/// Connections are made behind the back of whoever uses them.
async fn connected(sink: &NatsSink) {
    while sink.record(&records(1)).await.is_err_and(|error| error.message() == "NATS is not connected") {
        tokio::task::yield_now().await;
    }
}

mod suite {
    aihub_core::conformance::billing_sink!(super::fixture(), exactly_once);
}

async fn fixture() -> SinkFixture {
    let stage = Arc::new(Stage::new(|_| ()).await);
    stage.stream.purge().await.unwrap();
    let (kept, summed) = (Arc::clone(&stage), Arc::clone(&stage));
    let sink = Fixture::from(Arc::new(stage.sink.clone()) as Arc<dyn BillingSink>).keeping(stage);
    SinkFixture::from(sink)
        .with_reader(move || {
            let kept = Arc::clone(&kept);
            Box::pin(async move {
                let bodies = kept.messages().await.into_iter().map(|message| body(&message));
                bodies.map(|body| body["call"].as_str().unwrap().parse().unwrap()).collect()
            })
        })
        .with_totals(move || {
            let summed = Arc::clone(&summed);
            Box::pin(async move {
                let messages = summed.messages().await;
                let usage = |message| serde_json::from_value::<Usage>(body(message)["usage"].clone()).unwrap();
                let tokens = messages.iter().map(|message| usage(message).total_tokens()).sum();
                Amounts::new(messages.len() as u64, tokens, None)
            })
        })
}

fn body(message: &Message) -> Value {
    serde_json::from_slice(&message.payload).unwrap()
}

#[tokio::test]
async fn a_message_is_the_record_under_its_account_and_its_call() {
    let stage = Stage::new(|_| ()).await;
    let record = records(1).remove(0);
    stage.sink.record(std::slice::from_ref(&record)).await.unwrap();
    let message = stage.messages().await.pop().unwrap();
    assert_eq!(message.subject.as_str(), format!("{}.{}", stage.prefix, record.account));
    let id = message.headers.as_ref().unwrap().get("Nats-Msg-Id").unwrap();
    assert_eq!(id.as_str(), record.call.to_string());
    assert_eq!(body(&message), serde_json::to_value(&record).unwrap());
}

#[tokio::test]
async fn without_a_stream_nothing_is_taken() {
    let stage = Stage::new(|_| ()).await;
    stage.context.delete_stream(&stage.prefix).await.unwrap();
    let error = stage.sink.record(&records(3)).await.unwrap_err();
    assert!(error.needs_operator() && !error.is_rejection() && error.message().contains("stream"), "{error:?}");
}

#[tokio::test]
async fn a_stream_that_is_full_or_takes_only_short_ones_says_so() {
    let full = Stage::new(|config| {
        config.max_messages = 2;
        config.discard = stream::DiscardPolicy::New;
    })
    .await;
    full.stream.purge().await.unwrap();
    let error = full.sink.record(&records(4)).await.unwrap_err();
    assert!(error.needs_operator() && !error.is_rejection(), "{error:?}");

    let short = Stage::new(|config| config.max_message_size = 900).await;
    let mut all = records(4);
    all[2].user_agent = Some("long ".repeat(400).into());
    let error = short.sink.record(&all).await.unwrap_err();
    assert!(error.is_rejection() && error.message().contains(&all[2].call.to_string()), "{error:?}");

    all[1].user_agent = Some("long ".repeat(400_000).into());
    let error = full.sink.record(&all[1..2]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "longer than the server takes: {error:?}");
}

#[tokio::test]
async fn a_server_that_is_away_holds_up_no_start_and_takes_nothing() {
    // Bound, so that nobody else takes the port, and never answering.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://user:hunter2@{}", silent.local_addr().unwrap());
    let mut settings = NatsSettings::new(url.into());
    settings.time_limit = Duration::from_millis(50);
    let sink = NatsSink::open(&settings).await.unwrap();
    let error = sink.record(&records(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "NATS is not connected"));
    assert!(!format!("{settings:?} {sink:?} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn settings_are_checked() {
    for (url, subject, param) in
        [("nats://127.0.0.1:1", "usage.>", "subject"), ("nats://user:hunter2@:no", "usage", "url")]
    {
        let mut settings = NatsSettings::new(url.to_owned().into());
        settings.subject = subject.to_owned();
        let error = NatsSink::open(&settings).await.unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::Invalid, Some(param)));
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_anew() {
    let stage = Stage::new(|_| ()).await;
    let server: ServerAddr = variable("AIHUB_TEST_NATS_URL").parse().unwrap();
    let there = (server.host().to_owned(), server.port());
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = between.local_addr().unwrap();
    let url = format!("nats://{}:{}@{address}", server.username().unwrap(), server.password().unwrap());
    let cut = Arc::new(Notify::new());
    let cutting = Arc::clone(&cut);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = between.accept().await {
            let mut server = TcpStream::connect(&there).await.unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                () = cutting.notified() => {}
            }
        }
    });
    let mut settings = NatsSettings::new(url.into());
    settings.subject = format!("{}.{{account}}", stage.prefix);
    // What was under way at the cut is waited for in vain.
    settings.time_limit = Duration::from_secs(1);
    let sink = NatsSink::open(&settings).await.unwrap();
    connected(&sink).await;
    for _ in 0..3 {
        cut.notify_one();
        let batch = records(20);
        let again = async {
            while sink.record(&batch).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), again).await.expect("a new connection");
        let kept: Vec<_> = stage.messages().await.iter().map(|message| body(message)["call"].clone()).collect();
        for record in &batch {
            let times = kept.iter().filter(|call| **call == record.call.to_string()).count();
            assert_eq!(times, 1, "the stream tells by the id what came again");
        }
    }
}
