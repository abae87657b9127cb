//! How much an answer says: what stands in for tokens where the vendor gives no figure.

use std::fmt;
use std::ops::AddAssign;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::answer::Delta;
use crate::tokens;
use crate::usage::Usage;

/// Tokens of an image that a model made: what vendors publish for one of a million pixels.
const IMAGE_TOKENS: u64 = 1_290;

/// Characters of base 64 in a token of audio: at 20 tokens a second, between what compressed and plain
/// audio take.
const AUDIO_CHARACTERS: u64 = 2_000;

/// Characters of base 64 in a token of thoughts that the vendor encrypts: they hold as many bytes of text as of cipher.
const ENCODED_CHARACTERS: usize = 3;

/// How much was said: sizes only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Said {
    /// Tokens of text, thoughts and tool arguments, in the terms of [`tokens::count`]. A piece that says anything has
    /// one at least.
    pub text_tokens: u64,
    /// Images.
    pub images: u64,
    /// Characters of audio in base 64.
    pub audio_characters: usize,
}

impl Said {
    /// What it used, as far as can be told from here.
    pub fn usage(&self, prompt_tokens: u64) -> Usage {
        let mut usage = Usage::estimate(prompt_tokens, self.text_tokens);
        usage.image_output = self.images.saturating_mul(IMAGE_TOKENS);
        usage.audio_output = (self.audio_characters as u64).div_ceil(AUDIO_CHARACTERS);
        usage
    }
}

impl AddAssign for Said {
    fn add_assign(&mut self, more: Self) {
        self.text_tokens += more.text_tokens;
        self.images += more.images;
        self.audio_characters += more.audio_characters;
    }
}

impl From<&Delta> for Said {
    fn from(delta: &Delta) -> Self {
        let texts = [&delta.content, &delta.reasoning_content, &delta.refusal];
        let functions = delta.tool_calls.iter().flatten().map(|call| &call.function);
        let calls = functions.flat_map(|function| [&function.name, &function.arguments]);
        Self {
            text_tokens: texts.into_iter().chain(calls).flatten().map(|text| tokens::count(text)).sum(),
            images: delta.images.as_ref().map_or(0, Vec::len) as u64,
            audio_characters: 0,
        }
    }
}

/// A message or a delta on the wire, as far as it is looked at: measured in one pass, nothing kept. In
/// the fields of an object every shape can be read.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Saying<'a> {
    /// The role, where it stands in the bytes as it is.
    pub role: Option<&'a str>,
    /// How much it says.
    pub said: Said,
    /// Whether there are tool calls.
    pub calls: bool,
    /// Whether there is anything else that a reader could miss.
    other: bool,
}

impl Saying<'_> {
    /// Whether nothing is lost without it.
    pub fn is_empty(&self) -> bool {
        self.said == Said::default() && !self.calls && !self.other
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Saying<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SayingVisitor)
    }
}

/// The fields of a message or a delta that are told apart. Not read as texts: serde makes a new string of each name.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum SayingField {
    Role,
    Content,
    Refusal,
    Reasoning,
    ReasoningContent,
    ReasoningDetails,
    ToolCalls,
    FunctionCall,
    Images,
    Audio,
    #[serde(other)]
    Other,
}

struct SayingVisitor;

impl<'de> Visitor<'de> for SayingVisitor {
    type Value = Saying<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message or a delta")
    }

    fn visit_unit<E>(self) -> Result<Saying<'de>, E> {
        Ok(Saying::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Saying<'de>, A::Error> {
        let mut saying = Saying::default();
        // The same thoughts come under up to three names: they are counted once.
        let (mut thoughts, mut details) = (0, 0);
        while let Some(name) = map.next_key::<SayingField>()? {
            let field = map.next_value::<Amount<'de>>()?;
            match name {
                SayingField::Role => saying.role = field.word,
                SayingField::Content | SayingField::Refusal => saying.said += field.said,
                SayingField::Reasoning | SayingField::ReasoningContent => {
                    thoughts = thoughts.max(field.said.text_tokens);
                }
                SayingField::ReasoningDetails => {
                    details = field.tokens();
                    saying.other |= field.any;
                }
                SayingField::ToolCalls | SayingField::FunctionCall => {
                    saying.said += field.said;
                    saying.calls |= field.any;
                }
                SayingField::Images => saying.said.images += field.items.max(field.said.images),
                SayingField::Audio => {
                    saying.said += field.said;
                    saying.other |= field.any;
                }
                SayingField::Other => saying.other |= field.any,
            }
        }
        if thoughts == 0 {
            thoughts = details;
        }
        saying.said.text_tokens += thoughts;
        Ok(saying)
    }
}

