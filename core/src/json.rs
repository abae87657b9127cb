//! A JSON object kept as the bytes it came in: its top-level fields are found, not copied, and a
//! few of them can be replaced without touching the rest.
//!
//! This is what lets a request pass through with its bytes as they are. The alternative, to parse
//! into structures and to serialise again, is what makes other gateways cost several times as much.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// More top-level fields than any dialect has.
const MOST_FIELDS: usize = 256;

/// A JSON object (RFC 8259) as its bytes; checked to its end when it was scanned.
///
/// A field that occurs twice is refused: two readers may take different ones, and the second
/// reader here is a vendor who bills.
#[derive(Debug, Clone)]
pub struct Object {
    bytes: Bytes,
    fields: Arc<[Field]>,
    end: usize,
}

#[derive(Debug, Clone)]
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

impl Object {
    /// Checks `bytes` and finds the top-level fields.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is not one whole JSON object in UTF-8.
    pub fn scan(bytes: Bytes) -> Result<Self> {
        Self::scan_with(bytes, "", std::marker::PhantomData::<IgnoredAny>).map(|(object, _)| object)
    }

    /// As [`Object::scan`], and reads the value of field `name` by `seed` in the same pass, so that
    /// a long field is not walked twice. [`Object::get`] does not find that field afterwards.
    ///
    /// # Errors
    ///
    /// As [`Object::scan`]; an error of the seed is one of them.
    pub fn scan_with<'s, S, T>(bytes: Bytes, name: &'s str, seed: S) -> Result<(Self, Option<T>)>
    where
        S: for<'de> DeserializeSeed<'de, Value = T> + 's,
    {
        let text = simdutf8::basic::from_utf8(&bytes)
            .map_err(|_| Error::new(crate::ErrorKind::Invalid, "The body is not UTF-8").with_code("invalid_json"))?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let scan = Scan { text, name, seed };
        let (fields, value) = scan.deserialize(&mut reader).map_err(|error| malformed(&error))?;
        reader.end().map_err(|error| malformed(&error))?;
        let end = text.trim_end_matches([' ', '\n', '\r', '\t']).len() - 1;
        Ok((Self { fields: fields.into(), end, bytes }, value))
    }

    /// The bytes as they came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The JSON text of a top-level field.
    pub fn get(&self, name: &str) -> Option<&str> {
        let field = self.field(name)?;
        std::str::from_utf8(&self.bytes[field.value.clone()]).ok()
    }

    /// Whether a field is there with another value than `null`.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "null")
    }

    /// A top-level field as a value; `null` and absent are both `None`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) naming the field, when its type is another one.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        serde_json::from_str(value).map_err(|error| Error::invalid(name, format!("`{name}` {}", plain(&error))))
    }

    /// The whole object as a value.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) with the path of the field whose type is wrong.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        decode(&self.bytes)
    }

    /// Starts a copy with a few fields replaced.
    pub fn edit(&self) -> Edit<'_> {
        Edit { object: self, cuts: Vec::new(), added: Vec::new() }
    }

    fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| &self.bytes[field.name.clone()] == name.as_bytes())
    }
}

/// Reads JSON, naming the path of what is wrong.
///
/// # Errors
///
/// [`Invalid`](crate::ErrorKind::Invalid) with the path as its `param`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let reader = &mut serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let path = error.path().to_string();
        // At the root it is not a field that is wrong: it is no object at all.
        if error.inner().is_data() && path != "." {
            Error::invalid(path.clone(), format!("`{path}` {}", plain(error.inner())))
        } else {
            malformed(error.inner())
        }
    })
}

/// A value of ours that could not be written: a fault of this side.
pub fn unwritable(error: serde_json::Error) -> Error {
    Error::new(crate::ErrorKind::Internal, "The answer could not be written").with_source(error)
}

/// What a seed found wrong with a field that is well-formed JSON.
pub(crate) fn about(field: &'static str, error: &Error) -> Error {
    let text = error.message();
    let text = text.split_once(PREAMBLE).map_or(text, |(_, rest)| rest);
    Error::invalid(field, text.split(" at line ").next().unwrap_or(text).to_owned())
}

const PREAMBLE: &str = "The body is not the JSON object that was expected: ";

fn malformed(error: &serde_json::Error) -> Error {
    Error::new(crate::ErrorKind::Invalid, format!("{PREAMBLE}{error}")).with_code("invalid_json")
}

fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let sentence = text.split(" at line ").next().unwrap_or(&text);
    format!("is wrong: {sentence}")
}

struct Scan<'s, 'de, S> {
    text: &'de str,
    name: &'s str,
    seed: S,
}

