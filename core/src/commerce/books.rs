//! The books: usage, quotas and ledger, moved together or not at all.

use std::fmt::Debug;

use async_trait::async_trait;

use super::ledger::Posting;
use crate::billing::UsageRecord;
use crate::error::Result;
use crate::journal::Position;
use crate::quota::Window;
use crate::time::Timestamp;

/// One process that made calls: its journal's run, and the owner of what it has borrowed of quotas.
pub type RunId = uuid::Uuid;

/// A call that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct SettledCall {
    /// What there is to say of it.
    pub record: UsageRecord,
    /// The windows that it was held in.
    pub windows: Vec<Window>,
    /// The process that held it.
    pub run: RunId,
}

/// A stretch of a journal, to be taken over in one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// Whose journal.
    pub node: uuid::Uuid,
    /// Where the stretch begins: where the books have come to with this journal.
    pub from: Position,
    /// Where it ends.
    pub to: Position,
    /// The calls in it that have ended.
    pub calls: Vec<SettledCall>,
    /// When it is booked.
    pub at: Timestamp,
}

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is in the books now.
    Now {
        /// How many of its calls were not in them before.
        calls: usize,
    },
    /// The books were elsewhere: they have come to this position with that journal, and nothing was done.
    Elsewhere(Position),
}

/// Keeps usage records, quota counters, ledger and rollups in step.
#[async_trait]
pub trait Books: Debug + Send + Sync + 'static {
    /// Where the books have come to with the journal of `node`; the beginning, for one that they do not know.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when they cannot be read.
    async fn position(&self, node: uuid::Uuid) -> Result<Position>;

    /// Takes a stretch over.
    ///
    /// Promise: records, what they move in quotas and ledger, rollups, alerts and the position are one change. A call that
    /// is there already moves nothing again, whichever journal it comes from; and a stretch that does not begin where the
    /// books have come to changes nothing. So whatever is delivered in any order and any number of times has one result.
    ///
    /// Errors: nothing was changed. Cancellation: it was done as a whole, or not at all; ask again.
    async fn settle(&self, settlement: Settlement) -> Result<Settled>;

    /// Books a posting that is not of usage; `false` when one of the same source was booked before. A top-up raises what
    /// may be used in the same change.
    ///
    /// Errors and cancellation as for settling.
    async fn post(&self, posting: Posting) -> Result<bool>;
}

const _: fn(&dyn Books) = |_| {};
