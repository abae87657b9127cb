use std::collections::HashMap;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A resolver that knows a few names.
#[derive(Debug, Default)]
struct Book(HashMap<&'static str, Vec<IpAddr>>);

#[async_trait]
impl Resolve for Book {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.0.get(host).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn book() -> Book {
    let loopback: IpAddr = [127, 0, 0, 1].into();
    Book(HashMap::from([
        ("files.example", vec![loopback]),
        ("mixed.example", vec![[1, 1, 1, 1].into(), [10, 0, 0, 1].into()]),
        ("inside.example", vec![[169, 254, 169, 254].into()]),
        ("nowhere.example", vec![]),
    ]))
}

/// A fetcher that takes loopback, without TLS, for the public network.
pub(crate) fn on_loopback(settings: MediaSettings) -> Media {
    Media::guarded(
        settings,
        Guard { resolver: Arc::new(book()), permits: |address| address.is_loopback(), plain: true },
    )
    .unwrap()
}

fn strict() -> Media {
    Media::guarded(MediaSettings::default(), Guard { resolver: Arc::new(book()), ..Guard::public() }).unwrap()
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

/// Answers every connection with `answer` and gives back the request's head.
async fn host(answer: Vec<u8>) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heads, seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let read = socket.read(&mut head).await.unwrap();
            heads.send(String::from_utf8_lossy(&head[..read]).into_owned()).unwrap();
            socket.write_all(&answer).await.unwrap();
        }
    });
    (port, seen)
}

fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn conversation(urls: &[String]) -> Conversation {
    let parts: Vec<_> = urls.iter().map(|url| json!({"type": "image_url", "image_url": {"url": url}})).collect();
    serde_json::from_value(json!({"model": "m", "messages": [{"role": "user", "content": parts}]})).unwrap()
}

async fn fetched(media: &Media, url: &str) -> Result<String> {
    let mut conversation = conversation(&[url.to_owned()]);
    media.fetch(&mut conversation).await?;
    match conversation.messages.remove(0).content {
        Some(Content::Parts(mut parts)) => match parts.remove(0) {
            Part::ImageUrl { image_url } => Ok(image_url.url),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_becomes_a_data_url_of_what_it_is() {
    let (port, mut seen) = host(http("200 OK", "content-type: text/html\r\n", PNG)).await;
    let url = format!("http://files.example:{port}/a.html?x=1");
    let data = fetched(&on_loopback(MediaSettings::default()), &url).await.unwrap();
    assert_eq!(data, format!("data:image/png;base64,{}", STANDARD.encode(PNG)));
    let head = seen.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /a.html?x=1 ") && head.contains(&format!("host: files.example:{port}")), "{head}");
    assert!(!head.contains("authorization") && !head.contains("cookie"), "{head}");
}

#[tokio::test]
async fn the_guard_lets_nothing_inside() {
    let media = strict();
    for url in [
        "http://files.example/x",
        "https://files.example/x",
        "https://mixed.example/x",
        "https://inside.example/x",
        "https://nowhere.example/x",
        "https://unknown.example/x",
        "https://127.0.0.1/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://169.254.169.254/latest/meta-data",
        "https://user@files.example/x",
        "https://files.example:8443/x",
        "HTTPS://localhost./x",
        "https://",
    ] {
        let error = fetched(&media, url).await.expect_err(url);
        assert_eq!(
            (error.kind(), error.param()),
            (ErrorKind::Invalid, Some("messages[0].content[0].image_url.url")),
            "{url}"
        );
        assert!(!error.message().contains("127.") && !error.message().contains("169."), "{error}");
    }
}

#[tokio::test]
async fn redirects_errors_and_unknown_types_are_refused() {
    for answer in [
        http("302 Found", "location: https://files.example/y\r\n", b""),
        http("404 Not Found", "", PNG),
        http("200 OK", "content-type: image/png\r\n", b"<html>not a picture</html>"),
    ] {
        let (port, _seen) = host(answer).await;
        let error = fetched(&on_loopback(MediaSettings::default()), &format!("http://files.example:{port}/"))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "media_fetch_failed");
    }
}

#[tokio::test]
async fn size_number_and_time_are_capped() {
    let mut settings = MediaSettings { max_bytes: PNG.len(), ..MediaSettings::default() };
    let (port, _seen) = host(http("200 OK", "", PNG)).await;
    let url = format!("http://files.example:{port}/");
    assert!(fetched(&on_loopback(settings.clone()), &url).await.is_ok());
    settings.max_bytes -= 1;
    assert!(fetched(&on_loopback(settings.clone()), &url).await.unwrap_err().message().contains("larger"));

    settings = MediaSettings { max_total_bytes: 2 * PNG.len() - 1, ..MediaSettings::default() };
    let error = on_loopback(settings.clone()).fetch(&mut conversation(&[url.clone(), url.clone()])).await.unwrap_err();
    assert!(error.message().contains("larger"), "{error}");

    settings.max_files = 1;
    let error = on_loopback(settings).fetch(&mut conversation(&[url.clone(), url])).await.unwrap_err();
    assert!(error.message().starts_with("At most 1"), "{error}");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://files.example:{}/", silent.local_addr().unwrap().port());
    let settings = MediaSettings { time_limit: Duration::from_millis(30), ..MediaSettings::default() };
    assert!(fetched(&on_loopback(settings), &url).await.unwrap_err().message().contains("in time"));
}

#[tokio::test]
async fn what_is_no_address_is_left_alone() {
    let data = "data:image/png;base64,QUJD";
    assert_eq!(fetched(&strict(), data).await.unwrap(), data);
}
