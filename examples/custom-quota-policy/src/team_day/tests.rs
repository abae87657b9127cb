use aihub_core::conformance::caller;
use aihub_core::conformance::quota_policy::{Limits, QuotaFixture};
use aihub_core::{AccountId, Plan};

use super::*;

/// A policy whose team has the tokens that a check asks for.
async fn under(limits: Limits) -> QuotaFixture {
    let [mine, other] = [(); 2].map(|()| AccountId::new(Timestamp::UNIX_EPOCH));
    let tokens = limits.tokens.unwrap_or(u64::MAX);
    let policy = TeamDay::default().with_team(tokens, [mine]).with_team(tokens, [other]);
    let [first, second, stranger] = [mine, mine, other].map(|account| caller(account, Plan::unlimited("team")));
    QuotaFixture::new(Arc::new(policy), limits).with_callers(first, second, stranger).without_money()
}

// The checks that are about tokens. The others limit calls, or ask that a refusal ends with the month,
// which is not what this policy sells; one that does all of it leaves the names out.
aihub_core::conformance::quota_policy!(
    under,
    [
        never_passes_the_limit_of_tokens,
        whoever_can_pay_is_not_refused,
        one_call_asked_many_times_at_once_holds_once,
        settling_frees_what_was_not_used,
        settling_twice_counts_once,
        use_beyond_the_hold_counts_in_full,
        a_hold_belongs_to_the_month_of_its_admission,
        accounts_are_apart,
        keys_of_an_account_share_its_limits,
    ]
);

fn ask(account: AccountId, at: &str, tokens: u64) -> Ask {
    let at = at.parse().unwrap();
    Ask::new(CallId::new(at), caller(account, Plan::unlimited("team")), "m".into(), at, Amounts::call(tokens, None))
}

#[tokio::test]
async fn accounts_of_a_team_share_its_day_and_have_the_weekend_free() {
    let [one, two] = [(); 2].map(|()| AccountId::new(Timestamp::UNIX_EPOCH));
    let policy = TeamDay::default().with_team(100, [one, two]);
    let _held = policy.reserve(&ask(one, "2026-11-20T23:59:59Z", 70)).await.unwrap();
    let error = policy.reserve(&ask(two, "2026-11-20T23:59:59Z", 31)).await.unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!((&*refusal.limit, &*refusal.remaining), ("100 tokens", "30 tokens"));
    assert_eq!(refusal.resets_at, Some("2026-11-21T00:00:00Z".parse().unwrap()));
    for at in ["2026-11-21T00:00:00Z", "2026-11-22T23:59:59Z"] {
        let free = policy.reserve(&ask(two, at, 1_000_000)).await.unwrap();
        policy.settle(free, Amounts::call(1_000_000, None)).await.unwrap();
    }
    assert!(policy.reserve(&ask(one, "2026-11-23T00:00:00Z", 101)).await.is_err());
}

#[tokio::test]
async fn an_account_without_a_team_is_refused() {
    let nobody = AccountId::new(Timestamp::UNIX_EPOCH);
    let error = TeamDay::default().reserve(&ask(nobody, "2026-11-20T12:00:00Z", 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
