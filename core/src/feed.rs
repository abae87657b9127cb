//! The feed of usage records, which sinks downstream read at their own pace, and the port that keeps it.

use std::fmt::Debug;

use async_trait::async_trait;
use uuid::Uuid;

use crate::billing::UsageRecord;
use crate::error::Result;
use crate::id::CallId;
use crate::time::Timestamp;

/// A place in a feed: everything of one node up to a number.
///
/// Nodes number what they settle by themselves, each without a gap and after the commit, so that nobody who reads on
/// from a number misses what a slow transaction commits later. That is why a reader has a place for every node, and
/// the feed no order over all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Who settled.
    pub node: Uuid,
    /// The last number that is passed; the first is 1.
    pub seq: i64,
}

/// A piece of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its records, in their order; none where nothing in this piece is usage.
    pub records: Vec<UsageRecord>,
    /// Where the piece ends.
    pub position: Position,
}

/// A record that a sink will never take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The record.
    pub call: CallId,
    /// Why, for the operator.
    pub reason: String,
}

/// How far a sink is behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// The records that wait for it, over all nodes.
    pub records: u64,
    /// When the oldest of them was admitted; absent when none waits.
    pub since: Option<Timestamp>,
}

/// Keeps usage records in the order in which they were settled, and how far each sink has come.
///
/// A sink is a name, such as `warehouse`. One that is new begins at the oldest record that is kept. Sinks know nothing
/// of each other: none waits for another.
///
/// Proved by `conformance::feed` (feature `conformance`).
#[async_trait]
pub trait Feed: Debug + Send + Sync + 'static {
    /// The oldest records of some node that `sink` has not passed, at most `limit` of them; none when it has passed
    /// everything.
    ///
    /// Promise: until it is passed, a piece comes again. Errors: nothing was read. Cancellation: as an error.
    async fn next(&self, sink: &str, limit: usize) -> Result<Option<Batch>>;

    /// `sink` has everything up to `position`, and gets none of it again.
    ///
    /// Idempotent; a place before the one that it has is passed already. Errors and cancellation: it is passed or not;
    /// say it again.
    async fn advance(&self, sink: &str, position: Position) -> Result<()>;

    /// Puts records aside that `sink` will never take, for the operator to look at. Said before the place is passed
    /// that they are at.
    ///
    /// Idempotent by sink and call: the later reason counts. Errors and cancellation: say it again.
    async fn dead_letter(&self, sink: &str, letters: &[DeadLetter]) -> Result<()>;

    /// How far `sink` is behind.
    ///
    /// Errors: it cannot be told. Cancellation: nothing happened.
    async fn lag(&self, sink: &str) -> Result<Lag>;
}

const _: fn(&dyn Feed) = |_| {};
