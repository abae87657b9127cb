//! The little that is read of a chunk in passing.

use std::borrow::Cow;
use std::collections::HashMap;

use aihub_core::chat::Saying;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// A chunk, as far as it is looked at.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(default, borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub(super) model: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub(super) created: Option<&'a RawValue>,
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

    /// The error in it: its own, or that of a choice, which some vendors name by its finish reason alone.
    pub(super) fn failure(&self) -> Option<Cow<'_, Value>> {
        let own = self.error.as_ref().or_else(|| self.choices().iter().find_map(|choice| choice.error.as_ref()));
        let gave_up = || self.choices().iter().any(|choice| choice.finish_reason.as_deref() == Some("error"));
        own.map(Cow::Borrowed).or_else(|| gave_up().then(Cow::default))
    }
}

/// One choice of a chunk.
#[derive(Default, Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(default, borrow)]
    pub(super) delta: Saying<'a>,
    #[serde(default, borrow)]
    pub(super) finish_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    error: Option<Value>,
}

impl Choice<'_> {
    /// The bit that stands for it in a set of choices.
    pub(super) fn bit(&self) -> u128 {
        1 << self.index.min(127)
    }
}

/// Reads a chunk; `None` where it is none.
pub(super) fn read(data: &[u8]) -> Option<Head<'_>> {
    let text = std::str::from_utf8(data).ok()?;
    let is_object = text.trim_ascii_start().starts_with('{');
    is_object.then(|| serde_json::from_str(text).ok().or_else(|| loose(text)))?
}

/// The text of a JSON string, or that of anything else as it is written.
pub(super) fn text(raw: &RawValue) -> String {
    read_as(Some(raw)).unwrap_or_else(|| raw.get().to_owned())
}

/// A whole number in any form that it takes.
#[expect(clippy::cast_possible_truncation, reason = "what does not fit stays at the border")]
pub(super) fn number(raw: &RawValue) -> Option<i64> {
    Some(raw.get().trim_matches('"').parse::<f64>().ok()? as i64)
}

type Fields<'a> = HashMap<String, &'a RawValue>;

/// Reads a chunk whose fields are of other types than they should be: each one by itself.
fn loose(json: &str) -> Option<Head<'_>> {
    let fields: Fields<'_> = serde_json::from_str(json).ok()?;
    let field = |name: &str| fields.get(name).copied().filter(|raw| raw.get() != "null");
    let choices = match field("choices") {
        None => None,
        // An answer in a shape of its own: nobody could read it.
        Some(raw) => Some(read_as::<Vec<&RawValue>>(Some(raw))?),
    };
    Some(Head {
        id: field("id"),
        model: field("model"),
        created: field("created"),
        choices: choices.map(|choices| choices.into_iter().map(loose_choice).collect()),
        usage: field("usage"),
        error: read_as(field("error")),
    })
}

fn loose_choice(raw: &RawValue) -> Choice<'_> {
    let fields: Fields<'_> = read_as(Some(raw)).unwrap_or_default();
    let field = |name: &str| fields.get(name).copied().filter(|raw| raw.get() != "null");
    Choice {
        index: field("index").and_then(number).and_then(|index| index.try_into().ok()).unwrap_or(0),
        delta: read_as(field("delta")).unwrap_or_default(),
        finish_reason: field("finish_reason").map(text).map(Cow::Owned),
        error: read_as(field("error")),
    }
}

fn read_as<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_other_types_are_read_each_by_itself() {
        let json = r#"{"id":7,"created":1.5e3,"model":null,"choices":[{"index":"1","delta":{"content":"abc"},
            "finish_reason":5},{"index":2.0,"delta":"?"},3],"error":null,"usage":null}"#;
        let head = read(json.as_bytes()).unwrap();
        assert_eq!((head.id.map(text).as_deref(), head.created.and_then(number)), (Some("7"), Some(1_500)));
        let bits: Vec<_> = head.choices().iter().map(Choice::bit).collect();
        assert_eq!(bits, [2, 4, 1]);
        assert_eq!(head.choices()[0].delta.said.text_tokens, 1);
        assert_eq!(head.choices()[0].finish_reason.as_deref(), Some("5"));
        assert!(head.model.is_none() && head.usage.is_none() && head.failure().is_none());
    }

    #[test]
    fn what_is_no_object_or_has_no_list_of_choices_is_no_chunk() {
        for data in ["", "[]", "null", "{", r#"{"choices":{"0":{}}}"#] {
            assert!(read(data.as_bytes()).is_none(), "{data}");
        }
    }
}
