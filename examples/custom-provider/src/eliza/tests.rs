use std::sync::Arc;

use aihub_core::conformance::provider::ProviderFixture;

use super::*;
use crate::{caller, offer, request};

/// One test for each promise of the contract.
mod contract {
    use super::*;

    aihub_core::conformance::provider!(async { ProviderFixture::by_usage(Arc::new(Eliza), offer()) });
}

/// The suite proves that the bound holds; this, that what fits is still said.
#[tokio::test]
async fn an_answer_stays_within_its_hold() {
    let clock = aihub_core::ManualClock::default();
    let call = aihub_core::Call::new(caller(), request("I need a holiday by the sea.", ""), &clock);
    let attempt = Attempt { max_output_tokens: Some(3), ..Attempt::new(call, offer()) };
    let (events, finish) = Eliza.chat(attempt).await.unwrap().collect().await.unwrap();
    let ChatEvent::Whole(body) = &events[0] else { panic!("not a whole answer") };
    assert!(String::from_utf8_lossy(body).contains(r#""content":"Why do you ""#));
    assert_eq!((finish.usage.unwrap().output, finish.finish_reason.as_deref()), (3, Some("length")));
}

#[test]
fn rules_are_tried_in_their_order() {
    assert_eq!(respond("Well, I am tired."), "How long have you been tired?");
    assert_eq!(respond("I need my key"), "Why do you need my key?");
    assert_eq!(respond(""), "Please go on.");
}
