//! Messages as turns: who speaks, in which order, with what in one turn.
//!
//! The vendor's rules: turns alternate and start with the user; the results of all calls of one
//! turn come back in one turn, in call order, with nothing else in it; a turn has at least one
//! part and a text is not empty.

use std::borrow::Cow;

use aihub_core::chat::{self, Message, Role, ToolCall};
use aihub_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::blob;
use super::level::Traits;
use super::signature::{STAND_IN, in_extra, split_id};
use super::tools::Names;
use super::wire::{Content, FunctionCall, FunctionResponse, Part};

/// What stands where the vendor wants a text and there is none.
const BLANK: &str = " ";

const USER: Option<&str> = Some("user");
const MODEL: Option<&str> = Some("model");

/// Turns in the making.
pub(super) struct Turns<'a> {
    traits: Traits,
    names: &'a mut Names,
    /// The signature that was kept for a call's id.
    kept: &'a dyn Fn(&str) -> Option<String>,
    system: Vec<Part>,
    contents: Vec<Content>,
    /// The last turn is one of results, which takes no other parts.
    sealed: bool,
    pending: Option<Pending>,
    /// What images ask for, most first.
    detail: blob::Detail,
}

/// Calls of one turn that wait for their results.
struct Pending {
    message: usize,
    calls: Vec<Waiting>,
}

struct Waiting {
    id: String,
    name: String,
    result: Option<(Map<String, Value>, Vec<Part>)>,
}

/// What messages have become.
pub(super) struct Spoken {
    pub(super) system: Option<Content>,
    pub(super) contents: Vec<Content>,
    pub(super) detail: blob::Detail,
}

