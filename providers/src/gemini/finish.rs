//! Why an answer ended, and what that means.

use aihub_core::{Error, ErrorKind, Usage};

use super::wire::Grounding;

/// How far one choice of an answer has come.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) index: u32,
    /// Its first piece has been given out.
    pub(super) begun: bool,
    /// It says or shows something.
    pub(super) content: bool,
    /// Its text was ASCII up to now.
    pub(super) ascii: bool,
    pub(super) images: u32,
    pub(super) calls: u32,
    /// The ids of its calls: a known one is the same call sent again.
    pub(super) call_ids: Vec<String>,
    /// The last signature on a text.
    pub(super) signature: Option<String>,
    /// The last reason, in the vendor's words.
    pub(super) reason: Option<String>,
    pub(super) token: Option<String>,
    pub(super) grounding: Option<Grounding>,
    pub(super) searches: u64,
}

impl Progress {
    pub(super) fn new(index: u32) -> Self {
        Self {
            index,
            begun: false,
            content: false,
            ascii: true,
            images: 0,
            calls: 0,
            call_ids: Vec::new(),
            signature: None,
            reason: None,
            token: None,
            grounding: None,
            searches: 0,
        }
    }

    /// Nothing that a caller would see as an answer.
    fn is_empty(&self) -> bool {
        !self.content && self.calls == 0
    }

    fn family(&self) -> Option<Family> {
        self.reason.as_deref().map(Family::of)
    }

    /// The reason in `OpenAI`'s words. The vendor says `STOP` also where it calls functions, often
    /// in a later event than the calls.
    pub(super) fn finish_reason(&self, blocked: bool) -> &'static str {
        match self.family() {
            Some(Family::Filter) => "content_filter",
            None if blocked => "content_filter",
            Some(Family::Length | Family::Continuation) => "length",
            _ if self.calls > 0 => "tool_calls",
            _ => "stop",
        }
    }
}

/// Reasons that mean the same to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Stop,
    Length,
    Continuation,
    Filter,
    /// The model wrote a call that nobody can read.
    Malformed,
    /// No word on what happened.
    Other,
}

impl Family {
    fn of(reason: &str) -> Self {
        match reason {
            "STOP" => Self::Stop,
            "MAX_TOKENS" => Self::Length,
            "CONTINUATION" => Self::Continuation,
            "SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION"
            | "MODEL_ARMOR" => Self::Filter,
            "MALFORMED_FUNCTION_CALL"
            | "MALFORMED_RESPONSE"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MISSING_THOUGHT_SIGNATURE" => Self::Malformed,
            _ => Self::Other,
        }
    }
}

/// What the end of the vendor's answer means for the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is complete.
    Finished,
    /// Nothing was said and no reason given why not.
    Empty,
    /// The model wrote a call that nobody can read.
    Malformed,
    /// More is to be had for this token.
    Continue(String),
    /// There is nothing to hand on.
    Unusable,
    /// It broke off.
    Truncated,
}

/// Judges an answer of these choices, whose prompt may have been `blocked`.
pub(super) fn judge<'a>(choices: impl Iterator<Item = &'a Progress>, blocked: bool) -> Judgement {
    let choices: Vec<&Progress> = choices.collect();
    if blocked {
        return Judgement::Finished;
    }
    if choices.is_empty() {
        return Judgement::Unusable;
    }
    if choices.iter().any(|choice| choice.reason.is_none()) {
        return Judgement::Truncated;
    }
    if let [Progress { token: Some(token), reason: Some(reason), .. }] = *choices
        && Family::of(reason) == Family::Continuation
    {
        return Judgement::Continue(token.clone());
    }
    let all = |family: &[Family], empty: bool| {
        choices
            .iter()
            .all(|choice| choice.family().is_some_and(|own| family.contains(&own)) && (!empty || choice.is_empty()))
    };
    match () {
        () if all(&[Family::Stop], true) => Judgement::Empty,
        () if all(&[Family::Malformed], false) => Judgement::Malformed,
        () if all(&[Family::Other, Family::Malformed], true) => Judgement::Unusable,
        () => Judgement::Finished,
    }
}

/// The model wrote a call that nobody can read.
pub(super) fn malformed() -> Error {
    Error::new(ErrorKind::BadUpstream, "The model wrote a tool call that cannot be read: try again")
        .with_code("malformed_tool_call")
        .with_failover()
}

/// Nothing to hand on.
pub(super) fn unusable() -> Error {
    Error::new(ErrorKind::BadUpstream, "The upstream gave no answer and no reason for it: try again")
        .with_code("upstream_empty")
        .with_transient()
}

/// It broke off: this API has no end marker, so that an end without a reason is the only sign.
pub(super) fn truncated() -> Error {
    Error::new(ErrorKind::BadUpstream, "The upstream cut the answer short: send the request again")
        .with_code("upstream_truncated")
        .with_transient()
}

/// The most output tokens of one request to the vendor; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit(pub(super) Option<u64>);

/// What several requests to the vendor for one call have used, and may still use.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget {
    /// What the caller asked for at most, per choice.
    pub(super) asked: Option<u64>,
    /// What the hold allows at most, per choice.
    pub(super) held: Option<u64>,
    pub(super) choices: u64,
    /// Requests that may still follow for more of the answer.
    pub(super) hops_left: u32,
    /// A second try has been made.
    pub(super) retried: bool,
    /// What finished hops of the answer used.
    pub(super) done: Usage,
    /// What hops used of which nothing is handed on.
    pub(super) discarded: Usage,
}

