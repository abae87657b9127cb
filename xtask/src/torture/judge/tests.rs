use serde_json::{Value, json};

use super::super::exchange::Answer;
use super::*;

const CALL: &str = "call_00000000000000000000000001";

fn record() -> Value {
    json!({"call": format!("{:032x}", 1), "key": "", "flags": 1, "prompt": 7, "completion": 9, "charge": 5,
        "outcome": "completed",
        "detail": {"generation": "g", "attempts": 1, "user_agent": "torture call-1-1-end"}})
}

fn line() -> Value {
    json!({"generation": "g", "asked": "call-1-1-end", "prompt": 7, "completion": 9, "served": "whole"})
}

/// The names of the checks that find something.
fn found(end: End, records: Vec<Value>, lines: Vec<Value>) -> Vec<&'static str> {
    let answer = Answer {
        end,
        status: 200,
        call: Some(CALL.to_owned()),
        usage: Some((7, 9)),
        is_replayed: false,
        code: String::new(),
    };
    let call = Call { mark: "call-1-1-end".to_owned(), kind: Kind::Stream, key: 0, answer };
    let books = Books {
        records: serde_json::from_value(records.into()).unwrap(),
        windows: Vec::new(),
        balances: Vec::new(),
        lines: serde_json::from_value(lines.into()).unwrap(),
    };
    let checks = calls(&[call], &books);
    checks.into_iter().filter(|check| !check.drift.is_empty()).map(|check| check.name).collect()
}

fn with(mut value: Value, name: &str, new: Value) -> Value {
    *value.pointer_mut(name).unwrap() = new;
    value
}

#[test]
fn what_agrees_is_not_complained_of() {
    assert!(found(End::Whole, vec![record()], vec![line()]).is_empty());
    assert!(found(End::Unreached, Vec::new(), Vec::new()).is_empty());
}

#[test]
fn what_is_lost_doubled_or_wrong_is_found() {
    let lost = found(End::Whole, Vec::new(), vec![line()]);
    assert_eq!(lost.len(), 4, "{lost:?}");
    assert_eq!(found(End::Broken, Vec::new(), vec![line()]).len(), 3);
    let twice = with(record(), "/call", format!("{:032x}", 2).into());
    assert_eq!(found(End::Whole, vec![record(), twice], vec![line()]).len(), 2);
    assert_eq!(found(End::Whole, vec![record(), record()], vec![line()]).len(), 3);
    let wrong = found(End::Whole, vec![with(record(), "/completion", 8.into())], vec![line()]);
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    let recovered = found(End::Whole, vec![with(record(), "/flags", 7.into())], vec![line()]);
    assert_eq!(recovered, ["an answer that came in full is completed, to the vendor's token"]);
    assert_eq!(found(End::Broken, vec![record()], Vec::new()).len(), 1);
    let other = with(record(), "/detail/user_agent", "call-1-9-end".into());
    assert!(found(End::Broken, vec![other], vec![line()]).contains(&"nobody is recorded who did not call"));
}

#[test]
fn a_retry_that_is_not_counted_is_a_call_that_is_lost() {
    let other = with(with(line(), "/generation", "f".into()), "/served", "failed".into());
    assert_eq!(found(End::Whole, vec![record()], vec![other, line()]), ["no call of the vendors' book is lost"]);
}

#[test]
fn what_is_repeated_is_sold_once() {
    let answer = |is_replayed| Answer {
        end: End::Whole,
        status: 200,
        call: Some(CALL.to_owned()),
        usage: Some((7, 9)),
        is_replayed,
        code: String::new(),
    };
    let call = |again| Call { mark: "m".to_owned(), kind: Kind::Repeated, key: 0, answer: answer(again) };
    let (calls, record): (_, Record) = ([call(false), call(true)], serde_json::from_value(record()).unwrap());
    let sold = |records: Vec<&Record>| {
        let case = Case { calls: calls.iter().collect(), lines: Vec::new(), records };
        repeated(&BTreeMap::from([("m", case)])).drift.len()
    };
    assert_eq!((sold(vec![&record]), sold(vec![&record, &record]), sold(Vec::new())), (0, 1, 1));
}

#[test]
fn what_was_thrown_away_is_billed_and_has_to_be_recorded() {
    let other = with(line(), "/generation", "f".into());
    let mut thrown = record();
    thrown["detail"]["discarded"] = json!({"input": 7, "output": 4, "reasoning": 5});
    assert!(found(End::Whole, vec![thrown.clone()], vec![other.clone(), line()]).is_empty());
    thrown["detail"]["discarded"]["output"] = 3.into();
    assert_eq!(found(End::Whole, vec![thrown], vec![other, line()]).len(), 1);
}

#[test]
fn what_was_cut_is_bounded_and_free_before_it_began() {
    let cut = |completion: u64, charge: i64| {
        let record = with(with(record(), "/flags", 7.into()), "/outcome", "gateway_failed".into());
        with(with(record, "/completion", completion.into()), "/charge", charge.into())
    };
    assert!(found(End::Broken, vec![cut(20, 5)], vec![line()]).is_empty());
    assert!(found(End::Broken, vec![cut(0, 0)], vec![line()]).is_empty());
    assert_eq!(found(End::Broken, vec![cut(0, 5)], vec![line()]).len(), 1);
    assert_eq!(found(End::Broken, vec![cut(500, 5)], vec![line()]).len(), 1);
}
