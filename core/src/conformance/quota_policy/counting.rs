//! What is counted, when, and for whom.

use std::sync::Arc;

use super::{Limits, QuotaFixture, again, ask, refusal, tokens};
use crate::caller::Caller;
use crate::key::{ApiKey, KeyLimits};

/// Whatever fits is granted, up to the last token and call; one more is not.
pub async fn grants_up_to_the_limit_and_no_further(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits { calls: Some(5), tokens: Some(100), money: None }).await;
    for (left, size) in [(100, 1), (99, 49), (50, 30), (20, 20)] {
        it.tokens_left(left).await;
        let held = it.granted(tokens(size)).await;
        it.settle(held, tokens(size)).await;
    }
    it.tokens_left(0).await;
    drop(it.granted(tokens(0)).await);
    it.refused(tokens(0)).await;
}

/// What was held beyond the use is free again, and the use stays counted.
pub async fn settling_frees_what_was_not_used(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits::tokens(100)).await;
    let held = it.granted(tokens(90)).await;
    it.tokens_left(10).await;
    it.settle(held, tokens(25)).await;
    it.tokens_left(75).await;
}

/// A hold that is released leaves nothing, not even a call.
pub async fn releasing_frees_everything(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits { calls: Some(1), tokens: Some(100), money: None }).await;
    for _ in 0..3 {
        let held = it.granted(tokens(100)).await;
        it.refused(tokens(0)).await;
        it.release(held).await;
    }
    drop(it.granted(tokens(100)).await);
}

/// A call that is settled or released again, with whatever amounts, counts as the first time.
pub async fn settling_twice_counts_once(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits::tokens(100)).await;
    let held = it.granted(tokens(50)).await;
    let (second, third) = (again(&held), again(&held));
    it.settle(held, tokens(20)).await;
    it.settle(second, tokens(50)).await;
    it.release(third).await;
    it.tokens_left(80).await;
    let held = it.granted(tokens(50)).await;
    let (second, third) = (again(&held), again(&held));
    it.release(held).await;
    it.release(second).await;
    it.settle(third, tokens(50)).await;
    it.tokens_left(80).await;
}

/// A call that is asked for again gets the hold that it has, also when nothing is left.
pub async fn asking_twice_holds_once(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits { calls: Some(1), tokens: Some(100), money: None }).await;
    let same = it.ask(tokens(100));
    let first = it.policy.subject.reserve(&same).await.expect("a hold");
    let second = it.policy.subject.reserve(&same).await.expect("the same hold");
    assert_eq!((first.call, first.account, first.held), (second.call, second.account, second.held));
    it.refused(tokens(0)).await;
    it.release(second).await;
    it.release(first).await;
    it.tokens_left(100).await;
}

/// More than was held is an estimate that was too low: it counts all the same, also past the limit,
/// and then nothing is granted any more.
pub async fn use_beyond_the_hold_counts_in_full(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits::tokens(100)).await;
    let held = it.granted(tokens(40)).await;
    it.settle(held, tokens(70)).await;
    it.tokens_left(30).await;
    let (running, last) = (it.granted(tokens(10)).await, it.granted(tokens(20)).await);
    it.settle(last, tokens(4_000)).await;
    it.refused(tokens(1)).await;
    it.release(running).await;
    it.refused(tokens(1)).await;
}

/// A hold made in the last instant of a month stays that month's, when it is settled in the next.
pub async fn a_hold_belongs_to_the_month_of_its_admission(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits::tokens(100)).await;
    let (old, new) = (
        "2028-02-29T23:59:59.999999Z".parse().expect("an instant"),
        "2028-03-01T00:00:00Z".parse().expect("an instant"),
    );
    let policy = &it.policy.subject;
    let running = policy.reserve(&ask(&it.caller, old, tokens(70))).await.expect("a hold in the old month");
    let full = policy.reserve(&ask(&it.caller, new, tokens(100))).await.expect("the new month is whole");
    it.settle(running, tokens(20)).await;
    refusal(policy.reserve(&ask(&it.caller, new, tokens(1))).await);
    refusal(policy.reserve(&ask(&it.caller, old, tokens(81))).await);
    let rest = policy.reserve(&ask(&it.caller, old, tokens(80))).await.expect("the rest of the old month");
    it.release(rest).await;
    it.release(full).await;
}

/// What one account uses up is there for another.
pub async fn accounts_are_apart(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits::tokens(100)).await;
    drop(it.granted(tokens(100)).await);
    let theirs = it.policy.subject.reserve(&ask(&it.stranger, super::now(), tokens(100))).await.expect("a hold");
    assert_eq!(theirs.account, it.stranger.account());
    it.release(theirs).await;
    it.tokens_left(0).await;
}

/// A second key is no second quota.
pub async fn keys_of_an_account_share_its_limits(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits::tokens(100)).await;
    drop(it.granted(tokens(60)).await);
    let second = |size| ask(&it.colleague, super::now(), tokens(size));
    refusal(it.policy.subject.reserve(&second(41)).await);
    it.policy.subject.reserve(&second(40)).await.map(drop).expect("the rest");
}

/// The limits of a key hold for that key alone, beside those of its account, and a refusal by one of them holds nothing.
pub async fn a_key_has_limits_of_its_own(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits::tokens(100)).await;
    let mut limited = Caller::clone(&it.caller);
    let limits = KeyLimits { monthly_tokens: Some(50), monthly_calls: Some(3), ..KeyLimits::default() };
    limited.key = Arc::new(ApiKey { limits, ..ApiKey::clone(&limited.key) });
    let limited = Arc::new(limited);
    let reserve =
        async |caller: &Arc<Caller>, size| it.policy.subject.reserve(&ask(caller, super::now(), tokens(size))).await;
    drop(reserve(&limited, 20).await.expect("the first call of the key"));
    assert_eq!(refusal(reserve(&limited, 31).await).limit_source, "key_monthly_tokens");
    drop(reserve(&limited, 29).await.expect("what is left of the key's tokens"));
    drop(reserve(&limited, 0).await.expect("the third call of the key"));
    assert_eq!(refusal(reserve(&limited, 0).await).limit_source, "key_monthly_calls");
    drop(reserve(&it.colleague, 51).await.expect("what is left of the account's tokens"));
    refusal(reserve(&it.colleague, 1).await);
}

/// Without a limit nothing is refused, and amounts too large to be true do not wrap around.
pub async fn no_limit_is_no_limit(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits::default()).await;
    let most = i64::MAX.unsigned_abs();
    let first = it.granted(tokens(most)).await;
    let second = it.granted(tokens(most)).await;
    it.settle(first, tokens(1)).await;
    it.release(second).await;
    drop(it.granted(tokens(most)).await);
}
