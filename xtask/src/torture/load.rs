//! Callers of every kind, as many at once as there are threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use std::{fmt, thread};

use super::chance::Chance;
use super::exchange::{self, Answer, End};

/// What a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Plain,
    Gemini,
    Stream,
    GeminiStream,
    Tools,
    Embedding,
    /// Long enough to be there when something happens.
    Slow,
    /// The caller leaves at some byte of the answer, or before the first.
    Leaves,
    /// The vendor fails once, and is asked again.
    Retried,
    /// The vendor refuses.
    Refused,
    /// The vendor breaks off in the middle.
    Cut,
    /// The vendor ends the stream with an error.
    Error,
    /// The same bytes twice, at the same time.
    Twice,
    /// The same under one `Idempotency-Key`, again and again, of whichever server.
    Repeated,
}

const KINDS: [(usize, Kind); 14] = [
    (20, Kind::Plain),
    (10, Kind::Gemini),
    (20, Kind::Stream),
    (10, Kind::GeminiStream),
    (6, Kind::Tools),
    (6, Kind::Embedding),
    (10, Kind::Slow),
    (12, Kind::Leaves),
    (6, Kind::Retried),
    (3, Kind::Refused),
    (4, Kind::Cut),
    (4, Kind::Error),
    (5, Kind::Twice),
    (8, Kind::Repeated),
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plain => "plain",
            Self::Gemini => "plain, translated",
            Self::Stream => "stream",
            Self::GeminiStream => "stream, translated",
            Self::Tools => "tools",
            Self::Embedding => "embedding",
            Self::Slow => "slow stream",
            Self::Leaves => "caller leaves",
            Self::Retried => "vendor fails once",
            Self::Refused => "vendor refuses",
            Self::Cut => "vendor breaks off",
            Self::Error => "vendor's error event",
            Self::Twice => "sent twice",
            Self::Repeated => "repeated by its key",
        })
    }
}

/// One request, as its caller knows it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// What its prompt and its user agent say; those that are sent twice share it.
    pub(super) mark: String,
    pub(super) kind: Kind,
    /// The number of its key.
    pub(super) key: usize,
    pub(super) answer: Answer,
}

/// What the callers share.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) seed: u64,
    /// Where the servers listen.
    pub(super) ports: Vec<u16>,
    /// The keys, and how often each is used.
    pub(super) keys: Vec<(usize, String)>,
    pub(super) stop: AtomicBool,
    pub(super) serial: AtomicU64,
    pub(super) calls: Mutex<Vec<Call>>,
}

impl Load {
    pub(super) fn new(seed: u64, ports: Vec<u16>, keys: Vec<(usize, String)>) -> Self {
        let (stop, serial) = (AtomicBool::new(false), AtomicU64::new(1));
        Self { seed, ports, keys, stop, serial, calls: Mutex::default() }
    }

    /// One caller, until it is told to stop.
    pub(super) fn run(&self, who: u64) {
        let mut chance = Chance::new(self.seed, who);
        while !self.stop.load(Ordering::Relaxed) {
            let made = self.one(&mut chance);
            let nobody = made.iter().all(|call| call.answer.end == End::Unreached);
            if let Ok(mut calls) = self.calls.lock() {
                calls.extend(made);
            }
            // A server that starts is not helped by callers who cannot wait.
            thread::sleep(if nobody { Duration::from_millis(50) } else { chance.pause(0, 20) });
        }
    }

