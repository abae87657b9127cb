//! What came of a sample, in one form for whole answers and streams of both kinds of provider.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aihub_core::call::Reply as _;
use aihub_core::chat::{ChatEvent, ChatReply, Finish};
use aihub_core::reply::Ending;
use aihub_core::{Error, Usage};
use futures_util::StreamExt as _;
use serde_json::Value;

/// One choice of an answer.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    pub(crate) content: Option<String>,
    pub(crate) finish_reasons: Vec<String>,
    pub(crate) reasoning_chunks: usize,
    /// By index: id, name, arguments.
    pub(crate) calls: BTreeMap<u64, (String, String, String)>,
}

/// What came of a chat.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) choices: BTreeMap<u64, Choice>,
    pub(crate) finish: Option<Finish>,
    pub(crate) error: Option<Error>,
    /// There was a reply before the error.
    pub(crate) replied: bool,
    /// Everything that would reach the caller, as text.
    pub(crate) shown: String,
    pub(crate) ending: Option<Ending>,
    /// The usage in a whole answer's body.
    pub(crate) body_usage: Option<Value>,
}

impl Outcome {
    pub(crate) async fn of(reply: Result<ChatReply, Error>) -> Result<Self, String> {
        let mut outcome = Self::default();
        let reply = match reply {
            Err(error) => {
                error.message().clone_into(&mut outcome.shown);
                outcome.error = Some(error);
                return Ok(outcome);
            }
            Ok(reply) => reply,
        };
        outcome.replied = true;
        let told: Arc<Mutex<Vec<Ending>>> = Arc::default();
        let log = Arc::clone(&told);
        let hook = Box::new(move |ending: &Ending| {
            log.lock().expect("a lock").push(ending.clone());
            None
        });
        let mut reply = reply.watch(hook).await;
        while let Some(event) = reply.next().await {
            if outcome.finish.is_some() || outcome.error.is_some() {
                return Err(format!("an event after the end: {event:?}"));
            }
            match event {
                Ok(event) => outcome.take(event)?,
                Err(error) => {
                    outcome.shown.push_str(error.message());
                    outcome.error = Some(error);
                }
            }
        }
        let mut told = told.lock().expect("a lock");
        if told.len() != 1 {
            return Err(format!("{} endings were told", told.len()));
        }
        outcome.ending = told.pop();
        Ok(outcome)
    }

    fn take(&mut self, event: ChatEvent) -> Result<(), String> {
        match event {
            ChatEvent::Finish(finish) => self.finish = Some(*finish),
            ChatEvent::Chunk(chunk) => self.chunk(&serde_json::to_value(&chunk).expect("a chunk is JSON"))?,
            ChatEvent::Frames(frames) => {
                let text = std::str::from_utf8(&frames).map_err(|error| error.to_string())?;
                self.shown.push_str(text);
                for data in text.lines().filter_map(|line| line.strip_prefix("data:")) {
                    if data.trim() == "[DONE]" {
                        return Err("a provider forwarded [DONE]".to_owned());
                    }
                    let chunk =
                        serde_json::from_str(data).map_err(|error| format!("broken JSON was forwarded: {error}"))?;
                    self.chunk(&chunk)?;
                }
            }
            ChatEvent::Whole(body) => {
                let body: Value =
                    serde_json::from_slice(&body).map_err(|error| format!("the answer is no JSON: {error}"))?;
                self.shown.push_str(&body.to_string());
                self.body_usage = Some(body["usage"].clone()).filter(|usage| !usage.is_null());
                for choice in body["choices"].as_array().ok_or("`choices` is no list")? {
                    self.piece(choice, &choice["message"])?;
                }
            }
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: &Value) -> Result<(), String> {
        if !matches!(chunk["object"].as_str(), Some("chat.completion.chunk")) {
            return Err(format!("no chunk: {chunk}"));
        }
        self.shown.push_str(&chunk.to_string());
        for choice in chunk["choices"].as_array().ok_or("`choices` is no list")? {
            self.piece(choice, &choice["delta"])?;
        }
        Ok(())
    }

    fn piece(&mut self, choice: &Value, said: &Value) -> Result<(), String> {
        let index = choice["index"].as_u64().ok_or("a choice has no index")?;
        let gathered = self.choices.entry(index).or_default();
        if let Some(text) = said["content"].as_str() {
            gathered.content.get_or_insert_default().push_str(text);
        }
        let thought = ["reasoning_content", "reasoning"]
            .iter()
            .any(|name| said[*name].as_str().is_some_and(|text| !text.is_empty()));
        gathered.reasoning_chunks += usize::from(thought);
        for (place, call) in said["tool_calls"].as_array().into_iter().flatten().enumerate() {
            let index = call["index"].as_u64().unwrap_or(place as u64);
            let (id, name, arguments) = gathered.calls.entry(index).or_default();
            id.push_str(call["id"].as_str().unwrap_or_default());
            name.push_str(call["function"]["name"].as_str().unwrap_or_default());
            arguments.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
        }
        gathered.finish_reasons.extend(choice["finish_reason"].as_str().map(str::to_owned));
        Ok(())
    }

    /// What is settled: of a finish, or of the error.
    pub(crate) fn usage(&self) -> Option<Usage> {
        match (&self.finish, &self.error) {
            (Some(finish), _) => finish.usage,
            (None, Some(error)) => error.spent().copied(),
            (None, None) => None,
        }
    }

    /// Something that a caller would see as an answer.
    pub(crate) fn has_content(&self) -> bool {
        self.choices.values().any(|choice| {
            let text = choice.content.as_deref().is_some_and(|text| !text.is_empty());
            text || choice.reasoning_chunks > 0 || !choice.calls.is_empty()
        })
    }
}
