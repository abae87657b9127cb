//! One HTTP request over a plain socket: enough to ask a server on loopback whether it is there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take before the server counts as absent.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request as it goes over the wire; the connection closes after the answer.
pub(crate) fn request(method: &str, path: &str, key: Option<&str>, body: &str) -> String {
    let key = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{key}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends a request and answers the status and everything after it, headers included.
pub(crate) fn ask(port: u16, request: &str) -> std::io::Result<(u16, String)> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok((status(&text), text))
}

/// The status in the first line of an answer; 0 when there is none.
pub(crate) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// Whether a GET of this path is answered with 200.
pub(crate) fn is_ok(port: u16, path: &str) -> bool {
    ask(port, &request("GET", path, None, "")).is_ok_and(|(status, _)| status == 200)
}

#[cfg(test)]
mod tests {
    use super::status;

    #[test]
    fn the_status_is_the_second_word() {
        assert_eq!(status("HTTP/1.1 402 Payment Required\r\n"), 402);
        assert_eq!(status(""), 0);
        assert_eq!(status("garbage"), 0);
    }
}
