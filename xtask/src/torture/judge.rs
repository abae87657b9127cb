//! Compares what callers saw, what vendors bill and what the books say.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::books::{Books, Line, Record, hex};
use super::exchange::End;
use super::load::{Call, Kind, mark};

/// One thing that has to hold.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    /// How many things were looked at: a check of nothing proves nothing.
    pub(super) of: usize,
    /// Each that is off.
    pub(super) drift: Vec<String>,
}

impl Check {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, of: 0, drift: Vec::new() }
    }

    /// Looks at one more thing.
    pub(super) fn see(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.of += 1;
        if !holds {
            self.drift.push(what());
        }
    }
}

/// What belongs together: all that has the same mark.
#[derive(Default)]
struct Case<'b> {
    calls: Vec<&'b Call>,
    lines: Vec<&'b Line>,
    records: Vec<&'b Record>,
}

impl<'b> Case<'b> {
    /// The vendor's line of this record.
    fn line(&self, record: &Record) -> Option<&'b Line> {
        match &record.detail.generation {
            Some(generation) => self.lines.iter().find(|line| line.generation.as_ref() == Some(generation)).copied(),
            // Some answers have no id: then there must be no choice.
            None if self.lines.len() == 1 => Some(self.lines[0]),
            None => None,
        }
    }
}

/// How far an estimate may be from the vendor's figure: what the vendors here count is words, and what we do without their
/// word is characters, so that the two are never the same.
const TIMES: u64 = 4;
const BEYOND: u64 = 64;

fn is_near(estimate: u64, figure: u64) -> bool {
    estimate <= figure * TIMES + BEYOND
}

/// Calls, book and records, call by call.
pub(super) fn calls(calls: &[Call], books: &Books) -> Vec<Check> {
    let mut once = Check::new("a call has one record");
    let mut ids = BTreeSet::new();
    for record in &books.records {
        once.see(ids.insert(&*record.call), || show(record));
    }
    let mut cases: BTreeMap<&str, Case<'_>> = BTreeMap::new();
    for call in calls {
        cases.entry(&call.mark).or_default().calls.push(call);
    }
    let mut known = Check::new("nobody is recorded who did not call");
    for record in &books.records {
        let case = mark(&record.detail.user_agent).and_then(|mark| cases.get_mut(mark));
        known.see(case.is_some(), || show(record));
        if let Some(case) = case {
            case.records.push(record);
        }
    }
    let mut asked = Check::new("nobody was billed who did not call");
    for line in &books.lines {
        let case = mark(&line.asked).and_then(|mark| cases.get_mut(mark));
        asked.see(case.is_some(), || format!("{line:?}"));
        if let Some(case) = case {
            case.lines.push(line);
        }
    }
    let by_call: HashMap<&str, &Record> = books.records.iter().map(|record| (&*record.call, record)).collect();
    let mut checks = vec![once, known, asked];
    checks.push(answered(&cases, &by_call));
    checks.push(told(&cases, &by_call));
    checks.push(repeated(&cases));
    checks.extend(billed(&cases));
    checks.extend(cut(&cases));
    checks
}

/// Whether the answer is the whole of what was asked for, as far as its caller can tell.
fn in_full(call: &Call) -> bool {
    // What is given again is not a call of its own.
    call.answer.end == End::Whole
        && call.answer.status == 200
        && !call.answer.is_replayed
        && !matches!(call.kind, Kind::Cut | Kind::Error)
}

fn answered(cases: &BTreeMap<&str, Case<'_>>, records: &HashMap<&str, &Record>) -> Check {
    let mut check = Check::new("an answer that came in full is completed, to the vendor's token");
    for case in cases.values() {
        for call in case.calls.iter().filter(|call| in_full(call)) {
            let id = call.answer.call.as_deref().and_then(hex).unwrap_or_default();
            let record = records.get(&*id).copied();
            let line = record.and_then(|record| case.line(record));
            let holds = record.zip(line).is_some_and(|(record, line)| {
                let figures = (record.prompt, record.completion);
                record.outcome == "completed"
                    && !record.is_recovered()
                    && line.served == "whole"
                    && figures == (line.prompt, line.completion)
                    && call.answer.usage.is_none_or(|usage| usage == figures)
            });
            check.see(holds, || format!("{call:?}\n        {record:?}\n        {line:?}"));
        }
    }
    check
}

fn told(cases: &BTreeMap<&str, Case<'_>>, records: &HashMap<&str, &Record>) -> Check {
    let mut check = Check::new("a call whose id came and that a vendor served has its record");
    for case in cases.values().filter(|case| case.lines.len() >= case.calls.len()) {
        for call in &case.calls {
            let Some(id) = call.answer.call.as_deref().and_then(hex) else { continue };
            check.see(records.contains_key(&*id), || format!("{call:?}"));
        }
    }
    check
}

