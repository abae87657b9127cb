//! What earlier processes left in the journal.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::path::Path;

use aihub_core::journal::Progress;
use aihub_core::{CallId, UsageRecord};
use foldhash::fast::RandomState;
use uuid::Uuid;

use super::entry::Entry;
use super::scan::{Broken, scan};
use super::segment::{self, Segment};

/// What was found when a journal was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Calls that were sent, and whose end nobody wrote down.
    pub unsettled: Vec<Unsettled>,
    /// The processes that wrote what is there, oldest first.
    pub runs: Vec<Uuid>,
    /// Bytes that were cut off because a process was killed while it wrote them.
    pub torn_bytes: u64,
}

/// A call whose process ended before it did.
#[derive(Debug, Clone)]
pub struct Unsettled {
    /// What it comes to if nothing more is ever heard of it.
    pub draft: UsageRecord,
    /// How far its answer had come.
    pub mark: Option<Progress>,
    /// The process.
    pub run: Uuid,
}

impl Unsettled {
    /// What is booked: as far as the answer had come, and of one that had not begun nothing that is charged.
    pub fn record(&self) -> UsageRecord {
        let mut record = self.draft.clone();
        if let Some(mark) = &self.mark {
            record.served_model.clone_from(&mark.served_model);
            record.generation.clone_from(&mark.generation);
            record.usage = mark.usage;
            record.usage.estimated = true;
            (record.cost, record.charge, record.waived) = (mark.cost, mark.charge, false);
        }
        record
    }
}

/// Reads everything once, cuts what was left half written, and says with which number to go on.
pub(super) fn recover(folder: &Path) -> Result<(Recovered, u64), Box<dyn std::error::Error + Send + Sync>> {
    let numbers = segment::numbers(folder)?;
    // From 1 on: books that know nothing of a journal are at segment 0.
    let next = numbers.last().map_or(1, |last| last + 1);
    let mut segments = Vec::with_capacity(numbers.len());
    for number in numbers {
        segments.extend(Segment::open(folder, number)?);
    }
    let mut recovered = Recovered::default();
    let mut open: HashMap<CallId, Unsettled, RandomState> = HashMap::default();
    for (at, segment) in segments.iter().enumerate() {
        let run = segment.head.run;
        if recovered.runs.last() != Some(&run) {
            recovered.runs.push(run);
        }
        let last = segments.get(at + 1).is_none_or(|after| after.head.run != run);
        let end = scan(segment, last, |entry, _| match entry {
            Entry::Dispatched(draft) => {
                open.insert(draft.call, Unsettled { draft: *draft, mark: None, run });
            }
            Entry::Progressed(mark) => {
                if let Some(call) = open.get_mut(&mark.call) {
                    call.mark = Some(*mark);
                }
            }
            Entry::Settled(settled) => {
                open.remove(&settled.record.call);
            }
        })?;
        recovered.torn_bytes += cut(segment, end)?;
    }
    recovered.unsettled = open.into_values().collect();
    recovered.unsettled.sort_unstable_by_key(|call| call.draft.call);
    Ok((recovered, next))
}

/// Cuts what stands behind `end`; how many bytes that were.
fn cut(segment: &Segment, end: u64) -> Result<u64, Broken> {
    let cut = || {
        let torn = segment.file.metadata()?.len().saturating_sub(end);
        if torn > 0 {
            let file = OpenOptions::new().write(true).open(&segment.path)?;
            file.set_len(end)?;
            file.sync_all()?;
        }
        Ok(torn)
    };
    cut().map_err(|error| Broken::Unreadable { path: segment.path.clone(), error })
}