impl Budget {
    /// Puts aside a hop that is to be tried again; `None` when that may not be.
    pub(super) fn retry(&mut self, used: Option<Usage>) -> Option<Limit> {
        if self.retried {
            return None;
        }
        let mut next = self.clone();
        next.retried = true;
        next.discarded = next.discarded.plus(&used.unwrap_or_default());
        let limit = next.limit()?;
        *self = next;
        Some(limit)
    }

    /// Books a hop that is to be continued; `None` when that may not be.
    pub(super) fn go_on(&mut self, used: Option<Usage>) -> Option<Limit> {
        let mut next = self.clone();
        next.hops_left = next.hops_left.checked_sub(1)?;
        next.done = next.done.plus(&used.unwrap_or_default());
        let limit = next.limit()?;
        *self = next;
        Some(limit)
    }

    /// The error with everything that the vendor counted up to it; `used` is what it counted for
    /// the hop that failed, unless the error says so itself.
    pub(super) fn spent(&self, error: Error, used: Option<Usage>) -> Error {
        let used = error.spent().copied().or(used).unwrap_or_default();
        let all = used.plus(&self.done).plus(&self.discarded);
        if all.is_zero() { error } else { error.with_spent(all) }
    }

    /// The most output tokens of the next request; `None` when none are left.
    fn limit(&self) -> Option<Limit> {
        let used = |usage: &Usage| usage.completion_tokens().div_ceil(self.choices.max(1));
        let asked = self.asked.map(|asked| asked.saturating_sub(used(&self.done)));
        let held = self.held.map(|held| held.saturating_sub(used(&self.done) + used(&self.discarded)));
        let limit = match (asked, held) {
            (Some(asked), Some(held)) => Some(asked.min(held)),
            (asked, held) => asked.or(held),
        };
        (limit != Some(0)).then_some(Limit(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(reason: Option<&str>, content: bool, calls: u32) -> Progress {
        Progress { reason: reason.map(str::to_owned), content, calls, ..Progress::new(0) }
    }

    #[test]
    fn reasons_are_translated() {
        for (reason, calls, expected) in [
            ("STOP", 0, "stop"),
            ("STOP", 1, "tool_calls"),
            ("MAX_TOKENS", 0, "length"),
            ("CONTINUATION", 0, "length"),
            ("RECITATION", 0, "content_filter"),
            ("IMAGE_SAFETY", 0, "content_filter"),
            ("A_WORD_OF_TOMORROW", 0, "stop"),
        ] {
            assert_eq!(choice(Some(reason), true, calls).finish_reason(false), expected, "{reason}");
        }
        assert_eq!(choice(None, false, 0).finish_reason(true), "content_filter");
    }

    #[test]
    fn ends_are_judged() {
        let judged = |reason, content, calls| judge([choice(reason, content, calls)].iter(), false);
        assert_eq!(judged(Some("STOP"), true, 0), Judgement::Finished);
        assert_eq!(judged(Some("STOP"), false, 0), Judgement::Empty);
        assert_eq!(judged(Some("STOP"), false, 1), Judgement::Finished);
        assert_eq!(judged(Some("MALFORMED_FUNCTION_CALL"), true, 0), Judgement::Malformed);
        assert_eq!(judged(Some("OTHER"), false, 0), Judgement::Unusable);
        assert_eq!(judged(Some("OTHER"), true, 0), Judgement::Finished);
        assert_eq!(judged(Some("MAX_TOKENS"), false, 0), Judgement::Finished);
        assert_eq!(judged(None, true, 0), Judgement::Truncated);
        assert_eq!(judge([].iter(), false), Judgement::Unusable);
        assert_eq!(judge([].iter(), true), Judgement::Finished);
        let mut more = choice(Some("CONTINUATION"), true, 0);
        assert_eq!(judge([&more].into_iter(), false), Judgement::Finished);
        more.token = Some("t".into());
        assert_eq!(judge([&more].into_iter(), false), Judgement::Continue("t".into()));
        let mut both = [choice(Some("STOP"), true, 0), choice(None, true, 0)];
        assert_eq!(judge(both.iter(), false), Judgement::Truncated);
        both[1].reason = Some("OTHER".into());
        assert_eq!(judge(both.iter(), false), Judgement::Finished);
    }

    #[test]
    fn further_requests_stay_within_the_hold() {
        let used = |output| Some(Usage::estimate(10, output));
        let mut budget = Budget { asked: Some(100), held: Some(50), choices: 1, hops_left: 2, ..Budget::default() };
        assert_eq!(budget.retry(used(20)), Some(Limit(Some(30))));
        assert_eq!(budget.retry(used(1)), None, "once only");
        assert_eq!(budget.go_on(used(10)), Some(Limit(Some(20))));
        assert_eq!(budget.go_on(used(20)), None, "nothing left");
        assert_eq!((budget.done.output, budget.discarded.output), (10, 20));
        let mut free = Budget { choices: 1, hops_left: 1, ..Budget::default() };
        assert_eq!(free.go_on(used(10)), Some(Limit(None)));
        assert_eq!(free.go_on(used(10)), None, "no hop left");
    }
}
