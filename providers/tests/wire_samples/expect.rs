//! Every expectation, checked.

use aihub_core::{Currency, ErrorKind, Money, Usage};
use serde_json::Value;

use super::index::{Counts, Expect};
use super::outcome::Outcome;

/// Says what is not as it should be.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
pub(crate) use ensure;

/// Checks what came of a chat. `hops` is how often the vendor was asked for it, `body` what it
/// answered.
pub(crate) fn chat(expect: &Expect, outcome: &Outcome, hops: u64, body: &[u8]) -> Result<(), String> {
    let after_content = expect.error_after_content == Some(true);
    let gave_up = expect.finish_reason.as_deref() == Some("error");
    if expect.openai_error.is_some() || after_content || gave_up {
        error(expect, outcome, after_content)?;
    } else if let Some(error) = &outcome.error {
        return Err(format!("failed: {error:?}"));
    } else {
        finished(expect, outcome)?;
    }
    if let Some(counts) = &expect.usage {
        usage(counts, outcome, if gave_up { hops } else { 1 })?;
        if let Some(finish) = &outcome.finish
            && hops > 1
        {
            let discarded = finish.discarded.total_tokens();
            ensure!(discarded == counts.total_tokens * (hops - 1), "{discarded} tokens discarded in {hops} hops");
        }
    }
    if let Some(bill) = &expect.bill {
        least(bill, outcome)?;
    }
    cost(expect, outcome)?;
    for path in expect.leaks.iter().flatten() {
        leak(path, outcome, body)?;
    }
    if expect.no_done_sentinel == Some(true) {
        ensure!(!body.windows(6).any(|window| window == b"[DONE]"), "the sample has [DONE] after all");
        ensure!(outcome.finish.is_some(), "the end was not found");
    }
    content(expect, outcome, body)
}

fn error(expect: &Expect, outcome: &Outcome, after_content: bool) -> Result<(), String> {
    let Some(error) = &outcome.error else { return Err("no error".to_owned()) };
    ensure!(outcome.finish.is_none(), "a finish beside the error");
    ensure!(outcome.replied == after_content, "before or after the first event: {error:?}");
    ensure!(!after_content || outcome.has_content(), "an error after nothing");
    let message = error.message();
    ensure!(!message.is_empty() && !message.contains(char::is_control), "the message is no plain line: {message:?}");
    if expect.finish_reason.as_deref() == Some("error") {
        ensure!(error.kind() == ErrorKind::BadUpstream, "{error:?}");
    }
    if let Some(shape) = &expect.openai_error {
        let kind = error.kind();
        ensure!(shape.status.is_none_or(|status| status == kind.status()), "status {}: {error:?}", kind.status());
        ensure!(shape.kind.as_deref().is_none_or(|label| label == kind.label()), "type {}", kind.label());
        ensure!(shape.code.as_deref().is_none_or(|code| code == error.code()), "code {}", error.code());
    }
    let after = error.retry_after().map(|after| after.as_secs());
    ensure!(expect.retry_after_s.is_none() || after == expect.retry_after_s, "retry after {after:?} s");
    ensure!(
        expect.failover.is_none_or(|expected| error.may_fail_over() == expected),
        "failover {}",
        error.may_fail_over()
    );
    ensure!(
        expect.alert_operator.is_none_or(|expected| error.needs_operator() == expected),
        "alert {}",
        error.needs_operator()
    );
    let truncated = error.code() == "upstream_truncated";
    ensure!(expect.truncated.is_none_or(|expected| truncated == expected), "truncation: code {}", error.code());
    Ok(())
}

fn finished(expect: &Expect, outcome: &Outcome) -> Result<(), String> {
    let Some(finish) = &outcome.finish else { return Err("no finish".to_owned()) };
    let Some(ending) = &outcome.ending else { return Err("no ending".to_owned()) };
    ensure!(finish.usage.is_none_or(|usage| usage == ending.usage), "finish and ending differ in usage");
    for (index, choice) in &outcome.choices {
        ensure!(choice.finish_reasons.len() == 1, "choice {index} finished as {:?}", choice.finish_reasons);
    }
    if let Some(expected) = &expect.finish_reason {
        let reason = outcome.choices.get(&0).and_then(|choice| choice.finish_reasons.first());
        ensure!(reason == Some(expected), "finish reason {reason:?}");
        ensure!(
            finish.finish_reason.as_deref() == Some(expected),
            "finish reason of the finish {:?}",
            finish.finish_reason
        );
    }
    ensure!(expect.finish_reason_emitted_once != Some(true) || outcome.choices.len() == 1, "no choice");
    ensure!(expect.choices.is_none_or(|count| count == outcome.choices.len()), "{} choices", outcome.choices.len());
    Ok(())
}

