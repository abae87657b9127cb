//! What a Gemini model can do, told from its name, and how hard it may think.
//!
//! Versions are compared as numbers: a test for the letters `gemini-3` misses the next generation.

use aihub_core::chat::ReasoningEffort;

use super::wire::ThinkingConfig;

/// A model, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traits {
    /// Major and minor version; a name without one (`gemini-flash-latest`) is taken for a current
    /// model, since that is what such an alias stands for.
    version: (u16, u16),
    family: Family,
    /// Of the Gemini line; the vendor also serves open models, which neither think nor sign.
    gemini: bool,
    /// Makes images.
    draws: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Pro,
    Flash,
    FlashLite,
    Other,
}

/// How much a caller wants the model to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    /// By word.
    Effort(ReasoningEffort),
    /// By tokens.
    Budget(u64),
}

/// The version of a name that carries none.
const CURRENT: (u16, u16) = (3, 5);

impl Traits {
    /// Reads a model's name.
    pub(super) fn of(model: &str) -> Self {
        let words: Vec<&str> = model.rsplit('/').next().unwrap_or(model).split('-').collect();
        let has = |word: &str| words.contains(&word);
        let gemini = words.first() == Some(&"gemini");
        let version = words.iter().skip(1).find_map(|word| version(word));
        let family = match () {
            () if has("lite") => Family::FlashLite,
            () if has("flash") => Family::Flash,
            () if has("pro") => Family::Pro,
            () => Family::Other,
        };
        Self { version: version.unwrap_or(if gemini { CURRENT } else { (0, 0) }), family, gemini, draws: has("image") }
    }

    fn at_least(self, major: u16, minor: u16) -> bool {
        self.gemini && self.version >= (major, minor)
    }

    /// Signs its thoughts, wants the signatures back, and takes call ids: generation 3 and later.
    pub(super) fn signs(self) -> bool {
        self.at_least(3, 0)
    }

    /// Takes a JSON schema beside functions, media inside tool results and the vendor's tools
    /// beside functions: generation 3 and later.
    pub(super) fn mixes(self) -> bool {
        self.at_least(3, 0)
    }

    /// Takes instructions apart from the conversation.
    pub(super) fn instructs(self) -> bool {
        self.gemini
    }

    /// Holds calls against their schemas (mode `VALIDATED`).
    pub(super) fn validates(self) -> bool {
        self.at_least(2, 5)
    }

    /// Takes presence and frequency penalties; from 2.5 on they are refused on this API.
    pub(super) fn takes_penalties(self) -> bool {
        !self.at_least(2, 5)
    }

    /// Thinks, and can show it.
    pub(super) fn thinks(self) -> bool {
        self.at_least(2, 5) && !self.draws
    }

    /// May be asked for images.
    pub(super) fn draws(self) -> bool {
        self.draws
    }

    /// Is billed for each search; before generation 3 once for each prompt that was searched for.
    pub(super) fn bills_each_search(self) -> bool {
        self.at_least(3, 0)
    }

    /// How to say `thinking` to this model, within `most_output` tokens; `None` where it does not
    /// think at all. "Not at all" becomes the least there is: left out, it would think as usual
    /// and bill for it.
    pub(super) fn thinking(self, thinking: Thinking, most_output: Option<u64>) -> Option<ThinkingConfig> {
        if self.at_least(3, 0) && !self.draws {
            let level = nearest(self.levels(), rank(thinking));
            return Some(ThinkingConfig { thinking_level: Some(level), ..ThinkingConfig::default() });
        }
        if !self.thinks() {
            return None;
        }
        let (least, most) = self.budgets();
        let budget = match thinking {
            Thinking::Effort(ReasoningEffort::None) | Thinking::Budget(0) => 0,
            Thinking::Effort(ReasoningEffort::Minimal | ReasoningEffort::Low) => 1_024,
            Thinking::Effort(ReasoningEffort::Medium) => 8_192,
            Thinking::Effort(ReasoningEffort::High) => 24_576,
            Thinking::Effort(ReasoningEffort::Xhigh | ReasoningEffort::Max) => most,
            Thinking::Budget(tokens) => tokens,
        };
        // The limit holds for thoughts and words together: a quarter of it is left for words.
        let room = most_output.map_or(budget, |most| budget.min(most - most / 4));
        let floor = if budget == 0 && self.family != Family::Pro { 0 } else { least };
        Some(ThinkingConfig { thinking_budget: Some(room.clamp(floor, most)), ..ThinkingConfig::default() })
    }

    /// Least and most tokens of thought on 2.5 (the vendor's page on thinking).
    fn budgets(self) -> (u64, u64) {
        match self.family {
            Family::Pro => (128, 32_768),
            Family::FlashLite => (512, 24_576),
            Family::Flash | Family::Other => (1, 24_576),
        }
    }

