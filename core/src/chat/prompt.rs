//! The size and soundness of a prompt, read in one pass without keeping its text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

/// Tokens charged for an image, an audio clip or a file whose size cannot be told without decoding
/// it: the highest figure that vendors publish for one image.
const MEDIA_TOKENS: u64 = 1_120;

/// Tokens around each message, as vendors count them.
const MESSAGE_TOKENS: u64 = 4;

/// An upper estimate of the tokens of `bytes` bytes of UTF-8 text.
///
/// A token is 3 to 5 bytes of English and about 3 bytes of Chinese: one for every three errs on the
/// side of the hold, which is corrected when the call settles.
pub const fn tokens_in(bytes: usize) -> u64 {
    bytes.div_ceil(3) as u64
}

/// What policy needs to know of `messages`: how much there is, and that it makes sense.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prompt {
    /// Messages.
    pub messages: u32,
    /// Bytes of text, tool arguments and tool results.
    pub text_bytes: usize,
    /// Images, audio clips and files.
    pub media: u32,
}

impl Prompt {
    /// An upper estimate of its tokens.
    pub const fn tokens(&self) -> u64 {
        tokens_in(self.text_bytes) + self.messages as u64 * MESSAGE_TOKENS + self.media as u64 * MEDIA_TOKENS
    }
}

/// Reads `messages` into a [`Prompt`], refusing what no vendor could answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct PromptSeed;

impl<'de> DeserializeSeed<'de> for PromptSeed {
    type Value = Prompt;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Prompt, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for PromptSeed {
    type Value = Prompt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Prompt, A::Error> {
        let mut prompt = Prompt::default();
        let mut calls: Vec<String> = Vec::new();
        while let Some(message) = seq.next_element::<Message<'_>>()? {
            let at = prompt.messages;
            if message.role == "tool" {
                let answered = message.tool_call_id.as_deref();
                if !answered.is_some_and(|id| calls.iter().any(|call| call == id)) {
                    return Err(A::Error::custom(format_args!(
                        "`messages[{at}]` is a tool result without a call: its `tool_call_id` is that of no earlier tool call"
                    )));
                }
            }
            for call in message.tool_calls.into_iter().flatten() {
                prompt.text_bytes += call.function.map_or(0, |f| f.name.0 + f.arguments.0);
                calls.extend(call.id.map(Cow::into_owned));
            }
            prompt.messages += 1;
            prompt.text_bytes += message.content.text_bytes;
            prompt.media += message.content.media;
        }
        Ok(prompt)
    }
}

/// A message, as far as it is looked at. Derived, so that `null` and absent are alike.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(default)]
    content: Content,
    #[serde(default, borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
    #[serde(default, borrow)]
    tool_call_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(default)]
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    name: Length,
    #[serde(default)]
    arguments: Length,
}

/// The length of a string that is not kept.
#[derive(Default)]
struct Length(usize);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Measure;
        impl Visitor<'_> for Measure {
            type Value = Length;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Length, E> {
                Ok(Length(text.len()))
            }
        }
        deserializer.deserialize_str(Measure)
    }
}

/// `content`: a string, a list of parts, or nothing.
#[derive(Default)]
struct Content {
    text_bytes: usize,
    media: u32,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`content` as a string or a list of parts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
        Ok(Content { text_bytes: text.len(), media: 0 })
    }

    fn visit_unit<E: de::Error>(self) -> Result<Content, E> {
        Ok(Content::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
        let mut content = Content::default();
        while let Some(part) = seq.next_element::<Part>()? {
            content.text_bytes += part.text_bytes;
            content.media += u32::from(part.is_media);
        }
        Ok(content)
    }
}

/// One part of a message.
struct Part {
    text_bytes: usize,
    is_media: bool,
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PartVisitor)
    }
}

struct PartVisitor;

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a content part")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part, A::Error> {
        let mut part = Part { text_bytes: 0, is_media: false };
        let mut typed = false;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match &*name {
                "type" => {
                    let _: Length = map.next_value()?;
                    typed = true;
                }
                "text" | "refusal" => part.text_bytes += map.next_value::<Option<Length>>()?.unwrap_or_default().0,
                "image_url" => {
                    let image = map.next_value::<Image<'de>>()?;
                    check_data_url(&image.url)?;
                    part.is_media = true;
                }
                "input_audio" => {
                    let audio = map.next_value::<Data<'de>>()?;
                    check_base64(audio.data.as_deref().unwrap_or_default(), "input_audio.data")?;
                    part.is_media = true;
                }
                "file" => {
                    let file = map.next_value::<File<'de>>()?;
                    file.file_data.as_deref().map_or(Ok(()), check_data_url)?;
                    part.is_media = true;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if typed { Ok(part) } else { Err(A::Error::missing_field("type")) }
    }
}

#[derive(Deserialize)]
struct Image<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(default, borrow)]
    data: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(default, borrow)]
    file_data: Option<Cow<'a, str>>,
}

fn check_data_url<E: de::Error>(url: &str) -> Result<(), E> {
    match url.strip_prefix("data:").map(|rest| rest.split_once(";base64,")) {
        None => Ok(()),
        Some(Some((_, data))) => check_base64(data, "a data URL"),
        Some(None) => Err(E::custom("a data URL has the form `data:<type>;base64,<data>`")),
    }
}

/// Whether `data` is base 64 (RFC 4648 §4), padded or not: said here, at the door, since vendors
/// answer it with anything from 400 to 500.
fn check_base64<E: de::Error>(data: &str, what: &str) -> Result<(), E> {
    let bare = data.trim_end_matches('=');
    let sound = data.len() - bare.len() <= 2
        && bare.len() % 4 != 1
        && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    if sound && !bare.is_empty() { Ok(()) } else { Err(E::custom(format_args!("{what} does not hold valid base64"))) }
}