/// How much there is in a value of any shape.
#[derive(Default)]
struct Amount<'a> {
    said: Said,
    /// Whether there is anything at all.
    any: bool,
    /// The value itself, if it is a string that stands in the bytes as it is.
    word: Option<&'a str>,
    /// Elements of a list.
    items: u64,
    /// Bytes of the value, if it is a string.
    characters: usize,
}

impl Amount<'_> {
    const SOMETHING: Self = Self {
        said: Said { text_tokens: 0, images: 0, audio_characters: 0 },
        any: true,
        word: None,
        items: 0,
        characters: 0,
    };

    /// Tokens of its strings, encoded ones included.
    fn tokens(&self) -> u64 {
        self.said.text_tokens + self.said.audio_characters.div_ceil(ENCODED_CHARACTERS) as u64
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Amount<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AmountVisitor)
    }
}

/// The fields of a part that are told apart.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum AmountField {
    Id,
    Type,
    Format,
    ImageUrl,
    Data,
    #[serde(other)]
    Other,
}

struct AmountVisitor;

impl<'de> Visitor<'de> for AmountVisitor {
    type Value = Amount<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Amount<'de>, E> {
        let said = Said { text_tokens: tokens::count(text), ..Said::default() };
        Ok(Amount { said, any: !text.is_empty(), characters: text.len(), ..Amount::default() })
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Amount<'de>, E> {
        Ok(Amount { word: Some(text), ..self.visit_str::<E>(text)? })
    }

    fn visit_unit<E>(self) -> Result<Amount<'de>, E> {
        Ok(Amount::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Amount<'de>, E> {
        Ok(Amount::SOMETHING)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Amount<'de>, E> {
        Ok(Amount::SOMETHING)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Amount<'de>, E> {
        Ok(Amount::SOMETHING)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Amount<'de>, E> {
        Ok(Amount::SOMETHING)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Amount<'de>, A::Error> {
        let mut amount = Amount::default();
        while let Some(element) = seq.next_element::<Amount<'de>>()? {
            amount.said += element.said;
            amount.any |= element.any;
            amount.items += 1;
        }
        Ok(amount)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Amount<'de>, A::Error> {
        let mut amount = Amount::default();
        while let Some(name) = map.next_key::<AmountField>()? {
            let field = map.next_value::<Amount<'de>>()?;
            amount.any |= field.any;
            match name {
                AmountField::Id | AmountField::Type | AmountField::Format => {}
                AmountField::ImageUrl => amount.said.images += u64::from(field.any),
                AmountField::Data => amount.said.audio_characters += field.characters,
                AmountField::Other => amount.said += field.said,
            }
        }
        Ok(amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Saying<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn text_thoughts_and_arguments_are_measured_once() {
        let saying = read(
            r#"{"role":"assistant","content":"abc","reasoning":"12345","reasoning_content":"12345",
            "reasoning_details":[{"type":"reasoning.text","text":"12345"}],
            "tool_calls":[{"index":0,"id":"call","type":"function","function":{"name":"f","arguments":"{}"}}]}"#,
        );
        assert_eq!((saying.role, saying.said.text_tokens, saying.calls), (Some("assistant"), 1 + 2 + (1 + 2), true));
        assert_eq!(
            read(r#"{"reasoning_details":[{"type":"reasoning.encrypted","data":"123456"}]}"#).said.text_tokens,
            2
        );
    }

    #[test]
    fn media_count_as_media_and_not_by_their_base64() {
        let saying = read(
            r#"{"content":[{"type":"text","text":"abc"},{"type":"image_url","image_url":{"url":"data:x"}}],
            "images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},"AAAA"],
            "audio":{"id":"a","data":"AAAA","transcript":"hey"}}"#,
        );
        assert_eq!(saying.said, Said { text_tokens: 1 + 1, images: 3, audio_characters: 4 });
        let usage = saying.said.usage(7);
        assert_eq!((usage.input, usage.output, usage.image_output, usage.audio_output), (7, 2, 3 * 1_290, 1));
        assert!(usage.estimated);
    }

    #[test]
    fn every_shape_is_read_and_emptiness_is_told() {
        for empty in ["null", "{}", r#"{"role":"assistant","content":"","tool_calls":null,"images":[],"x":[{}]}"#] {
            assert!(read(empty).is_empty(), "{empty}");
        }
        for full in [
            r#"{"x":0}"#,
            r#"{"tool_calls":[{"index":0}]}"#,
            r#"{"role":5,"content":{"a":[1.5,-1,true]},"audio":{"id":"a"}}"#,
        ] {
            assert!(!read(full).is_empty(), "{full}");
        }
    }
}
