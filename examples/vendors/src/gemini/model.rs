//! Models by their names: what a generation can do, and the signatures of its thoughts.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::catalogue::{Kind, Model};

/// What history from elsewhere says instead of a signature.
pub(super) const SKIP: &str = "skip_thought_signature_validator";

/// A model's name, for example `gemini-2.5-flash`.
pub(super) struct Name(pub(super) String);

impl Name {
    /// The number before the dot; 0 for a family that is not Gemini.
    pub(super) fn generation(&self) -> u32 {
        let number = self.0.strip_prefix("gemini-").unwrap_or_default();
        number.split(['.', '-']).next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// The signature for a call of this function, or for a text.
    pub(super) fn sign(&self, what: &str) -> String {
        STANDARD.encode(format!("scripted thought of {} about {what}", self.0))
    }

    /// Whether a signature is one that was given for this function, or says openly that there is none.
    pub(super) fn signed(&self, signature: &str, function: &str) -> bool {
        signature == self.sign(function) || signature == SKIP || signature == STANDARD.encode(SKIP)
    }
}

/// As `GET models` shows it.
pub(super) fn listing(model: &Model) -> Option<Value> {
    let name = model.gemini.as_deref()?;
    let chat = model.kind == Kind::Chat;
    let methods = if chat {
        json!(["generateContent", "countTokens", "createCachedContent", "batchGenerateContent"])
    } else {
        json!(["embedContent", "countTextTokens", "countTokens", "asyncBatchEmbedContent"])
    };
    let mut listing = json!({
        "name": format!("models/{name}"), "version": "001", "displayName": model.name,
        "description": format!("{}, played from a script.", model.name),
        "inputTokenLimit": model.context, "outputTokenLimit": model.max_output.unwrap_or(1),
        "supportedGenerationMethods": methods,
    });
    if chat {
        let settings = json!({"temperature": 1, "topP": 0.95, "topK": 64, "maxTemperature": 2, "thinking": true});
        if let (Value::Object(listing), Value::Object(settings)) = (&mut listing, settings) {
            listing.extend(settings);
        }
    }
    Some(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generation_is_read_from_the_number() {
        let generation = |name: &str| Name(name.to_owned()).generation();
        assert_eq!(generation("gemini-2.5-flash"), 2);
        assert_eq!(generation("gemini-3.1-pro-preview"), 3);
        assert_eq!(generation("gemini-4-argon"), 4);
        assert_eq!(generation("gemma-4-31b-it"), 0);
    }

    #[test]
    fn only_its_own_signature_or_the_open_word_passes() {
        let name = Name("gemini-3.5-flash".into());
        assert!(name.signed(&name.sign("f"), "f") && name.signed(SKIP, "f"));
        assert!(!name.signed(&name.sign("f"), "g"));
    }
}
