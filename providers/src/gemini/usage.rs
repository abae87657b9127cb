//! What the vendor counted (`usageMetadata`), taken apart into buckets that do not overlap.

use aihub_core::Usage;

use super::wire::{Grounding, ModalityCount, UsageMetadata};

/// The usage that `counted` says.
///
/// The vendor's own arithmetic: total = prompt (cached tokens inside) + tool use + candidates +
/// thoughts. Two deviations are known and mended by that sum: `candidatesTokenCount` is absent in
/// early events of a stream and where it is 0; on some of the vendor's stacks thoughts are counted
/// inside candidates, and then prompt + tool use + candidates alone close the sum.
pub(super) fn usage(counted: &UsageMetadata) -> Usage {
    let prompt = counted.prompt_token_count.unwrap_or(0);
    let tools = counted.tool_use_prompt_token_count.unwrap_or(0);
    let thoughts = counted.thoughts_token_count.unwrap_or(0);
    let known = prompt.saturating_add(tools).saturating_add(thoughts);
    let candidates = match (counted.candidates_token_count, counted.total_token_count) {
        (Some(candidates), Some(total)) if thoughts > 0 && prompt + tools + candidates == total => {
            candidates.saturating_sub(thoughts)
        }
        (Some(candidates), _) => candidates,
        (None, Some(total)) => total.saturating_sub(known),
        (None, None) => 0,
    };
    if let Some(total) = counted.total_token_count
        && total != known + candidates
        && counted.candidates_token_count.is_none_or(|counted| prompt + tools + counted != total)
    {
        tracing::warn!(
            usage.total = total,
            usage.parts = known + candidates,
            "the vendor's token counts do not add up"
        );
    }

    let cache_read = counted.cached_content_token_count.unwrap_or(0).min(prompt);
    let fresh = |modality| {
        of(&counted.prompt_tokens_details, modality).saturating_sub(of(&counted.cache_tokens_details, modality))
    };
    let audio_input = fresh("AUDIO").min(prompt - cache_read);
    let image_input = fresh("IMAGE").min(prompt - cache_read - audio_input);
    let audio_output = of(&counted.candidates_tokens_details, "AUDIO").min(candidates);
    let image_output = of(&counted.candidates_tokens_details, "IMAGE").min(candidates - audio_output);

    let mut usage = Usage::default();
    usage.input = prompt - cache_read - audio_input - image_input;
    usage.cache_read = cache_read;
    usage.audio_input = audio_input;
    usage.image_input = image_input;
    usage.tool_input = tools;
    usage.output = candidates - audio_output - image_output;
    usage.reasoning = thoughts;
    usage.audio_output = audio_output;
    usage.image_output = image_output;
    usage
}

fn of(details: &[ModalityCount], modality: &str) -> u64 {
    details.iter().filter(|detail| detail.modality == modality).map(|detail| detail.token_count).sum()
}

/// How many searches are billed: each one, or one for a prompt that was searched for at all.
pub(super) fn searches(grounding: &Grounding, each: bool) -> u64 {
    let queries = grounding.web_search_queries.len() as u64;
    if each { queries } else { queries.min(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Usage {
        usage(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn the_buckets_sum_to_the_vendors_total() {
        let cases = [
            (
                r#"{"promptTokenCount":11,"candidatesTokenCount":3,"thoughtsTokenCount":20,"totalTokenCount":34}"#,
                (11, 23, 20),
            ),
            (r#"{"promptTokenCount":11,"totalTokenCount":11}"#, (11, 0, 0)),
            (r#"{"promptTokenCount":11,"thoughtsTokenCount":4,"totalTokenCount":15}"#, (11, 4, 4)),
            (
                r#"{"promptTokenCount":7,"toolUsePromptTokenCount":90,"candidatesTokenCount":2,"totalTokenCount":99}"#,
                (97, 2, 0),
            ),
            // Thoughts inside candidates.
            (
                r#"{"promptTokenCount":10,"candidatesTokenCount":30,"thoughtsTokenCount":20,"totalTokenCount":40}"#,
                (10, 30, 20),
            ),
            // Candidates missing, and yet counted in the total.
            (r#"{"promptTokenCount":10,"totalTokenCount":16}"#, (10, 6, 0)),
        ];
        for (json, (prompt, completion, reasoning)) in cases {
            let usage = read(json);
            let got = (usage.prompt_tokens(), usage.completion_tokens(), usage.reasoning);
            assert_eq!(got, (prompt, completion, reasoning), "{json}");
        }
    }

    #[test]
    fn cached_and_media_tokens_are_counted_once() {
        let usage = read(
            r#"{"promptTokenCount":1000,"cachedContentTokenCount":600,"candidatesTokenCount":5,"totalTokenCount":1005,
                "promptTokensDetails":[{"modality":"TEXT","tokenCount":400},{"modality":"IMAGE","tokenCount":258},
                    {"modality":"AUDIO","tokenCount":342}],
                "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":300},{"modality":"TEXT","tokenCount":300}],
                "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":4}]}"#,
        );
        assert_eq!((usage.cache_read, usage.audio_input, usage.image_input, usage.input), (600, 42, 258, 100));
        assert_eq!((usage.image_output, usage.output, usage.total_tokens()), (4, 1, 1005));
    }

    #[test]
    fn nonsense_never_goes_below_zero() {
        let usage = read(
            r#"{"promptTokenCount":5,"cachedContentTokenCount":50,"totalTokenCount":2,
                "promptTokensDetails":[{"modality":"IMAGE","tokenCount":70}]}"#,
        );
        assert_eq!((usage.prompt_tokens(), usage.completion_tokens()), (5, 0));
    }

    #[test]
    fn searches_are_billed_as_the_generation_is() {
        let grounding = Grounding { web_search_queries: vec!["a".into(), "b".into()], ..Grounding::default() };
        assert_eq!((searches(&grounding, true), searches(&grounding, false)), (2, 1));
        assert_eq!(searches(&Grounding::default(), false), 0);
    }
}
