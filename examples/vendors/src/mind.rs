//! The model behind both vendors: deterministic, a word is a token.

use serde_json::{Map, Value, json};

use crate::{
    schema,
    script::{Filtered, Script},
};

/// What one picture costs, as the vendors count a small one.
const IMAGE_TOKENS: u64 = 258;
/// What one call costs.
const CALL_TOKENS: u64 = 12;
/// How much of the question is repeated. Longer ones would make the double the slow part of a load test.
const ECHO_CHARACTERS: usize = 200;

/// A request in neither vendor's words.
#[derive(Debug, Default)]
pub(crate) struct Question {
    /// System and developer text.
    pub(crate) told: String,
    /// The last user text, without directives.
    pub(crate) asked: String,
    /// Media type and size in bytes of everything attached to the last user message.
    pub(crate) media: Vec<(String, usize)>,
    /// Name and content of the tool results at the end of the conversation.
    pub(crate) results: Vec<(String, String)>,
    /// Name and parameters.
    pub(crate) tools: Vec<(String, Value)>,
    pub(crate) choice: Choice,
    pub(crate) one_call: bool,
    /// JSON is wanted, of this schema.
    pub(crate) shape: Option<Value>,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) stop: Vec<String>,
    /// Tokens to think for; they count towards the limit.
    pub(crate) thinking: u64,
    pub(crate) prompt_tokens: u64,
}

/// Whether tools may or must be called.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    #[default]
    Auto,
    None,
    /// Any, or one of these.
    Must(Vec<String>),
}

/// What the model has to say.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Reply {
    pub(crate) thoughts: Option<String>,
    /// Words with their leading blanks; each becomes an event.
    pub(crate) pieces: Vec<String>,
    pub(crate) calls: Vec<(String, Value)>,
    pub(crate) finish: Finish,
    pub(crate) usage: Usage,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    #[default]
    Stop,
    Length,
    Filtered(Filtered),
    Calls,
}

/// Reasoning is not in completion here; each vendor adds it up in its own way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt: u64,
    pub(crate) cached: u64,
    pub(crate) completion: u64,
    pub(crate) reasoning: u64,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        self.pieces.concat()
    }
}

/// The whole of the model.
pub(crate) fn answer(question: &Question, script: &Script) -> Reply {
    let mut reply = Reply { thoughts: (question.thinking > 0).then(|| thoughts(question)), ..Reply::default() };
    let calls = calls(question);
    if let Some(filtered) = script.safety {
        reply.finish = Finish::Filtered(filtered);
    } else if script.empty {
        reply.thoughts = None;
    } else if let (false, None, None) = (calls.is_empty(), script.events, &script.say) {
        reply.calls = calls;
        reply.finish = Finish::Calls;
    } else {
        write(question, script, &mut reply);
    }
    let counted = Usage {
        prompt: question.prompt_tokens,
        cached: 0,
        completion: len(&reply.pieces) + len(&reply.calls) * CALL_TOKENS,
        reasoning: if reply.thoughts.is_some() { question.thinking } else { 0 },
    };
    reply.usage = Usage {
        prompt: script.usage.prompt.unwrap_or(counted.prompt),
        cached: script.usage.cached.unwrap_or(counted.cached),
        completion: script.usage.completion.unwrap_or(counted.completion),
        reasoning: script.usage.reasoning.unwrap_or(counted.reasoning),
    };
    reply
}

fn write(question: &Question, script: &Script, reply: &mut Reply) {
    let mut text = speech(question, script);
    if let Some(at) = question.stop.iter().filter_map(|stop| text.find(stop.as_str())).min() {
        text.truncate(at);
    }
    reply.pieces = text.split_inclusive(' ').map(str::to_owned).collect();
    if script.length {
        reply.pieces.truncate(reply.pieces.len() / 2);
        reply.finish = Finish::Length;
    }
    let room = question.max_tokens.map(|most| most.saturating_sub(question.thinking));
    if let Some(room) = room.filter(|room| *room < len(&reply.pieces)) {
        reply.pieces.truncate(room.try_into().unwrap_or(usize::MAX));
        reply.finish = Finish::Length;
    }
}

fn speech(question: &Question, script: &Script) -> String {
    if let Some(text) = &script.say {
        return text.clone();
    }
    if let Some(count) = script.events {
        return (1..=count).flat_map(|number| ["w".to_owned(), number.to_string(), " ".to_owned()]).collect();
    }
    if let Some(shape) = &question.shape {
        return if shape.is_null() { json!({"answer": question.asked}) } else { schema::example(shape) }.to_string();
    }
    if !question.results.is_empty() {
        let results = question.results.iter().map(|(name, content)| format!("{name} says {content}"));
        return format!("According to the tools: {}.", results.collect::<Vec<_>>().join("; "));
    }
    let asked: String = question.asked.chars().take(ECHO_CHARACTERS).collect();
    let mut text = format!("This is a scripted answer. You said: {asked}");
    for (kind, size) in &question.media {
        text.extend([" I see ", kind, " of ", &size.to_string(), " bytes."]);
    }
    if !question.told.is_empty() {
        let told: String = question.told.chars().take(ECHO_CHARACTERS).collect();
        text.extend([" I was told: ", &told]);
    }
    text
}

fn thoughts(question: &Question) -> String {
    format!("The user wrote {} characters.", question.asked.chars().count())
}

