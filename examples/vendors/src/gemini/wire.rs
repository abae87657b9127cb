//! Gemini's shapes: requests become questions, replies become answers, events and errors.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::model::Name;
use crate::{
    mind::{self, Choice, Finish, Question, Reply, Usage},
    script::{self, Filtered, Script},
};

fn contents(request: &Value) -> impl DoubleEndedIterator<Item = &Value> {
    request["contents"].as_array().into_iter().flatten()
}

fn parts(content: &Value) -> impl Iterator<Item = &Value> {
    content["parts"].as_array().into_iter().flatten()
}

fn text(content: &Value) -> String {
    parts(content).filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" ")
}

/// The last content that is the user's own, not results.
fn last_user(request: &Value) -> Option<&Value> {
    let own =
        |content: &&Value| content["role"] != "model" && parts(content).any(|part| part["functionResponse"].is_null());
    contents(request).rev().find(own)
}

pub(super) fn last_user_text(request: &Value) -> String {
    last_user(request).map(text).unwrap_or_default()
}

pub(super) fn question(name: &Name, request: &Value) -> Question {
    let config = &request["generationConfig"];
    let media: Vec<_> = last_user(request).into_iter().flat_map(parts).filter_map(media).collect();
    let results = contents(request).next_back().into_iter().flat_map(parts).filter_map(|part| {
        let result = part["functionResponse"].as_object()?;
        let response = result.get("response").unwrap_or(&Value::Null);
        // One lonely text is shown bare, whatever the key it was wrapped in.
        let lonely =
            response.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.values().next()?.as_str());
        Some((result.get("name")?.as_str()?.to_owned(), lonely.map_or(response.to_string(), str::to_owned)))
    });
    let declarations = request["tools"].as_array().into_iter().flatten();
    let declarations = declarations.flat_map(|tool| tool["functionDeclarations"].as_array().into_iter().flatten());
    let tools = declarations.filter_map(|tool| {
        let schema = if tool["parameters"].is_null() { &tool["parametersJsonSchema"] } else { &tool["parameters"] };
        Some((tool["name"].as_str()?.to_owned(), schema.clone()))
    });
    let calling = &request["toolConfig"]["functionCallingConfig"];
    let allowed = calling["allowedFunctionNames"].as_array().into_iter().flatten();
    let choice = match calling["mode"].as_str().unwrap_or_default().to_uppercase().as_str() {
        "NONE" => Choice::None,
        "ANY" => Choice::Must(allowed.filter_map(Value::as_str).map(str::to_owned).collect()),
        _ => Choice::Auto,
    };
    let schema =
        if config["responseJsonSchema"].is_null() { &config["responseSchema"] } else { &config["responseJsonSchema"] };
    let told = text(&request["systemInstruction"]);
    let everything: String = contents(request).map(|content| text(content) + " ").collect::<String>() + &told;
    Question {
        told,
        asked: script::plain(&last_user_text(request)),
        results: results.collect(),
        tools: tools.collect(),
        choice,
        one_call: false,
        shape: (config["responseMimeType"] == "application/json").then(|| schema.clone()),
        max_tokens: config["maxOutputTokens"].as_u64(),
        stop: config["stopSequences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        thinking: thinking(name, &config["thinkingConfig"]),
        prompt_tokens: mind::prompt_tokens(&everything, contents(request).count(), media.len(), &request["tools"]),
        media,
    }
}

/// How many tokens it thinks for: models from 2.5 on do unless told not to.
fn thinking(name: &Name, config: &Value) -> u64 {
    let thinks = name.generation() >= 3 || name.0.starts_with("gemini-2.5");
    if !thinks || config["thinkingBudget"] == 0 {
        return 0;
    }
    match config["thinkingLevel"].as_str().unwrap_or_default().to_uppercase().as_str() {
        "MINIMAL" => 1,
        "LOW" => 4,
        "HIGH" | "XHIGH" => 16,
        _ => 8,
    }
}

fn media(part: &Value) -> Option<(String, usize)> {
    let blob = &part["inlineData"];
    let size = STANDARD.decode(blob["data"].as_str()?).map_or(0, |bytes| bytes.len());
    Some((blob["mimeType"].as_str()?.to_owned(), size))
}

/// What all events of one answer share.
pub(super) struct Frame<'a> {
    pub(super) name: &'a Name,
    pub(super) response_id: String,
    pub(super) request: &'a Value,
}

