use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aihub_core::price::Tier;
use aihub_core::tokens::Family;
use aihub_core::{Call, ChatReply, ChatRequest, Currency, Error, ErrorKind, Offer, Price, PriceList};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::QuotaLayer;
use super::estimate::Estimate;
use crate::access::Routed;
use crate::world::{self, Purse};

fn routed(fields: &str, offers: Vec<Offer>) -> Routed<ChatRequest> {
    let call = Call::new(world::caller(), world::request(fields), &aihub_core::ManualClock::default());
    Routed::new(call, Arc::new(world::model("m", offers)))
}

#[test]
fn holds_the_worst_price_of_any_offer_fallbacks_included() {
    let mut routed = routed(r#","max_tokens":10"#, vec![world::offer("first", "1"), world::offer("second", "3")]);
    let estimate = Estimate::of(&routed);
    let prompt = estimate.prompt_tokens;
    assert_eq!((estimate.most.calls, estimate.most.tokens), (1, prompt + 10));
    let dollars = |per_million: &str| world::prices(per_million).bound(prompt, 10);
    assert_eq!(estimate.most.money, dollars("3"));
    routed.fallbacks.push(Arc::new(world::model("other", vec![world::offer("first", "5")])));
    assert_eq!(Estimate::of(&routed).most.money, dollars("5"));
}

#[test]
fn the_plan_speaks_for_a_caller_who_named_nothing_for_each_choice() {
    let estimate = |fields| Estimate::of(&routed(fields, vec![world::offer("first", "1")]));
    let one = estimate("");
    assert_eq!(one.most.tokens, one.prompt_tokens + 100);
    let three = estimate(r#","n":3"#);
    assert_eq!(three.most.tokens, three.prompt_tokens + 300);
    assert_eq!(one.bound(&routed("", vec![world::offer("first", "1")]), one.most).unwrap(), Some(100));
}

#[test]
fn a_prompt_counts_by_the_vocabulary_of_whoever_serves_it() {
    let (cheap, dear) = (world::prices("1"), world::prices("2"));
    let estimate = |offers| Estimate::of(&routed(r#","max_tokens":1"#, offers));
    let newer = estimate(vec![Offer::new("first", "gpt-4o", dear.clone())]);
    let unknown = estimate(vec![Offer::new("first", "house-1", cheap.clone())]);
    assert_eq!(unknown.prompt_tokens, Family::Other.tokens(newer.prompt_tokens));
    let both = estimate(vec![Offer::new("first", "gpt-4o", dear.clone()), Offer::new("second", "house-1", cheap)]);
    assert_eq!(both.prompt_tokens, unknown.prompt_tokens);
    assert_eq!(both.most.money, dear.bound(newer.prompt_tokens, 1), "each offer at its own count");
}

#[test]
fn no_more_is_held_than_any_model_on_the_route_can_give() {
    let mut routed = routed(r#","max_tokens":1000000"#, vec![world::offer("first", "1")]);
    let mut small = world::model("m", vec![world::offer("first", "1")]);
    small.max_output_tokens = Some(64);
    routed.model = Arc::new(small);
    let estimate = Estimate::of(&routed);
    assert_eq!(estimate.most.tokens, estimate.prompt_tokens + 64);
    assert_eq!(estimate.bound(&routed, estimate.most).unwrap(), Some(64));
}

#[test]
fn a_cost_that_is_not_one_amount_is_unknown() {
    let yen = PriceList::new("JPY".parse().unwrap(), *world::prices("1").base(), Vec::new());
    let yen = Offer::new("second", "m-1", yen);
    assert_eq!(Estimate::of(&routed("", vec![world::offer("first", "1"), yen])).most.money, None);
    assert_eq!(Estimate::of(&routed("", Vec::new())).most.money, None);
}

#[test]
fn money_that_is_short_shortens_the_answer_exactly() {
    let dear = aihub_core::price::Rates::flat(Price::per_million("2").unwrap(), Price::per_million("9").unwrap());
    let tier = Tier { prompt_tokens_above: 3, rates: dear };
    let tiered = PriceList::new(Currency::USD, *world::prices("1").base(), vec![tier]);
    let routed = routed(r#","max_tokens":1000"#, vec![Offer::new("first", "m-1", tiered.clone())]);
    let estimate = Estimate::of(&routed);
    let mut held = estimate.most;
    held.money = tiered.bound(estimate.prompt_tokens, 321);
    assert_eq!(estimate.bound(&routed, held).unwrap(), Some(321));
    held.money = tiered.bound(estimate.prompt_tokens, 0);
    let refused = estimate.bound(&routed, held).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PaymentRequired);
}

fn answering() -> impl tower::Service<Routed<ChatRequest>, Response = ChatReply, Error = Error, Future: Send> + Clone {
    service_fn(|_| std::future::ready(Ok(world::answer())))
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_asked_again_behind_the_callers_back() {
    let purse = Arc::new(Purse::of(1_000));
    purse.failing.store(4, Ordering::SeqCst);
    let quota = QuotaLayer::new(purse.clone()).layer(answering());
    let reply = quota.oneshot(routed("", vec![world::offer("first", "1")])).await.unwrap();
    world::read(reply).await.unwrap();
    assert_eq!(purse.open(), 1);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((purse.open(), purse.used()), (0, 12));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_keeps_the_hold_counted() {
    let purse = Arc::new(Purse::of(1_000));
    purse.failing.store(u32::MAX, Ordering::SeqCst);
    let quota = QuotaLayer::new(purse.clone()).layer(answering());
    drop(quota.oneshot(routed("", vec![world::offer("first", "1")])).await.unwrap());
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(purse.open(), 1);
}

#[tokio::test]
async fn a_failure_counts_nothing_also_where_the_vendor_did() {
    for spent in [None, Some(world::usage())] {
        let purse = Arc::new(Purse::of(1_000));
        let quota = QuotaLayer::new(purse.clone()).layer(service_fn(move |_: Routed<ChatRequest>| async move {
            let error = world::failover();
            Err::<ChatReply, _>(match spent {
                Some(spent) => error.with_spent(spent),
                None => error,
            })
        }));
        quota.oneshot(routed("", vec![world::offer("first", "1")])).await.unwrap_err();
        assert_eq!((purse.visits(), purse.open(), purse.calls(), purse.used()), (1, 0, 0, 0));
    }
}
