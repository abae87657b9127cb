//! Parts of a message that are not plain text, as bytes inside the request.

use std::borrow::Cow;

use aihub_core::chat;
use aihub_core::{Error, Result};

use super::wire::{Blob, Part};

/// How finely images are to be looked at: one word for the whole request, since the word for one
/// part is not spoken by every version of the API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Detail {
    images: u32,
    low: u32,
    high: bool,
}

impl Detail {
    fn see(&mut self, detail: Option<&str>) {
        self.images += 1;
        self.low += u32::from(detail == Some("low"));
        self.high |= detail == Some("high");
    }

    /// `mediaResolution`, where the images agree on one.
    pub(super) fn resolution(self, fine: bool) -> Option<&'static str> {
        match self {
            Self { high: true, .. } if fine => Some("MEDIA_RESOLUTION_HIGH"),
            Self { images: 1.., low, .. } if low == self.images => Some("MEDIA_RESOLUTION_LOW"),
            _ => None,
        }
    }
}

/// A part in the vendor's words. Addresses have been fetched before ([`crate::media`]): what is
/// left of them here is refused.
pub(super) fn part(part: chat::Part, detail: &mut Detail, path: impl Fn() -> String) -> Result<Part> {
    match part {
        chat::Part::Text { text } | chat::Part::Refusal { refusal: text } => Ok(Part::text(text)),
        chat::Part::ImageUrl { image_url } => {
            detail.see(image_url.detail.as_deref());
            let path = || format!("{}.image_url.url", path());
            let blob = data_url(image_url.url, path)?;
            match &*blob.mime_type {
                "image/png" | "image/jpeg" | "image/webp" | "image/heic" | "image/heif" => Ok(Part::inline(blob)),
                _ => Err(Error::unsupported_parameter(
                    path(),
                    "This model reads images of type png, jpeg, webp, heic and heif",
                )),
            }
        }
        chat::Part::InputAudio { input_audio } => {
            let mime_type = match input_audio.format.as_str() {
                "wav" => "audio/wav",
                "mp3" => "audio/mp3",
                "aac" => "audio/aac",
                "flac" => "audio/flac",
                "ogg" => "audio/ogg",
                "aiff" => "audio/aiff",
                _ => {
                    let path = format!("{}.input_audio.format", path());
                    return Err(Error::unsupported_parameter(
                        path,
                        "This model reads audio of type wav, mp3, aac, flac, ogg and aiff",
                    ));
                }
            };
            Ok(Part::inline(Blob { mime_type: Cow::Borrowed(mime_type), data: input_audio.data }))
        }
        chat::Part::File { file } => {
            let path = || format!("{}.file", path());
            let Some(data) = file.file_data else {
                return Err(Error::unsupported_parameter(
                    path(),
                    "Uploaded files are not reachable for this model: send the file as a data URL in `file_data`",
                ));
            };
            let blob = data_url(data, path)?;
            let kinds = ["application/pdf", "application/json", "text/", "image/", "audio/", "video/"];
            if !kinds.iter().any(|kind| blob.mime_type.starts_with(kind)) {
                return Err(Error::unsupported_parameter(
                    path(),
                    "This model reads files of type PDF, JSON, text, image, audio and video",
                ));
            }
            Ok(Part::inline(blob))
        }
        _ => Err(Error::unsupported_parameter(path(), "This kind of content is not supported with this model")),
    }
}

/// The type and bytes of a data URL (RFC 2397); only base 64 is taken. The text is kept, not
/// copied.
fn data_url(mut url: String, path: impl Fn() -> String) -> Result<Blob> {
    let wrong = || Error::invalid(path(), "A data URL of the form `data:<type>;base64,<data>` was expected");
    let comma = url.find(',').ok_or_else(wrong)?;
    let head = url[..comma].to_ascii_lowercase();
    let kind = head.strip_prefix("data:").and_then(|head| head.strip_suffix(";base64")).ok_or_else(wrong)?;
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.is_empty() {
        return Err(wrong());
    }
    let mime_type = match kind {
        "image/jpg" | "image/pjpeg" => Cow::Borrowed("image/jpeg"),
        "audio/mpeg" => Cow::Borrowed("audio/mp3"),
        "audio/x-wav" | "audio/wave" => Cow::Borrowed("audio/wav"),
        kind => Cow::Owned(kind.to_owned()),
    };
    url.drain(..=comma);
    Ok(Blob { mime_type, data: url })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value) -> Result<Part> {
        part(serde_json::from_value(json).unwrap(), &mut Detail::default(), || "p".to_owned())
    }

    #[test]
    fn data_urls_become_bytes_of_a_known_type() {
        for (url, kind) in [
            ("data:image/jpg;base64,QUJD", Some("image/jpeg")),
            ("DATA:image/PNG;charset=x;base64,QUJD", Some("image/png")),
            ("data:image/gif;base64,QUJD", None),
            ("data:image/png,abc", None),
            ("https://a.example/x.png", None),
        ] {
            let part = read(serde_json::json!({"type": "image_url", "image_url": {"url": url}}));
            let got = part.ok().and_then(|part| part.inline_data).map(|blob| (blob.mime_type.into_owned(), blob.data));
            assert_eq!(got, kind.map(|kind| (kind.to_owned(), "QUJD".to_owned())), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_where_it_is() {
        let file = read(serde_json::json!({"type": "file", "file": {"file_id": "file_1"}})).unwrap_err();
        assert_eq!((file.param(), file.may_fail_over()), (Some("p.file"), true));
        let audio = read(serde_json::json!({"type": "input_audio", "input_audio": {"data": "", "format": "midi"}}))
            .unwrap_err();
        assert_eq!(audio.param(), Some("p.input_audio.format"));
        assert!(
            read(serde_json::json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,QUJD"}}))
                .is_ok()
        );
    }

    #[test]
    fn images_agree_on_one_resolution() {
        let seen = |details: &[Option<&str>]| {
            let mut detail = Detail::default();
            for each in details {
                detail.see(*each);
            }
            detail
        };
        assert_eq!(seen(&[Some("low"), Some("low")]).resolution(true), Some("MEDIA_RESOLUTION_LOW"));
        assert_eq!(seen(&[Some("low"), None]).resolution(true), None);
        assert_eq!(seen(&[Some("low"), Some("high")]).resolution(true), Some("MEDIA_RESOLUTION_HIGH"));
        assert_eq!(seen(&[Some("high")]).resolution(false), None);
        assert_eq!(Detail::default().resolution(true), None);
    }
}
