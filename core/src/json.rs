//! A JSON object kept as the bytes it came in: its top-level fields are found, not copied, and a
//! few of them can be replaced without touching the rest.
//!
//! This is what lets a request pass through with its bytes as they are. The alternative, to parse
//! into structures and to serialise again, is what makes other gateways cost several times as much.

mod flat;
mod words;

use std::ops::Range;

use bytes::Bytes;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{Error, ErrorKind, Result};

pub use flat::write_flat;

/// More top-level fields than any dialect has.
const MOST_FIELDS: usize = 256;

/// More levels than any request has; readers that recurse take no more, among them this one's own.
const MOST_LEVELS: usize = 128;

/// What a gzip stream starts with (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A JSON object (RFC 8259) as its bytes; checked to its end when it was scanned.
///
/// Names are compared by what they mean, however they are escaped. A field that occurs twice is
/// refused: two readers may take different ones, and the second reader here is a vendor who bills.
#[derive(Debug, Clone)]
pub struct Object {
    bytes: Bytes,
    fields: Vec<Field>,
    end: usize,
}

#[derive(Debug, Clone)]
struct Field {
    /// Between its quotes.
    name: Range<usize>,
    /// The name where it is written with escapes, as Python writes whatever is not ASCII.
    plain: Option<Box<str>>,
    value: Range<usize>,
}

impl Field {
    fn name<'a>(&'a self, text: &'a [u8]) -> &'a [u8] {
        self.plain.as_deref().map_or(&text[self.name.clone()], str::as_bytes)
    }
}

impl Object {
    /// Checks `bytes` and finds the top-level fields.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is not one whole JSON object in UTF-8, or when a
    /// field is nested more than 128 levels deep.
    pub fn scan(bytes: Bytes) -> Result<Self> {
        Self::scan_with(bytes, "", std::marker::PhantomData::<IgnoredAny>).map(|(object, _)| object)
    }

    /// As [`Object::scan`], and reads the value of field `name` by `seed` in the same pass, so that
    /// a long field is not walked twice. How deep it may be nested is the seed's affair.
    ///
    /// # Errors
    ///
    /// As [`Object::scan`]; an error of the seed is one of them.
    pub fn scan_with<'s, S, T>(bytes: Bytes, name: &'s str, seed: S) -> Result<(Self, Option<T>)>
    where
        S: for<'de> DeserializeSeed<'de, Value = T> + 's,
    {
        let text = simdutf8::basic::from_utf8(&bytes).map_err(|_| not_text(&bytes))?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let scan = Scan { text, name, seed };
        let (mut fields, seeded, value) = scan.deserialize(&mut reader).map_err(|error| malformed(&error))?;
        reader.end().map_err(|error| malformed(&error))?;
        let end = text.trim_end_matches(SPACE).len() - 1;
        if let Some(at) = seeded {
            let before = fields.get(at + 1).map_or(end, |next| next.name.start - 1);
            fields[at].value = between(text, fields[at].name.end + 1, before);
        }
        Ok((Self { bytes, fields, end }, value))
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

    /// The names of the top-level fields, in their order, as they are meant: without escapes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter_map(|field| std::str::from_utf8(field.name(&self.bytes)).ok())
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
        serde_json::from_str(value).map_err(|error| Error::invalid(name, format!("`{name}` {}", words::plain(&error))))
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
        self.fields.iter().find(|field| field.name(&self.bytes) == name.as_bytes())
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
            Error::invalid(path.clone(), format!("`{path}` {}", words::plain(error.inner())))
        } else if bytes.starts_with(&GZIP) {
            not_text(bytes)
        } else {
            malformed(error.inner())
        }
    })
}

/// A value of ours that could not be written: a fault of this side.
pub fn unwritable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, "The answer could not be written").with_source(error)
}

/// What a seed found wrong with a field that is well-formed JSON. Where it starts with a path in
/// backticks, that is the field.
pub(crate) fn about(field: &'static str, error: &Error) -> Error {
    let text = error.message();
    if let Some(wanted) = text.strip_prefix(WANTED) {
        return Error::invalid(field, format!("`{field}` has to be {wanted}"));
    }
    let text = text.split_once(PREAMBLE).map_or(text, |(_, rest)| rest);
    let text = text.split(" at line ").next().unwrap_or(text);
    let path = text.strip_prefix('`').and_then(|rest| rest.split('`').next());
    Error::invalid(path.unwrap_or(field), text.to_owned())
}

/// Refuses a value that is nested deeper than any request is. It was read without recursion.
pub(crate) fn check_levels<E: serde::de::Error>(json: &str) -> Result<(), E> {
    if json.len() <= 2 * MOST_LEVELS {
        return Ok(());
    }
    let (mut levels, mut rest) = (0_usize, json.as_bytes().iter());
    while let Some(byte) = rest.next() {
        match byte {
            b'{' | b'[' if levels == MOST_LEVELS => {
                return Err(E::custom(format_args!("it is nested more than {MOST_LEVELS} levels deep")));
            }
            b'{' | b'[' => levels += 1,
            b'}' | b']' => levels -= 1,
            b'"' => {
                while rest.find(|byte| matches!(byte, b'"' | b'\\')) == Some(&b'\\') {
                    rest.next();
                }
            }
            _ => {}
        }
    }
    Ok(())
}

