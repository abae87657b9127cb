//! How an ask is refused.

use super::{Limits, QuotaFixture, tokens, usd};
use crate::money::{Currency, Money};
use crate::quota::Amounts;

/// A refusal says which limit it was, how much that allows and has left, and when it is whole again.
pub async fn a_refusal_names_its_limit(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits { calls: Some(3), tokens: Some(1_000), money: None }).await;
    drop(it.granted(tokens(770)).await);
    let of_tokens = it.refused(tokens(231)).await;
    assert!(of_tokens.limit.starts_with("1000"), "{of_tokens:?}");
    assert!(of_tokens.remaining.starts_with("230"), "{of_tokens:?}");
    for _ in 0..2 {
        drop(it.granted(tokens(0)).await);
    }
    let of_calls = it.refused(tokens(0)).await;
    assert!(of_calls.limit.starts_with('3') && of_calls.remaining.starts_with('0'), "{of_calls:?}");
    assert!(!of_calls.limit_source.is_empty());
    assert_ne!(of_calls.limit_source, of_tokens.limit_source);
    let next_month = "2026-10-01T00:00:00Z".parse().expect("an instant");
    assert_eq!((of_calls.resets_at, of_tokens.resets_at), (Some(next_month), Some(next_month)));
}

/// What one limit refuses is not held in the other: all or nothing.
pub async fn a_refusal_holds_nothing(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits { calls: Some(2), tokens: Some(100), money: None }).await;
    for _ in 0..5 {
        it.refused(tokens(101)).await;
    }
    let held = [it.granted(tokens(50)).await, it.granted(tokens(10)).await];
    for _ in 0..5 {
        it.refused(tokens(1)).await;
    }
    for each in held {
        it.release(each).await;
    }
    it.tokens_left(100).await;
}

/// Money is held, settled and refused as exactly as tokens, and all or nothing with them.
pub async fn money_is_limited_to_the_last_nano(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits { calls: None, tokens: Some(100), money: Some(usd(1_000)) }).await;
    if !it.money {
        return;
    }
    let cost = |nanos| Amounts::call(10, Some(usd(nanos)));
    let held = it.granted(cost(700)).await;
    it.refused(cost(301)).await;
    it.settle(held, cost(400)).await;
    let refused = it.refused(cost(601)).await;
    assert!(refused.limit.starts_with("0.000001") && refused.remaining.starts_with("0.0000006"), "{refused:?}");
    it.refused(Amounts::call(91, Some(usd(0)))).await;
    let held = it.granted(cost(600)).await;
    it.settle(held, cost(9_999)).await;
    it.refused(cost(1)).await;
    drop(it.granted(cost(0)).await);
}

/// Where money is limited, a call without a price, or in another currency, is refused; and a cost
/// that is unknown at the end is not taken for nothing.
pub async fn what_cannot_be_priced_is_refused(make: impl AsyncFnOnce(Limits) -> QuotaFixture) {
    let it = make(Limits { calls: None, tokens: None, money: Some(usd(1_000)) }).await;
    if !it.money {
        return;
    }
    it.reserve(Amounts::call(1, None)).await.expect_err("no price");
    let yen = Money::from_nanos(1, "JPY".parse::<Currency>().expect("a currency"));
    it.reserve(Amounts::call(1, Some(yen))).await.expect_err("another currency");
    let held = it.granted(Amounts::call(1, Some(usd(600)))).await;
    it.settle(held, Amounts::call(1, None)).await;
    it.refused(Amounts::call(1, Some(usd(401)))).await;
    drop(it.granted(Amounts::call(1, Some(usd(400)))).await);
}