impl<'a> Turns<'a> {
    pub(super) fn new(traits: Traits, names: &'a mut Names, kept: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            traits,
            names,
            kept,
            system: Vec::new(),
            contents: Vec::new(),
            sealed: false,
            pending: None,
            detail: blob::Detail::default(),
        }
    }

    /// Takes the messages in their order.
    ///
    /// # Errors
    ///
    /// `Invalid` with the path of the message that the vendor could not be told.
    pub(super) fn take(mut self, messages: Vec<Message>) -> Result<Spoken> {
        for (at, message) in messages.into_iter().enumerate() {
            if message.role != Role::Tool {
                self.settle()?;
            }
            match message.role {
                Role::System | Role::Developer if self.contents.is_empty() && self.traits.instructs() => {
                    let parts = self.parts(at, message.content)?;
                    self.system.extend(parts.into_iter().filter(|part| part.text.as_deref() != Some("")));
                }
                // Hoisted to the top, a later instruction would lose its place in the conversation
                // and spoil the vendor's cache of everything before it.
                Role::System | Role::Developer | Role::User => {
                    let mut parts = self.parts(at, message.content)?;
                    for part in &mut parts {
                        if part.text.as_deref() == Some("") {
                            part.text = Some(BLANK.to_owned());
                        }
                    }
                    if parts.is_empty() {
                        parts.push(Part::text(BLANK));
                    }
                    self.say(USER, parts);
                }
                Role::Assistant => self.assistant(at, message)?,
                Role::Tool => self.result(at, message)?,
                Role::Function => {
                    return Err(Error::unsupported_parameter(
                        format!("messages[{at}].role"),
                        "Messages of role `function` are not supported with this model: use `tools` and role `tool`",
                    ));
                }
            }
        }
        self.settle()?;
        if self.contents.is_empty() {
            self.say(USER, vec![Part::text(BLANK)]);
        }
        let system = (!self.system.is_empty()).then_some(Content { role: None, parts: self.system });
        Ok(Spoken { system, contents: self.contents, detail: self.detail })
    }

    fn say(&mut self, role: Option<&'static str>, parts: Vec<Part>) {
        if parts.is_empty() {
            return;
        }
        if self.contents.is_empty() && role == MODEL {
            self.contents.push(Content { role: USER, parts: vec![Part::text(BLANK)] });
        }
        match self.contents.last_mut() {
            Some(last) if last.role == role && !self.sealed => last.parts.extend(parts),
            _ => self.contents.push(Content { role, parts }),
        }
        self.sealed = false;
    }

    fn assistant(&mut self, at: usize, message: Message) -> Result<()> {
        let mut parts = self.parts(at, message.content)?;
        if let Some(refusal) = message.refusal.filter(|refusal| !refusal.is_empty()) {
            parts.push(Part::text(refusal));
        }
        parts.retain(|part| part.text.as_deref() != Some(""));
        let calls = message.tool_calls.unwrap_or_default();
        let signatures: Vec<Option<String>> = calls.iter().map(|call| self.signature(call)).collect();
        // A signature goes back once, on the part that it came with: repeated it is billed twice.
        let own = in_extra(message.extra_content.as_ref())
            .filter(|own| !signatures.iter().flatten().any(|other| other == own));
        if let (Some(own), Some(last)) = (own, parts.iter_mut().rfind(|part| part.text.is_some())) {
            last.thought_signature = Some(own.into());
        }

        let mut waiting = Vec::with_capacity(calls.len());
        for (index, (call, signature)) in calls.into_iter().zip(signatures).enumerate() {
            let args = arguments(&call, || format!("messages[{at}].tool_calls[{index}].function.arguments"))?;
            let id = split_id(&call.id).0.to_owned();
            let name = self.names.sent(&call.function.name);
            let thought_signature = match signature {
                Some(signature) => Some(Cow::Owned(signature)),
                // Only the first call of a step carries one.
                None if index == 0 && self.traits.signs() => Some(Cow::Borrowed(STAND_IN)),
                None => None,
            };
            let call = FunctionCall { id: self.id(&id), name: name.clone(), args };
            parts.push(Part { thought_signature, function_call: Some(call), ..Part::default() });
            waiting.push(Waiting { id, name, result: None });
        }
        if !waiting.is_empty() {
            self.pending = Some(Pending { message: at, calls: waiting });
        }
        self.say(MODEL, parts);
        Ok(())
    }

    fn signature(&self, call: &ToolCall) -> Option<String> {
        let (id, inside) = split_id(&call.id);
        in_extra(call.extra_content.as_ref()).or(inside).or_else(|| (self.kept)(id))
    }

    /// Ids travel on calls and results alike, or on neither; older models refuse those they did not
    /// give out.
    fn id(&self, id: &str) -> Option<String> {
        (self.traits.signs() && !id.is_empty()).then(|| id.to_owned())
    }

    fn result(&mut self, at: usize, message: Message) -> Result<()> {
        let asked = message.tool_call_id.as_deref().map_or("", |id| split_id(id).0);
        let parts = self.parts(at, message.content)?;
        let calls = self.pending.as_mut().map(|pending| pending.calls.as_mut_slice()).unwrap_or_default();
        // Two calls may carry one id: results then come in call order; one more replaces the last.
        let open = calls.iter().position(|call| call.id == asked && call.result.is_none());
        let Some(place) = open.or_else(|| calls.iter().rposition(|call| call.id == asked)) else {
            return Err(Error::invalid(
                format!("messages[{at}].tool_call_id"),
                "A tool result answers no call of the assistant message before it: put it right after that message",
            ));
        };
        let (texts, media): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.text.is_some());
        let text = texts.into_iter().filter_map(|part| part.text).collect::<Vec<_>>().join("\n");
        calls[place].result = Some((response(&text), media));
        Ok(())
    }

    /// Ends a turn of calls: all results in one turn, in call order.
    fn settle(&mut self) -> Result<()> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let mut results = Vec::with_capacity(pending.calls.len());
        let mut beside = Vec::new();
        for call in pending.calls {
            let Some((response, media)) = call.result else {
                return Err(Error::invalid(
                    format!("messages[{}].tool_calls", pending.message),
                    "Every tool call needs its result in a message of role `tool` right after it",
                ));
            };
            let mut result = FunctionResponse { id: self.id(&call.id), name: call.name, response, parts: Vec::new() };
            if self.traits.mixes() {
                result.parts = media;
            } else {
                beside.extend(media);
            }
            results.push(Part { function_response: Some(result), ..Part::default() });
        }
        self.say(USER, results);
        self.sealed = true;
        if !beside.is_empty() {
            beside.insert(0, Part::text("What the tools returned:"));
            self.say(USER, beside);
        }
        Ok(())
    }

    fn parts(&mut self, at: usize, content: Option<chat::Content>) -> Result<Vec<Part>> {
        let parts = match content {
            None => return Ok(Vec::new()),
            Some(chat::Content::Text(text)) => return Ok(vec![Part::text(text)]),
            Some(chat::Content::Parts(parts)) => parts,
        };
        let detail = &mut self.detail;
        parts
            .into_iter()
            .enumerate()
            .map(|(index, part)| blob::part(part, detail, || format!("messages[{at}].content[{index}]")))
            .collect()
    }
}

/// A call's arguments, which the caller has as text.
fn arguments(call: &ToolCall, path: impl FnOnce() -> String) -> Result<Map<String, Value>> {
    let text = call.function.arguments.trim();
    if text.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(text)
        .map_err(|_| Error::invalid(path(), "The arguments of a tool call are a JSON object as text"))
}

/// A result, which the vendor wants as an object.
fn response(text: &str) -> Map<String, Value> {
    let value = match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => return fields,
        Ok(Value::Array(items)) => Value::Array(items),
        // Any other text stays as it is: read as a number, `007` would come back as 7.
        _ => json!(text),
    };
    Map::from_iter([("output".to_owned(), value)])
}
