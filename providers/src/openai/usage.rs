//! The usage of `OpenAI`'s dialect, taken apart into disjoint buckets.

use aihub_core::chat::Said;
use aihub_core::{Currency, Money, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

/// No answer is as long as this: a figure beyond it is a vendor's mistake, and not taken for one.
const MOST_TOKENS: f64 = 1_099_511_627_776.0;

/// What a vendor reported: the buckets, and its own cost where it names one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    /// `None` where it does not say both what came in and what went out.
    pub(crate) usage: Option<Usage>,
    pub(crate) cost: Option<Money>,
    pub(crate) own_key_cost: Option<Money>,
    /// Whether it holds anything that is the vendor's and ours alone.
    pub(crate) has_cost: bool,
}

impl Reported {
    /// What was used, where the vendor says it. An answer that says something took tokens: where the
    /// vendor counts none, what was said stands in.
    pub(super) fn used(&self, said: &Said) -> Option<Usage> {
        let mut usage = self.usage?;
        let seen = said.usage(0);
        if usage.completion_tokens() == 0 && seen.completion_tokens() > 0 {
            usage.output = seen.output;
            usage.image_output = seen.image_output;
            usage.audio_output = seen.audio_output;
            usage.estimated = true;
        }
        Some(usage)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire<'a> {
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    total_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
    #[serde(borrow)]
    is_byok: Option<&'a RawValue>,
    #[serde(borrow)]
    cost_details: Option<&'a RawValue>,
    #[serde(borrow)]
    server_tool_use: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "the names on the wire")]
struct Details<'a> {
    #[serde(borrow)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_write_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    audio_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    image_tokens: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CostDetails<'a> {
    #[serde(borrow)]
    upstream_inference_cost: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServerTools<'a> {
    #[serde(borrow)]
    web_search_requests: Option<&'a RawValue>,
}

/// Reads the `usage` of a chat. The cost is read from its digits, never through a float.
///
/// Nothing in it is an error: the answer is paid for, and what cannot be read was not given.
pub(crate) fn read(json: &str) -> Reported {
    let wire: Wire<'_> = serde_json::from_str(json).unwrap_or_default();
    let total = figure(wire.total_tokens);
    let rest = |other: Option<u64>| total?.checked_sub(other?);
    let (prompt, completion) = (figure(wire.prompt_tokens), figure(wire.completion_tokens));
    let both = prompt.or_else(|| rest(completion)).zip(completion.or_else(|| rest(prompt)));
    report(&wire, both)
}

/// Reads the `usage` of embeddings, which have no tokens but those of their input.
pub(crate) fn read_input(json: &str) -> Reported {
    let wire: Wire<'_> = serde_json::from_str(json).unwrap_or_default();
    let input = figure(wire.prompt_tokens).or_else(|| figure(wire.total_tokens));
    report(&wire, input.map(|input| (input, figure(wire.completion_tokens).unwrap_or(0))))
}

