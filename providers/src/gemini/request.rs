//! A chat as the vendor's request.
//!
//! What has no counterpart and changes nothing that matters is left out (`user`, `metadata`,
//! `store`, `verbosity`, `prediction`, and penalties on models that refuse them); what would
//! silently change the answer is refused, so that another upstream may serve it (`logit_bias`,
//! audio answers, custom tools). `parallel_tool_calls: false` cannot be said either: calls after
//! the first are left out of the answer.
//!
//! Thoughts come back only where the caller asked for their text: by `reasoning` (unless it says
//! `exclude`), `include_reasoning`, or the vendor's own `include_thoughts`. `reasoning_effort`
//! alone does not, as with `OpenAI`; they are billed either way.
//!
//! The vendor's extras are read from `google`, or from `extra_body.google` as its own compatible
//! endpoint takes them: `thinking_config`, `safety_settings`, `cached_content`.

use aihub_core::chat::{ChatRequest, Conversation, ReasoningEffort, ResponseFormat, Stop};
use aihub_core::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

use super::contents::Turns;
use super::level::{Thinking, Traits};
use super::schema::cleaned;
use super::tools::{Names, tools};
use super::wire::{GenerateRequest, GenerationConfig, ThinkingConfig};

/// What may be asked for, as the operator decided.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Permits {
    /// Naming caches of the operator's project.
    pub(super) cached_content: bool,
    /// Tiers of service at other prices.
    pub(super) service_tiers: bool,
    /// Searching, since it has a price.
    pub(super) search: bool,
}

/// A request ready to be written.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) request: GenerateRequest,
    pub(super) names: Names,
    pub(super) choices: u32,
    /// Only the first call of a choice is handed on.
    pub(super) one_call: bool,
}

/// What is read beside the typed conversation.
#[derive(Debug, Default)]
pub(super) struct Extras {
    include_reasoning: bool,
    top_k: Option<u32>,
    google: Google,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Google {
    #[serde(alias = "cachedContent")]
    cached_content: Option<String>,
    #[serde(alias = "safetySettings")]
    safety_settings: Option<Value>,
    #[serde(alias = "thinkingConfig")]
    thinking_config: Option<GoogleThinking>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GoogleThinking {
    #[serde(alias = "includeThoughts")]
    include_thoughts: Option<bool>,
    #[serde(alias = "thinkingBudget")]
    thinking_budget: Option<i64>,
    #[serde(alias = "thinkingLevel")]
    thinking_level: Option<String>,
}

/// `OpenRouter`'s form of asking for thought.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reasoning {
    effort: Option<ReasoningEffort>,
    max_tokens: Option<u64>,
    exclude: Option<bool>,
    enabled: Option<bool>,
}

impl Extras {
    pub(super) fn read(request: &ChatRequest) -> Result<Self> {
        #[derive(Default, Deserialize)]
        struct Body {
            google: Option<Google>,
        }
        let object = request.object();
        if object.has("functions") || object.has("function_call") {
            return Err(Error::unsupported_parameter(
                "functions",
                "`functions` is not supported with this model: use `tools`",
            ));
        }
        let nested = object.read::<Body>("extra_body")?.unwrap_or_default();
        Ok(Self {
            include_reasoning: object.read("include_reasoning")?.unwrap_or(false),
            top_k: object.read("top_k")?,
            google: object.read("google")?.or(nested.google).unwrap_or_default(),
        })
    }
}

/// Translates a conversation; `limit` is the most output tokens of one choice that a hold allows,
/// `kept` finds the signature kept for a call.
///
/// # Errors
///
/// `Invalid` with the path of what the vendor could not be told; with failover where another
/// upstream may take it.
pub(super) fn prepare(
    conversation: Conversation,
    extras: Extras,
    traits: Traits,
    permits: Permits,
    limit: Option<u64>,
    kept: &dyn Fn(&str) -> Option<String>,
) -> Result<Prepared> {
    let mut config = sampling(&conversation, &extras, traits)?;
    let asked = conversation.max_completion_tokens.or(conversation.max_tokens);
    config.max_output_tokens = match (asked, limit) {
        (Some(asked), Some(limit)) => Some(asked.min(limit)),
        (asked, limit) => asked.or(limit),
    };
    config.thinking_config = thinking(&conversation, &extras, traits, config.max_output_tokens)?;
    config.response_modalities = modalities(conversation.modalities.as_deref().unwrap_or_default(), traits)?;

    let search = conversation.web_search_options.is_some();
    if search && !permits.search {
        return Err(Error::unsupported_parameter("web_search_options", "Web search is not sold with this model"));
    }
    let functions = conversation.tools.unwrap_or_default();
    let with_functions = !functions.is_empty();
    let mut names = Names::default();
    let (tools, tool_config) = tools(functions, conversation.tool_choice, search, traits, &mut names)?;
    match conversation.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(_) if (with_functions || search) && !traits.mixes() => {
            return Err(Error::unsupported_parameter(
                "response_format",
                "This model cannot answer in JSON and use tools in one request: leave one out",
            ));
        }
        Some(ResponseFormat::JsonSchema { json_schema }) => {
            config.response_mime_type = Some("application/json");
            config.response_json_schema = json_schema.schema.map(cleaned);
        }
        Some(_) => config.response_mime_type = Some("application/json"),
    }

