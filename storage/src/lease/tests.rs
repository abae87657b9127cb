use std::sync::atomic::AtomicBool;

use aihub_core::conformance;
use aihub_core::{AccountId, Caller, ManualClock, Plan};
use tokio::sync::Notify;

use super::*;
use crate::memory::MemoryBooks;

/// Writes down what it lends, and says so only when it is let.
#[derive(Debug, Default)]
struct Slow {
    books: MemoryBooks,
    waits: AtomicBool,
    lent: Notify,
    go_on: Notify,
}

#[async_trait]
impl Lender for Slow {
    async fn borrow(&self, run: RunId, wishes: Vec<Wish>, at: Timestamp) -> Result<Vec<Lent>> {
        let lent = self.books.borrow(run, wishes, at).await;
        if self.waits.load(Ordering::SeqCst) {
            self.lent.notify_one();
            self.go_on.notified().await;
        }
        lent
    }

    async fn give_back(&self, run: RunId, returns: Vec<Return>) -> Result<()> {
        self.books.give_back(run, returns).await
    }

    async fn seen(&self, run: RunId, node: uuid::Uuid, at: Timestamp) -> Result<Vec<(Window, i64)>> {
        self.books.seen(run, node, at).await
    }

    async fn end(&self, run: RunId) -> Result<()> {
        self.books.end(run).await
    }
}

fn caller(calls: u64) -> Arc<Caller> {
    let plan = Plan { monthly_calls: Some(calls), ..Plan::unlimited("test") };
    conformance::caller(AccountId::new(Timestamp::UNIX_EPOCH), plan)
}

/// A caller who leaves while a slice is being lent takes nothing of it away from others.
#[tokio::test]
async fn what_is_lent_to_a_caller_who_leaves_is_there_for_the_next() {
    let (lender, clock) = (Arc::new(Slow::default()), Arc::new(ManualClock::default()));
    let run = *CallId::new(clock.now()).as_uuid();
    let quota = LeasedQuota::new(lender.clone(), clock.clone(), run, run);
    let caller = caller(4);
    let ask =
        || Ask::new(CallId::new(clock.now()), Arc::clone(&caller), "m".into(), clock.now(), Amounts::call(1, None));
    lender.waits.store(true, Ordering::SeqCst);
    let leaving = ask();
    tokio::select! {
        _ = quota.reserve(&leaving) => panic!("it was not let"),
        () = lender.lent.notified() => {}
    }
    lender.waits.store(false, Ordering::SeqCst);
    lender.go_on.notify_one();
    for number in 0..4 {
        assert!(quota.reserve(&ask()).await.is_ok(), "call {number} of 4");
    }
    assert!(quota.reserve(&ask()).await.is_err());
}
