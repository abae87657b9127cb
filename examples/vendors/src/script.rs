//! The directives: how a test tells the vendors what to do. The table is in the crate's documentation.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use crate::{Vendor, lock};

/// What the directives of one request ask for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Script {
    pub(crate) status: Option<Status>,
    pub(crate) html: Option<u16>,
    pub(crate) delay: Duration,
    pub(crate) slow: Duration,
    pub(crate) hang: Option<Hang>,
    pub(crate) events: Option<u64>,
    pub(crate) say: Option<String>,
    pub(crate) cut: Option<u64>,
    pub(crate) end: Option<u64>,
    pub(crate) error: Option<ErrorEvent>,
    pub(crate) malformed: Option<u64>,
    pub(crate) no_usage: bool,
    pub(crate) usage: Numbers,
    pub(crate) empty: bool,
    pub(crate) safety: Option<Filtered>,
    pub(crate) length: bool,
    pub(crate) late_lookups: u64,
}

/// An HTTP status instead of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) retry_after_seconds: Option<f64>,
    pub(crate) daily: bool,
    pub(crate) in_flight: bool,
}

/// An error inside a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ErrorEvent {
    pub(crate) after: u64,
    pub(crate) code: u16,
    pub(crate) raw: bool,
}

/// When nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hang {
    /// Before the headers.
    AtOnce,
    /// After so many events.
    After(u64),
}

/// What a filter took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filtered {
    Answer,
    Prompt,
}

/// Usage that is reported instead of the counted one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) prompt: Option<u64>,
    pub(crate) completion: Option<u64>,
    pub(crate) cached: Option<u64>,
    pub(crate) reasoning: Option<u64>,
}

/// How often each `times` has been used up.
#[derive(Debug, Default)]
pub(crate) struct Takes(Mutex<HashMap<String, u64>>);

impl Takes {
    /// Whether this is one of the first `times`.
    fn take(&self, id: &str, times: u64) -> bool {
        let mut counts = lock(&self.0);
        let count = counts.entry(id.to_owned()).or_default();
        *count += 1;
        *count <= times
    }
}

impl Script {
    /// Whether an answer that has begun is not whole.
    pub(crate) const fn fails(&self) -> bool {
        self.cut.is_some() || self.end.is_some() || self.error.is_some() || self.malformed.is_some()
    }

    /// Reads the directives of this text that concern this vendor.
    pub(crate) fn read(text: &str, vendor: Vendor, takes: &Takes) -> Result<Self, String> {
        let mut script = Self::default();
        for directive in directives(text) {
            let mut words: Vec<&str> = directive.split_whitespace().collect();
            // Free text must not be searched for qualifiers: "say it three times 2".
            if words.first() != Some(&"say") {
                let on = named(&mut words, "on");
                let times = named(&mut words, "times");
                let id = named(&mut words, "id");
                if on.is_some_and(|on| on != vendor.as_str()) {
                    continue;
                }
                if let Some(times) = times {
                    let times = times.parse().map_err(|_| unknown(directive))?;
                    if !takes.take(id.unwrap_or(directive), times) {
                        continue;
                    }
                }
            }
            script.apply(directive, &mut words).ok_or_else(|| unknown(directive))?;
        }
        Ok(script)
    }

    /// `None` if it is not understood to the last word.
    fn apply(&mut self, directive: &str, words: &mut Vec<&str>) -> Option<()> {
        let after = |words: &mut Vec<&str>| match named(words, "after") {
            Some(count) => count.parse().map(Some),
            None => Ok(None),
        };
        let name = *words.first()?;
        match name {
            "say" => {
                self.say = Some(directive.trim_start().strip_prefix("say")?.trim().to_owned());
                words.truncate(1);
            }
            "status" => {
                let retry_after_seconds = match named(words, "retry-after") {
                    Some(seconds) => Some(seconds.parse().ok()?),
                    None => None,
                };
                let (daily, in_flight) = (flag(words, "daily"), flag(words, "in-flight"));
                let code = code(words.pop()?)?;
                self.status = Some(Status { code, retry_after_seconds, daily, in_flight });
            }
            "html" => self.html = Some(code(words.pop()?)?),
            "delay" => self.delay = duration(words.pop()?)?,
            "slow" => self.slow = duration(words.pop()?)?,
            "hang" => self.hang = Some(after(words).ok()?.map_or(Hang::AtOnce, Hang::After)),
            "events" => self.events = Some(words.pop()?.parse().ok()?),
            "cut" => self.cut = Some(after(words).ok()?.unwrap_or(0)),
            "end" => self.end = Some(after(words).ok()?.unwrap_or(0)),
            "error-event" | "first-event-error" => {
                let after = if name == "error-event" { after(words).ok()?.unwrap_or(0) } else { 0 };
                let code = match named(words, "code") {
                    Some(word) => code(word)?,
                    None => 502,
                };
                self.error = Some(ErrorEvent { after, code, raw: flag(words, "raw") });
            }
            "malformed" => self.malformed = Some(after(words).ok()?.unwrap_or(1)),
            "no-usage" => self.no_usage = true,
            "usage" => {
                let mut number = |name| match named(words, name) {
                    Some(count) => count.parse().map(Some),
                    None => Ok(None),
                };
                self.usage = Numbers {
                    prompt: number("prompt").ok()?,
                    completion: number("completion").ok()?,
                    cached: number("cached").ok()?,
                    reasoning: number("reasoning").ok()?,
                };
            }
            "empty" => self.empty = true,
            "safety" => {
                self.safety = Some(if flag(words, "prompt") { Filtered::Prompt } else { Filtered::Answer });
            }
            "length" => self.length = true,
            "generation" => self.late_lookups = named(words, "late")?.parse().ok()?,
            _ => return None,
        }
        (words.len() == 1).then_some(())
    }
}

