use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::catalogue::{read, shipped};

const CATALOGUE: &str = r#"{"models":[
    {"id":"house/a","kind":"chat","context_length":1,"openrouter_id":"maker/a","usd_per_mtok":{"input":"2","output":"8"},
     "tiers":[{"prompt_tokens_above":200,"input":"4"}],"note":"kept",
     "offers":{"mine":{"model":"a","input":"1","output":"4","batch":{"input":"0.5","output":"2"}}}},
    {"id":"house/b","kind":"embedding","context_length":1,"openrouter_id":"maker/b","usd_per_mtok":{"input":"0"}}]}"#;

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn rules(max_drift_percent: u32) -> Rules {
    Rules { max_drift_percent, accept_drift: Vec::new() }
}

fn reviewed(candidate: &Value, rules: &Rules) -> Review {
    let candidate = Candidate::read(candidate.to_string().as_bytes()).unwrap();
    review(&read(CATALOGUE).unwrap(), &candidate, now(), rules)
}

/// What becomes of a vendor's list with one model in it.
fn listed(pricing: &Value) -> Review {
    reviewed(&json!({"data": [{"id": "maker/a", "pricing": pricing}]}), &rules(25))
}

fn refusal(review: &Review) -> &str {
    review.changes[0].after.as_ref().unwrap_err()
}

const TIER: &str = r#"[{"min_prompt_tokens":200,"prompt":"0.000004"}]"#;

#[test]
fn what_is_no_price_is_refused_with_its_model() {
    for wrong in [
        json!({"prompt": "-1", "completion": "-1"}),
        json!({"prompt": "0.000002", "completion": "-0.000008"}),
        json!({"prompt": "0.000002"}),
        json!({"completion": "0.000008"}),
        json!({"prompt": "cheap", "completion": "0.000008"}),
        json!({"prompt": "NaN", "completion": "0.000008"}),
        json!({"prompt": "", "completion": "0.000008"}),
        json!({"prompt": "0.000002", "completion": "0.000008", "input_cache_read": "-1"}),
        json!({"prompt": "0.000002", "completion": "0.000008", "overrides": [{"min_prompt_tokens": 5, "prompt": "-1"}]}),
        Value::Null,
    ] {
        let review = listed(&wrong);
        assert_eq!((review.changes.len(), &*review.changes[0].model), (1, "house/a"), "{wrong}");
        assert!(refusal(&review).contains("missing, negative or no number"), "{wrong}: {}", refusal(&review));
    }
    for wrong in
        [json!({"input": "-1", "output": "8"}), json!({"input": "2"}), json!({"input": -1, "output": 8}), json!({})]
    {
        let entry = json!({"id": "house/a", "kind": "chat", "context_length": 1, "usd_per_mtok": wrong});
        let review = reviewed(&json!({"models": [entry]}), &rules(25));
        assert!(review.changes.len() == 1 && review.changes[0].after.is_err(), "{wrong}");
    }
}

