//! What holds whatever happens at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Limits, QuotaFixture, ask, now, tokens};
use crate::conformance::together;
use crate::quota::Amounts;

/// Of two hundred calls at the same time as many are granted as the limit says.
pub async fn never_passes_the_limit_of_calls(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits::calls(50)).await;
    let granted = together((0..200).map(|_| {
        let (policy, ask) = (Arc::clone(&it.policy.subject), it.ask(tokens(1)));
        async move { policy.reserve(&ask).await.is_ok() }
    }))
    .await;
    assert_eq!(granted.into_iter().filter(|each| *each).count(), 50);
}

/// With two hundred calls of mixed sizes that are held, settled and released at the same time, what
/// is held and used never passes the limit.
pub async fn never_passes_the_limit_of_tokens(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    const LIMIT: u64 = 1_000;
    let it = make(Limits::tokens(LIMIT)).await;
    // Counted late when granted and early when freed: never more than what is truly taken.
    let taken = Arc::new(AtomicU64::new(0));
    let used = together((0..200_u64).map(|step| {
        let (policy, taken) = (Arc::clone(&it.policy.subject), Arc::clone(&taken));
        let size = step * 37 % 97 + 1;
        let ask = it.ask(tokens(size));
        async move {
            let Ok(held) = policy.reserve(&ask).await else {
                return 0;
            };
            let now = taken.fetch_add(size, Ordering::SeqCst) + size;
            assert!(now <= LIMIT, "{now} of {LIMIT} tokens are taken");
            tokio::task::yield_now().await;
            let used = if step % 3 == 0 { 0 } else { size / 3 };
            taken.fetch_sub(size - used, Ordering::SeqCst);
            if step % 3 == 0 {
                policy.release(held).await.expect("a release");
            } else {
                policy.settle(held, tokens(used)).await.expect("a settlement");
            }
            used
        }
    }))
    .await;
    it.tokens_left(LIMIT - used.iter().sum::<u64>()).await;
}

/// When all that is asked for at the same time fits, to the last token, nobody is refused.
pub async fn whoever_can_pay_is_not_refused(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let sizes: Vec<u64> = (0..200).map(|step| step * 37 % 97 + 1).collect();
    let limits = Limits { calls: Some(200), tokens: Some(sizes.iter().sum()), money: None };
    let it = make(limits).await;
    let granted = together(sizes.into_iter().map(|size| {
        let (policy, ask) = (Arc::clone(&it.policy.subject), it.ask(tokens(size)));
        async move { policy.reserve(&ask).await.map(drop) }
    }))
    .await;
    for each in granted {
        each.expect("an ask that fits");
    }
}

/// The same call asked for many times at the same time is held once, and each time granted.
pub async fn one_call_asked_many_times_at_once_holds_once(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits { calls: Some(2), tokens: Some(100), money: None }).await;
    let same = it.ask(tokens(60));
    let held = together((0..50).map(|_| {
        let (policy, ask) = (Arc::clone(&it.policy.subject), same.clone());
        async move { policy.reserve(&ask).await.expect("the hold").held }
    }))
    .await;
    assert_eq!(held, vec![tokens(60); 50]);
    it.tokens_left(40).await;
    let last: Amounts = tokens(40);
    it.policy.subject.reserve(&ask(&it.caller, now(), last)).await.map(drop).expect("the second call");
}
