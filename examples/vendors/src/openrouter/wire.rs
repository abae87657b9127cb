//! OpenRouter's shapes: requests become questions, replies become answers, chunks, errors and records.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::asked;
use crate::{
    catalogue::Model,
    mind::{self, Choice, Finish, Question, Reply, Usage},
    script::Script,
};

/// How long it thinks when it is asked to think.
const THINKING_TOKENS: u64 = 16;

pub(super) fn last_user_text(body: &Value) -> String {
    let last = messages(body).rev().find(|message| message["role"] == "user");
    last.map(|message| text(&message["content"])).unwrap_or_default()
}

fn messages(body: &Value) -> impl DoubleEndedIterator<Item = &Value> {
    body["messages"].as_array().into_iter().flatten()
}

fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

pub(super) fn question(body: &Value, model: &Model) -> Question {
    let texts = |wanted: fn(&str) -> bool| {
        let chosen = messages(body).filter(|message| message["role"].as_str().is_some_and(wanted));
        chosen.map(|message| text(&message["content"])).collect::<Vec<_>>().join(" ")
    };
    let last = messages(body).rev().find(|message| message["role"] == "user");
    let media: Vec<_> =
        last.and_then(|message| message["content"].as_array()).into_iter().flatten().filter_map(media).collect();
    let named = |id: &Value| {
        let calls = messages(body).flat_map(|message| message["tool_calls"].as_array().into_iter().flatten());
        let call = calls.into_iter().find(|call| call["id"] == *id);
        call.and_then(|call| call["function"]["name"].as_str()).unwrap_or_default().to_owned()
    };
    let mut results: Vec<_> = messages(body)
        .rev()
        .take_while(|message| message["role"] == "tool")
        .map(|message| (named(&message["tool_call_id"]), text(&message["content"])))
        .collect();
    results.reverse();
    let effort = body["reasoning_effort"].as_str().or(body["reasoning"]["effort"].as_str());
    let thinks = match effort {
        Some(effort) => effort != "none",
        None => body["reasoning"]["enabled"] == true || body["reasoning"]["max_tokens"].is_u64(),
    };
    let choice = match &body["tool_choice"] {
        Value::String(word) if word == "none" => Choice::None,
        Value::String(word) if word == "required" => Choice::Must(Vec::new()),
        Value::Object(_) => {
            Choice::Must(body["tool_choice"]["function"]["name"].as_str().map(str::to_owned).into_iter().collect())
        }
        _ => Choice::Auto,
    };
    let tools = body["tools"].as_array().into_iter().flatten().filter_map(|tool| {
        Some((tool["function"]["name"].as_str()?.to_owned(), tool["function"]["parameters"].clone()))
    });
    let format = &body["response_format"];
    Question {
        told: texts(|role| role == "system" || role == "developer"),
        asked: asked(&last_user_text(body)),
        results,
        tools: tools.collect(),
        choice,
        one_call: body["parallel_tool_calls"] == false,
        shape: match format["type"].as_str() {
            Some("json_schema") => Some(format["json_schema"]["schema"].clone()),
            Some("json_object") => Some(Value::Null),
            _ => None,
        },
        max_tokens: body["max_completion_tokens"].as_u64().or(body["max_tokens"].as_u64()),
        stop: match &body["stop"] {
            Value::String(stop) => vec![stop.clone()],
            stops => stops.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        },
        thinking: if thinks && model.reasoning == Some(true) { THINKING_TOKENS } else { 0 },
        prompt_tokens: mind::prompt_tokens(&texts(|_| true), messages(body).count(), media.len(), &body["tools"]),
        media,
    }
}

/// Media type and size of a part that is not text.
fn media(part: &Value) -> Option<(String, usize)> {
    let url = part["image_url"]["url"].as_str().or(part["file"]["file_data"].as_str());
    if let Some(url) = url {
        let Some((kind, data)) = url.strip_prefix("data:").and_then(|data| data.split_once(";base64,")) else {
            return Some((url.to_owned(), 0));
        };
        return Some((kind.to_owned(), STANDARD.decode(data).map_or(0, |bytes| bytes.len())));
    }
    let audio = &part["input_audio"];
    let bytes = STANDARD.decode(audio["data"].as_str()?).map_or(0, |bytes| bytes.len());
    Some((format!("audio/{}", audio["format"].as_str().unwrap_or("wav")), bytes))
}

/// What all chunks of one answer share.
pub(super) struct Frame<'a> {
    pub(super) id: &'a str,
    pub(super) created: u64,
    pub(super) model: &'a Model,
    pub(super) body: &'a Value,
}

