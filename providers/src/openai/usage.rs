//! The usage of `OpenAI`'s dialect, taken apart into disjoint buckets.

use aihub_core::{Currency, Money, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a vendor reported: the buckets, and its own cost where it names one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) usage: Usage,
    pub(crate) cost: Option<Money>,
    pub(crate) own_key_cost: Option<Money>,
    /// Whether it holds anything that is the vendor's and ours alone.
    pub(crate) has_cost: bool,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
    #[serde(default, borrow)]
    cost: Option<&'a RawValue>,
    #[serde(default)]
    is_byok: Option<bool>,
    #[serde(default, borrow)]
    cost_details: Option<CostDetails<'a>>,
    #[serde(default)]
    server_tool_use: Option<ServerTools>,
}

#[derive(Default, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names on the wire")]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    cache_write_tokens: Option<u64>,
    #[serde(default)]
    audio_tokens: Option<u64>,
    #[serde(default)]
    image_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names on the wire")]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
    #[serde(default)]
    audio_tokens: Option<u64>,
    #[serde(default)]
    image_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CostDetails<'a> {
    #[serde(default, borrow)]
    upstream_inference_cost: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ServerTools {
    #[serde(default)]
    web_search_requests: Option<u64>,
}

/// Reads a `usage` object. The cost is read from its digits, never through a float.
///
/// The vendor's nested figures can contradict each other (11 reasoning tokens of 10 completion
/// tokens were recorded): each bucket takes no more than what its total has left, so that the sum
/// is always the vendor's total.
pub(crate) fn read(json: &str) -> Result<Reported, serde_json::Error> {
    let wire: Wire<'_> = serde_json::from_str(json)?;
    let prompt = wire.prompt_tokens_details.unwrap_or_default();
    let mut left = wire.prompt_tokens.unwrap_or(0);
    let mut take = |asked: Option<u64>| {
        let taken = asked.unwrap_or(0).min(left);
        left -= taken;
        taken
    };
    let mut usage = Usage::default();
    usage.cache_read = take(prompt.cached_tokens);
    usage.cache_write = take(prompt.cache_write_tokens);
    usage.audio_input = take(prompt.audio_tokens);
    usage.image_input = take(prompt.image_tokens);
    usage.input = left;

    let completion = wire.completion_tokens_details.unwrap_or_default();
    let mut left = wire.completion_tokens.unwrap_or(0);
    let mut take = |asked: Option<u64>| {
        let taken = asked.unwrap_or(0).min(left);
        left -= taken;
        taken
    };
    usage.reasoning = take(completion.reasoning_tokens);
    usage.audio_output = take(completion.audio_tokens);
    usage.image_output = take(completion.image_tokens);
    usage.output = left;
    usage.searches = wire.server_tool_use.and_then(|tools| tools.web_search_requests).unwrap_or(0);

    let own_key_cost = wire.cost_details.as_ref().and_then(|details| money(details.upstream_inference_cost));
    Ok(Reported {
        usage,
        cost: money(wire.cost),
        own_key_cost: own_key_cost.filter(|_| wire.is_byok == Some(true)),
        has_cost: wire.cost.is_some() || wire.cost_details.is_some() || wire.is_byok.is_some(),
    })
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
        let usage = read(json).unwrap().usage;
        assert_eq!((usage.cache_read, usage.input, usage.reasoning, usage.output), (43, 0, 10, 0));
        assert_eq!(usage.total_tokens(), 53);
    }

    #[test]
    fn an_absent_cost_is_unknown_and_an_exponent_is_exact() {
        assert_eq!(read(r#"{"prompt_tokens":1}"#).unwrap().cost, None);
        let reported = read(r#"{"prompt_tokens":1,"cost":1.58e-05,"is_byok":false}"#).unwrap();
        assert_eq!(reported.cost.unwrap().decimal().to_string(), "0.0000158");
        assert!(reported.has_cost && reported.own_key_cost.is_none());
    }

    #[test]
    fn the_bill_of_a_key_of_our_own_is_kept_apart() {
        let reported =
            read(r#"{"prompt_tokens":1,"cost":0,"is_byok":true,"cost_details":{"upstream_inference_cost":0.002}}"#)
                .unwrap();
        assert_eq!(reported.cost.unwrap().nanos(), 0);
        assert_eq!(reported.own_key_cost.unwrap().nanos(), 2_000_000);
    }
}
