//! A provider of somebody else's under the layers of AI Hub: what it streams is metered and held for
//! like the answer of any vendor.

mod eliza;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use aihub_core::model::FixedCatalogue;
use aihub_core::{
    AccountId, ApiKey, Call, Caller, ChatEvent, ChatRequest, Clock, Model, Offer, Outcome, Plan, PriceList, Provider,
    SystemClock, Timestamp, quota,
};
use aihub_layers::{AccessLayer, FallbackLayer, MeterLayer, Providers, QuotaLayer, Upstream};
use aihub_storage::{MemoryQuota, MemorySink};
use futures_util::StreamExt as _;
use tower::{ServiceBuilder, ServiceExt as _};

use eliza::Eliza;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let sink = Arc::new(MemorySink::new());
    let policy = Arc::new(MemoryQuota::new());
    let (meter, records) = MeterLayer::start(sink.clone(), Arc::clone(&clock));
    let stack = ServiceBuilder::new()
        .layer(meter)
        .layer(AccessLayer::new(Arc::new(FixedCatalogue::new([model()], &[]))))
        .layer(QuotaLayer::new(policy.clone()))
        .layer(FallbackLayer::new())
        .service(Upstream::new(Providers::from_iter([Arc::new(Eliza) as Arc<dyn Provider>])));

    let caller = caller();
    let mut pieces = 0;
    let requests = [
        request("I need a holiday by the sea.", r#","stream":true"#),
        request("My work never ends.", r#","stream":true,"max_tokens":3"#),
    ];
    for request in requests {
        let call = Call::new(Arc::clone(&caller), request, &*clock);
        let mut reply = stack.clone().oneshot(call).await?;
        while let Some(event) = reply.next().await {
            let event = event?;
            for choice in event.chunks()?.iter().flat_map(|chunk| &chunk.choices) {
                if let Some(text) = &choice.delta.content {
                    pieces += 1;
                    print!("[{text}]");
                    std::io::stdout().flush()?;
                }
            }
            if let ChatEvent::Finish(finish) = event {
                println!("  ← {}", finish.finish_reason.as_deref().unwrap_or("no reason"));
            }
        }
    }
    // When this returns, everything that was recorded is with the sink.
    drop(stack);
    records.drain(Duration::from_secs(1)).await.map_err(|left| format!("{} records are left", left.records.len()))?;

    let records = sink.records();
    for record in &records {
        let cost = record.cost.ok_or("a call without a cost")?;
        println!("{} used {} + {} tokens: {cost}", record.call, record.usage.input, record.usage.output);
        assert_eq!(record.outcome, Outcome::Completed);
    }
    let limits = quota::limits(&caller, "eliza", clock.now());
    let counted = policy.used(&limits[0].window).await?;
    println!("the quota has counted {counted} tokens");

    assert_eq!(pieces, 9 + 3, "a piece for each word");
    assert_eq!(records.len(), 2, "one record for each call");
    let recorded: u64 = records.iter().map(|record| record.usage.total_tokens()).sum();
    assert_eq!(counted.unsigned_abs(), recorded, "the books agree");
    Ok(())
}

/// A request with this message, and `fields` beside it.
fn request(text: &str, fields: &str) -> ChatRequest {
    let messages = format!(r#"[{{"role":"user","content":"{text}"}}]"#);
    let body = format!(r#"{{"model":"demo/eliza","messages":{messages}{fields}}}"#);
    ChatRequest::parse(body.into()).expect("a request as it is written above")
}

/// Without a price there is nothing to sell: 1 dollar per million words in, 2 out.
fn offer() -> Offer {
    Offer::new(Eliza.name(), "eliza-1966", PriceList::flat("1", "2").expect("prices"))
}

fn model() -> Model {
    Model { name: "ELIZA".to_owned(), max_output_tokens: Some(64), ..Model::chat("demo/eliza", [offer()]) }
}

/// Who calls: in a server, Authenticate finds this out.
fn caller() -> Arc<Caller> {
    let at = Timestamp::UNIX_EPOCH;
    let key = ApiKey::new(AccountId::new(at), "visitor", "small", at);
    let plan = Plan { monthly_tokens: Some(1_000), ..Plan::unlimited("small") };
    Arc::new(Caller::new(key, plan))
}
