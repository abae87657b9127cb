//! The tables of a run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::books::Books;
use super::exchange::End;
use super::judge::Check;
use super::load::Call;
use super::trouble::Done;

/// Rows that are printed of one check.
const SHOWN: usize = 10;

/// What was done.
pub(super) fn done(calls: &[Call], books: &Books, done: &Done, took: Duration) -> String {
    let mut text = format!(
        "\n{:22} {:>7} {:>7} {:>7} {:>7} {:>8} {:>9}\n",
        "calls", "in full", "refused", "failed", "left", "cut off", "no server"
    );
    let mut kinds: BTreeMap<String, [usize; 6]> = BTreeMap::new();
    for call in calls {
        let place = match (call.answer.end, call.answer.status) {
            (End::Whole, 200) => 0,
            (End::Whole, 402 | 429 | 503) => 1,
            (End::Whole, _) => 2,
            (End::Left, _) => 3,
            (End::Broken, _) => 4,
            (End::Unreached, _) => 5,
        };
        for name in [call.kind.to_string(), "~ all".to_owned()] {
            kinds.entry(name).or_default()[place] += 1;
        }
    }
    for (kind, [full, refused, failed, left, cut, none]) in kinds {
        let kind = kind.trim_start_matches("~ ");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{kind:22} {full:>7} {refused:>7} {failed:>7} {left:>7} {cut:>8} {none:>9}");
    }
    let mut codes: BTreeMap<(u16, &str), usize> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.answer.end == End::Whole && call.answer.status != 200) {
        *codes.entry((call.answer.status, &call.answer.code)).or_default() += 1;
    }
    let codes: Vec<String> = codes.iter().map(|((status, code), count)| format!("{count} × {status} {code}")).collect();
    let _ = writeln!(text, "\nrefused and failed: {}", codes.join(", "));
    let Done { kills, pauses, databases, stops, payments, steps } = done;
    let _ = writeln!(
        text,
        "\n{kills} kills, {stops} stops in good order, {pauses} pauses, {databases} restarts of the database, {payments} \
         payments, {steps} steps of clocks, in {:.0} s",
        took.as_secs_f64()
    );
    let mut outcomes: BTreeMap<String, (usize, u64, u64)> = BTreeMap::new();
    for record in &books.records {
        let recovered = if record.is_recovered() { ", recovered" } else { "" };
        let sums = outcomes.entry(format!("{}{recovered}", record.outcome)).or_default();
        *sums = (sums.0 + 1, sums.1 + record.prompt, sums.2 + record.completion);
    }
    let mut served: BTreeMap<&str, (usize, u64, u64)> = BTreeMap::new();
    for line in &books.lines {
        let sums = served.entry(&line.served).or_default();
        *sums = (sums.0 + 1, sums.1 + line.prompt, sums.2 + line.completion);
    }
    let mut rows = |head: &str, rows: Vec<(&str, (usize, u64, u64))>| {
        let _ = writeln!(text, "\n{head:32} {:>7} {:>10} {:>10}", "calls", "prompt", "answer");
        for (name, (count, prompt, completion)) in rows {
            let _ = writeln!(text, "{name:32} {count:>7} {prompt:>10} {completion:>10}");
        }
    };
    rows("the vendors' book", served.into_iter().collect());
    rows("usage records", outcomes.iter().map(|(name, sums)| (name.as_str(), *sums)).collect());
    text
}

/// What was checked.
pub(super) fn checked(checks: &[Check]) -> String {
    let mut text = String::from("checks\n");
    for check in checks {
        let state = match (check.of, check.drift.len()) {
            (0, _) => "none",
            (_, 0) => "ok",
            _ => "DRIFT",
        };
        let _ = writeln!(text, "{state:5} {:>6}  {}", check.of, check.name);
        for row in check.drift.iter().take(SHOWN) {
            let _ = writeln!(text, "        {row}");
        }
        if check.drift.len() > SHOWN {
            let _ = writeln!(text, "        … and {} more", check.drift.len() - SHOWN);
        }
    }
    text
}
