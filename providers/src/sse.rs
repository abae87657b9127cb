//! Server-sent events (WHATWG HTML §9.2), found in bytes without copying them.
//!
//! A parser that gives out decoded events would not do: what passes through has to be forwarded as
//! the bytes that came, and lines that are no event at all (a bare JSON error inside a stream) have
//! to be seen, not skipped.

use aihub_core::{Error, ErrorKind, Result};
use bytes::{Bytes, BytesMut};

use crate::http::MOST_BYTES;

/// Cuts a stream of frames at event boundaries.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    rest: BytesMut,
}

impl Splitter {
    /// Takes a frame and gives back all events that are complete now, one after the other; the
    /// frame's own memory where it holds whole events.
    ///
    /// # Errors
    ///
    /// [`BadUpstream`](ErrorKind::BadUpstream) when one event exceeds what is accepted.
    pub(crate) fn push(&mut self, mut frame: Bytes) -> Result<Bytes> {
        if !self.rest.is_empty() {
            let seen = self.rest.len().saturating_sub(3);
            self.rest.extend_from_slice(&frame);
            let Some(end) = boundary(&self.rest[seen..]) else { return self.within_limit() };
            return Ok(self.rest.split_to(seen + end).freeze());
        }
        let Some(end) = boundary(&frame) else {
            self.rest.extend_from_slice(&frame);
            return self.within_limit();
        };
        let events = frame.split_to(end);
        self.rest.extend_from_slice(&frame);
        Ok(events)
    }

    /// What is left when the stream has ended: an event that was never completed, or nothing.
    pub(crate) fn finish(&mut self) -> Bytes {
        self.rest.split().freeze()
    }

    fn within_limit(&self) -> Result<Bytes> {
        if self.rest.len() > MOST_BYTES {
            return Err(Error::new(ErrorKind::BadUpstream, "The upstream sent an event longer than is accepted"));
        }
        Ok(Bytes::new())
    }
}

/// The end of the last blank line in `bytes`, searched from behind since a frame mostly ends there.
/// A lone carriage return at the very end may be half of a line end and does not count.
fn boundary(bytes: &[u8]) -> Option<usize> {
    let mut upto = bytes.len();
    while let Some(at) = memchr::memrchr2(b'\n', b'\r', &bytes[..upto]) {
        let line_end = match (bytes[at], at.checked_sub(1).map(|before| bytes[before])) {
            (b'\n', Some(b'\r')) => at - 1,
            (b'\r', _) if at + 1 == bytes.len() => {
                upto = at;
                continue;
            }
            _ => at,
        };
        if line_end > 0 && matches!(bytes[line_end - 1], b'\n' | b'\r') {
            return Some(at + 1);
        }
        upto = line_end;
    }
    None
}

/// One event among others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// Where it starts.
    pub(crate) start: usize,
    /// Where the next one starts.
    pub(crate) end: usize,
    /// What it says.
    pub(crate) content: Content<'a>,
}

/// What an event says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// Nothing but comments or fields that are not used here.
    Silent,
    /// Its data, where it is one line.
    Data(&'a [u8]),
    /// Its data, where it was several lines.
    Lines(Vec<u8>),
    /// Lines that are no event.
    Bare(&'a [u8]),
}

impl Content<'_> {
    /// The data, if there is any.
    pub(crate) fn data(&self) -> Option<&[u8]> {
        match self {
            Self::Data(data) => Some(data),
            Self::Lines(data) => Some(data),
            Self::Silent | Self::Bare(_) => None,
        }
    }
}

/// The events in `bytes`, which is cut at event boundaries (or the rest at the end of a stream).
pub(crate) fn events(bytes: &[u8]) -> impl Iterator<Item = Event<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        let mut content = Content::Silent;
        let mut bare: Option<usize> = None;
        let mut text_end = start;
        while at < bytes.len() {
            let line_start = at;
            let end = memchr::memchr2(b'\n', b'\r', &bytes[at..]).map_or(bytes.len(), |length| at + length);
            at = match bytes.get(end..end + 2) {
                Some(b"\r\n") => end + 2,
                _ => (end + 1).min(bytes.len()),
            };
            let mut line = &bytes[line_start..end];
            if line_start == 0 {
                line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
            }
            if line.is_empty() {
                break;
            }
            text_end = end;
            if let Some(data) = field(line, b"data") {
                content = match content {
                    Content::Data(first) => Content::Lines([first, data].join(&b'\n')),
                    Content::Lines(mut lines) => {
                        lines.push(b'\n');
                        lines.extend_from_slice(data);
                        Content::Lines(lines)
                    }
                    Content::Silent | Content::Bare(_) => Content::Data(data),
                };
            } else if !line.starts_with(b":")
                && !["event", "id", "retry"].iter().any(|name| field(line, name.as_bytes()).is_some())
            {
                bare.get_or_insert(line_start);
            }
        }
        if let (Content::Silent, Some(bare)) = (&content, bare) {
            content = Content::Bare(&bytes[bare..text_end]);
        }
        (at > start).then_some(Event { start, end: at, content })
    })
}

/// The value of a field line; the blank after the colon is optional.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": keep-alive\n\ndata: {\"a\":1}\n\nevent: x\r\ndata:two\r\ndata: lines\r\n\r\ndata: é\u{2028}\r\r{\n \"error\": 1\n}\n\ndata: [DONE]\n\n";

    fn read(pieces: impl Iterator<Item = Bytes>) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut all = Vec::new();
        let mut take = |bytes: &[u8]| {
            for event in events(bytes) {
                match event.content {
                    Content::Bare(bare) => all.push(format!("bare {}", String::from_utf8_lossy(bare))),
                    other => all.extend(other.data().map(|data| String::from_utf8_lossy(data).into_owned())),
                }
            }
        };
        for piece in pieces {
            take(&splitter.push(piece).unwrap());
        }
        take(&splitter.finish());
        all
    }

    #[test]
    fn every_way_of_cutting_gives_the_same_events() {
        let expected = ["{\"a\":1}", "two\nlines", "é\u{2028}", "bare {\n \"error\": 1\n}", "[DONE]"];
        for size in 1..=STREAM.len() {
            let pieces = STREAM.as_bytes().chunks(size).map(Bytes::copy_from_slice);
            assert_eq!(read(pieces), expected, "cut every {size} bytes");
        }
    }

    #[test]
    fn whole_events_are_not_copied() {
        let frame = Bytes::from_static(b"data: 1\n\ndata: 2\n\n");
        let given = Splitter::default().push(frame.clone()).unwrap();
        assert_eq!((given.as_ptr(), given.len()), (frame.as_ptr(), frame.len()));
    }

    #[test]
    fn a_byte_order_mark_and_an_uncompleted_event_do_no_harm() {
        assert_eq!(read([Bytes::from("\u{feff}data: 1\n\nda"), Bytes::from("ta: 2")].into_iter()), ["1", "2"]);
        assert_eq!(read([Bytes::from("\n\n\n\r\n")].into_iter()), Vec::<String>::new());
    }
}
