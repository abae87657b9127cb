//! Thought signatures: opaque proof of what the model thought before it called a function.
//!
//! From generation 3 on the vendor wants the signature of the first call of every step back, else
//! it answers 400. `OpenAI` clients know no such field, so that signatures go out where the
//! vendor's own compatible endpoint puts them (`extra_content.google.thought_signature`), are kept
//! here for a while under the call's id for clients that drop what they do not know, and are also
//! accepted inside ids, where some gateways hide them.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::AccountId;
use serde_json::{Value, json};

/// What stands in for a signature of a call that another model made (the vendor's page on thought
/// signatures).
pub(super) const STAND_IN: &str = "skip_thought_signature_validator";

/// What separates a call's id from the signature that other gateways append to it.
const INSIDE_ID: &str = "__thought__";

/// The most bytes of signatures that are kept.
const MOST_BYTES: u64 = 64 << 20;

/// How long one is kept: as long as a tool may take to answer.
const KEPT: Duration = Duration::from_hours(1);

/// Signatures by account and call id, for a while.
///
/// The account is part of the key although ids are hard to guess: a signature carries the thoughts
/// of one tenant's prompt and must not reach another's.
#[derive(Clone)]
pub(super) struct Signatures(moka::sync::Cache<(AccountId, Arc<str>), Arc<str>>);

impl Signatures {
    pub(super) fn new() -> Self {
        let weight = |key: &(AccountId, Arc<str>), value: &Arc<str>| {
            u32::try_from(key.1.len() + value.len() + 64).unwrap_or(u32::MAX)
        };
        Self(moka::sync::Cache::builder().max_capacity(MOST_BYTES).weigher(weight).time_to_live(KEPT).build())
    }

    /// Keeps the signature of a call.
    pub(super) fn keep(&self, account: AccountId, call_id: &str, signature: &str) {
        self.0.insert((account, call_id.into()), signature.into());
    }

    /// The signature of a call, if it is still kept.
    pub(super) fn find(&self, account: AccountId, call_id: &str) -> Option<String> {
        self.0.get(&(account, call_id.into())).map(|signature| signature.to_string())
    }
}

impl std::fmt::Debug for Signatures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signatures({})", self.0.entry_count())
    }
}

/// A signature as `extra_content`.
pub(super) fn extra(signature: &str) -> Value {
    json!({"google": {"thought_signature": signature}})
}

/// The signature in an `extra_content`, if it can be one: what is not base 64 would make the whole
/// request a 400.
pub(super) fn in_extra(extra: Option<&Value>) -> Option<String> {
    let signature = extra?.get("google")?.get("thought_signature")?.as_str()?;
    plausible(signature).then(|| signature.to_owned())
}

/// A call's id without what was appended to it, and the signature that was.
pub(super) fn split_id(id: &str) -> (&str, Option<String>) {
    match id.split_once(INSIDE_ID) {
        Some((id, signature)) => (id, plausible(signature).then(|| signature.to_owned())),
        None => (id, None),
    }
}

fn plausible(signature: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
    !signature.is_empty() && signature.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        assert_eq!(in_extra(Some(&extra("QUJD"))).as_deref(), Some("QUJD"));
        assert_eq!(in_extra(Some(&json!({"google": {"thought_signature": "not base 64!"}}))), None);
        assert_eq!(in_extra(Some(&json!({"other": 1}))), None);
        assert_eq!(split_id("call_1__thought__QU_D-="), ("call_1", Some("QU_D-=".to_owned())));
        assert_eq!(split_id("call_1"), ("call_1", None));
        assert!(plausible(STAND_IN));
    }

    #[test]
    fn a_signature_is_kept_for_its_account_only() {
        let signatures = Signatures::new();
        let (mine, theirs) =
            (AccountId::new(aihub_core::Timestamp::UNIX_EPOCH), AccountId::new(aihub_core::Timestamp::UNIX_EPOCH));
        signatures.keep(mine, "call_1", "QUJD");
        assert_eq!(signatures.find(mine, "call_1").as_deref(), Some("QUJD"));
        assert_eq!(signatures.find(theirs, "call_1"), None);
        assert!(!format!("{signatures:?}").contains("QUJD"));
    }
}
