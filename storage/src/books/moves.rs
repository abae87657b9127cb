//! What calls move in the windows that they count in, and in what was borrowed of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aihub_core::commerce::{RunId, SettledCall};
use aihub_core::quota::{Subject, Window};
use aihub_core::{Timestamp, UsageRecord};

/// Something borrowed of a window by one process.
pub(crate) type Leased = (RunId, Window);

/// How much each window, and each lease of one, is moved.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Moves {
    /// What was used, in every window that the call falls into: also one that somebody opened while the call ran.
    pub(crate) settled: BTreeMap<Window, i64>,
    /// What was used of what was borrowed, in the windows that the call was held in.
    pub(crate) returned: BTreeMap<Leased, i64>,
}

impl Moves {
    /// What `calls` move, of these windows with their ends and these leases, which are all that there are.
    pub(crate) fn of(
        calls: &[&SettledCall],
        windows: &[(Window, Option<Timestamp>)],
        leases: &BTreeSet<Leased>,
    ) -> Self {
        let mut by_subject = HashMap::<&Subject, Vec<&(Window, Option<Timestamp>)>>::new();
        for window in windows {
            by_subject.entry(&window.0.subject).or_default().push(window);
        }
        let mut moves = Self::default();
        for call in calls {
            let (record, amounts) = (&call.record, call.record.amounts());
            for subject in subjects(call) {
                for (window, ends_at) in by_subject.get(&subject).into_iter().flatten() {
                    let within = window.starts_at <= record.at && ends_at.is_none_or(|end| record.at < end);
                    if let (true, Ok(amount)) = (within && counts(window, record), amounts.of(window.unit)) {
                        *moves.settled.entry(window.clone()).or_default() += amount;
                    }
                }
            }
            for window in &call.windows {
                let lease = (call.run, window.clone());
                if let (true, Ok(amount)) = (leases.contains(&lease), amounts.of(window.unit)) {
                    *moves.returned.entry(lease).or_default() += amount;
                }
            }
        }
        moves
    }
}

/// What is paid in counts only what is paid from it.
fn counts(window: &Window, record: &UsageRecord) -> bool {
    window.span != aihub_core::quota::Span::Lifetime
        || !matches!(window.unit, aihub_core::quota::Unit::Money(_))
        || !record.funding.is_postpaid()
        || !matches!(window.subject, Subject::Account(_))
}

/// Everybody whose use this call is.
pub(crate) fn subjects(call: &SettledCall) -> BTreeSet<Subject> {
    let record = &call.record;
    let mut subjects = BTreeSet::from([
        Subject::Key(record.key),
        Subject::Account(record.account),
        Subject::Plan(record.plan.clone()),
    ]);
    subjects.extend(record.organisation.map(Subject::Organisation));
    // Only these name what they count: a pattern of models.
    let named = call.windows.iter().map(|window| &window.subject);
    subjects.extend(named.filter(|subject| matches!(subject, Subject::Model(..))).cloned());
    subjects
}