/// The calls this question leads to; none once their results are there.
fn calls(question: &Question) -> Vec<(String, Value)> {
    if question.choice == Choice::None || !question.results.is_empty() {
        return Vec::new();
    }
    let allowed = |name: &String| match &question.choice {
        Choice::Must(names) if !names.is_empty() => names.contains(name),
        _ => true,
    };
    let tools: Vec<_> = question.tools.iter().filter(|(name, _)| allowed(name)).collect();
    let asked = question.asked.to_lowercase();
    let mut calls = Vec::new();
    if asked.contains("weather")
        && let Some((name, parameters)) = tools.iter().find(|(name, _)| name.to_lowercase().contains("weather"))
    {
        calls.extend(cities(&question.asked).into_iter().map(|city| (name.clone(), arguments(parameters, &city))));
    }
    if calls.is_empty() {
        let named = tools.iter().find(|(name, _)| asked.contains(&name.to_lowercase()));
        let forced = matches!(question.choice, Choice::Must(_)).then(|| tools.first()).flatten();
        calls.extend(named.or(forced).map(|(name, parameters)| (name.clone(), schema::example(parameters))));
    }
    if question.one_call {
        calls.truncate(1);
    }
    calls
}

/// An example of the parameters whose first text says the city.
fn arguments(parameters: &Value, city: &str) -> Value {
    let mut arguments = match schema::example(parameters) {
        Value::Object(arguments) => arguments,
        _ => Map::new(),
    };
    let place = ["city", "location", "place"].into_iter().find(|name| arguments.contains_key(*name));
    let place = place.map(str::to_owned).or_else(|| arguments.keys().next().cloned());
    arguments.insert(place.unwrap_or_else(|| "city".to_owned()), city.into());
    arguments.into()
}

/// The names in a sentence: runs of capitalised words that do not start it.
fn cities(text: &str) -> Vec<String> {
    let mut cities: Vec<String> = Vec::new();
    let mut goes_on = false;
    for (position, word) in text.split_whitespace().enumerate() {
        let bare = word.trim_matches(|letter: char| !letter.is_alphanumeric());
        let capital = bare.chars().count() > 1 && bare.chars().next().is_some_and(char::is_uppercase);
        if position > 0 && capital {
            match cities.last_mut().filter(|_| goes_on) {
                Some(city) => *city = format!("{city} {bare}"),
                None => cities.push(bare.to_owned()),
            }
        }
        goes_on = position > 0 && capital && word.ends_with(char::is_alphanumeric);
    }
    cities.dedup();
    cities
}

/// Tokens of a text.
pub(crate) fn tokens(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

/// Tokens of a prompt, from its text, its turns, its media and what else must be read (tools, schemas).
pub(crate) fn prompt_tokens(text: &str, turns: usize, media: usize, other: &Value) -> u64 {
    let other = if other.is_null() { 0 } else { other.to_string().len() as u64 / 4 };
    tokens(text) + 4 * turns as u64 + IMAGE_TOKENS * media as u64 + other
}

/// A unit vector that depends on the text alone.
pub(crate) fn embed(text: &str, dimensions: usize) -> Vec<f32> {
    // FNV-1a seeds splitmix64: no quality is needed, only the same numbers on every machine.
    let mut state = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let top = u16::try_from(mixed >> 48).unwrap_or_default();
        f32::from(top) / f32::from(u16::MAX) - 0.5
    };
    let values: Vec<f32> = (0..dimensions).map(|_| next()).collect();
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    values.into_iter().map(|value| value / length).collect()
}

fn len<T>(list: &[T]) -> u64 {
    list.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(asked: &str) -> Question {
        Question { asked: asked.to_owned(), ..Question::default() }
    }

    fn weather(asked: &str) -> Question {
        let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        Question { tools: vec![("get_weather".to_owned(), parameters)], ..question(asked) }
    }

    #[test]
    fn every_city_is_one_call() {
        let reply = answer(&weather("What is the weather in Paris, New York and Rome?"), &Script::default());
        let cities: Vec<_> = reply.calls.iter().map(|(_, arguments)| arguments["city"].as_str().unwrap()).collect();
        assert_eq!(cities, ["Paris", "New York", "Rome"]);
        assert_eq!((reply.finish, reply.usage.completion), (Finish::Calls, 36));
    }

    #[test]
    fn a_tool_is_called_when_it_is_named_or_forced_and_never_when_forbidden() {
        let count = |question: Question| answer(&question, &Script::default()).calls.len();
        assert_eq!(count(weather("Hello")), 0);
        assert_eq!(count(weather("Use get_weather")), 1);
        assert_eq!(count(Question { choice: Choice::Must(Vec::new()), ..weather("Hello") }), 1);
        assert_eq!(count(Question { choice: Choice::None, ..weather("weather in Rome") }), 0);
        assert_eq!(count(Question { one_call: true, ..weather("the weather in Rome and Oslo") }), 1);
    }

    #[test]
    fn results_are_used_in_the_answer() {
        let results = vec![("get_weather".to_owned(), "18 degrees".to_owned())];
        let reply = answer(&Question { results, ..weather("the weather in Rome") }, &Script::default());
        assert!(reply.calls.is_empty() && reply.text().contains("get_weather says 18 degrees"));
    }

    #[test]
    fn limits_and_stops_cut_the_answer() {
        let script = Script { say: Some("one two three four".into()), ..Script::default() };
        let limited = answer(&Question { max_tokens: Some(5), thinking: 3, ..question("") }, &script);
        assert_eq!((limited.text().as_str(), limited.finish), ("one two ", Finish::Length));
        let stopped = answer(&Question { stop: vec!["three".into()], ..question("") }, &script);
        assert_eq!((stopped.text().as_str(), stopped.finish), ("one two ", Finish::Stop));
    }

    #[test]
    fn an_embedding_is_a_unit_vector_of_the_text() {
        let vector = embed("hello", 64);
        let length: f32 = vector.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-3);
        assert_eq!(vector, embed("hello", 64));
        assert_ne!(vector, embed("world", 64));
    }
}