#[test]
fn what_cannot_be_read_is_told_whatever_it_was_for() {
    let own = r#"{"models":[{"id":"x","kind":"chat","context_length":1,
        "offers":{"mine":{"model":"x","input":"1","output":"2"}}}]}"#;
    let candidate = Candidate::read(own.replace(r#""output":"2""#, r#""output":-1"#).as_bytes()).unwrap();
    let review = review(&read(own).unwrap(), &candidate, now(), &rules(25));
    assert!(refusal(&review).contains("cannot be read"), "{}", refusal(&review));
}

#[test]
fn what_moves_too_far_is_refused_until_somebody_means_it() {
    let tier: Value = serde_json::from_str(TIER).unwrap();
    let same = json!({"prompt": "0.000002", "completion": "0.000008", "overrides": tier});
    assert_eq!((listed(&same).unchanged, listed(&same).changes.len()), (1, 0));
    let dearer = json!({"prompt": "0.0000025", "completion": "0.000008", "overrides": tier});
    assert!(listed(&dearer).changes[0].after.is_ok(), "25 % is not more than 25 %");
    let far = json!({"prompt": "0.000002501", "completion": "0.000008", "overrides": tier});
    assert_eq!(refusal(&listed(&far)), "input moves from 2 to 2.501, by more than 25 %");
    let given_away = json!({"prompt": "0.000002", "completion": "0", "overrides": tier});
    assert!(refusal(&listed(&given_away)).contains("output moves from 8 to 0"));
    let without_tier = json!({"prompt": "0.000002", "completion": "0.000008"});
    assert!(refusal(&listed(&without_tier)).contains("input moves from 4 to 2"), "above the threshold it is half");
    let meant = Rules { accept_drift: vec!["house/a".to_owned()], ..rules(25) };
    assert!(reviewed(&json!({"data": [{"id": "maker/a", "pricing": far}]}), &meant).changes[0].after.is_ok());
    let from_nothing = json!({"data": [{"id": "maker/b", "pricing": {"prompt": "0.000000001", "completion": "0"}}]});
    assert!(reviewed(&from_nothing, &rules(1_000_000)).changes[0].after.is_err(), "no percentage of nothing is enough");
    let batch = json!({"models": [{"id": "house/a", "kind": "chat", "context_length": 1, "offers": {"mine":
        {"model": "a", "input": "1", "output": "4", "batch": {"input": "0.1", "output": "2"}}}}]});
    assert!(refusal(&reviewed(&batch, &rules(25))).starts_with("input of a batch moves from 0.5 to 0.1"));
}

#[test]
fn what_is_not_sold_here_is_counted_and_left() {
    let review =
        reviewed(&json!({"data": [{"id": "maker/z", "pricing": {"prompt": "-1", "completion": "-1"}}]}), &rules(25));
    assert_eq!((review.changes.len(), review.unknown), (0, 1));
    assert!(Candidate::read(b"{\"prices\":[]}").is_err() && Candidate::read(b"[]").is_err());
}

#[test]
fn accepted_prices_hold_from_their_instant_and_nothing_else_is_lost() {
    let proposed = json!({"models": [
        {"id": "house/a", "kind": "chat", "context_length": 1, "usd_per_mtok": {"input": "2.1", "output": "8"},
         "tiers": [{"prompt_tokens_above": 200, "input": "4"}],
         "offers": {"mine": {"model": "a", "input": "1.1", "output": "4", "batch": {"input": "0.5", "output": "2"}}}},
        {"id": "house/b", "kind": "embedding", "context_length": 1, "usd_per_mtok": {"input": "-1"}}]});
    let review = reviewed(&proposed, &rules(25));
    assert_eq!(review.changes.iter().filter(|change| change.after.is_ok()).count(), 2);
    let from = "2026-12-01T00:00:00Z".parse().unwrap();
    let text = write(Some(CATALOGUE), &review.changes, from).unwrap();
    assert!(text.contains(r#""note": "kept""#));
    let entries = read(&text).unwrap();
    let price = |entry: usize, place: Place, at: Timestamp| {
        let book = entries[entry].book(&place, Vendor::OpenRouter).unwrap();
        book.at(at).unwrap().list.base().input.decimal_per_million().to_string()
    };
    let mine = || Place::Own("mine".to_owned());
    assert_eq!([price(0, Place::List, now()), price(0, mine(), now())], ["2", "1"]);
    assert_eq!([price(0, Place::List, from), price(0, mine(), from), price(1, Place::List, from)], ["2.1", "1.1", "0"]);
    assert!(write(Some(&text), &review.changes, from).is_err(), "two prices from one instant");
    let candidate = Candidate::read(proposed.to_string().as_bytes()).unwrap();
    assert_eq!(
        super::review(&entries, &candidate, from, &rules(25)).unchanged,
        2,
        "the second time there is nothing to do"
    );
}

#[test]
fn a_shipped_model_moves_to_the_operators_file_whole() {
    let entries = shipped().unwrap();
    let surcharged = entries.iter().find(|entry| entry.cache_write_mode.is_some()).unwrap();
    let listing = json!({"data": [{"id": surcharged.openrouter_id, "pricing": {"prompt": "0.000001", "completion": "0.000002"}}]});
    let candidate = Candidate::read(listing.to_string().as_bytes()).unwrap();
    let meant = Rules { accept_drift: vec![surcharged.id.clone()], ..Rules::default() };
    let review = review(&entries, &candidate, now(), &meant);
    let own = read(&write(None, &review.changes, now()).unwrap()).unwrap();
    assert_eq!((own.len(), &own[0].id, own[0].context_length), (1, &surcharged.id, surcharged.context_length));
    let book = own[0].book(&Place::List, Vendor::OpenRouter).unwrap();
    assert_eq!(
        book.at(now()).unwrap().list.base().cache_write.pico(),
        1_000_000,
        "no price of its own is no surcharge"
    );
}

fn price() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("0.000002")),
        Just(json!("0")),
        Just(json!("2e-6")),
        Just(json!("-1")),
        Just(json!("-0.0000001")),
        Just(json!("")),
        Just(json!("NaN")),
        Just(json!("inf")),
        Just(json!("1,5")),
        Just(json!(-1)),
        Just(json!(2)),
        Just(Value::Null),
        "[-+.0-9eE ]{0,12}".prop_map(Value::from),
        any::<i64>().prop_map(|number| json!(number.to_string())),
    ]
}

proptest! {
    /// Whatever a vendor or an operator writes: what is accepted has both prices, and every price that was written is a
    /// number that is not negative.
    #[test]
    fn nothing_negative_or_missing_is_ever_accepted(fields in prop::collection::vec(price(), 6), omit in 0_u8..64, by_vendor: bool) {
        let names = if by_vendor {
            ["prompt", "completion", "input_cache_read", "input_cache_write", "audio", "image_output"]
        } else {
            ["input", "output", "cache_read", "cache_write", "audio_input", "image_output"]
        };
        let given = names.into_iter().zip(fields).enumerate().filter(|(at, _)| omit >> at & 1 == 0);
        let prices: Map<String, Value> = given.map(|(_, (name, price))| (name.to_owned(), price)).collect();
        let candidate = if by_vendor {
            json!({"data": [{"id": "maker/a", "pricing": prices}]})
        } else {
            json!({"models": [{"id": "house/a", "kind": "chat", "context_length": 1, "usd_per_mtok": prices}]})
        };
        let Ok(candidate) = Candidate::read(candidate.to_string().as_bytes()) else { return Ok(()) };
        let meant = Rules { accept_drift: vec!["house/a".to_owned()], ..Rules::default() };
        for change in review(&read(CATALOGUE).unwrap(), &candidate, now(), &meant).changes {
            if change.after.is_ok() {
                for name in &names[..2] {
                    prop_assert!(prices.get(*name).is_some_and(Value::is_string), "{name} of {prices:?}");
                }
                for price in prices.values().filter_map(Value::as_str) {
                    let number: f64 = price.trim().parse().unwrap_or(f64::NAN);
                    prop_assert!(number >= 0.0, "{price} of {prices:?}");
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(Candidate::read(&bytes));
    }
}
