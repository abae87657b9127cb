//! The stream of `OpenAI`'s dialect.

use std::sync::Arc;

use aihub_core::Error;
use aihub_core::chat::{CallDelta, ChatChunk, ChatEvent, ChunkChoice, Delta, Finish, FunctionDelta};
use bytes::Bytes;

use crate::events::{self, Dialect};
use crate::openai::chat::completion;

const DONE: &[u8] = b"data: [DONE]\n\n";

/// Forwards what is in the dialect already, encodes what is typed.
#[derive(Debug, Default)]
pub(crate) struct OpenAiStream {
    include_usage: bool,
    /// What the usage event has to repeat of the chunks before it.
    last: Option<ChatChunk>,
}

impl OpenAiStream {
    pub(crate) fn new(include_usage: bool) -> Self {
        Self { include_usage, last: None }
    }

    fn usage(&self, finish: &Finish) -> Option<Bytes> {
        if !self.include_usage {
            return None;
        }
        let anew = || {
            let usage = Some(finish.usage.as_ref()?.into());
            Some(events::chunk(&ChatChunk { choices: Vec::new(), usage, ..self.last.clone()? }))
        };
        finish.usage_event.clone().or_else(anew)
    }
}

impl Dialect for OpenAiStream {
    fn piece(&mut self, event: ChatEvent) -> Result<Bytes, Error> {
        let chunk = match event {
            ChatEvent::Frames(frames) => return Ok(frames),
            ChatEvent::Whole(body) => in_one_piece(&body)?,
            ChatEvent::Chunk(chunk) => *chunk,
            ChatEvent::Finish(finish) => return Ok(self.finish(&finish)),
        };
        let event = events::chunk(&chunk);
        if self.include_usage {
            self.last = Some(ChatChunk { choices: Vec::new(), ..chunk });
        }
        Ok(event)
    }

    fn finish(&mut self, finish: &Finish) -> Bytes {
        match self.usage(finish) {
            Some(usage) => [&*usage, DONE].concat().into(),
            None => Bytes::from_static(DONE),
        }
    }
}

/// A whole answer from a provider that does not stream, as one chunk.
pub(crate) fn in_one_piece(body: &[u8]) -> Result<ChatChunk, Error> {
    let whole = completion(body)?;
    let choices = whole.choices.into_iter().map(|choice| {
        let message = choice.message;
        let calls = (0..).zip(message.tool_calls).map(|(index, call)| CallDelta {
            index,
            id: Some(call.id),
            kind: Some(call.kind),
            function: FunctionDelta { name: Some(call.function.name), arguments: Some(call.function.arguments) },
            extra_content: call.extra_content,
        });
        let calls: Vec<_> = calls.collect();
        let delta = Delta {
            role: Some(message.role),
            content: message.content,
            reasoning_content: message.reasoning_content,
            refusal: message.refusal,
            tool_calls: (!calls.is_empty()).then_some(calls),
            annotations: (!message.annotations.is_empty()).then_some(message.annotations),
            images: (!message.images.is_empty()).then_some(message.images),
            extra_content: message.extra_content,
        };
        ChunkChoice { index: choice.index, delta, finish_reason: choice.finish_reason, logprobs: choice.logprobs }
    });
    Ok(ChatChunk {
        id: Arc::from(whole.id),
        object: "chat.completion.chunk".into(),
        created: whole.created,
        model: Arc::from(whole.model),
        choices: choices.collect(),
        usage: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_answer_to_a_stream_loses_nothing() {
        let body = br#"{"choices":[{"message":{"role":"assistant","content":"hi",
            "images":[{"type":"image_url"}],"annotations":[{"type":"url_citation"}]}}]}"#;
        let delta = serde_json::to_value(&in_one_piece(body).unwrap().choices[0].delta).unwrap();
        assert_eq!((&delta["content"], &delta["images"][0]["type"]), (&"hi".into(), &"image_url".into()));
        assert_eq!(delta["annotations"][0]["type"], "url_citation");
        assert!(delta.get("tool_calls").is_none(), "{delta}");
    }
}
