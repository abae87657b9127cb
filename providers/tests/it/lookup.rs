//! An answer that was left, and what `OpenRouter` has on record of it.

use std::sync::{Arc, Mutex};

use aihub_core::{
    AccountId, ApiKey, Attempt, Call, Caller, ChatRequest, Clock as _, Ending, ManualClock, Operation as _, Plan,
    Provider, Reply as _,
};
use aihub_providers::UpstreamSettings;
use aihub_providers::openrouter::OpenRouter;
use aihub_vendors::{End, OPENROUTER_KEY, Vendors};
use futures_util::StreamExt as _;

const MODEL: &str = "openai/gpt-5.4-mini";

#[tokio::test]
async fn a_stream_that_was_left_is_on_record_later_with_what_was_billed() {
    let vendors = Vendors::start().expect("vendors");
    let settings = UpstreamSettings::new(vendors.openrouter_base_url(), vec![OPENROUTER_KEY.into()]);
    let openrouter = OpenRouter::new("openrouter", &settings, super::clock()).expect("a provider");
    let said = "hi [[events 2000]] [[slow 5ms]] [[generation late 1]] [[usage prompt 40]]";
    let body = serde_json::json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": said}]});
    let request = ChatRequest::parse(body.to_string().into()).expect("a request");
    let clock = ManualClock::default();
    let key = ApiKey::new(AccountId::new(clock.now()), "key", "any", clock.now());
    let call = Call::new(Arc::new(Caller::new(key, Plan::unlimited("any"))), request, &clock);
    let prompt = call.operation.demand().prompt_tokens;

    let ended = Arc::new(Mutex::new(None::<Ending>));
    let hook = Arc::clone(&ended);
    let reply = openrouter.chat(Attempt::new(call, super::offer("openrouter", MODEL))).await.expect("a reply");
    let mut reply = reply
        .watch(Box::new(move |ending| {
            *hook.lock().expect("a lock") = Some(ending.clone());
            None
        }))
        .await;
    for _ in 0..3 {
        reply.next().await.expect("an event").expect("no error");
    }
    drop(reply);
    vendors.until(|seen| seen.end == Some(End::ClientLeft)).await;

    let ending = ended.lock().expect("a lock").take().expect("told");
    assert!(ending.usage.estimated && ending.usage.input == prompt);
    let generation = ending.served.generation.expect("a name to ask by");
    assert_eq!(openrouter.lookup(&generation).await.expect("no error"), None, "it appears late");
    let record = openrouter.lookup(&generation).await.expect("no error").expect("a record");
    let usage = record.usage.expect("usage");
    assert_eq!((record.finished, usage.input, usage.estimated), (false, 40, false));
    assert!((1..2_000).contains(&usage.output) && record.cost.is_some_and(|cost| cost.nanos() > 0), "{record:?}");
}
