//! Identifiers: prefixed, sortable by time, 26 characters of Crockford's base 32 after the prefix.

use std::fmt;
use std::str::FromStr;

use uuid::{NoContext, Uuid};

use crate::error::Error;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Digits of five bits that 128 bits take.
const DIGITS: usize = 26;

/// The longest text form: no prefix is longer than six bytes.
const LONGEST: usize = 6 + DIGITS;

/// Makes one identifier type: a [`Uuid`] of version 7 (RFC 9562) with a prefix in its text form.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident = $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// What the text form starts with.
            pub const PREFIX: &str = $prefix;

            /// A new identifier stamped with `at`; 74 of its bits are random.
            pub fn new(at: jiff::Timestamp) -> Self {
                Self(stamped(at))
            }

            /// The identifier as the store keeps it.
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }

            /// The identifier that the store kept.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(encode(Self::PREFIX, self.0, &mut [0; LONGEST]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                text.strip_prefix(Self::PREFIX).and_then(decode).map(Self).ok_or_else(|| {
                    Error::invalid("id", concat!("an identifier of the form `", $prefix, "…` was expected"))
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(encode(Self::PREFIX, self.0, &mut [0; LONGEST]))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// One call of the API; also its request id, and what every record of it is idempotent by.
    CallId = "call_"
);
id!(
    /// Who pays: a developer or a company.
    AccountId = "acc_"
);
id!(
    /// A group of accounts that shares quota and bill.
    OrganisationId = "org_"
);
id!(
    /// An API key; stays the same when the secret is rotated.
    KeyId = "key_"
);

fn stamped(at: jiff::Timestamp) -> Uuid {
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    let nanos = u32::try_from(at.subsec_nanosecond()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos))
}

fn encode<'t>(prefix: &str, uuid: Uuid, text: &'t mut [u8; LONGEST]) -> &'t str {
    let text = &mut text[..prefix.len() + DIGITS];
    let (start, digits) = text.split_at_mut(prefix.len());
    start.copy_from_slice(prefix.as_bytes());
    let mut bits = uuid.as_u128();
    for place in digits.iter_mut().rev() {
        *place = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    std::str::from_utf8(text).expect("the prefix and the alphabet are ASCII")
}

fn decode(text: &str) -> Option<Uuid> {
    if text.len() != DIGITS || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes()
        .try_fold(0u128, |bits, byte| {
            let digit = ALPHABET.iter().position(|known| *known == byte)?;
            Some(bits << 5 | digit as u128)
        })
        .map(Uuid::from_u128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_sorts_by_time() {
        let early = CallId::new("2026-01-01T00:00:00Z".parse().unwrap());
        let late = CallId::new("2026-01-01T00:00:01Z".parse().unwrap());
        assert!(early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse::<CallId>().unwrap(), early);
        assert_eq!(early.to_string().len(), 5 + 26);
    }

    #[test]
    fn another_prefix_is_refused() {
        let key = KeyId::new(jiff::Timestamp::UNIX_EPOCH).to_string();
        assert!(key.parse::<CallId>().is_err());
        assert!("call_".parse::<CallId>().is_err());
        assert!("call_zzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<CallId>().is_err());
    }
}