fn content(expect: &Expect, outcome: &Outcome, body: &[u8]) -> Result<(), String> {
    let none = super::outcome::Choice::default();
    let choice = outcome.choices.get(&0).unwrap_or(&none);
    if let Some(expected) = &expect.content {
        ensure!(choice.content == *expected, "content {:?}", choice.content);
    }
    if let Some(prefix) = &expect.content_prefix {
        ensure!(
            choice.content.as_deref().is_some_and(|content| content.starts_with(prefix.as_str())),
            "content {:?}",
            choice.content
        );
    }
    ensure!(expect.tool_calls.is_none_or(|count| count == choice.calls.len()), "{} tool calls", choice.calls.len());
    let mut ids = std::collections::BTreeSet::new();
    for (id, name, arguments) in choice.calls.values() {
        ensure!(!id.is_empty() && ids.insert(id), "call id `{id}`");
        ensure!(!name.is_empty(), "a call without a name");
        ensure!(
            serde_json::from_str::<Value>(arguments).is_ok_and(|arguments| arguments.is_object()),
            "the arguments of `{name}` are `{arguments}`"
        );
    }
    if let Some(expected) = expect.native_call_id {
        let body = String::from_utf8_lossy(body);
        let native = choice.calls.values().all(|(id, ..)| body.contains(&format!("\"id\":\"{id}\"")));
        ensure!((native && !choice.calls.is_empty()) == expected, "the vendor's id came through: {native}");
    }
    let reasoning = choice.reasoning_chunks;
    ensure!(expect.reasoning_chunks.is_none_or(|count| count == reasoning), "{reasoning} chunks of reasoning");
    Ok(())
}

fn usage(expected: &Counts, outcome: &Outcome, hops: u64) -> Result<(), String> {
    let Some(usage) = outcome.usage() else { return Err("no usage".to_owned()) };
    let got = (usage.prompt_tokens(), usage.completion_tokens(), usage.total_tokens());
    let wanted = (expected.prompt_tokens * hops, expected.completion_tokens * hops, expected.total_tokens * hops);
    ensure!(got == wanted, "usage {got:?} instead of {wanted:?}");
    ensure!(!usage.estimated, "the usage is estimated");
    let detail = |name: &str, wanted: Option<u64>, got: u64| {
        ensure!(wanted.is_none_or(|wanted| wanted * hops == got), "{name} {got}");
        Ok(())
    };
    detail("reasoning_tokens", expected.reasoning_tokens, usage.reasoning)?;
    detail("cached_tokens", expected.cached_tokens, usage.cache_read)?;
    detail("cache_write_tokens", expected.cache_write_tokens, usage.cache_write)?;
    if let Some(body) = &outcome.body_usage {
        ensure!(body["total_tokens"] == expected.total_tokens, "the body says {body}");
        ensure!(body["prompt_tokens"] == expected.prompt_tokens, "the body says {body}");
    }
    Ok(())
}

/// `prompt 10 + completion 3 at least …`
fn least(bill: &str, outcome: &Outcome) -> Result<(), String> {
    let words: Vec<&str> = bill.split_whitespace().collect();
    let after = |word: &str| {
        let at = words.iter().position(|own| *own == word).ok_or(format!("no `{word}` in the bill"))?;
        words.get(at + 1).and_then(|number| number.parse::<u64>().ok()).ok_or(format!("no number after `{word}`"))
    };
    let settled: Usage = outcome.ending.as_ref().map(|ending| ending.usage).or(outcome.usage()).unwrap_or_default();
    ensure!(settled.prompt_tokens() >= after("prompt")?, "settled {settled:?}");
    ensure!(settled.completion_tokens() >= after("completion")?, "settled {settled:?}");
    Ok(())
}

fn cost(expect: &Expect, outcome: &Outcome) -> Result<(), String> {
    let cost = match (&outcome.finish, &outcome.error) {
        (Some(finish), _) => finish.vendor_cost,
        (None, error) => error.as_ref().and_then(aihub_core::Error::vendor_cost),
    };
    if let Some(text) = &expect.cost_usd {
        let expected = Money::parse(text, Currency::USD).map_err(|error| error.to_string())?;
        ensure!(cost == Some(expected), "cost {cost:?}");
        let settled = outcome.ending.as_ref().and_then(|ending| ending.vendor_cost);
        ensure!(settled == Some(expected), "settled cost {settled:?}");
    }
    ensure!(expect.cost_missing.is_none_or(|missing| cost.is_none() == missing), "cost {cost:?}");
    if let Some(byok) = expect.is_byok {
        let own = outcome.finish.as_ref().and_then(|finish| finish.own_key_cost);
        ensure!(own.is_some() == byok, "cost of the own key {own:?}");
    }
    Ok(())
}

/// What stands at `path` in the answer (below `error` or beside it) must not have been shown.
fn leak(path: &str, outcome: &Outcome, body: &[u8]) -> Result<(), String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let pointer = format!("/{}", path.replace('.', "/"));
    let found = body.pointer(&pointer).or_else(|| body.pointer(&format!("/error{pointer}")));
    let Some(secret) = found else { return Err(format!("nothing at `{path}` that could leak")) };
    let secret = secret.as_str().map_or_else(|| secret.to_string(), str::to_owned);
    ensure!(!outcome.shown.contains(&secret), "`{path}` was shown: {}", outcome.shown);
    Ok(())
}