    /// The levels that a model takes, least first; another one is a 400 ("not supported for this
    /// model").
    fn levels(self) -> &'static [&'static str] {
        match (self.family, self.version) {
            (Family::Pro, (3, 0)) => &["LOW", "HIGH"],
            (Family::Flash | Family::FlashLite, _) => &["MINIMAL", "LOW", "MEDIUM", "HIGH"],
            _ => &["LOW", "MEDIUM", "HIGH"],
        }
    }
}

/// `2.5`, `3`; not `001`, `1206` or `20b`.
fn version(word: &str) -> Option<(u16, u16)> {
    let (major, minor) = word.split_once('.').unwrap_or((word, "0"));
    let number = |text: &str| (text.len() <= 2).then(|| text.parse::<u16>().ok()).flatten();
    Some((number(major)?, number(minor)?))
}

const RANKED: [&str; 4] = ["MINIMAL", "LOW", "MEDIUM", "HIGH"];

fn rank(thinking: Thinking) -> usize {
    match thinking {
        Thinking::Effort(ReasoningEffort::None | ReasoningEffort::Minimal) | Thinking::Budget(0..=511) => 0,
        Thinking::Effort(ReasoningEffort::Low) | Thinking::Budget(512..=4_096) => 1,
        Thinking::Effort(ReasoningEffort::Medium) | Thinking::Budget(4_097..=16_384) => 2,
        Thinking::Effort(_) | Thinking::Budget(_) => 3,
    }
}

/// The level nearest to a rank; of two equally near ones the lower, which costs less.
fn nearest(levels: &[&'static str], rank: usize) -> &'static str {
    let distance =
        |level: &str| RANKED.iter().position(|known| *known == level).map_or(usize::MAX, |at| at.abs_diff(rank));
    levels.iter().copied().min_by_key(|level| distance(level)).unwrap_or("LOW")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(model: &str, thinking: Thinking) -> (Option<u64>, Option<&'static str>) {
        let config = Traits::of(model).thinking(thinking, None).unwrap_or_default();
        (config.thinking_budget, config.thinking_level)
    }

    #[test]
    fn versions_are_numbers() {
        for (model, version) in [
            ("gemini-2.5-flash", (2, 5)),
            ("models/gemini-3-pro-preview", (3, 0)),
            ("gemini-3.1-pro-preview", (3, 1)),
            ("gemini-4-argon", (4, 0)),
            ("gemini-12.1-flash", (12, 1)),
            ("gemini-2.0-flash-001", (2, 0)),
            ("gemini-robotics-er-1.5-preview", (1, 5)),
            ("gemini-flash-latest", CURRENT),
            ("gemini-exp-1206", CURRENT),
            ("gemma-3-27b-it", (3, 0)),
        ] {
            assert_eq!(Traits::of(model).version, version, "{model}");
        }
        assert!(Traits::of("gemini-4-argon").signs() && !Traits::of("gemini-2.5-pro").signs());
        assert!(!Traits::of("gemma-3-27b-it").signs());
    }

    #[test]
    fn effort_becomes_what_the_model_takes() {
        use ReasoningEffort::{High, Low, Max, Medium, Minimal, None as Off};
        for (model, effort, expected) in [
            ("gemini-2.5-flash", Off, (Some(0), None)),
            ("gemini-2.5-pro", Off, (Some(128), None)),
            ("gemini-2.5-flash-lite", Minimal, (Some(1_024), None)),
            ("gemini-2.5-flash", Medium, (Some(8_192), None)),
            ("gemini-2.5-pro", Max, (Some(32_768), None)),
            ("gemini-2.5-flash", Max, (Some(24_576), None)),
            ("gemini-3-pro-preview", Off, (None, Some("LOW"))),
            ("gemini-3-pro-preview", Medium, (None, Some("LOW"))),
            ("gemini-3.1-pro-preview", Medium, (None, Some("MEDIUM"))),
            ("gemini-3.5-flash", Off, (None, Some("MINIMAL"))),
            ("gemini-4-argon", Max, (None, Some("HIGH"))),
            ("gemini-2.0-flash", High, (None, None)),
            ("gemma-3-27b-it", Low, (None, None)),
        ] {
            assert_eq!(config(model, Thinking::Effort(effort)), expected, "{model} {effort}");
        }
    }

    #[test]
    fn a_budget_is_kept_within_bounds_and_leaves_room_for_words() {
        assert_eq!(config("gemini-2.5-pro", Thinking::Budget(5)).0, Some(128));
        assert_eq!(config("gemini-2.5-pro", Thinking::Budget(99_999)).0, Some(32_768));
        assert_eq!(config("gemini-3.5-flash", Thinking::Budget(2_000)).1, Some("LOW"));
        let tight =
            Traits::of("gemini-2.5-flash").thinking(Thinking::Effort(ReasoningEffort::High), Some(1_000)).unwrap();
        assert_eq!(tight.thinking_budget, Some(750));
    }
}