impl Frame<'_> {
    fn choices(&self) -> u64 {
        self.body["n"].as_u64().unwrap_or(1)
    }

    fn envelope(&self, object: &str, choices: &[Value]) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model.id, "provider": "OpenAI",
            "choices": choices, "system_fingerprint": null,
        })
    }

    fn logprobs(&self, pieces: &[String]) -> Value {
        if self.body["logprobs"] != true {
            return Value::Null;
        }
        let token = |piece: &String| {
            json!({"token": piece, "logprob": -0.25, "bytes": piece.as_bytes(),
            "top_logprobs": [{"token": piece, "logprob": -0.25, "bytes": piece.as_bytes()}]})
        };
        json!({"content": pieces.iter().map(token).collect::<Vec<_>>(), "refusal": null})
    }

    pub(super) fn whole(&self, reply: &Reply, script: &Script) -> Value {
        let message = |index: u64| {
            let calls: Vec<_> = self.calls(reply, index).collect();
            let mut message = json!({
                "role": "assistant", "refusal": null, "reasoning": reply.thoughts,
                "content": if reply.calls.is_empty() { json!(reply.text()) } else { Value::Null },
            });
            if !calls.is_empty() {
                message["tool_calls"] = calls.into();
            }
            if let Some(thoughts) = &reply.thoughts {
                message["reasoning_details"] = json!([{"type": "reasoning.text", "text": thoughts, "index": 0}]);
            }
            let (finish, native) = words(reply.finish);
            json!({"index": index, "message": message, "finish_reason": finish, "native_finish_reason": native,
                "logprobs": self.logprobs(&reply.pieces)})
        };
        let mut answer = self.envelope("chat.completion", &(0..self.choices()).map(message).collect::<Vec<_>>());
        if !script.no_usage {
            answer["usage"] = usage(self.model, reply.usage, self.choices());
        }
        answer
    }

    fn calls<'a>(&'a self, reply: &'a Reply, choice: u64) -> impl Iterator<Item = Value> + 'a {
        reply.calls.iter().enumerate().map(move |(index, (name, arguments))| {
            json!({"index": index, "id": self.call_id(choice, index), "type": "function",
                "function": {"name": name, "arguments": arguments.to_string()}})
        })
    }

    fn call_id(&self, choice: u64, index: usize) -> String {
        format!("call_{}_{choice}_{index}", self.created)
    }

    fn chunk(&self, index: u64, mut delta: Value, finish: Option<Finish>, pieces: &[String]) -> Value {
        delta["role"] = json!("assistant");
        let (finish, native) = finish.map(words).unzip();
        let mut choice =
            json!({"index": index, "delta": delta, "finish_reason": finish, "native_finish_reason": native});
        if self.body["logprobs"] == true {
            choice["logprobs"] = self.logprobs(pieces);
        }
        self.envelope("chat.completion.chunk", &[choice])
    }

    pub(super) fn events(&self, reply: &Reply, script: &Script) -> Vec<Value> {
        let mut events = Vec::new();
        for index in 0..self.choices() {
            if let Some(thoughts) = &reply.thoughts {
                let details = json!([{"type": "reasoning.text", "text": thoughts, "index": 0}]);
                let delta = json!({"content": "", "reasoning": thoughts, "reasoning_details": details});
                events.push(self.chunk(index, delta, None, &[]));
            }
            for piece in &reply.pieces {
                events.push(self.chunk(index, json!({"content": piece}), None, std::slice::from_ref(piece)));
            }
            for (at, (name, arguments)) in reply.calls.iter().enumerate() {
                let arguments = arguments.to_string();
                let (left, right) = arguments.split_at(arguments.floor_char_boundary(arguments.len() / 2));
                let first = json!({"index": at, "id": self.call_id(index, at), "type": "function",
                    "function": {"name": name, "arguments": ""}});
                let more = |text: &str| json!({"index": at, "function": {"arguments": text}});
                for call in [first, more(left), more(right)] {
                    events.push(self.chunk(index, json!({"content": null, "tool_calls": [call]}), None, &[]));
                }
            }
            events.push(self.chunk(index, json!({"content": ""}), Some(reply.finish), &[]));
        }
        if !script.no_usage {
            // The finish reason once more, as the vendor does today.
            let mut last = self.chunk(0, json!({"content": ""}), Some(reply.finish), &[]);
            last["usage"] = usage(self.model, reply.usage, self.choices());
            events.push(last);
        }
        events
    }
}

pub(super) fn words(finish: Finish) -> (&'static str, &'static str) {
    match finish {
        Finish::Stop => ("stop", "completed"),
        Finish::Length => ("length", "max_output_tokens"),
        Finish::Filtered(_) => ("content_filter", "content_filter"),
        Finish::Calls => ("tool_calls", "tool_calls"),
    }
}

fn usage(model: &Model, usage: Usage, choices: u64) -> Value {
    let completion = (usage.completion + usage.reasoning) * choices;
    let cost = model.cost(usage.prompt, usage.cached, completion);
    json!({
        "prompt_tokens": usage.prompt, "completion_tokens": completion, "total_tokens": usage.prompt + completion,
        "cost": cost, "is_byok": false,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached, "cache_write_tokens": 0, "audio_tokens": 0, "video_tokens": 0,
        },
        "cost_details": {
            "upstream_inference_cost": cost, "upstream_inference_completions_cost": model.cost(0, 0, completion),
            "upstream_inference_prompt_cost": model.cost(usage.prompt, usage.cached, 0),
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning * choices, "image_tokens": 0, "audio_tokens": 0,
        },
    })
}
