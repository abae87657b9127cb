//! What the vendor says, in `OpenAI`'s words: piece by piece, and put together where no stream was
//! asked for. Both ways read the same pieces, so that they cannot differ.

use std::sync::Arc;

use aihub_core::chat::{
    AssistantMessage, CallDelta, ChatEvent, ChatReply, Choice, Completion, Delta, Finish, FunctionCall, FunctionDelta,
    ToolCall,
};
use aihub_core::tokens;
use aihub_core::{AccountId, CallId, Clock, Error, ErrorKind, Result, Usage};
use serde_json::{Value, json};

use super::finish::{Judgement, Progress, judge};
use super::signature::{Signatures, extra};
use super::tools::Names;
use super::usage::{searches, usage};
use super::wire::{AnswerCall, AnswerPart, Blob, Candidate, GenerateResponse, Grounding, Logprob, LogprobsResult};

/// What an answer is written with.
#[derive(Debug)]
pub(super) struct Scribe {
    pub(super) id: Arc<str>,
    pub(super) created: i64,
    /// The model in the caller's words.
    pub(super) model: Arc<str>,
    pub(super) names: Names,
    pub(super) one_call: bool,
    pub(super) account: AccountId,
    pub(super) signatures: Signatures,
    pub(super) bills_each_search: bool,
    pub(super) clock: Arc<dyn Clock>,
}

impl Scribe {
    /// What is new in a candidate, noted in `progress`.
    pub(super) fn take(&self, candidate: Candidate, progress: &mut Progress) -> Vec<Delta> {
        let deltas = candidate.content.parts.into_iter().filter_map(|part| self.part(part, progress)).collect();
        // Not the last word: usage and further parts may follow the reason, and a later event may
        // repeat it.
        if candidate
            .finish_reason
            .as_deref()
            .is_some_and(|reason| !reason.is_empty() && reason != "FINISH_REASON_UNSPECIFIED")
        {
            progress.reason = candidate.finish_reason;
        }
        progress.token = candidate.continuation_token.or(progress.token.take());
        if let Some(grounding) = candidate.grounding_metadata {
            progress.searches = progress.searches.max(searches(&grounding, self.bills_each_search));
            progress.grounding = Some(grounding);
        }
        deltas
    }

    fn part(&self, part: AnswerPart, progress: &mut Progress) -> Option<Delta> {
        let mut delta = Delta::default();
        if let Some(call) = part.function_call {
            delta.tool_calls = Some(vec![self.call(call, part.thought_signature.as_deref(), progress)?]);
            return Some(delta);
        }
        if let Some(blob) = part.inline_data.filter(|blob| !blob.data.is_empty() && !part.thought) {
            progress.content = true;
            delta.images = Some(vec![image(&blob, progress.images)]);
            progress.images += 1;
            return Some(delta);
        }
        // A signature may sit on any text, also on an empty one at the end: it goes out once, at
        // the end, since clients join what they are given in pieces.
        if !part.thought {
            progress.signature = part.thought_signature.or(progress.signature.take());
        }
        let text = part.text.filter(|text| !text.is_empty())?;
        if part.thought {
            delta.reasoning_content = Some(text);
        } else {
            progress.content = true;
            progress.ascii &= text.is_ascii();
            delta.content = Some(text);
        }
        Some(delta)
    }

    fn call(&self, call: AnswerCall, signature: Option<&str>, progress: &mut Progress) -> Option<CallDelta> {
        let native = call.id.filter(|id| !id.is_empty());
        if native.as_ref().is_some_and(|id| progress.call_ids.contains(id)) {
            return None; // The vendor sent it again; it is not another call.
        }
        if self.one_call && progress.calls > 0 {
            return None;
        }
        let id = native.unwrap_or_else(|| CallId::new(self.clock.now()).to_string());
        if let Some(signature) = signature {
            self.signatures.keep(self.account, &id, signature);
        }
        let index = progress.calls;
        progress.calls += 1;
        progress.call_ids.push(id.clone());
        let arguments = call
            .args
            .map(|args| args.get().to_owned())
            .filter(|args| args != "null")
            .unwrap_or_else(|| "{}".to_owned());
        let name = self.names.own(&call.name).to_owned();
        Some(CallDelta {
            index,
            id: Some(id),
            kind: Some("function".to_owned()),
            function: FunctionDelta { name: Some(name), arguments: Some(arguments) },
            extra_content: signature.map(extra),
        })
    }
}