impl Frame<'_> {
    fn config(&self) -> &Value {
        &self.request["generationConfig"]
    }

    fn candidates(&self) -> u64 {
        self.config()["candidateCount"].as_u64().unwrap_or(1)
    }

    fn envelope(&self, candidates: Vec<Value>, usage: Option<Value>) -> Value {
        let mut answer = json!({"modelVersion": self.name.0, "responseId": self.response_id});
        if !candidates.is_empty() {
            answer["candidates"] = candidates.into();
        }
        if let Some(usage) = usage {
            answer["usageMetadata"] = usage;
        }
        answer
    }

    /// Thoughts are shown only to those who ask; they are billed either way.
    fn thought(&self, reply: &Reply) -> Option<Value> {
        let shown = self.config()["thinkingConfig"]["includeThoughts"] == true;
        reply.thoughts.as_ref().filter(|_| shown).map(|text| json!({"text": text, "thought": true}))
    }

    fn calls(&self, reply: &Reply) -> Vec<Value> {
        let part = |(index, (function, args)): (usize, &(String, Value))| {
            let mut call = json!({"name": function, "args": args});
            if self.name.generation() >= 3 {
                call["id"] = json!(format!("{}-{index}", self.response_id));
            }
            let mut part = json!({"functionCall": call});
            // Of a parallel batch only the first is signed.
            if index == 0 && reply.thoughts.is_some() {
                part["thoughtSignature"] = json!(self.name.sign(function));
            }
            part
        };
        reply.calls.iter().enumerate().map(part).collect()
    }

    fn logprobs(&self, reply: &Reply, candidate: &mut Value) {
        if self.config()["responseLogprobs"] == true {
            let token = |piece: &String| json!({"token": piece, "tokenId": 1, "logProbability": -0.25});
            let chosen: Vec<_> = reply.pieces.iter().map(token).collect();
            let top: Vec<_> = chosen.iter().map(|token| json!({"candidates": [token]})).collect();
            candidate["avgLogprobs"] = json!(-0.25);
            candidate["logprobsResult"] = json!({"chosenCandidates": chosen, "topCandidates": top});
        }
    }

    pub(super) fn whole(&self, reply: &Reply, script: &Script) -> Value {
        let usage = |completion| (!script.no_usage).then(|| usage(reply.usage, completion));
        if reply.finish == Finish::Filtered(Filtered::Prompt) {
            let mut answer = self.envelope(Vec::new(), usage(0));
            answer["promptFeedback"] = json!({"blockReason": "PROHIBITED_CONTENT"});
            return answer;
        }
        let mut parts: Vec<Value> = self.thought(reply).into_iter().collect();
        if !reply.pieces.is_empty() {
            let mut part = json!({"text": reply.text()});
            if self.name.generation() >= 3 && reply.thoughts.is_some() {
                part["thoughtSignature"] = json!(self.name.sign("text"));
            }
            parts.push(part);
        }
        parts.extend(self.calls(reply));
        let candidate = |index| {
            let mut candidate = json!({"content": content(&parts, reply.finish), "index": index,
                "finishReason": reason(reply.finish)});
            finish(reply.finish, &mut candidate);
            self.logprobs(reply, &mut candidate);
            candidate
        };
        let count = self.candidates();
        self.envelope((0..count).map(candidate).collect(), usage(reply.usage.completion * count))
    }

    /// Increments of text, usage that grows with them, calls whole, and the reason in an event of its own.
    pub(super) fn events(&self, reply: &Reply, script: &Script) -> Vec<Value> {
        if reply.finish == Finish::Filtered(Filtered::Prompt) {
            return vec![self.whole(reply, script)];
        }
        let mut events = Vec::new();
        let mut spoken = 0;
        let usage = |spoken: u64| (!script.no_usage).then(|| usage(reply.usage, spoken));
        let signed = self.name.generation() >= 3 && reply.thoughts.is_some() && !reply.pieces.is_empty();
        for index in 0..self.candidates() {
            let piece = |part: Value| json!({"content": {"parts": [part], "role": "model"}, "index": index});
            let mut said: Vec<Value> = self.thought(reply).into_iter().collect();
            said.extend(reply.pieces.iter().map(|text| json!({"text": text})));
            said.extend(self.calls(reply));
            for part in said {
                // A scripted count of the whole answer bounds what its parts may claim.
                spoken = (spoken + u64::from(part["thought"] != true)).min(reply.usage.completion * (index + 1));
                events.push(self.envelope(vec![piece(part)], usage(spoken)));
            }
            spoken = reply.usage.completion * (index + 1);
            let mut last = json!({"text": ""});
            if signed {
                last["thoughtSignature"] = json!(self.name.sign("text"));
            }
            let mut candidate = json!({"content": content(&[last], reply.finish), "index": index,
                "finishReason": reason(reply.finish)});
            if script.empty {
                candidate["content"] = json!({"role": "model"});
            }
            finish(reply.finish, &mut candidate);
            self.logprobs(reply, &mut candidate);
            events.push(self.envelope(vec![candidate], usage(spoken)));
        }
        events
    }
}

/// Without parts the list is absent, and for a filtered answer everything is.
fn content(parts: &[Value], finish: Finish) -> Value {
    match (parts, finish) {
        (_, Finish::Filtered(_)) => json!({}),
        ([], _) => json!({"role": "model"}),
        (parts, _) => json!({"parts": parts, "role": "model"}),
    }
}

fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Calls => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::Filtered(_) => "SAFETY",
    }
}

fn finish(finish: Finish, candidate: &mut Value) {
    match finish {
        Finish::Calls => candidate["finishMessage"] = json!("Model generated function call(s)."),
        Finish::Filtered(_) => {
            candidate["safetyRatings"] =
                json!([{"category": "HARM_CATEGORY_HARASSMENT", "probability": "HIGH", "blocked": true}]);
        }
        Finish::Stop | Finish::Length => {}
    }
}

/// Cumulative; zeroes are absent.
fn usage(usage: Usage, completion: u64) -> Value {
    let mut counts = json!({
        "promptTokenCount": usage.prompt, "totalTokenCount": usage.prompt + completion + usage.reasoning,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.prompt}], "serviceTier": "standard",
    });
    let optional = [
        ("candidatesTokenCount", completion),
        ("thoughtsTokenCount", usage.reasoning),
        ("cachedContentTokenCount", usage.cached),
    ];
    for (name, count) in optional.into_iter().filter(|(_, count)| *count > 0) {
        counts[name] = json!(count);
    }
    counts
}
