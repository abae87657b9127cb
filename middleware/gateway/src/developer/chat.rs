//! `POST /api/v1/developer/chat`: a message in, an answer out.

use aihub_core::chat::{ChatEvent, Finish};
use aihub_core::{ChatRequest, Error, Operation as _, Result, Usage};
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::Gateway;
use crate::door::{Door, Failure, JsonType, Whole, json as json_response};
use crate::events::{self, Dialect};
use crate::openai::chat::{completion, whole};
use crate::openai::stream::in_one_piece;

/// What is asked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SimpleChat {
    /// What is asked; instead of `messages`.
    #[schema(example = "What is the capital of France?")]
    #[serde(default)]
    message: Option<String>,
    /// A conversation in `OpenAI`'s form; instead of `message`.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    messages: Option<Vec<Value>>,
    /// Instructions for the model; only with `message`.
    #[serde(default)]
    system: Option<String>,
    /// A model id; the service's default where it is absent.
    #[serde(default)]
    model: Option<String>,
    /// A name of the caller's for the conversation: its calls go to the same upstream where that
    /// saves tokens, and it comes back with the answer.
    #[serde(default)]
    session_id: Option<String>,
    /// Whether to answer piece by piece.
    #[serde(default)]
    stream: bool,
    /// The most tokens of the answer.
    #[serde(default)]
    max_tokens: Option<u64>,
    /// Sampling temperature, 0 to 2.
    #[serde(default)]
    temperature: Option<f64>,
}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SimpleAnswer {
    /// The call's id.
    id: String,
    /// The model that was asked.
    model: String,
    /// What it says.
    message: String,
    /// Why it stopped.
    finish_reason: Option<String>,
    /// What it used.
    usage: SimpleUsage,
    /// The caller's name for the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
}

/// Tokens of the call.
#[derive(Debug, Default, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names on the wire")]
pub(crate) struct SimpleUsage {
    /// Tokens in.
    prompt_tokens: u64,
    /// Tokens out.
    completion_tokens: u64,
    /// Both.
    total_tokens: u64,
}

impl From<&Usage> for SimpleUsage {
    fn from(usage: &Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens(),
            completion_tokens: usage.completion_tokens(),
            total_tokens: usage.total_tokens(),
        }
    }
}

/// Ask a model
///
/// The simple form. With `stream: true` the answer is a stream of server-sent events: `{"text":…}`
/// for each piece, then `{"finish_reason":…,"usage":…}`, then `[DONE]`; an error is an event with
/// `error`, and the last one.
#[utoipa::path(
    post, path = "/api/v1/developer/chat", tag = "Inference",
    request_body = SimpleChat,
    responses((status = 200, description = "The answer, or a stream of it", body = SimpleAnswer)),
    security(("api_key" = [])),
)]
pub(crate) async fn developer_chat(
    State(gateway): State<Gateway>,
    door: Door,
    _: JsonType,
    Whole(body): Whole,
) -> Result<Response, Failure> {
    let asked: SimpleChat = aihub_core::json::decode(&body)?;
    let session_id = asked.session_id.clone();
    let request = asked.into_request(gateway.0.default_model.as_deref())?;
    let (id, model, streams) = (door.id, request.model().to_owned(), request.streams());
    let reply = gateway.call(door, request, &gateway.0.chat).await?;
    if streams {
        return Ok(events::respond(reply, SimpleStream { session_id, finish_reason: None }, id));
    }
    let (body, finish) = whole(reply).await?;
    let choice = completion(&body)?.choices.into_iter().next().unwrap_or_default();
    let answer = SimpleAnswer {
        id: id.to_string(),
        model,
        message: choice.message.content.or(choice.message.refusal).unwrap_or_default(),
        finish_reason: choice.finish_reason,
        usage: finish.usage.as_ref().map(SimpleUsage::from).unwrap_or_default(),
        session_id,
    };
    Ok(json_response(serde_json::to_vec(&answer).map_err(aihub_core::json::unwritable)?.into()))
}

