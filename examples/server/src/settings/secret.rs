//! Secrets as they are set: one or several, never printed.

use secrecy::SecretString;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

/// One secret or several: a list, or a text with commas between them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets(pub(crate) Vec<SecretString>);

impl Secrets {
    /// The secrets of a text, cut at `separator`, without blanks around them.
    pub(crate) fn split(text: &str, separator: char) -> Self {
        let parts = text.split(separator).map(str::trim).filter(|part| !part.is_empty());
        Self(parts.map(SecretString::from).collect())
    }
}

impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Secrets;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a secret or a list of secrets (in quotes)")
            }

            fn visit_str<E>(self, text: &str) -> Result<Secrets, E> {
                Ok(Secrets::split(text, ','))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Secrets, A::Error> {
                let mut secrets = Secrets::default();
                while let Some(secret) = seq.next_element::<SecretString>()? {
                    secrets.0.push(secret);
                }
                Ok(secrets)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