/// Whatever is sent again under one `Idempotency-Key` is sold at most once, and everybody who gets it gets the same.
fn repeated(cases: &BTreeMap<&str, Case<'_>>) -> Check {
    let mut check = Check::new("what is repeated under one Idempotency-Key is sold once, and answered alike");
    for (mark, case) in cases.iter().filter(|(_, case)| case.calls.iter().any(|call| call.kind == Kind::Repeated)) {
        let sold = |record: &&&Record| record.outcome == "completed" || record.charge.unwrap_or(0) > 0;
        let sold = case.records.iter().filter(sold).count();
        let full = case.calls.iter().filter(|call| call.answer.end == End::Whole && call.answer.status == 200);
        let alike: BTreeSet<_> = full.map(|call| call.answer.usage).collect();
        let holds = sold <= 1 && alike.len() <= 1 && sold >= alike.len();
        check.see(holds, || format!("{mark}: {:?}\n        {:?}\n        {:?}", case.records, case.calls, case.lines));
    }
    check
}

fn billed(cases: &BTreeMap<&str, Case<'_>>) -> [Check; 4] {
    let mut lost = Check::new("no call of the vendors' book is lost");
    let mut doubled = Check::new("none is recorded twice");
    let mut invented = Check::new("what is recorded as served was served");
    let mut exact = Check::new("what is recorded of whole answers, thrown away ones included, is what is billed");
    let mut claimed = BTreeSet::new();
    for (mark, case) in cases {
        // A vendor who answers with nothing is asked again within one attempt, and the first answer thrown away.
        let again = case.records.iter().filter(|record| record.discarded() > 0).count();
        let attempts = case.records.iter().map(|record| record.detail.attempts).sum::<usize>() + again;
        if !case.lines.is_empty() {
            lost.see(attempts >= case.lines.len(), || {
                format!(
                    "{mark}: {} lines, {attempts} attempts\n        {:?}\n        {:?}",
                    case.lines.len(),
                    case.lines,
                    case.records
                )
            });
        }
        let figures = case.records.iter().all(|record| record.outcome == "completed" && !record.is_estimated());
        if figures && !case.lines.is_empty() && case.lines.iter().all(|line| line.served == "whole") {
            let billed: u64 = case.lines.iter().map(|line| line.prompt + line.completion).sum();
            let recorded: u64 =
                case.records.iter().map(|record| record.prompt + record.completion + record.discarded()).sum();
            exact.see(billed == recorded, || {
                format!("{mark}: {recorded} of {billed} tokens\n        {:?}", case.records)
            });
        }
        let sent = case.records.iter().filter(|record| record.detail.attempts > 0).count();
        if sent > 0 {
            doubled.see(sent <= case.calls.len(), || format!("{mark}: {:?}", case.records));
        }
        for record in &case.records {
            let Some(generation) = &record.detail.generation else { continue };
            doubled.see(claimed.insert(generation), || show(record));
            invented.see(case.line(record).is_some(), || show(record));
        }
    }
    [lost, exact, doubled, invented]
}

/// Of what was cut the vendor's figures did not come: what is charged is an estimate, and never far above them.
fn cut(cases: &BTreeMap<&str, Case<'_>>) -> [Check; 2] {
    let mut recovered =
        Check::new("what a kill cut is marked recovered, and charged as far as it is known to have come");
    let mut estimated = Check::new("what else was cut is charged within the bound");
    for case in cases.values() {
        for record in case.records.iter().filter(|record| record.outcome != "completed") {
            let line = case.line(record);
            // What nobody is charged for is an estimate of what the house may have to pay, and has no other bound.
            let free = record.charge.unwrap_or(0) == 0;
            let near = line.is_none_or(|line| {
                is_near(record.completion, line.completion) && (free || is_near(record.prompt, line.prompt))
            });
            if record.is_recovered() {
                // Nothing is charged for an answer that had not begun.
                let begun = record.completion > 0 || free;
                let holds = near && begun && record.is_estimated() && record.outcome == "gateway_failed";
                recovered.see(holds, || format!("{}\n        {line:?}", show(record)));
            } else if record.detail.attempts > 0 {
                estimated.see(near, || format!("{}\n        {line:?}", show(record)));
            }
        }
    }
    [recovered, estimated]
}

fn show(record: &Record) -> String {
    format!("{record:?}")
}

#[cfg(test)]
mod tests;
