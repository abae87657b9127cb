//! What a connection is given, and what it is not.

use std::io::Write as _;
use std::net::TcpStream;

use aihub_vendors::End;

use crate::hub::{Hub, PATIENCE, read, stream};

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_take_it_and_streams_never() {
    let hub = Hub::start();
    let key = hub.key("pro");
    for (accepted, given) in [("gzip", Some("gzip")), ("br, gzip", Some("br")), ("identity", None)] {
        let request = hub.request("GET", "/v1/models", &key).header("accept-encoding", accepted);
        let response = hub.send(request, "").await;
        let encoding = response.headers().get("content-encoding").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(encoding.as_deref(), given, "{accepted}");
        let plain = read(response).await.starts_with(b"{\"object\"");
        assert_eq!(plain, given.is_none(), "{accepted}");
    }
    let request = hub.request("POST", "/v1/chat/completions", &key).header("accept-encoding", "gzip");
    let response = hub.send(request, stream("openai/gpt-5.4-mini", "hi [[events 100]]").to_string()).await;
    assert!(response.headers().get("content-encoding").is_none());
    assert!(read(response).await.ends_with(b"data: [DONE]\n\n"));
}

/// Without an end to patience, readers who take nothing would hold memory and places for ever, and the
/// vendor would be paid for what nobody reads.
#[tokio::test]
async fn a_reader_who_takes_nothing_loses_the_connection_and_the_vendor_is_told() {
    let hub = Hub::start_with(&[("AIHUB_SERVER__WRITE_TIMEOUT_S", "1")]);
    let key = hub.key("pro");
    // More than the buffers of all sockets on the way.
    let mut body = stream("openai/gpt-5.4-mini", "hi [[events 120000]]");
    body["max_tokens"] = 120_000.into();
    let body = body.to_string();
    let mut stalled = TcpStream::connect(hub.address).unwrap();
    write!(
        stalled,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let seen = hub.vendors.until(|seen| seen.end == Some(End::ClientLeft));
    tokio::time::timeout(PATIENCE, seen).await.expect("the vendor goes on writing for nobody");
    let records = hub.stop_and_read_records();
    assert_eq!((records.len(), &records[0]["outcome"]), (1, &serde_json::json!("client_gone")));
}