fn image(blob: &Blob, index: u32) -> Value {
    json!({"type": "image_url", "index": index, "image_url": {"url": format!("data:{};base64,{}", blob.mime_type, blob.data)}})
}

/// The sources of a text. Offsets are counted in bytes by the vendor and in characters by
/// `OpenAI`: converted where the whole `text` is at hand, kept where it was all ASCII, 0 where the
/// place cannot be told.
pub(super) fn citations(grounding: &Grounding, text: Option<&str>, ascii: bool) -> Vec<Value> {
    let place = |at: usize| match text {
        Some(text) => text.get(..at).map(|before| before.chars().count()),
        None => ascii.then_some(at),
    };
    let mut citations = Vec::new();
    for support in &grounding.grounding_supports {
        let segment = &support.segment;
        let whole = segment.part_index == 0;
        let span = whole.then(|| Some((place(segment.start_index)?, place(segment.end_index)?))).flatten();
        let (start, end) = span.unwrap_or_default();
        let sources =
            support.grounding_chunk_indices.iter().filter_map(|at| grounding.grounding_chunks.get(*at)?.web.as_ref());
        citations.extend(sources.map(|source| {
            json!({"type": "url_citation", "url_citation": {
                "start_index": start, "end_index": end, "url": source.uri, "title": source.title}})
        }));
    }
    citations
}

/// Log probabilities as `OpenAI` lists them.
pub(super) fn logprobs(result: &LogprobsResult) -> Option<Value> {
    let one = |logprob: &Logprob| json!({"token": logprob.token, "logprob": logprob.log_probability, "bytes": logprob.token.as_bytes()});
    let content = result.chosen_candidates.iter().enumerate().map(|(at, chosen)| {
        let mut token = one(chosen);
        let top = result.top_candidates.get(at).map(|top| top.candidates.iter().map(one).collect::<Vec<_>>());
        token["top_logprobs"] = top.unwrap_or_default().into();
        token
    });
    let content: Vec<Value> = content.collect();
    (!content.is_empty()).then(|| json!({"content": content, "refusal": null}))
}

/// An answer that is put together; hops of it may follow each other.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) choices: Vec<(Progress, AssistantMessage, Vec<Value>)>,
    pub(super) blocked: bool,
    pub(super) model: Option<Arc<str>>,
    pub(super) generation: Option<Arc<str>>,
}

impl Gathered {
    /// Adds one answer of the vendor's; gives back what it counted.
    ///
    /// # Errors
    ///
    /// What the vendor says instead of an answer.
    pub(super) fn add(&mut self, response: GenerateResponse, scribe: &Scribe) -> Result<Option<Usage>> {
        let counted = response.usage_metadata.as_ref().map(usage);
        if let Some(status) = &response.error {
            let error = super::error::of_status(status);
            return Err(if let Some(counted) = counted { error.with_spent(counted) } else { error });
        }
        self.blocked |= response.prompt_feedback.is_some_and(|feedback| feedback.blocks());
        self.model = response.model_version.map(Into::into).or(self.model.take());
        self.generation = response.response_id.map(Into::into).or(self.generation.take());
        for (place, mut candidate) in response.candidates.into_iter().enumerate() {
            let index = candidate.index.unwrap_or_else(|| u32::try_from(place).unwrap_or(u32::MAX));
            let known = self.choices.iter().position(|(progress, ..)| progress.index == index);
            let at = known.unwrap_or_else(|| {
                self.choices.push((Progress::new(index), AssistantMessage::default(), Vec::new()));
                self.choices.len() - 1
            });
            let (progress, message, logs) = &mut self.choices[at];
            if let Some(Value::Array(more)) = candidate
                .logprobs_result
                .take()
                .and_then(|result| logprobs(&result))
                .map(|mut all| all["content"].take())
            {
                logs.extend(more);
            }
            for delta in scribe.take(candidate, progress) {
                put(message, delta);
            }
        }
        Ok(counted)
    }

    /// How it stands. A whole answer that gives no reason is taken for complete: nothing more comes.
    pub(super) fn judge(&mut self) -> Judgement {
        for (progress, ..) in &mut self.choices {
            progress.reason.get_or_insert_with(|| "STOP".to_owned());
        }
        judge(self.choices.iter().map(|(progress, ..)| progress), self.blocked)
    }

