//! Many connections of several servers use up one key.

use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use super::Options;
use super::books::{self, Books};
use super::exchange::{self, Answer, End};
use super::fleet::Fleet;
use super::judge::Check;
use super::keys::{self, Key, Limit};
use super::{report, settle};
use crate::hub::Vendors;
use crate::place::{self, Profile};
use crate::process::now;
use crate::{Result, Told, probe};

const MODEL: &str = "openai/gpt-5.4-mini";
/// Of the key with money, in nano-dollars.
const MONEY: i64 = 50_000_000;

/// One request, and when.
#[derive(Clone, Debug)]
struct Timed {
    began: Instant,
    ended: Instant,
    answer: Answer,
}

/// Uses up a key with a limit of calls, and one with a limit of money.
pub(super) fn run(options: &Options) -> Result<String> {
    println!("seed {} · {} servers × {} connections", options.seed, options.servers, options.connections);
    let folder = place::fresh("torture-overspend")?;
    let vendors = Vendors::start(Profile::Debug, &folder)?;
    let mut fleet = Fleet::start(&folder, options.servers, true, &vendors.addresses, false)?;
    let most = i64::try_from(options.calls)?;
    let keys = [Key::make(&fleet, Limit::Calls(most))?, Key::make(&fleet, Limit::Money(MONEY))?];

    // Some more than there is, so that everybody comes to be refused.
    let each = 2 + 2 * options.calls / (options.servers * options.connections).max(1);
    let by_calls = together(&fleet.ports(), options.connections, &keys[0].secret, each);
    let mut exact = Check::new("exactly as many calls are answered as the limit allows, and the others get 402");
    let answered: Vec<&Timed> = by_calls.iter().filter(|call| call.answer.status == 200).collect();
    exact.see(answered.len() == options.calls, || format!("{} of {most}", answered.len()));
    for call in &by_calls {
        exact.see(matches!(call.answer.status, 200 | 402) && call.answer.end == End::Whole, || format!("{call:?}"));
    }
    let mut refused = Check::new("nobody is refused while a call is left: every one that was sold had begun by then");
    let last = answered.iter().map(|call| call.began).max();
    for call in by_calls.iter().filter(|call| call.answer.status == 402) {
        refused.see(last.is_none_or(|last| last <= call.ended), || format!("{call:?}"));
    }

    let by_money = together(&fleet.ports(), options.connections, &keys[1].secret, 12);
    let mut only = Check::new("with a limit of money calls are answered or get 402, and nothing else");
    for call in &by_money {
        only.see(matches!(call.answer.status, 200 | 402) && call.answer.end == End::Whole, || format!("{call:?}"));
    }
    // Holds are for the longest answer, so that many at once are refused while some is left: one after the other is not.
    let mut one_by_one = 0;
    for port in fleet.ports().into_iter().cycle() {
        if ask(port, &keys[1].secret).answer.status != 200 {
            break;
        }
        one_by_one += 1;
    }
    let quote = quote(fleet.ports()[0], &keys[1].secret)?;

    let mut checks = settle(&mut fleet)?;
    let books = Books::read(&fleet, &vendors.addresses.origin())?;
    let charged: i64 =
        books.records.iter().filter(|record| record.key == keys[1].id).filter_map(|record| record.charge).sum();
    let mut used_up = Check::new("what is left of the money does not pay for one more call");
    used_up
        .see(MONEY - charged < quote, || format!("{} nanos are left, a call takes {quote} at most", MONEY - charged));
    let mut booked = Check::new("as many calls are recorded as were answered");
    for (key, answers) in keys.iter().zip([answered.len(), count(&by_money) + one_by_one]) {
        let records = books.records.iter().filter(|record| record.key == key.id && record.counts()).count();
        booked.see(records == answers, || format!("{records} records, {answers} answers"));
    }
    checks.extend([exact, refused, only, used_up, booked]);
    checks.extend(keys::limits(&keys, &[], &books));
    println!("\n{most} calls: {} answered, {} refused", answered.len(), by_calls.len() - answered.len());
    println!(
        "{MONEY} nanos: {} answered, {} refused, {one_by_one} one by one, {charged} charged, {} left, a call at most {quote}\n",
        count(&by_money),
        by_money.len() - count(&by_money),
        MONEY - charged
    );
    println!("{}", report::checked(&checks));
    if checks.iter().any(|check| !check.drift.is_empty()) {
        return Err(Told.into());
    }
    Ok(format!("{} of {most} calls sold, {charged} of {MONEY} nanos charged", answered.len()))
}

fn count(calls: &[Timed]) -> usize {
    calls.iter().filter(|call| call.answer.status == 200).count()
}

/// As many connections as that to each server, each of which asks so often.
fn together(ports: &[u16], connections: usize, key: &str, each: usize) -> Vec<Timed> {
    let calls = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for port in ports.iter().flat_map(|port| std::iter::repeat_n(*port, connections)) {
            let calls = &calls;
            scope.spawn(move || {
                for _ in 0..each {
                    let call = ask(port, key);
                    if let Ok(mut calls) = calls.lock() {
                        calls.push(call);
                    }
                }
            });
        }
    });
    calls.into_inner().unwrap_or_default()
}

fn body() -> String {
    format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"Hello [[delay 2ms]]"}}],"max_tokens":200}}"#)
}

fn ask(port: u16, key: &str) -> Timed {
    let began = now();
    let answer = exchange::send(port, "/v1/chat/completions", key, "torture", None, &body()).answer(None);
    Timed { began, ended: now(), answer }
}

/// What one more call takes at most, in nano-dollars.
fn quote(port: u16, key: &str) -> Result<i64> {
    let (_, said) = probe::ask(port, &probe::request("POST", "/api/v1/developer/quote", Some(key), &body()))?;
    let document = said.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    let document: serde_json::Value = serde_json::from_str(document).map_err(|error| format!("{error} in {said}"))?;
    let amount = document["most"]["amount"].as_str().ok_or_else(|| format!("no amount in {document}"))?;
    books::nanos(amount).ok_or_else(|| format!("{amount} is no amount").into())
}
