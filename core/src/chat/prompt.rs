//! The size and soundness of a prompt, read in one pass without keeping its text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

use crate::json::check_levels;
use crate::tokens;

/// Tokens of an image, whatever its size, and the least of a file: the highest figure that vendors
/// publish for one image.
const IMAGE_TOKENS: u64 = 1_120;

/// Bytes of sound in a token: at 32 tokens a second, the most that vendors count, and 64 kbit/s.
const AUDIO_BYTES: usize = 250;

/// A page of a document: the most tokens that vendors publish for one, and how many bytes it has.
const PAGE_TOKENS: u64 = 3_000;
const PAGE_BYTES: u64 = 50_000;

/// Tokens around each message, as vendors count them.
const MESSAGE_TOKENS: u64 = 4;

/// Bytes in a token of a text that is not looked at, since it stands in base 64.
const UNSEEN_TEXT_BYTES: usize = 3;

/// What policy needs to know of `messages`: how much there is, and that it makes sense.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prompt {
    /// Messages.
    pub messages: u32,
    /// An upper estimate of the tokens of text, tool arguments, tool results, and of whatever is not known here,
    /// in the terms of [`tokens::count`].
    pub text_tokens: u64,
    /// Images, audio clips and files.
    pub media: u32,
    /// An upper estimate of their tokens: images by the piece, the others by their size.
    pub media_tokens: u64,
}

impl Prompt {
    /// An upper estimate of its tokens, in the terms of [`tokens::count`].
    pub const fn tokens(&self) -> u64 {
        self.text_tokens + self.messages as u64 * MESSAGE_TOKENS + self.media_tokens
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
        let mut calls: Vec<Cow<'de, str>> = Vec::new();
        while let Some(message) = seq.next_element_seed(MessageSeed { at: prompt.messages, prompt: &mut prompt })? {
            let at = prompt.messages;
            if message.role.as_ref().is_some_and(|role| role.0 == "tool") {
                let answered = message.tool_call_id.as_ref();
                if !answered.is_some_and(|id| calls.contains(&id.0)) {
                    return Err(A::Error::custom(format_args!(
                        "`messages[{at}]` is a tool result without a call: its `tool_call_id` is that of no earlier tool call"
                    )));
                }
            }
            for call in message.tool_calls.into_iter().flatten() {
                prompt.text_tokens += call.function.map_or(0, |f| f.name.0 + f.arguments.0);
                if let Some(id) = call.id {
                    prompt.text_tokens += tokens::count(&id);
                    calls.push(id);
                }
            }
            prompt.text_tokens += message.tool_call_id.map_or(0, |id| tokens::count(&id.0));
            prompt.messages += 1;
        }
        Ok(prompt)
    }
}

/// The fields of a message that are looked at.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum MessageField {
    Role,
    Content,
    ToolCalls,
    ToolCallId,
    #[serde(other)]
    Other,
}

/// A message, as far as it is not only weighed. `null` and absent are alike.
#[derive(Default)]
struct Message<'a> {
    role: Option<Text<'a>>,
    tool_calls: Option<Vec<Call<'a>>>,
    tool_call_id: Option<Text<'a>>,
}

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads message `at`, and adds what is in it to the prompt.
struct MessageSeed<'p> {
    at: u32,
    prompt: &'p mut Prompt,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = Message<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Message<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = Message<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object for each message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message<'de>, A::Error> {
        let mut message = Message::default();
        // Two readers may take different ones of two: the fields that decide have to be single.
        let mut seen = [false; 4];
        while let Some(field) = map.next_key::<MessageField>()? {
            let twice = |name| A::Error::custom(format_args!("`messages[{}]` has `{name}` twice", self.at));
            match field {
                MessageField::Role if std::mem::replace(&mut seen[0], true) => return Err(twice("role")),
                MessageField::Content if std::mem::replace(&mut seen[1], true) => return Err(twice("content")),
                MessageField::ToolCalls if std::mem::replace(&mut seen[2], true) => return Err(twice("tool_calls")),
                MessageField::ToolCallId if std::mem::replace(&mut seen[3], true) => return Err(twice("tool_call_id")),
                MessageField::Role => message.role = Some(map.next_value()?),
                MessageField::Content => {
                    map.next_value_seed(ContentSeed { message: self.at, prompt: &mut *self.prompt })?;
                }
                MessageField::ToolCalls => message.tool_calls = map.next_value()?,
                MessageField::ToolCallId => message.tool_call_id = map.next_value()?,
                MessageField::Other => self.prompt.text_tokens += unknown(&mut map)?,
            }
        }
        if message.role.is_some() { Ok(message) } else { Err(A::Error::missing_field("role")) }
    }
}

