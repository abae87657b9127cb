//! A quota policy of somebody else's under Quota: holds are made before a call and settled after it,
//! and a call that does not fit is refused with 402 and what is left.

mod team_day;

use std::sync::Arc;
use std::time::Duration;

use aihub_core::chat::Finish;
use aihub_core::{
    AccountId, ApiKey, Call, Caller, ChatReply, ChatRequest, Error, ErrorKind, ManualClock, Model, Plan, Result,
    Timestamp, Usage,
};
use aihub_layers::{QuotaLayer, Routed, envelope};
use bytes::Bytes;
use tower::{ServiceBuilder, ServiceExt as _};

use team_day::TeamDay;

/// What Quota wraps: any service from a routed call to a reply. Every answer of this one uses 400
/// tokens, which is less than is held for it.
async fn answer(_: Routed<ChatRequest>) -> Result<ChatReply> {
    let body = Bytes::from_static(br#"{"object":"chat.completion","choices":[]}"#);
    Ok(ChatReply::whole_body(10, body, Finish::new(Some(Usage::new(10, 390)), Some("stop".into()))))
}

#[tokio::main]
async fn main() -> Result<()> {
    // A Friday, two hours before its end. A service takes `SystemClock::new()`.
    let friday = "2026-11-20T22:00:00Z".parse().expect("an instant");
    let clock = ManualClock::at(friday);
    let caller = caller();
    let policy = TeamDay::default().with_team(1_500, [caller.account()]);
    let service = ServiceBuilder::new().layer(QuotaLayer::new(Arc::new(policy))).service_fn(answer);
    // No price is needed: this policy counts tokens.
    let model = Arc::new(Model::chat("demo/model", []));

    let call = async |when: &str| {
        let call = Call::new(Arc::clone(&caller), ChatRequest::parse(Bytes::from_static(BODY))?, &clock);
        let id = call.id;
        let done = match service.clone().oneshot(Routed::new(call, Arc::clone(&model))).await {
            // The hold is settled when the reply has ended, not before.
            Ok(reply) => reply.collect().await.map(drop),
            Err(error) => Err(error),
        };
        match &done {
            Ok(()) => println!("{when:16} answered"),
            Err(error) => {
                let body = envelope(error, Some(id));
                println!("{when:16} {} {}", error.kind().status(), String::from_utf8_lossy(&body));
            }
        }
        done
    };

    // Each call holds some 1,000 tokens and uses 400. So the second one fits, although two holds would
    // not; the third does not fit into the 700 that are left.
    call("Friday").await?;
    call("Friday").await?;
    let error = expect_refused(call("Friday").await)?;
    let refusal = error.refusal().expect("a 402 names its limit");
    assert_eq!(error.kind(), ErrorKind::PaymentRequired);
    assert_eq!((&*refusal.limit_source, &*refusal.remaining), ("team_daily_tokens", "700 tokens"));
    let midnight: Timestamp = "2026-11-21T00:00:00Z".parse().expect("an instant");
    assert_eq!(refusal.resets_at, Some(midnight));

    clock.advance(Duration::from_hours(2));
    for _ in 0..5 {
        call("Saturday").await?;
    }
    clock.advance(Duration::from_hours(48));
    call("Monday").await?;
    call("Monday").await?;
    expect_refused(call("Monday").await)?;
    Ok(())
}

fn expect_refused(done: Result<()>) -> Result<Error> {
    match done {
        Ok(()) => Err(Error::new(ErrorKind::Internal, "The call was answered, and the budget is gone")),
        Err(error) => Ok(error),
    }
}

const BODY: &[u8] = br#"{"model":"demo/model","messages":[{"role":"user","content":"hello"}],"max_tokens":1000}"#;

/// Who calls: in a server, Authenticate finds this out.
fn caller() -> Arc<Caller> {
    let at = Timestamp::UNIX_EPOCH;
    let key = ApiKey::new(AccountId::new(at), "reader", "team", at);
    Arc::new(Caller::new(key, Plan::unlimited("team")))
}