fn report(wire: &Wire<'_>, both: Option<(u64, u64)>) -> Reported {
    let own_key_cost = money(part::<CostDetails<'_>>(wire.cost_details).upstream_inference_cost);
    Reported {
        usage: both.map(|(prompt, completion)| buckets(wire, prompt, completion)),
        cost: money(wire.cost),
        own_key_cost: own_key_cost.filter(|_| part(wire.is_byok)),
        has_cost: wire.cost.is_some() || wire.cost_details.is_some() || wire.is_byok.is_some(),
    }
}

/// The vendor's nested figures can contradict each other (11 reasoning tokens of 10 completion
/// tokens were recorded): each bucket takes no more than what its total has left, so that the sum
/// is always the vendor's total.
fn buckets(wire: &Wire<'_>, mut prompt: u64, mut completion: u64) -> Usage {
    let take = |left: &mut u64, asked: Option<&RawValue>| {
        let taken = figure(asked).unwrap_or(0).min(*left);
        *left -= taken;
        taken
    };
    let mut usage = Usage::default();
    let details: Details<'_> = part(wire.prompt_tokens_details);
    usage.cache_read = take(&mut prompt, details.cached_tokens);
    usage.cache_write = take(&mut prompt, details.cache_write_tokens);
    usage.audio_input = take(&mut prompt, details.audio_tokens);
    usage.image_input = take(&mut prompt, details.image_tokens);
    usage.input = prompt;

    let details: Details<'_> = part(wire.completion_tokens_details);
    usage.reasoning = take(&mut completion, details.reasoning_tokens);
    usage.audio_output = take(&mut completion, details.audio_tokens);
    usage.image_output = take(&mut completion, details.image_tokens);
    usage.output = completion;
    usage.searches = figure(part::<ServerTools<'_>>(wire.server_tool_use).web_search_requests).unwrap_or(0);
    usage
}

/// A part of the usage; its default where it cannot be read.
fn part<'a, T: Default + Deserialize<'a>>(raw: Option<&'a RawValue>) -> T {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// A count in any form that a number takes (`10.0` was seen), where it can be one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number between 0 and 2^40")]
fn figure(raw: Option<&RawValue>) -> Option<u64> {
    let number: f64 = raw?.get().parse().ok()?;
    (number.fract() == 0.0 && (0.0..=MOST_TOKENS).contains(&number)).then_some(number as u64)
}

fn money(raw: Option<&RawValue>) -> Option<Money> {
    Money::parse_rounded(raw?.get(), Currency::USD).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_sum_to_the_vendors_total_even_when_its_figures_contradict() {
        let json = r#"{"prompt_tokens":43,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":50},
            "completion_tokens_details":{"reasoning_tokens":11}}"#;
        let usage = read(json).usage.unwrap();
        assert_eq!((usage.cache_read, usage.input, usage.reasoning, usage.output), (43, 0, 10, 0));
        assert_eq!(usage.total_tokens(), 53);
    }

    #[test]
    fn an_absent_cost_is_unknown_and_an_exponent_is_exact() {
        assert_eq!(read(r#"{"prompt_tokens":1}"#).cost, None);
        let reported = read(r#"{"prompt_tokens":1,"cost":1.58e-05,"is_byok":false}"#);
        assert_eq!(reported.cost.unwrap().decimal().to_string(), "0.0000158");
        assert!(reported.has_cost && reported.own_key_cost.is_none());
    }

    #[test]
    fn the_bill_of_a_key_of_our_own_is_kept_apart() {
        let reported =
            read(r#"{"prompt_tokens":1,"cost":0,"is_byok":true,"cost_details":{"upstream_inference_cost":0.002}}"#);
        assert_eq!(reported.cost.unwrap().nanos(), 0);
        assert_eq!(reported.own_key_cost.unwrap().nanos(), 2_000_000);
    }

    #[test]
    fn without_both_figures_the_usage_is_unknown() {
        let unknown = [
            "{}",
            "[]",
            r#""free""#,
            r#"{"prompt_tokens":5}"#,
            r#"{"completion_tokens":5,"total_tokens":null}"#,
            r#"{"prompt_tokens":1,"completion_tokens":18446744073709551615}"#,
            r#"{"prompt_tokens":-1,"completion_tokens":1}"#,
            r#"{"prompt_tokens":1.5,"completion_tokens":"1"}"#,
        ];
        for json in unknown {
            assert_eq!(read(json).usage, None, "{json}");
        }
        assert_eq!(read(r#"{"prompt_tokens":5,"total_tokens":7}"#).usage, Some(Usage::new(5, 2)));
        assert_eq!(read_input(r#"{"total_tokens":7}"#).usage, Some(Usage::new(7, 0)));
    }

    #[test]
    fn figures_are_read_in_every_form_of_a_number() {
        let json = r#"{"prompt_tokens":10.0,"completion_tokens":2e1,"prompt_tokens_details":{"cached_tokens":4.0},
            "completion_tokens_details":"none","server_tool_use":{"web_search_requests":1e30}}"#;
        let usage = read(json).usage.unwrap();
        assert_eq!((usage.cache_read, usage.input, usage.output, usage.searches), (4, 6, 20, 0));
    }

    #[test]
    fn an_answer_that_says_something_took_tokens() {
        let mut said = Said::default();
        let reported = read(r#"{"prompt_tokens":5,"completion_tokens":0}"#);
        assert_eq!(reported.used(&said), Some(Usage::new(5, 0)));
        said.text_tokens = 10;
        assert_eq!(reported.used(&said), Some(Usage::estimate(5, 10)));
        assert_eq!(read(r#"{"prompt_tokens":5,"completion_tokens":1}"#).used(&said), Some(Usage::new(5, 1)));
    }
}