    let spoken = Turns::new(traits, &mut names, kept).take(conversation.messages)?;
    config.media_resolution = spoken.detail.resolution(traits.mixes());
    let google = extras.google;
    if google.cached_content.is_some() && !permits.cached_content {
        return Err(Error::unsupported_parameter(
            "google.cached_content",
            "Caches are not shared with callers here: leave `cached_content` out",
        ));
    }
    if google.cached_content.is_some() && (spoken.system.is_some() || !tools.is_empty()) {
        return Err(Error::invalid(
            "google.cached_content",
            "A cache holds the instructions and tools: do not send them again beside it",
        ));
    }
    if google.safety_settings.as_ref().is_some_and(|settings| !settings.is_array()) {
        return Err(Error::invalid(
            "google.safety_settings",
            "`safety_settings` is a list of categories with thresholds",
        ));
    }
    let choices = conversation.n.unwrap_or(1);
    let service_tier = match conversation.service_tier.as_deref() {
        Some("flex") if permits.service_tiers => Some("flex"),
        Some("priority" | "fast") if permits.service_tiers => Some("priority"),
        _ => None,
    };
    let request = GenerateRequest {
        contents: spoken.contents,
        system_instruction: spoken.system,
        tools,
        tool_config,
        safety_settings: google.safety_settings,
        generation_config: config,
        cached_content: google.cached_content,
        service_tier,
    };
    Ok(Prepared { request, names, choices, one_call: conversation.parallel_tool_calls == Some(false) })
}

fn sampling(conversation: &Conversation, extras: &Extras, traits: Traits) -> Result<GenerationConfig> {
    if conversation.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty()) {
        return Err(Error::unsupported_parameter("logit_bias", "`logit_bias` is not supported with this model"));
    }
    if conversation.audio.is_some() {
        return Err(Error::unsupported_parameter("audio", "Audio answers are not supported with this model"));
    }
    let choices = conversation.n.unwrap_or(1);
    if choices > 8 {
        return Err(Error::unsupported_parameter("n", "This model gives at most 8 answers to one request"));
    }
    let stop_sequences = match &conversation.stop {
        None => Vec::new(),
        Some(Stop::One(stop)) => vec![stop.clone()],
        Some(Stop::Many(stops)) => stops.clone(),
    };
    if stop_sequences.len() > 5 {
        return Err(Error::unsupported_parameter("stop", "This model takes at most 5 stop texts"));
    }
    let penalties = traits.takes_penalties();
    Ok(GenerationConfig {
        temperature: conversation.temperature,
        top_p: conversation.top_p,
        top_k: extras.top_k.filter(|top_k| *top_k > 0),
        candidate_count: (choices > 1).then_some(choices),
        stop_sequences: stop_sequences.into_iter().filter(|stop| !stop.is_empty()).collect(),
        response_logprobs: conversation.logprobs.filter(|wanted| *wanted),
        logprobs: conversation.top_logprobs.filter(|top| *top > 0 && conversation.logprobs == Some(true)),
        presence_penalty: conversation.presence_penalty.filter(|_| penalties),
        frequency_penalty: conversation.frequency_penalty.filter(|_| penalties),
        // The vendor's seed has 32 bits; equal seeds stay equal.
        seed: conversation.seed.and_then(|seed| i32::try_from(seed & i64::from(i32::MAX)).ok()),
        ..GenerationConfig::default()
    })
}

fn thinking(
    conversation: &Conversation,
    extras: &Extras,
    traits: Traits,
    limit: Option<u64>,
) -> Result<Option<ThinkingConfig>> {
    let reasoning: Option<Reasoning> = match &conversation.reasoning {
        None | Some(Value::Null) => None,
        Some(value) => Some(Reasoning::deserialize(value).map_err(|_| {
            Error::invalid("reasoning", "`reasoning` is an object of `effort`, `max_tokens`, `exclude` and `enabled`")
        })?),
    };
    let google = extras.google.thinking_config.as_ref();
    let by_google = match google {
        Some(GoogleThinking { thinking_budget: Some(budget), .. }) => u64::try_from(*budget).ok().map(Thinking::Budget),
        Some(GoogleThinking { thinking_level: Some(level), .. }) => {
            let level = Value::from(level.to_ascii_lowercase());
            let effort = ReasoningEffort::deserialize(level).map_err(|_| {
                Error::invalid(
                    "google.thinking_config.thinking_level",
                    "`thinking_level` is `minimal`, `low`, `medium` or `high`",
                )
            })?;
            Some(Thinking::Effort(effort))
        }
        _ => None,
    };
    let by_reasoning = reasoning.as_ref().and_then(|reasoning| match reasoning {
        Reasoning { enabled: Some(false), .. } => Some(Thinking::Effort(ReasoningEffort::None)),
        Reasoning { max_tokens: Some(most), .. } => Some(Thinking::Budget(*most)),
        Reasoning { effort, .. } => effort.map(Thinking::Effort),
    });
    let wanted = by_google.or(by_reasoning).or(conversation.reasoning_effort.map(Thinking::Effort));
    let off = matches!(wanted, Some(Thinking::Effort(ReasoningEffort::None) | Thinking::Budget(0)));

    let shown = match (google.and_then(|google| google.include_thoughts), &reasoning) {
        (Some(shown), _) => shown,
        (None, Some(reasoning)) => reasoning.exclude != Some(true) && !off,
        (None, None) => extras.include_reasoning && !off,
    };
    let mut config = wanted.and_then(|wanted| traits.thinking(wanted, limit)).unwrap_or_default();
    config.include_thoughts = (shown && traits.thinks()).then_some(true);
    Ok((config != ThinkingConfig::default()).then_some(config))
}

fn modalities(wanted: &[String], traits: Traits) -> Result<Vec<&'static str>> {
    let words = wanted.iter().map(|wanted| match wanted.as_str() {
        "text" => Ok("TEXT"),
        "image" if traits.draws() => Ok("IMAGE"),
        _ => Err(Error::unsupported_parameter("modalities", "This model does not answer in one of these `modalities`")),
    });
    words.collect()
}

#[cfg(test)]
mod tests;
