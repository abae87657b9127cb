//! A provider in about a hundred lines: a model of rules, after Weizenbaum's ELIZA of 1966.
//!
//! There is no vendor to call, so that nothing stands between the reader and the contract. A provider
//! that calls one does the same with what comes back, and closes the connection when it is dropped.

use aihub_core::chat::{
    AnswerMessage, ChatChunk, Choice, ChunkChoice, Completion, Content, Delta, Finish, Message, Part, Role,
};
use aihub_core::{
    Attempt, Capabilities, ChatEvent, ChatReply, ChatRequest, Error, Operation as _, Provider, Result, Usage,
};
use async_trait::async_trait;
use futures_util::StreamExt as _;

/// What is heard, and what is asked back about the rest of the sentence.
const RULES: [(&str, &str); 4] = [
    ("i need ", "Why do you need {}?"),
    ("i am ", "How long have you been {}?"),
    ("my ", "Tell me more about your {}."),
    ("because ", "Is that the real reason?"),
];

/// A model that answers by rules. Its vocabulary is words: one word is one token.
#[derive(Debug)]
pub(crate) struct Eliza;

#[async_trait]
impl Provider for Eliza {
    fn name(&self) -> &'static str {
        "eliza"
    }

    fn capabilities(&self) -> Capabilities {
        // What is not listed need not be implemented: the trait answers that it is not supported.
        Capabilities::CHAT
    }

    async fn chat(&self, attempt: Attempt<ChatRequest>) -> Result<ChatReply> {
        let request = &attempt.call.operation;
        if request.choices() > 1 {
            // The caller is not wrong, this provider is small: `with_failover` has the layers above ask
            // the next offer.
            return Err(Error::invalid("n", "This model gives one answer: leave `n` out").with_failover());
        }
        // A provider that speaks OpenAI's dialect forwards `request.object()` instead of parsing it.
        let conversation = request.conversation()?;
        let texts = conversation.messages.iter().map(text).collect::<Result<Vec<_>>>()?;
        let spoken = conversation.messages.iter().zip(&texts).rfind(|(message, _)| message.role == Role::User);
        let answer = respond(spoken.map_or("", |(_, text)| text));

        // The hold travels in the attempt only where it says more than the request does: both bind.
        let bounds = [attempt.max_output_tokens, request.max_output_tokens()];
        let most =
            bounds.into_iter().flatten().min().map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let mut words: Vec<&str> = answer.split_inclusive(' ').collect();
        let finish_reason = if words.len() > most { "length" } else { "stop" };
        words.truncate(most);

        let mut usage = Usage::default();
        (usage.input, usage.output) = (texts.iter().map(|text| count(text)).sum(), words.len() as u64);
        let finish = Finish::new(Some(usage), Some(finish_reason.into()));
        let writer = Writer::of(&attempt);
        Ok(if request.streams() {
            writer.stream(&words, finish_reason, finish)
        } else {
            writer.whole(words.concat(), finish_reason, finish)
        })
    }
}

/// What every piece of an answer repeats.
struct Writer {
    id: String,
    created: i64,
    model: String,
    prompt_tokens: u64,
}

impl Writer {
    fn of(attempt: &Attempt<ChatRequest>) -> Self {
        Self {
            id: format!("eliza-{}", attempt.call.id),
            created: attempt.call.received_at.as_second(),
            model: attempt.offer.model.to_string(),
            prompt_tokens: attempt.call.operation.demand().prompt_tokens,
        }
    }

    /// One chunk for each word, one with the reason why it stopped, and then the finish, from which
    /// the door writes the usage and `[DONE]` by itself.
    fn stream(self, words: &[&str], finish_reason: &str, finish: Finish) -> ChatReply {
        let says = |(at, word): (usize, &&str)| Delta {
            role: (at == 0).then(|| "assistant".to_owned()),
            content: Some((*word).to_owned()),
            ..Delta::default()
        };
        let mut events: Vec<_> = words.iter().enumerate().map(|each| self.chunk(says(each), None)).collect();
        events.push(self.chunk(Delta::default(), Some(finish_reason.to_owned())));
        events.push(ChatEvent::Finish(Box::new(finish)));
        ChatReply::from_events(self.prompt_tokens, futures_util::stream::iter(events).map(Ok))
    }

    fn chunk(&self, delta: Delta, finish_reason: Option<String>) -> ChatEvent {
        ChatEvent::Chunk(Box::new(ChatChunk {
            id: self.id.as_str().into(),
            object: "chat.completion.chunk".into(),
            created: self.created,
            model: self.model.as_str().into(),
            choices: vec![ChunkChoice { delta, finish_reason, ..ChunkChoice::default() }],
            usage: None,
        }))
    }

    fn whole(self, text: String, finish_reason: &str, finish: Finish) -> ChatReply {
        let message = AnswerMessage { role: "assistant".to_owned(), content: Some(text), ..AnswerMessage::default() };
        let completion = Completion {
            id: self.id,
            object: "chat.completion".to_owned(),
            created: self.created,
            model: self.model,
            choices: vec![Choice { message, finish_reason: Some(finish_reason.to_owned()), ..Choice::default() }],
            usage: finish.usage.as_ref().map(Into::into),
        };
        ChatReply::whole(&completion, finish)
    }
}

fn text(message: &Message) -> Result<String> {
    let plain = |part: &Part| match part {
        Part::Text { text } => Ok(text.clone()),
        _ => Err(Error::invalid("messages", "This model reads text only: leave other parts out").with_failover()),
    };
    match &message.content {
        None => Ok(String::new()),
        Some(Content::Text(text)) => Ok(text.clone()),
        Some(Content::Parts(parts)) => parts.iter().map(plain).collect(),
    }
}

fn respond(said: &str) -> String {
    let said = said.trim_end_matches(['.', '!', '?', ' ']);
    let heard = said.to_ascii_lowercase();
    let rule = RULES.iter().find_map(|(phrase, reply)| Some((heard.find(phrase)? + phrase.len(), reply)));
    rule.map_or_else(|| "Please go on.".to_owned(), |(rest, reply)| reply.replace("{}", &said[rest..]))
}

fn count(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

#[cfg(test)]
mod tests;