/// The text without its directives.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = text.to_owned();
    for directive in directives(text) {
        plain = plain.replacen(&format!("[[{directive}]]"), "", 1);
    }
    plain.trim().to_owned()
}

fn directives(text: &str) -> impl Iterator<Item = &str> {
    text.split("[[").skip(1).filter_map(|rest| rest.split_once("]]")).map(|(directive, _)| directive)
}

/// Takes `name value` out of the words that follow the first.
fn named<'a>(words: &mut Vec<&'a str>, name: &str) -> Option<&'a str> {
    let at = words.iter().skip(1).position(|word| *word == name)? + 1;
    if at + 1 >= words.len() {
        return None;
    }
    words.remove(at);
    Some(words.remove(at))
}

fn flag(words: &mut Vec<&str>, name: &str) -> bool {
    let before = words.len();
    words.retain(|word| *word != name);
    words.len() < before
}

fn code(word: &str) -> Option<u16> {
    word.parse().ok().filter(|code| (400..=599).contains(code))
}

fn duration(word: &str) -> Option<Duration> {
    if let Some(milliseconds) = word.strip_suffix("ms") {
        return milliseconds.parse().ok().map(Duration::from_millis);
    }
    word.strip_suffix('s')?.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

fn unknown(directive: &str) -> String {
    format!(
        "The scripted vendor does not know the directive [[{directive}]]: see the table in the crate's documentation."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Script, String> {
        Script::read(text, Vendor::Gemini, &Takes::default())
    }

    #[test]
    fn several_directives_are_read_from_one_text() {
        let script = read("a [[slow 20ms]] b [[cut after 3]][[delay 1.5s]]").unwrap();
        assert_eq!(script.slow, Duration::from_millis(20));
        assert_eq!(script.cut, Some(3));
        assert_eq!(script.delay, Duration::from_millis(1500));
    }

    #[test]
    fn a_status_carries_its_hints() {
        let status = read("[[status 429 retry-after 1.5 daily]]").unwrap().status.unwrap();
        assert_eq!((status.code, status.retry_after_seconds, status.daily), (429, Some(1.5), true));
    }

    #[test]
    fn times_counts_by_id_over_both_vendors() {
        let takes = Takes::default();
        let faults = |vendor| Script::read("[[status 503 times 2 id x]]", vendor, &takes).unwrap().status.is_some();
        let seen = [Vendor::Gemini, Vendor::OpenRouter, Vendor::Gemini].map(faults);
        assert_eq!(seen, [true, true, false]);
    }

    #[test]
    fn a_directive_for_the_other_vendor_is_ignored() {
        assert_eq!(read("[[hang on openrouter]]").unwrap(), Script::default());
        assert_eq!(read("[[hang on gemini]]").unwrap().hang, Some(Hang::AtOnce));
    }

    #[test]
    fn say_keeps_its_text_as_it_is() {
        assert_eq!(read("[[say it three times 2  on]]").unwrap().say.as_deref(), Some("it three times 2  on"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in ["[[stauts 500]]", "[[status 200]]", "[[cut 3]]", "[[slow 20]]", "[[events]]", "[[]]"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn plain_text_has_no_directives_and_keeps_loose_brackets() {
        assert_eq!(plain("[[slow 1ms]] Hello [[ world [[length]]"), "Hello [[ world");
    }
}