    /// Makes room for the next part of the same answer.
    pub(super) fn go_on(&mut self) {
        for (progress, ..) in &mut self.choices {
            (progress.reason, progress.token, progress.searches) = (None, None, 0);
        }
    }

    /// Searches, to be added to what the vendor counts.
    pub(super) fn searches(&self) -> u64 {
        self.choices.iter().map(|(progress, ..)| progress.searches).sum()
    }

    /// The reply.
    pub(super) fn reply(
        mut self,
        scribe: &Scribe,
        prompt_tokens: u64,
        usage: Option<Usage>,
        discarded: Usage,
    ) -> ChatReply {
        if self.choices.is_empty() {
            self.choices.push((Progress::new(0), AssistantMessage::default(), Vec::new()));
        }
        self.choices.sort_by_key(|(progress, ..)| progress.index);
        let blocked = self.blocked;
        let choices: Vec<Choice> = self.choices.into_iter().map(|gathered| choice(gathered, blocked)).collect();
        let reason = choices.last().and_then(|choice| choice.finish_reason.as_deref()).map(Into::into);
        let completion = Completion::new(&*scribe.id, &*scribe.model, scribe.created, choices);
        let mut finish = Finish::new(usage, reason);
        finish.discarded = discarded;
        finish.model.clone_from(&self.model);
        let mut reply = ChatReply::whole(prompt_tokens, completion, finish);
        reply.served_mut().model = self.model;
        reply.served_mut().generation = self.generation;
        reply
    }
}

fn choice((progress, mut message, logs): (Progress, AssistantMessage, Vec<Value>), blocked: bool) -> Choice {
    let reason = progress.finish_reason(blocked);
    "assistant".clone_into(&mut message.role);
    // `null` where there is nothing to say beside calls or a block; "" where the model said nothing.
    if message.content.is_none() && message.tool_calls.is_empty() && reason != "content_filter" {
        message.content = Some(String::new());
    }
    if let Some(grounding) = &progress.grounding {
        message.annotations = citations(grounding, message.content.as_deref(), false);
    }
    message.extra_content = progress.signature.as_deref().map(extra);
    let logprobs = (!logs.is_empty()).then(|| json!({"content": logs, "refusal": null}));
    Choice { index: progress.index, message, finish_reason: Some(reason.to_owned()), logprobs }
}

fn put(message: &mut AssistantMessage, delta: Delta) {
    let append = |whole: &mut Option<String>, piece: Option<String>| match (whole.as_mut(), piece) {
        (Some(whole), Some(piece)) => whole.push_str(&piece),
        (None, piece) => *whole = piece,
        (Some(_), None) => {}
    };
    append(&mut message.content, delta.content);
    append(&mut message.reasoning_content, delta.reasoning_content);
    message.images.extend(delta.images.into_iter().flatten());
    message.tool_calls.extend(delta.tool_calls.into_iter().flatten().map(|call| ToolCall {
        id: call.id.unwrap_or_default(),
        kind: "function".to_owned(),
        function: FunctionCall {
            name: call.function.name.unwrap_or_default(),
            arguments: call.function.arguments.unwrap_or_default(),
        },
        extra_content: call.extra_content,
    }));
}

/// An answer that is no JSON of the vendor's.
pub(super) fn read(body: &[u8]) -> Result<GenerateResponse> {
    serde_json::from_slice(body).map_err(|error| match super::error::status_in(body) {
        Some(status) => super::error::of_status(&status),
        None => Error::new(ErrorKind::BadUpstream, "The upstream gave an answer that cannot be read: try again")
            .with_transient()
            .with_source(error),
    })
}

/// The tokens of the text in an event, for a measure where the vendor gives none.
pub(super) fn text_tokens(event: &ChatEvent) -> u64 {
    let ChatEvent::Chunk(chunk) = event else { return 0 };
    chunk.choices.iter().map(|choice| text_in(&choice.delta)).sum()
}

fn text_in(delta: &Delta) -> u64 {
    let texts = [&delta.content, &delta.reasoning_content].into_iter().flatten();
    let calls = delta.tool_calls.iter().flatten().filter_map(|call| call.function.arguments.as_ref());
    texts.chain(calls).map(|text| tokens::count(text)).sum()
}

#[cfg(test)]
mod tests;
