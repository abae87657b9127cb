//! What a file is, by its first bytes: the header that came with it is the host's word.

/// The media type of `bytes`, where it is one that models read.
pub(super) fn kind(bytes: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, sign: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(sign));
    let brand = |brands: &[&[u8]]| at(4, b"ftyp") && brands.iter().any(|brand| at(8, brand));
    match () {
        () if at(0, b"\x89PNG\r\n\x1a\n") => Some("image/png"),
        () if at(0, b"\xff\xd8\xff") => Some("image/jpeg"),
        () if at(0, b"RIFF") && at(8, b"WEBP") => Some("image/webp"),
        () if at(0, b"GIF87a") || at(0, b"GIF89a") => Some("image/gif"),
        () if brand(&[b"heic", b"heix"]) => Some("image/heic"),
        () if brand(&[b"mif1", b"heif", b"msf1"]) => Some("image/heif"),
        () if at(0, b"%PDF-") => Some("application/pdf"),
        () if at(0, b"RIFF") && at(8, b"WAVE") => Some("audio/wav"),
        () if at(0, b"ID3") || at(0, b"\xff\xfb") || at(0, b"\xff\xf3") => Some("audio/mp3"),
        () if at(0, b"OggS") => Some("audio/ogg"),
        () if at(0, b"fLaC") => Some("audio/flac"),
        () if brand(&[b"isom", b"mp42", b"mp41", b"avc1", b"M4V "]) => Some("video/mp4"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_decide() {
        for (bytes, expected) in [
            (&b"\x89PNG\r\n\x1a\nrest"[..], Some("image/png")),
            (b"\xff\xd8\xff\xe0", Some("image/jpeg")),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\0\0\0\0WAVEfmt ", Some("audio/wav")),
            (b"\0\0\0\x18ftypheic", Some("image/heic")),
            (b"%PDF-1.7", Some("application/pdf")),
            (b"<html>", None),
            (b"{\"AccessKeyId\":1}", None),
            (b"", None),
        ] {
            assert_eq!(kind(bytes), expected, "{bytes:?}");
        }
    }
}