/// The tokens of a value that nothing is known of: of its JSON, escapes as they stand there, since nobody knows in
/// which form the vendor shows it to the model. `null` and switches weigh nothing.
fn unknown<'de, A: MapAccess<'de>>(map: &mut A) -> Result<u64, A::Error> {
    let json = map.next_value::<&'de RawValue>()?.get();
    check_levels(json)?;
    Ok(if matches!(json, "null" | "true" | "false") { 0 } else { tokens::count(json) })
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
    name: Weight,
    #[serde(default)]
    arguments: Weight,
}

/// The tokens of a string that is not kept. Of one with escapes they are those of the text that it stands for.
#[derive(Default)]
struct Weight(u64);

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Measure;
        impl Visitor<'_> for Measure {
            type Value = Weight;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Weight, E> {
                Ok(Weight(tokens::count(text)))
            }
        }
        deserializer.deserialize_str(Measure)
    }
}

/// `content`: a string, a list of parts, or nothing; added to the prompt.
struct ContentSeed<'p> {
    message: u32,
    prompt: &'p mut Prompt,
}

impl<'de> DeserializeSeed<'de> for ContentSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ContentSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`content` as a string or a list of parts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.prompt.text_tokens += tokens::count(text);
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut part = 0;
        while let Some(()) =
            seq.next_element_seed(PartSeed { message: self.message, part, prompt: &mut *self.prompt })?
        {
            part += 1;
        }
        Ok(())
    }
}

/// One part of a message; added to the prompt.
struct PartSeed<'p> {
    message: u32,
    part: u32,
    prompt: &'p mut Prompt,
}

/// The fields of a part that are looked at.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum PartField {
    Type,
    Text,
    Refusal,
    ImageUrl,
    InputAudio,
    File,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for PartSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PartSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object for each part of `content`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut typed = false;
        while let Some(field) = map.next_key::<PartField>()? {
            let tokens = match field {
                PartField::Type => {
                    let _: Weight = map.next_value()?;
                    typed = true;
                    continue;
                }
                PartField::Text | PartField::Refusal => {
                    self.prompt.text_tokens += map.next_value::<Option<Weight>>()?.unwrap_or_default().0;
                    continue;
                }
                PartField::Other => {
                    self.prompt.text_tokens += unknown(&mut map)?;
                    continue;
                }
                PartField::ImageUrl => {
                    let image = map.next_value::<Image<'de>>()?;
                    data_in(&image.url).map_err(|why| self.wrong("image_url.url", why))?;
                    IMAGE_TOKENS
                }
                PartField::InputAudio => {
                    let audio = map.next_value::<Data<'de>>()?;
                    let bytes = decoded(audio.data.as_deref().unwrap_or_default());
                    let bytes = bytes.map_err(|why| self.wrong("input_audio.data", why))?;
                    bytes.div_ceil(AUDIO_BYTES) as u64
                }
                PartField::File => {
                    let file = map.next_value::<File<'de>>()?;
                    let data = file.file_data.as_deref().unwrap_or_default();
                    let bytes = data_in(data).map_err(|why| self.wrong("file.file_data", why))?;
                    let tokens = if data.starts_with("data:text/") {
                        bytes.div_ceil(UNSEEN_TEXT_BYTES) as u64
                    } else {
                        (bytes as u64).saturating_mul(PAGE_TOKENS) / PAGE_BYTES
                    };
                    tokens.max(IMAGE_TOKENS)
                }
            };
            self.prompt.media += 1;
            self.prompt.media_tokens += tokens;
        }
        if typed { Ok(()) } else { Err(A::Error::missing_field("type")) }
    }
}

impl PartSeed<'_> {
    #[cold]
    fn wrong<E: de::Error>(&self, field: &str, why: &str) -> E {
        E::custom(format_args!("`messages[{}].content[{}].{field}` {why}", self.message, self.part))
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

/// How many bytes a data URL holds; none where it is an address.
fn data_in(url: &str) -> Result<usize, &'static str> {
    match url.strip_prefix("data:").map(|rest| rest.split_once(";base64,")) {
        None => Ok(0),
        Some(Some((_, data))) => decoded(data),
        Some(None) => Err("is a data URL that does not have the form `data:<type>;base64,<data>`"),
    }
}

/// How many bytes `data` is in base 64 (RFC 4648 §4), padded or not. What is no base 64 is refused
/// here, at the door, since vendors answer it with anything from 400 to 500.
fn decoded(data: &str) -> Result<usize, &'static str> {
    let bare = data.trim_end_matches('=');
    let sound = data.len() - bare.len() <= 2
        && bare.len() % 4 != 1
        && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    if sound && !bare.is_empty() {
        Ok(bare.len() / 4 * 3 + bare.len() % 4 * 3 / 4)
    } else {
        Err("does not hold valid base64")
    }
}

#[cfg(test)]
mod tests;
