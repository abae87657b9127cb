//! The little that is read of a chunk in passing.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::Value;
use serde_json::value::RawValue;

/// A chunk, as far as it is looked at.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(default, borrow)]
    pub(super) id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub(super) model: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) created: Option<i64>,
    #[serde(default, borrow)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    #[serde(default, borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) error: Option<Value>,
}

impl<'a> Head<'a> {
    pub(super) fn choices(&self) -> &[Choice<'a>] {
        self.choices.as_deref().unwrap_or_default()
    }

    /// Whether every choice in it has a finish reason.
    pub(super) fn repeats_finish(&self) -> bool {
        !self.choices().is_empty() && self.choices().iter().all(|choice| choice.finish_reason.is_some())
    }
}

/// One choice of a chunk.
#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    pub(super) index: u32,
    #[serde(default, borrow)]
    pub(super) delta: Seen<'a>,
    #[serde(default, borrow)]
    pub(super) finish_reason: Option<Cow<'a, str>>,
}

/// What a delta holds: sizes only.
#[derive(Default)]
pub(super) struct Seen<'a> {
    /// The role, as it stands in the bytes.
    pub(super) role: Option<&'a str>,
    /// Bytes of text, thoughts and arguments.
    pub(super) text_bytes: usize,
    /// Whether there are tool calls.
    pub(super) calls: bool,
    /// Whether there is anything else that a reader could miss.
    other: bool,
}

impl Seen<'_> {
    /// Whether nothing is lost without it.
    pub(super) fn is_empty(&self) -> bool {
        self.text_bytes == 0 && !self.calls && !self.other
    }
}

/// Reads a chunk.
pub(super) fn read(data: &[u8]) -> Result<Head<'_>, serde_json::Error> {
    let text = std::str::from_utf8(data).map_err(|_| de::Error::custom("not UTF-8"))?;
    serde_json::from_str(text)
}

impl<'de: 'a, 'a> Deserialize<'de> for Seen<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SeenVisitor)
    }
}

struct SeenVisitor;

impl<'de> Visitor<'de> for SeenVisitor {
    type Value = Seen<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a delta")
    }

    fn visit_unit<E>(self) -> Result<Seen<'de>, E> {
        Ok(Seen::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen<'de>, A::Error> {
        let mut seen = Seen::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match &*name {
                "role" => {
                    if let Some(Cow::Borrowed(role)) = map.next_value::<Option<Role<'de>>>()?.map(|role| role.0) {
                        seen.role = Some(role);
                    }
                }
                "tool_calls" => {
                    let bytes = map.next_value::<Size>()?.0;
                    seen.text_bytes += bytes;
                    seen.calls |= bytes > 0;
                }
                "content" | "reasoning" | "reasoning_content" | "refusal" => {
                    seen.text_bytes += map.next_value::<Size>()?.0;
                }
                // The same thoughts once more, in another form: looked at, not counted twice.
                _ => seen.other |= map.next_value::<Size>()?.0 > 0,
            }
        }
        Ok(seen)
    }
}

/// A string that is borrowed where it can be: `Cow` alone would copy it always.
#[derive(Deserialize)]
struct Role<'a>(#[serde(borrow)] Cow<'a, str>);

/// How much there is in a value: the bytes of its strings, 1 for anything else that is not empty.
struct Size(usize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Measure;
        impl<'de> Visitor<'de> for Measure {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Size, E> {
                Ok(Size(text.len()))
            }

            fn visit_unit<E>(self) -> Result<Size, E> {
                Ok(Size(0))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Size, E> {
                Ok(Size(1))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Size, E> {
                Ok(Size(1))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Size, E> {
                Ok(Size(1))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Size, E> {
                Ok(Size(1))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Size, A::Error> {
                let mut size = 0;
                while let Some(Size(more)) = seq.next_element()? {
                    size += more;
                }
                Ok(Size(size))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Size, A::Error> {
                let mut size = 0;
                while let Some((_, Size(more))) = map.next_entry::<IgnoredAny, Size>()? {
                    size += more;
                }
                Ok(Size(size))
            }
        }
        deserializer.deserialize_any(Measure)
    }
}
