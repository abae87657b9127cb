//! What a call used, in buckets that do not overlap.

use serde::{Deserialize, Serialize};

/// Tokens (and pieces) of one call in *disjoint* buckets: their sum is the vendor's own total.
///
/// Vendors nest their figures differently (`OpenAI`: cached inside prompt, reasoning inside
/// completion; Gemini: cached inside prompt, thoughts beside candidates; Anthropic: all beside
/// each other). Each provider takes them apart once, so that nothing downstream has to know.
///
/// As JSON, a bucket that only some calls have is left out where it is empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Usage {
    /// Prompt tokens that were neither read from nor written to a cache, and are not media.
    pub input: u64,
    /// Prompt tokens read from the vendor's cache.
    #[serde(skip_serializing_if = "zero")]
    pub cache_read: u64,
    /// Prompt tokens written to the vendor's cache.
    #[serde(skip_serializing_if = "zero")]
    pub cache_write: u64,
    /// Prompt tokens of audio.
    #[serde(skip_serializing_if = "zero")]
    pub audio_input: u64,
    /// Prompt tokens of images.
    #[serde(skip_serializing_if = "zero")]
    pub image_input: u64,
    /// Prompt tokens that tools of the vendor brought in (search results, fetched pages).
    #[serde(skip_serializing_if = "zero")]
    pub tool_input: u64,
    /// Visible text tokens of the answer.
    pub output: u64,
    /// Tokens the model thought with.
    #[serde(skip_serializing_if = "zero")]
    pub reasoning: u64,
    /// Audio tokens of the answer.
    #[serde(skip_serializing_if = "zero")]
    pub audio_output: u64,
    /// Image tokens of the answer.
    #[serde(skip_serializing_if = "zero")]
    pub image_output: u64,
    /// Searches that the vendor ran, in pieces.
    #[serde(skip_serializing_if = "zero")]
    pub searches: u64,
    /// `true` when the vendor gave no figure and this one was measured here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

impl Usage {
    /// What a vendor counted: prompt tokens and visible text tokens of the answer, in the two buckets
    /// that every vendor has. The others are 0, and set by those who know more:
    ///
    /// ```
    /// let mut usage = aihub_core::Usage::new(900, 250);
    /// usage.cache_read = 100;
    /// assert_eq!((usage.prompt_tokens(), usage.total_tokens()), (1_000, 1_250));
    /// ```
    ///
    /// Figures that were measured here are an [`estimate`](Self::estimate).
    pub const fn new(input: u64, output: u64) -> Self {
        Self {
            input,
            cache_read: 0,
            cache_write: 0,
            audio_input: 0,
            image_input: 0,
            tool_input: 0,
            output,
            reasoning: 0,
            audio_output: 0,
            image_output: 0,
            searches: 0,
            estimated: false,
        }
    }

    /// A measured stand-in for figures that the vendor did not give.
    pub fn estimate(prompt_tokens: u64, output_tokens: u64) -> Self {
        Self { estimated: true, ..Self::new(prompt_tokens, output_tokens) }
    }

    /// All tokens on the way in: `prompt_tokens` of the `OpenAI` API.
    pub const fn prompt_tokens(&self) -> u64 {
        let cached = self.cache_read.saturating_add(self.cache_write);
        let media = self.audio_input.saturating_add(self.image_input);
        self.input.saturating_add(cached).saturating_add(media).saturating_add(self.tool_input)
    }

    /// All tokens on the way out: `completion_tokens` of the `OpenAI` API.
    pub const fn completion_tokens(&self) -> u64 {
        let media = self.audio_output.saturating_add(self.image_output);
        self.output.saturating_add(self.reasoning).saturating_add(media)
    }

    /// All tokens.
    pub const fn total_tokens(&self) -> u64 {
        self.prompt_tokens().saturating_add(self.completion_tokens())
    }

    /// Whether nothing at all was counted.
    pub const fn is_zero(&self) -> bool {
        self.total_tokens() == 0 && self.searches == 0
    }

    /// Bucket by bucket the sum of both, as far as 64 bits go; estimated if either is.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            audio_input: self.audio_input.saturating_add(other.audio_input),
            image_input: self.image_input.saturating_add(other.image_input),
            tool_input: self.tool_input.saturating_add(other.tool_input),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            audio_output: self.audio_output.saturating_add(other.audio_output),
            image_output: self.image_output.saturating_add(other.image_output),
            searches: self.searches.saturating_add(other.searches),
            estimated: self.estimated || other.estimated,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over so")]
fn zero(bucket: &u64) -> bool {
    *bucket == 0
}

/// How a call ended, for the record and for who pays.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The whole answer reached its end.
    Completed,
    /// The caller left before the end.
    ClientGone,
    /// The vendor failed.
    UpstreamFailed,
    /// This side failed.
    GatewayFailed,
    /// Nothing was sent upstream: the call was refused here.
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stay_at_the_top_instead_of_starting_over() {
        let most = Usage::new(u64::MAX, u64::MAX);
        let mut both = most.plus(&most);
        (both.cache_read, both.reasoning, both.searches) = (1, 1, 1);
        assert_eq!(
            (both.prompt_tokens(), both.completion_tokens(), both.total_tokens()),
            (u64::MAX, u64::MAX, u64::MAX)
        );
    }
}
