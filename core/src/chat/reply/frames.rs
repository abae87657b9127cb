//! The data of complete server-sent events (WHATWG HTML §9.2).

use std::borrow::Cow;

/// The data of each event in `bytes` that has any: its lines of data, joined by line feeds.
pub(super) fn data(bytes: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let mut lines = lines(bytes);
    std::iter::from_fn(move || {
        let mut data: Option<Cow<'_, [u8]>> = None;
        for line in lines.by_ref() {
            if line.is_empty() && data.is_some() {
                break;
            }
            let Some(line) = line.strip_prefix(b"data:") else { continue };
            let line = line.strip_prefix(b" ").unwrap_or(line);
            data = Some(match data {
                None => Cow::Borrowed(line),
                Some(first) => Cow::Owned([&*first, line].join(&b'\n')),
            });
        }
        data
    })
}

/// The lines in `bytes`, whichever of the three line ends they have.
fn lines(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(bytes.len());
        let (line, rest) = bytes.split_at(end);
        bytes = rest.strip_prefix(b"\r\n").or_else(|| rest.get(1..)).unwrap_or_default();
        Some(line)
    })
}
