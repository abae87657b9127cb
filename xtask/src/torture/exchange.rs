//! One request over a socket of its own, and what became of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longer than a server is ever paused and a database away; whoever waits longer has been forgotten.
const PATIENCE: Duration = Duration::from_secs(40);

/// How a request ended, as its caller saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// The whole answer came.
    Whole,
    /// We broke it off.
    Left,
    /// It broke off.
    Broken,
    /// Nobody took the connection.
    Unreached,
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) end: End,
    /// 0 when no head came.
    pub(super) status: u16,
    /// The call's id, from the head.
    pub(super) call: Option<String>,
    /// The tokens of prompt and answer, as the answer says them.
    pub(super) usage: Option<(u64, u64)>,
    /// Whether it is one that was given before.
    pub(super) is_replayed: bool,
    /// The error's code.
    pub(super) code: String,
}

impl Answer {
    const fn none(end: End) -> Self {
        Self { end, status: 0, call: None, usage: None, is_replayed: false, code: String::new() }
    }
}

/// A request whose answer is waited for.
#[derive(Debug)]
pub(super) struct Sent(Option<TcpStream>);

/// Sends a POST; `again` is the `Idempotency-Key` of one that may be sent again.
pub(super) fn send(port: u16, path: &str, key: &str, agent: &str, again: Option<&str>, body: &str) -> Sent {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let open = || -> std::io::Result<TcpStream> {
        let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let again = again.map(|name| format!("idempotency-key: {name}\r\n")).unwrap_or_default();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
             user-agent: {agent}\r\n{again}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes())?;
        Ok(socket)
    };
    Sent(open().ok())
}

impl Sent {
    /// Reads the answer, and breaks it off after `most` bytes, if that is said.
    pub(super) fn answer(self, most: Option<usize>) -> Answer {
        let Some(mut socket) = self.0 else { return Answer::none(End::Unreached) };
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
        loop {
            if most.is_some_and(|most| bytes.len() >= most) {
                return Answer { end: End::Left, ..read(&bytes) };
            }
            let room = most.map_or(buffer.len(), |most| (most - bytes.len()).min(buffer.len()));
            match socket.read(&mut buffer[..room]) {
                Ok(0) | Err(_) => return read(&bytes),
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

/// What these bytes say.
fn read(bytes: &[u8]) -> Answer {
    let Some(split) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Answer::none(End::Broken);
    };
    let head = String::from_utf8_lossy(&bytes[..split]).to_ascii_lowercase();
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(known, _)| *known == name).map(|(_, value)| value.trim().to_owned())
    };
    let rest = &bytes[split + 4..];
    let (body, whole) = match field("content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => (rest.to_vec(), rest.len() == length),
        None => unchunked(rest),
    };
    let body = String::from_utf8_lossy(&body);
    Answer {
        end: if whole { End::Whole } else { End::Broken },
        status: crate::probe::status(&head),
        call: field("x-request-id"),
        usage: usage(&body),
        is_replayed: field("idempotent-replayed").is_some(),
        code: code(&body),
    }
}

/// The body in chunks, and whether the last one is there.
fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line) = rest.windows(2).position(|window| window == b"\r\n") else { return (body, false) };
        let size = std::str::from_utf8(&rest[..line]).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let (Some(size), after) = (size, &rest[line + 2..]) else { return (body, false) };
        if after.len() < size + 2 {
            return (body, false);
        }
        body.extend_from_slice(&after[..size]);
        if size == 0 {
            return (body, true);
        }
        rest = &after[size + 2..];
    }
}

/// The documents of a body: the events of a stream, or the body itself.
fn documents(body: &str) -> impl DoubleEndedIterator<Item = Value> {
    let events = body.lines().filter_map(|line| line.strip_prefix("data:"));
    let whole = (!body.starts_with("data:") && !body.starts_with(':')).then_some(body);
    events.chain(whole).filter_map(|text| serde_json::from_str(text.trim()).ok())
}

/// The last usage that is said.
fn usage(body: &str) -> Option<(u64, u64)> {
    documents(body).rev().find_map(|document| {
        let usage = &document["usage"];
        Some((usage["prompt_tokens"].as_u64()?, usage["completion_tokens"].as_u64().unwrap_or(0)))
    })
}

fn code(body: &str) -> String {
    let code = documents(body).find_map(|document| document["error"]["code"].as_str().map(str::to_owned));
    code.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{End, read};

    const HEAD: &str = "HTTP/1.1 200 OK\r\nX-Request-Id: call_1\r\n";

    #[test]
    fn a_whole_answer_is_told_from_one_that_broke_off() {
        let usage = r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
        let plain = format!("{HEAD}content-length: {}\r\n\r\n{usage}", usage.len());
        let whole = read(plain.as_bytes());
        assert_eq!((whole.end, whole.status, whole.call.as_deref()), (End::Whole, 200, Some("call_1")));
        assert_eq!(whole.usage, Some((3, 4)));
        assert_eq!(read(&plain.as_bytes()[..plain.len() - 1]).end, End::Broken);
        assert_eq!(read(&HEAD.as_bytes()[..20]).end, End::Broken);
    }

    #[test]
    fn chunks_are_put_together_and_the_last_one_is_missed() {
        let event = "data: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n";
        let stream = format!("{HEAD}transfer-encoding: chunked\r\n\r\n{:x}\r\n{event}\r\n0\r\n\r\n", event.len());
        assert_eq!((read(stream.as_bytes()).end, read(stream.as_bytes()).usage), (End::Whole, Some((3, 4))));
        assert_eq!(read(&stream.as_bytes()[..stream.len() - 5]).end, End::Broken);
    }
}
