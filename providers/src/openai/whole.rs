//! An answer that is not streamed.

use std::borrow::Cow;
use std::sync::Arc;

use aihub_core::chat::{ChatReply, Finish, UsageWire};
use aihub_core::json::Object;
use aihub_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Dialect, Words, unreadable, usage};

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default, borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default, borrow)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

/// Reads a 200, which may be an error all the same, and forwards its bytes.
pub(crate) fn whole(body: Bytes, dialect: Dialect) -> Result<ChatReply> {
    let head: Head<'_> = serde_json::from_slice(&body).map_err(unreadable)?;
    let reported = head.usage.map(|raw| usage::read(raw.get())).transpose().map_err(unreadable)?;
    let mut choices = head.choices.iter().flatten();
    if let Some(error) = head.error.as_ref().or_else(|| choices.find_map(|choice| choice.error.as_ref())) {
        let error = (dialect.explain)(&Words::read(error));
        return Err(match reported {
            Some(reported) => reported.cost.into_iter().fold(error.with_spent(reported.usage), Error::with_vendor_cost),
            None => error,
        });
    }
    let Some(choice) = head.choices.as_ref().and_then(|choices| choices.last()) else {
        return Err(
            Error::new(ErrorKind::BadUpstream, "The upstream answered without an answer: try again").with_transient()
        );
    };
    let mut finish =
        Finish::new(reported.map(|reported| reported.usage), choice.finish_reason.as_deref().map(Arc::from));
    finish.model = head.model.as_deref().map(Arc::from);
    if let Some(reported) = reported {
        finish.vendor_cost = reported.cost;
        finish.own_key_cost = reported.own_key_cost;
    }
    let shown = match reported {
        // What the vendor charges us is not the caller's to see.
        Some(reported) if reported.has_cost => {
            let wire = serde_json::to_vec(&UsageWire::from(&reported.usage)).map_err(unreadable)?;
            Object::scan(body)?.edit().set("usage", wire).finish().into_bytes()
        }
        _ => body,
    };
    Ok(ChatReply::whole_body(0, shown, finish))
}
