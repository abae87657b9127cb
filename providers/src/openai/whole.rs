//! An answer that is not streamed.

use std::borrow::Cow;
use std::sync::Arc;

use aihub_core::chat::{ChatReply, Finish, Said, Saying, UsageWire};
use aihub_core::json::{Object, write_flat};
use aihub_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Dialect, Words, unreadable, usage};

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default, borrow)]
    model: Option<Text<'a>>,
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
    message: Saying<'a>,
    #[serde(default, borrow)]
    finish_reason: Option<Text<'a>>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

/// A string, borrowed where it has no escapes: inside of an `Option` serde would copy a bare `Cow`.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads a 200, which may be an error all the same, and forwards its bytes.
///
/// `prompt_tokens` is the estimate that stands in where the vendor says no usage.
pub(crate) fn whole(body: Bytes, prompt_tokens: u64, dialect: Dialect) -> Result<ChatReply> {
    let head: Head<'_> = match std::str::from_utf8(&body) {
        // Known to be text, it is not checked string by string.
        Ok(text) => serde_json::from_str(text),
        // What is read of it may be text all the same.
        Err(_) => serde_json::from_slice(&body),
    }
    .map_err(unreadable)?;
    let reported = head.usage.map(|raw| usage::read(raw.get())).unwrap_or_default();
    let mut choices = head.choices.iter().flatten();
    let own = head.error.as_ref().or_else(|| choices.clone().find_map(|choice| choice.error.as_ref()));
    let gave_up = choices.any(|choice| choice.finish_reason.as_ref().is_some_and(|reason| reason.0 == "error"));
    if own.is_some() || gave_up {
        let error = (dialect.explain)(&Words::read(own.unwrap_or_default()));
        let error = reported.usage.into_iter().fold(error, Error::with_spent);
        return Err(reported.cost.into_iter().fold(error, Error::with_vendor_cost));
    }
    let Some(choice) = head.choices.as_ref().and_then(|choices| choices.last()) else {
        return Err(
            Error::new(ErrorKind::BadUpstream, "The upstream answered without an answer: try again").with_transient()
        );
    };
    let mut said = Said::default();
    for choice in head.choices.iter().flatten() {
        said += choice.message.said;
    }
    let used = reported.used(&said).unwrap_or_else(|| said.usage(prompt_tokens));
    let mut finish = Finish::new(Some(used), choice.finish_reason.as_ref().map(|reason| Arc::from(&*reason.0)));
    finish.model = head.model.as_ref().map(|model| Arc::from(&*model.0));
    finish.vendor_cost = reported.cost;
    finish.own_key_cost = reported.own_key_cost;
    let shown = if reported.usage == Some(used) && !reported.has_cost {
        body
    } else {
        // Callers see what is booked, and what the vendor charges us is not theirs to see.
        let wire = UsageWire::from(&used);
        if let Some(usage) = head.usage {
            replaced(&body, usage.get(), &wire).map_err(unreadable)?
        } else {
            let wire = serde_json::to_vec(&wire).map_err(unreadable)?;
            Object::scan(body)?.edit().set("usage", wire).finish().into_bytes()
        }
    };
    Ok(ChatReply::whole_body(prompt_tokens, shown, finish))
}

/// `body` with another usage in the place of `part`, which is a piece of it: found already, so that
/// the answer is not scanned once more.
fn replaced(body: &Bytes, part: &str, usage: &UsageWire) -> serde_json::Result<Bytes> {
    let start = part.as_ptr() as usize - body.as_ptr() as usize;
    // Room for the new usage, which says more than most vendors do.
    let mut whole = Vec::with_capacity(body.len() + 256);
    whole.extend_from_slice(&body[..start]);
    write_flat(&mut whole, usage)?;
    whole.extend_from_slice(&body[start + part.len()..]);
    Ok(whole.into())
}

#[cfg(test)]
mod tests {
    use aihub_core::Usage;
    use aihub_core::chat::ChatEvent;

    use super::super::{priced, status_error};
    use super::*;

    const DIALECT: Dialect = Dialect { repeats_role: false, explain: status_error, priced: priced::OPENAI };

    /// What is booked, and what is shown, of an answer that says `abcdef` with this usage.
    async fn play(usage: &str) -> (Usage, serde_json::Value) {
        let body = format!(
            r#"{{"model":"m","choices":[{{"index":0,"message":{{"content":"abcdef"}},"finish_reason":"stop"}}]{usage}}}"#
        );
        let (events, finish) = whole(body.into(), 9, DIALECT).unwrap().collect().await.unwrap();
        let [ChatEvent::Whole(body)] = &events[..] else { panic!("{events:?}") };
        (finish.usage.unwrap(), serde_json::from_slice(body).unwrap())
    }

    #[tokio::test]
    async fn an_answer_without_a_readable_usage_is_measured_and_shown_as_it_is_booked() {
        for usage in ["", r#","usage":null"#, r#","usage":{}"#, r#","usage":"free""#] {
            let (booked, shown) = play(usage).await;
            assert_eq!(booked, Usage::estimate(9, 2), "{usage}");
            assert_eq!(shown["usage"]["total_tokens"], 11, "{usage}");
        }
        let (booked, shown) = play(r#","usage":{"prompt_tokens":5.0,"completion_tokens":0}"#).await;
        assert_eq!((booked, &shown["usage"]["completion_tokens"]), (Usage::estimate(5, 2), &2.into()));
        let (booked, shown) = play(r#","usage":{"prompt_tokens":10.0,"completion_tokens":1,"x":1}"#).await;
        assert_eq!((booked, &shown["usage"]["x"]), (Usage::new(10, 1), &1.into()));
    }

    #[test]
    fn a_choice_that_gave_up_is_an_error() {
        let body = r#"{"choices":[{"message":{"content":"ab"},"finish_reason":"error"}]}"#;
        assert_eq!(whole(body.into(), 9, DIALECT).unwrap_err().kind(), ErrorKind::BadUpstream);
    }
}