const WANTED: &str = "The body has to be JSON: ";
const PREAMBLE: &str = "The body is not the JSON object that was expected: ";

fn malformed(error: &serde_json::Error) -> Error {
    let message = match words::wanted(error) {
        Some(wanted) => format!("{WANTED}{wanted}"),
        None => format!("{PREAMBLE}{error}"),
    };
    Error::new(ErrorKind::Invalid, message).with_code("invalid_json")
}

#[cold]
fn not_text(bytes: &[u8]) -> Error {
    if bytes.starts_with(&GZIP) {
        return Error::new(ErrorKind::UnsupportedMedia, "Compressed bodies are not taken: send the JSON as it is");
    }
    Error::new(ErrorKind::Invalid, "The body is not UTF-8").with_code("invalid_json")
}

const SPACE: [char; 4] = [' ', '\n', '\r', '\t'];

/// Where the value is, of a name that ends at `from`, with nothing but a comma after it `until` there.
fn between(text: &str, from: usize, until: usize) -> Range<usize> {
    let value = text[from..until].trim_start_matches(SPACE);
    let value = value.strip_prefix(':').unwrap_or(value).trim_start_matches(SPACE);
    let start = until - value.len();
    let value = value.trim_end_matches(SPACE);
    let value = value.strip_suffix(',').unwrap_or(value).trim_end_matches(SPACE);
    start..start + value.len()
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
    type Value = (Vec<Field>, Option<usize>, Option<T>);

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S, T> Visitor<'de> for Scan<'_, 'de, S>
where
    S: for<'any> DeserializeSeed<'any, Value = T>,
{
    type Value = (Vec<Field>, Option<usize>, Option<T>);

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let place = |part: &str| {
            let start = part.as_ptr() as usize - self.text.as_ptr() as usize;
            start..start + part.len()
        };
        let mut fields: Vec<Field> = Vec::with_capacity(12);
        let (mut seed, mut seeded, mut value) = (Some(self.seed), None, None);
        while let Some(quoted) = map.next_key::<&'de RawValue>()?.map(RawValue::get) {
            let plain = if quoted.contains('\\') {
                Some(serde_json::from_str::<Box<str>>(quoted).map_err(serde::de::Error::custom)?)
            } else {
                None
            };
            let name = plain.as_deref().unwrap_or(&quoted[1..quoted.len() - 1]);
            if fields.iter().any(|field| field.name(self.text.as_bytes()) == name.as_bytes()) {
                return Err(serde::de::Error::custom(format_args!("field `{name}` occurs twice")));
            }
            if fields.len() == MOST_FIELDS {
                return Err(serde::de::Error::custom("too many fields"));
            }
            let value_at = if let Some(seed) = seed.take_if(|_| name == self.name) {
                value = Some(map.next_value_seed(seed)?);
                seeded = Some(fields.len());
                0..0 // Known once the next name is.
            } else {
                let value = map.next_value::<&'de RawValue>()?.get();
                check_levels(value)?;
                place(value)
            };
            let name = place(quoted);
            fields.push(Field { name: name.start + 1..name.end - 1, plain, value: value_at });
        }
        Ok((fields, seeded, value))
    }
}

/// A copy of an [`Object`] with a few top-level fields replaced or added.
#[derive(Debug)]
pub struct Edit<'a> {
    object: &'a Object,
    cuts: Vec<(Range<usize>, Bytes)>,
    added: Vec<(&'a str, Bytes)>,
}

impl<'a> Edit<'a> {
    /// Gives field `name` the value `json`; adds the field where it is not there. Said twice, the last
    /// value holds.
    ///
    /// A field is never taken out: `null` means the same as absent in every dialect spoken here,
    /// and a hole would cost the care of its commas.
    pub fn set(&mut self, name: &'a str, json: impl Into<Bytes>) -> &mut Self {
        let json = json.into();
        if let Some(field) = self.object.field(name) {
            replace(&mut self.cuts, field.value.clone(), json);
        } else {
            replace(&mut self.added, name, json);
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
            let most = self.added.iter().map(|(name, json)| name.len() + json.len() + r#","":"#.len()).sum();
            let mut added = Vec::with_capacity(most);
            for (name, json) in self.added.drain(..) {
                if !self.object.fields.is_empty() || !added.is_empty() {
                    added.push(b',');
                }
                quote(name, &mut added);
                added.push(b':');
                added.extend_from_slice(&json);
            }
            self.cuts.push((self.object.end..self.object.end, added.into()));
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

fn quote(name: &str, into: &mut Vec<u8>) {
    serde_json::to_writer(into, name).expect("a text is JSON, and a vector takes it");
}

/// The last value that something is given is the one that it has.
fn replace<K: PartialEq>(values: &mut Vec<(K, Bytes)>, key: K, json: Bytes) {
    match values.iter_mut().find(|(known, _)| *known == key) {
        Some((_, value)) => *value = json,
        None => values.push((key, json)),
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
mod tests;
