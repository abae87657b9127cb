//! A feed in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aihub_core::feed::{Batch, DeadLetter, Lag, Position};
use aihub_core::{BillingSink, CallId, Error, Feed, Result, UsageRecord};
use async_trait::async_trait;
use uuid::Uuid;

/// A [`Feed`] that is a [`BillingSink`] as well: what Meter hands over is what its sinks read.
///
/// It holds a record until the last of its sinks has passed it, and forgets everything with the process: for tests, and
/// for a service that can bear the loss.
#[derive(Debug)]
pub struct MemoryFeed {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<UsageRecord>,
    /// How many are gone from the front: the number of the last of them.
    passed: usize,
    sinks: BTreeMap<String, Sink>,
}

#[derive(Debug, Default)]
struct Sink {
    /// The number of the last record that it has passed.
    at: usize,
    letters: BTreeMap<CallId, String>,
}

impl MemoryFeed {
    /// A feed for the sinks of these names; it knows no others.
    pub fn new(sinks: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let sinks = sinks.into_iter().map(|name| (name.into(), Sink::default())).collect();
        Self { kept: Mutex::new(Kept { sinks, ..Kept::default() }) }
    }

    /// What `sink` will never take, by call.
    pub fn dead_letters(&self, sink: &str) -> Vec<DeadLetter> {
        let kept = self.lock();
        let letters = kept.sinks.get(sink).into_iter().flat_map(|sink| &sink.letters);
        letters.map(|(call, reason)| DeadLetter { call: *call, reason: reason.clone() }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn sink(&mut self, name: &str) -> Result<&mut Sink> {
        self.sinks
            .get_mut(name)
            .ok_or_else(|| Error::invalid("sink", format!("this feed knows no sink `{name}`: name it when it is made")))
    }

    /// What the sink of this name has not passed.
    fn rest(&mut self, name: &str) -> Result<impl Iterator<Item = &UsageRecord>> {
        let at = self.sink(name)?.at;
        Ok(self.records.iter().skip(at - self.passed))
    }
}

#[async_trait]
impl Feed for MemoryFeed {
    async fn next(&self, sink: &str, limit: usize) -> Result<Option<Batch>> {
        let mut kept = self.lock();
        let at = kept.sink(sink)?.at;
        let records: Vec<_> = kept.rest(sink)?.take(limit).cloned().collect();
        let seq = i64::try_from(at + records.len()).unwrap_or(i64::MAX);
        // There is but one node, and it needs no name.
        let position = Position { node: Uuid::nil(), seq };
        Ok((!records.is_empty()).then_some(Batch { records, position }))
    }

    async fn advance(&self, sink: &str, position: Position) -> Result<()> {
        let mut kept = self.lock();
        let end = kept.passed + kept.records.len();
        let found = kept.sink(sink)?;
        found.at = usize::try_from(position.seq).unwrap_or(0).clamp(found.at, end);
        let all = kept.sinks.values().map(|sink| sink.at).min().unwrap_or(end);
        let gone = all - kept.passed;
        kept.records.drain(..gone);
        kept.passed = all;
        Ok(())
    }

    async fn dead_letter(&self, sink: &str, letters: &[DeadLetter]) -> Result<()> {
        let mut kept = self.lock();
        let aside = &mut kept.sink(sink)?.letters;
        aside.extend(letters.iter().map(|letter| (letter.call, letter.reason.clone())));
        Ok(())
    }

    async fn lag(&self, sink: &str) -> Result<Lag> {
        let mut kept = self.lock();
        let mut rest = kept.rest(sink)?;
        let since = rest.next().map(|oldest| oldest.at);
        Ok(Lag { records: rest.count() as u64 + u64::from(since.is_some()), since })
    }
}

#[async_trait]
impl BillingSink for MemoryFeed {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        let mut kept = self.lock();
        if !kept.sinks.is_empty() {
            kept.records.extend(records.iter().cloned());
        }
        Ok(())
    }
}
