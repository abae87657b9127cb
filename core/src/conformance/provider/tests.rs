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
    heeds: bool,
}

fn offer() -> Offer {
    Offer::new("echo", "echo-1", PriceList::flat("1", "1").unwrap())
}

fn echo() -> ProviderFixture {
    let echo = Arc::new(Echo::default());
    let asked = Arc::clone(&echo);
    ProviderFixture::new(echo, offer(), move || Some(asked.asked.load(Ordering::SeqCst)))
}

mod judged_by_usage {
    use super::*;

    crate::conformance::provider!(async {
        ProviderFixture::by_usage(Arc::new(Echo { heeds: true, ..Echo::default() }), offer())
    });

    #[test]
    #[should_panic(expected = "2 output tokens where 1 was allowed")]
    fn who_does_not_keep_within_the_bound_is_found_out() {
        let fixture = ProviderFixture::by_usage(Arc::new(Echo::default()), offer());
        crate::conformance::run(crate::conformance::provider::asks_for_no_more_output_than_the_attempt_allows(fixture));
    }
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
        let bound = attempt.output_bound().unwrap_or(64);
        self.asked.store(bound, Ordering::SeqCst);
        let counted = Usage::new(3, if self.heeds { bound.min(2) } else { 2 });
        let finish = Finish::new(Some(counted), Some("stop".into()));
        if attempt.call.operation.streams() {
            let piece = r#"data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"echo-1","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}"#;
            let events =
                [Ok(ChatEvent::Frames(format!("{piece}\n\n").into())), Ok(ChatEvent::Finish(Box::new(finish)))];
            return Ok(ChatReply::from_events(3, futures_util::stream::iter(events)));
        }
        Ok(ChatReply::whole(3, Completion::new("1", "echo-1", 0, vec![Choice::text("hi", "stop")]), finish))
    }
}