impl<'de, S, T> DeserializeSeed<'de> for Scan<'_, 'de, S>
where
    S: for<'any> DeserializeSeed<'any, Value = T>,
{
    type Value = (Vec<Field>, Option<T>);

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S, T> Visitor<'de> for Scan<'_, 'de, S>
where
    S: for<'any> DeserializeSeed<'any, Value = T>,
{
    type Value = (Vec<Field>, Option<T>);

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let place = |part: &str| {
            let start = part.as_ptr() as usize - self.text.as_ptr() as usize;
            start..start + part.len()
        };
        let mut fields: Vec<Field> = Vec::with_capacity(12);
        let (mut seed, mut value) = (Some(self.seed), None);
        while let Some(name) = map.next_key::<&'de str>()? {
            let name_at = place(name);
            if fields.iter().any(|field| self.text[field.name.clone()] == *name) {
                return Err(serde::de::Error::custom(format_args!("field `{name}` occurs twice")));
            }
            if fields.len() == MOST_FIELDS {
                return Err(serde::de::Error::custom("too many fields"));
            }
            let value_at = match seed.take_if(|_| name == self.name) {
                Some(seed) => {
                    value = Some(map.next_value_seed(seed)?);
                    0..0
                }
                None => place(map.next_value::<&'de RawValue>()?.get()),
            };
            fields.push(Field { name: name_at, value: value_at });
        }
        Ok((fields, value))
    }
}

/// A copy of an [`Object`] with a few top-level fields replaced or added.
#[derive(Debug)]
pub struct Edit<'a> {
    object: &'a Object,
    cuts: Vec<(Range<usize>, Bytes)>,
    added: Vec<u8>,
}

impl Edit<'_> {
    /// Gives field `name` the value `json`; adds the field where it is not there.
    ///
    /// A field is never taken out: `null` means the same as absent in every dialect spoken here,
    /// and a hole would cost the care of its commas.
    pub fn set(&mut self, name: &str, json: impl Into<Bytes>) -> &mut Self {
        let json = json.into();
        if let Some(field) = self.object.field(name) {
            self.cuts.push((field.value.clone(), json));
        } else {
            if !self.object.fields.is_empty() || !self.added.is_empty() {
                self.added.push(b',');
            }
            self.added.extend_from_slice(format!("{name:?}:").as_bytes());
            self.added.extend_from_slice(&json);
        }
        self
    }

    /// The edited object: slices of the original with the new values between them.
    pub fn finish(&mut self) -> Segments {
        let bytes = &self.object.bytes;
        if self.cuts.is_empty() && self.added.is_empty() {
            return Segments(vec![bytes.clone()]);
        }
        if !self.added.is_empty() {
            self.cuts.push((self.object.end..self.object.end, std::mem::take(&mut self.added).into()));
        }
        self.cuts.sort_by_key(|(range, _)| range.start);
        let mut parts = Vec::with_capacity(2 * self.cuts.len() + 1);
        let mut from = 0;
        for (range, value) in self.cuts.drain(..) {
            parts.push(bytes.slice(from..range.start));
            parts.push(value);
            from = range.end;
        }
        parts.push(bytes.slice(from..));
        Segments(parts)
    }
}

/// Bytes in pieces, to be sent one after the other.
#[derive(Debug, Clone, Default)]
pub struct Segments(Vec<Bytes>);

impl Segments {
    /// How many bytes they are together.
    pub fn size_bytes(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// The pieces.
    pub fn into_parts(self) -> Vec<Bytes> {
        self.0
    }

    /// All of them as one, copied unless it is only one.
    pub fn into_bytes(mut self) -> Bytes {
        if self.0.len() == 1 { self.0.swap_remove(0) } else { self.0.concat().into() }
    }
}

impl From<Bytes> for Segments {
    fn from(bytes: Bytes) -> Self {
        Self(vec![bytes])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &'static str) -> Result<Object> {
        Object::scan(Bytes::from_static(text.as_bytes()))
    }

    fn edited(text: &'static str, name: &str, json: &'static str) -> String {
        let parts = scan(text).unwrap().edit().set(name, json).finish();
        String::from_utf8(parts.into_bytes().to_vec()).unwrap()
    }

    #[test]
    fn replaces_and_adds_without_touching_the_rest() {
        assert_eq!(edited(r#"{"a": 1 , "b":{"a":2}}"#, "a", "9"), r#"{"a": 9 , "b":{"a":2}}"#);
        assert_eq!(edited("{\"a\":1}\n", "c", "true"), "{\"a\":1,\"c\":true}\n");
        assert_eq!(edited("{ }", "c", "1"), r#"{ "c":1}"#);
    }

    #[test]
    fn an_untouched_object_is_the_same_bytes() {
        let object = scan(r#"{"a":1}"#).unwrap();
        let same = object.edit().finish().into_bytes();
        assert_eq!(same.as_ptr(), object.bytes().as_ptr());
    }

    #[test]
    fn refuses_what_two_readers_may_read_differently() {
        for text in [
            r#"{"model":"a","model":"b"}"#,
            r#"{"mod\u0065l":"a"}"#,
            "[1]",
            "{\"a\":1} x",
            "{\"a\":\n",
            "",
            "{\"a\":1,}",
        ] {
            assert!(scan(text).is_err(), "{text} passed");
        }
    }

    #[test]
    fn reads_a_field_or_says_which_is_wrong() {
        let object = scan(r#"{"n":2,"s":"x","z":null}"#).unwrap();
        assert_eq!(object.read::<u32>("n").unwrap(), Some(2));
        assert_eq!(object.read::<u32>("z").unwrap(), None);
        assert_eq!(object.read::<u32>("s").unwrap_err().param(), Some("s"));
    }
}