impl SimpleChat {
    /// The same in `OpenAI`'s form: the developer form is a shorter way to say it, not a second way
    /// to a model.
    pub(super) fn into_request(self, default_model: Option<&str>) -> Result<ChatRequest> {
        let model = self.model.as_deref().or(default_model);
        let model = model.ok_or_else(|| Error::invalid("model", "Name a model: this service has no default"))?;
        let messages = match (self.message, self.messages) {
            (Some(text), None) => {
                let system = self.system.map(|system| json!({"role": "system", "content": system}));
                system.into_iter().chain([json!({"role": "user", "content": text})]).collect()
            }
            (None, Some(messages)) if self.system.is_none() => messages,
            (None, Some(_)) => {
                return Err(Error::invalid("system", "`system` goes with `message`; put it into `messages`"));
            }
            (None, None) => return Err(Error::invalid("message", "Say something: `message` is missing")),
            (Some(_), Some(_)) => return Err(Error::invalid("messages", "Give either `message` or `messages`")),
        };
        let mut body = Map::new();
        body.insert("model".to_owned(), model.into());
        body.insert("messages".to_owned(), Value::Array(messages));
        let optional = [
            ("stream", self.stream.then_some(Value::Bool(true))),
            ("max_completion_tokens", self.max_tokens.map(Value::from)),
            ("temperature", self.temperature.map(Value::from)),
            ("prompt_cache_key", self.session_id.map(Value::from)),
        ];
        body.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        ChatRequest::parse(Value::Object(body).to_string().into())
    }
}

struct SimpleStream {
    session_id: Option<String>,
    finish_reason: Option<String>,
}

impl Dialect for SimpleStream {
    fn piece(&mut self, event: ChatEvent) -> Result<Bytes, Error> {
        let chunks = match &event {
            ChatEvent::Whole(body) => vec![in_one_piece(body)?],
            pieces => pieces.chunks()?,
        };
        let mut text = String::new();
        for choice in chunks.into_iter().flat_map(|chunk| chunk.choices) {
            text.push_str(choice.delta.content.or(choice.delta.refusal).as_deref().unwrap_or_default());
            self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        }
        if text.is_empty() {
            return Ok(Bytes::new());
        }
        Ok(events::data(json!({ "text": text }).to_string().as_bytes()))
    }

    fn finish(&mut self, finish: &Finish) -> Bytes {
        let usage = finish.usage.as_ref().map(SimpleUsage::from);
        let end = json!({"finish_reason": self.finish_reason, "usage": usage, "session_id": self.session_id});
        [&*events::data(end.to_string().as_bytes()), b"data: [DONE]\n\n"].concat().into()
    }
}

#[cfg(test)]
mod tests {
    use aihub_core::ErrorKind;

    use super::*;

    fn stream() -> SimpleStream {
        SimpleStream { session_id: None, finish_reason: None }
    }

    #[test]
    fn a_whole_answer_to_a_stream_is_one_piece() {
        let body = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#;
        let mut stream = stream();
        assert_eq!(stream.piece(ChatEvent::Whole(body.into())).unwrap(), "data: {\"text\":\"hi\"}\n\n");
        let end = stream.finish(&Finish::new(Some(Usage::new(5, 7)), None));
        let end = std::str::from_utf8(&end).unwrap();
        assert!(end.contains(r#""finish_reason":"stop""#) && end.contains(r#""total_tokens":12"#), "{end}");
    }

    #[test]
    fn what_an_upstream_garbled_is_its_fault() {
        let whole = ChatEvent::Whole(Bytes::from_static(b"<html>"));
        assert_eq!(stream().piece(whole).unwrap_err().kind(), ErrorKind::BadUpstream);
        assert_eq!(completion(b"[1]").unwrap_err().kind(), ErrorKind::BadUpstream);
    }
}
