//! A billing sink of somebody else's under Meter: every call is counted once, also when the sink
//! took a batch and its answer was lost.

mod statement;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aihub_core::chat::Finish;
use aihub_core::{
    AccountId, ApiKey, BillingSink, Call, Caller, ChatReply, ChatRequest, Clock, Error, ErrorKind, Offer, Plan,
    PriceList, Reply as _, Result, SystemClock, Timestamp, Usage, UsageRecord,
};
use aihub_layers::MeterLayer;
use async_trait::async_trait;
use bytes::Bytes;
use tower::{ServiceBuilder, ServiceExt as _};

use statement::Statement;

/// Takes the first batch and fails all the same, as a database does whose connection breaks between
/// the commit and its confirmation.
#[derive(Debug)]
struct LosesItsAnswer {
    statement: Arc<Statement>,
    lost: AtomicBool,
}

#[async_trait]
impl BillingSink for LosesItsAnswer {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        self.statement.record(records).await?;
        if self.lost.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        println!("a batch of {} was taken, and its answer lost", records.len());
        Err(Error::new(ErrorKind::Unavailable, "The connection broke before the answer"))
    }
}

/// What Meter wraps: any service from a call to a reply. This one always says the same.
async fn answer(_: Call<ChatRequest>) -> Result<ChatReply> {
    let body = Bytes::from_static(br#"{"object":"chat.completion","choices":[]}"#);
    let mut reply = ChatReply::whole_body(1_000, body, Finish::new(Some(Usage::new(1_000, 250)), Some("stop".into())));
    // Whoever serves a call says by which offer, and so at which price.
    reply.set_offer(Offer::new("demo", "demo-1", PriceList::flat("0.15", "0.60")?));
    Ok(reply)
}

#[tokio::main]
async fn main() -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let statement = Arc::new(Statement::default());
    let sink = Arc::new(LosesItsAnswer { statement: Arc::clone(&statement), lost: AtomicBool::new(false) });
    let (meter, records) = MeterLayer::start(sink, Arc::clone(&clock));
    let service = ServiceBuilder::new().layer(meter).service_fn(answer);

    let (ada, bob) = (caller("ada"), caller("bob"));
    for who in [&ada, &bob, &ada] {
        let request = ChatRequest::parse(Bytes::from_static(BODY))?;
        let call = Call::new(Arc::clone(who), request, &*clock);
        let reply = service.clone().oneshot(call).await?;
        // The record is written when the reply has ended, not before.
        reply.collect().await?;
    }
    drop(service);
    records.drain(Duration::from_secs(5)).await.map_err(|_| Error::new(ErrorKind::Internal, "records are left"))?;

    let totals = statement.totals()?;
    for who in [&ada, &bob] {
        println!("{:4} {}", who.key.name, totals[&who.account()]);
    }
    // 1,000 × 0.15 + 250 × 0.60 dollars per million is 0.0003 a call.
    assert_eq!(totals[&ada.account()].cost.decimal().to_string(), "0.0006");
    assert_eq!(totals[&bob.account()].cost.decimal().to_string(), "0.0003");
    assert_eq!(statement.calls().len(), 3, "three calls, however often they were delivered");
    Ok(())
}

const BODY: &[u8] = br#"{"model":"demo/model","messages":[{"role":"user","content":"hello"}]}"#;

/// Who calls: in a server, Authenticate finds this out.
fn caller(name: &str) -> Arc<Caller> {
    let at = Timestamp::UNIX_EPOCH;
    let key = ApiKey::new(AccountId::new(at), name, "standard", at);
    Arc::new(Caller::new(key, Plan::unlimited("standard")))
}
