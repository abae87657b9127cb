//! A provider in about a hundred lines: a model of rules, after Weizenbaum's ELIZA of 1966.
//!
//! There is no vendor to call, so that nothing stands between the reader and the contract. A provider
//! that calls one does the same with what comes back, and closes the connection when it is dropped.

use aihub_core::chat::{Choice, ChunkWriter, Completion, Content, Finish, Message, Part, Role};
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
            // The caller is not wrong, this provider is small: the layers above ask the next offer.
            return Err(Error::unsupported_parameter("n", "This model gives one answer: leave `n` out"));
        }
        // A provider that speaks OpenAI's dialect forwards `request.object()` instead of parsing it.
        let conversation = request.conversation()?;
        let texts = conversation.messages.iter().map(text).collect::<Result<Vec<_>>>()?;
        let spoken = conversation.messages.iter().zip(&texts).rfind(|(message, _)| message.role == Role::User);
        let answer = respond(spoken.map_or("", |(_, text)| text));

        let bound = attempt.output_bound().and_then(|most| usize::try_from(most).ok());
        let most = bound.unwrap_or(usize::MAX);
        let mut words: Vec<&str> = answer.split_inclusive(' ').collect();
        let finish_reason = if words.len() > most { "length" } else { "stop" };
        words.truncate(most);

        let usage = Usage::new(texts.iter().map(|text| count(text)).sum(), words.len() as u64);
        let finish = Finish::new(Some(usage), Some(finish_reason.into()));
        let (id, created) = (format!("eliza-{}", attempt.call.id), attempt.call.received_at.as_second());
        let model = &*attempt.offer.model;
        if !request.streams() {
            let choice = Choice::text(words.concat(), finish_reason);
            let whole = Completion::new(id, model, created, vec![choice]);
            return Ok(ChatReply::whole(request.demand().prompt_tokens, whole, finish));
        }
        // One chunk for each word, one with the reason why it stopped, and then the finish, from which
        // the door writes the usage and `[DONE]` by itself.
        let mut writer = ChunkWriter::new(id, model, created);
        let mut events: Vec<ChatEvent> = words.into_iter().map(|word| writer.text(word).into()).collect();
        events.push(writer.finish(finish_reason).into());
        events.push(finish.into());
        Ok(ChatReply::from_events(request.demand().prompt_tokens, futures_util::stream::iter(events).map(Ok)))
    }
}

fn text(message: &Message) -> Result<String> {
    let plain = |part: &Part| match part {
        Part::Text { text } => Ok(text.clone()),
        _ => Err(Error::unsupported_parameter("messages", "This model reads text only: leave other parts out")),
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