    fn one(&self, chance: &mut Chance) -> Vec<Call> {
        let kind = chance.weighed(&KINDS).unwrap_or(Kind::Plain);
        let weights: Vec<(usize, usize)> =
            self.keys.iter().enumerate().map(|(at, (weight, _))| (*weight, at)).collect();
        let key = chance.weighed(&weights).unwrap_or(0);
        let port = self.ports[chance.below(self.ports.len())];
        let mark = format!("call-{}-{}-end", self.seed, self.serial.fetch_add(1, Ordering::Relaxed));
        let (path, body) = request(kind, &mark, chance);
        let agent = format!("torture {mark}");
        let most = |chance: &mut Chance| if chance.below(4) == 0 { 0 } else { chance.below(6_000) };
        let call = |answer| Call { mark: mark.clone(), kind, key, answer };
        let secret = &self.keys[key].1;
        if kind == Kind::Repeated {
            let repeat = |_| {
                let port = self.ports[chance.below(self.ports.len())];
                let most = (chance.below(3) == 0).then(|| most(chance));
                let answer = exchange::send(port, path, secret, &agent, Some(&mark), &body).answer(most);
                thread::sleep(chance.pause(0, 200));
                call(answer)
            };
            return (0..4).map(repeat).collect();
        }
        let most = (kind == Kind::Leaves).then(|| most(chance));
        let times = if kind == Kind::Twice { 2 } else { 1 };
        let sent: Vec<_> = (0..times).map(|_| exchange::send(port, path, secret, &agent, None, &body)).collect();
        sent.into_iter().map(|sent| call(sent.answer(most))).collect()
    }
}

/// Path and body.
fn request(kind: Kind, mark: &str, chance: &mut Chance) -> (&'static str, String) {
    let words = chance.below(40);
    let mut prompt = format!("Answer {mark} {}", "please ".repeat(words));
    let after = chance.below(8);
    let (model, stream, directive) = match kind {
        Kind::Plain | Kind::Tools | Kind::Embedding | Kind::Twice => (OPENAI, chance.below(3) == 0, String::new()),
        Kind::Gemini => (GEMINI, false, String::new()),
        Kind::Stream => (OPENAI, true, format!("[[events {}]]", chance.below(300))),
        Kind::GeminiStream => (GEMINI, true, format!("[[events {}]]", chance.below(300))),
        Kind::Slow | Kind::Repeated => {
            let model = if chance.below(2) == 0 { OPENAI } else { GEMINI };
            (model, true, format!("[[events {}]] [[slow {}ms]]", 20 + chance.below(200), 5 + chance.below(30)))
        }
        Kind::Leaves => {
            (OPENAI, chance.below(4) > 0, format!("[[delay {}ms]] [[events 60]] [[slow 3ms]]", chance.below(60)))
        }
        Kind::Retried => (OPENAI, chance.below(2) == 0, format!("[[status 503 times 1 id {mark}]]")),
        Kind::Refused => (OPENAI, chance.below(2) == 0, "[[status 400]]".to_owned()),
        Kind::Cut => (OPENAI, true, format!("[[events 20]] [[cut after {after}]]")),
        Kind::Error => (OPENAI, true, format!("[[events 20]] [[error-event after {after}]]")),
    };
    prompt += &directive;
    if kind == Kind::Embedding {
        return (
            "/v1/embeddings",
            format!(r#"{{"model":"openai/text-embedding-3-small","dimensions":8,"input":"{prompt}"}}"#),
        );
    }
    let mut more = String::new();
    if kind == Kind::Tools {
        prompt += " and use get_weather";
        more += r#","tools":[{"type":"function","function":{"name":"get_weather","description":"The weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}]"#;
    }
    if stream {
        more += r#","stream":true,"stream_options":{"include_usage":true}"#;
    }
    let body =
        format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"{prompt}"}}],"max_tokens":400{more}}}"#);
    ("/v1/chat/completions", body)
}

const OPENAI: &str = "openai/gpt-4o-mini";
const GEMINI: &str = "google/gemini-2.5-flash";

/// The mark in a text that has one.
pub(super) fn mark(text: &str) -> Option<&str> {
    text.split_whitespace().find(|word| word.starts_with("call-") && word.ends_with("-end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_json_with_its_mark() {
        let mut chance = Chance::new(1, 1);
        for (_, kind) in KINDS {
            let (_, body) = request(kind, "call-1-2-end", &mut chance);
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            let text = body["input"].as_str().or(body["messages"][0]["content"].as_str()).unwrap();
            assert_eq!(mark(text), Some("call-1-2-end"), "{kind}");
        }
    }
}
