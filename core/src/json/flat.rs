//! Flat structs as JSON, for what is written for every call.
//!
//! `serde_json` looks at each byte of each name for something to escape. Here names are taken as the
//! identifiers that they are, and a text is looked at once, as a whole: a record costs half as much.

use serde::ser::{Error as _, Impossible, Serialize, SerializeStruct, Serializer};
use serde_json::{Error, Result};

/// Appends a struct of numbers, switches, texts and other such structs to `into`, byte by byte as
/// [`serde_json::to_writer`] does.
///
/// # Errors
///
/// When it holds anything else: a list, a map, bytes, a variant with a value.
pub fn write_flat<T: Serialize>(into: &mut Vec<u8>, value: &T) -> Result<()> {
    value.serialize(Flat(into))
}

struct Flat<'a>(&'a mut Vec<u8>);

/// Whether a text stands between its quotes as it is. Looked at eight bytes at a time, without a branch
/// between them, which the compiler makes one comparison of.
fn is_plain(text: &str) -> bool {
    let special = |byte: &u8| u8::from(matches!(byte, ..b' ' | b'"' | b'\\'));
    let any = |bytes: &[u8]| bytes.iter().fold(0, |found, byte| found | special(byte)) != 0;
    let (eights, rest) = text.as_bytes().as_chunks::<8>();
    !eights.iter().any(|eight| any(eight)) && !any(rest)
}

/// What `serde_json` writes for values that have only one form.
macro_rules! as_serde_json {
    ($($method:ident: $type:ty),+) => {
        $(fn $method(self, value: $type) -> Result<()> {
            serde_json::to_writer(self.0, &value)
        })+
    };
}

/// What is not flat.
macro_rules! refused {
    ($($method:ident($($type:ty),*) -> $ok:ty),+) => {
        $(fn $method(self, $(_: $type),*) -> Result<$ok> {
            Err(Error::custom("this is no flat struct"))
        })+
    };
}

impl<'a> Serializer for Flat<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Impossible<(), Error>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Impossible<(), Error>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Impossible<(), Error>;

    as_serde_json! {
        serialize_bool: bool,
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128,
        serialize_f32: f32, serialize_f64: f64, serialize_char: char
    }

    refused! {
        serialize_bytes(&[u8]) -> (),
        serialize_seq(Option<usize>) -> Self::SerializeSeq,
        serialize_tuple(usize) -> Self::SerializeTuple,
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct,
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant,
        serialize_map(Option<usize>) -> Self::SerializeMap,
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant
    }

    fn serialize_str(self, text: &str) -> Result<()> {
        if !is_plain(text) {
            return serde_json::to_writer(self.0, text);
        }
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b'"');
        Ok(())
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<()> {
        Err(Error::custom("this is no flat struct"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>> {
        Ok(Fields { into: self.0, before: b'{' })
    }
}

struct Fields<'a> {
    into: &'a mut Vec<u8>,
    /// What stands before the next field: a brace before the first, commas before the others.
    before: u8,
}

impl SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
        self.into.extend_from_slice(&[self.before, b'"']);
        self.into.extend_from_slice(name.as_bytes());
        self.into.extend_from_slice(b"\":");
        self.before = b',';
        value.serialize(Flat(self.into))
    }

    fn end(self) -> Result<()> {
        let end: &[u8] = if self.before == b'{' { b"{}" } else { b"}" };
        self.into.extend_from_slice(end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    struct Inner {
        #[serde(skip_serializing_if = "Option::is_none")]
        left_out: Option<u8>,
    }

    #[derive(Serialize)]
    enum Kind {
        Plain,
    }

    #[derive(Serialize)]
    struct Outer<'a> {
        text: &'a str,
        shared: Arc<str>,
        number: i64,
        fraction: f64,
        switch: bool,
        letter: char,
        none: Option<u8>,
        some: Option<u128>,
        kind: Kind,
        at: crate::Timestamp,
        ip: std::net::IpAddr,
        cost: crate::Money,
        inner: Inner,
        last: Inner,
    }

    #[test]
    fn writes_what_serde_json_writes() {
        for text in ["", "plain", "a long text, but plain: Grüße, 東京", "\"", "back\\slash", "\n\u{1}", "\u{7f}"] {
            let outer = Outer {
                text,
                shared: text.into(),
                number: -7,
                fraction: 1.5,
                switch: true,
                letter: '"',
                none: None,
                some: Some(u128::MAX),
                kind: Kind::Plain,
                at: crate::Timestamp::UNIX_EPOCH,
                ip: [127, 0, 0, 1].into(),
                cost: crate::Money::from_nanos(1_500, crate::Currency::USD),
                inner: Inner { left_out: None },
                last: Inner { left_out: Some(1) },
            };
            let mut flat = b"before ".to_vec();
            write_flat(&mut flat, &outer).unwrap();
            let expected = format!("before {}", serde_json::to_string(&outer).unwrap());
            assert_eq!(String::from_utf8(flat).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_not_flat_is_refused() {
        assert!(write_flat(&mut Vec::new(), &[1]).is_err());
        assert!(write_flat(&mut Vec::new(), &std::collections::BTreeMap::from([("a", 1)])).is_err());
    }
}
