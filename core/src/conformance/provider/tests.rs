//! The suite, proved on the smallest provider there can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::ProviderFixture;
use crate::call::{Attempt, Operation as _};
use crate::chat::{ChatEvent, ChatReply, ChatRequest, Choice, Completion, Finish};
use crate::error::Result;
use crate::model::Offer;
use crate::price::PriceList;
use crate::provider::{Capabilities, Provider};
use crate::usage::Usage;

crate::conformance::provider!(async { echo() });

#[derive(Debug, Default)]
struct Echo {
    asked: AtomicU64,
}

fn echo() -> ProviderFixture {
    let echo = Arc::new(Echo::default());
    let offer = Offer::new("echo", "echo-1", PriceList::flat("1", "1").unwrap());
    let asked = Arc::clone(&echo);
    ProviderFixture::new(echo, offer).with_asked(move || Some(asked.asked.load(Ordering::SeqCst)))
}

#[async_trait]
impl Provider for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::CHAT
    }

    async fn chat(&self, attempt: Attempt<ChatRequest>) -> Result<ChatReply> {
        self.asked.store(attempt.max_output_tokens.unwrap_or(64), Ordering::SeqCst);
        let finish = Finish::new(Some(Usage::estimate(3, 2)), Some("stop".into()));
        if attempt.call.operation.streams() {
            let piece = r#"data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"echo-1","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}"#;
            let events =
                [Ok(ChatEvent::Frames(format!("{piece}\n\n").into())), Ok(ChatEvent::Finish(Box::new(finish)))];
            return Ok(ChatReply::from_events(3, futures_util::stream::iter(events)));
        }
        Ok(ChatReply::whole(Completion::new("1", "echo-1", 0, vec![Choice::text("hi", "stop")]), finish))
    }
}
