//! The journal: what is written down of a call before it is sent, while it streams, and before its answer is whole, so
//! that a process that is killed leaves behind what it owes.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::billing::UsageRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::id::CallId;
use crate::money::Money;
use crate::quota::Window;
use crate::usage::Usage;

/// What has to be waited for until something is as durable as the journal makes it; `None` when it is already.
pub type Written = Option<BoxFuture<'static, ()>>;

/// How far an answer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The call.
    pub call: CallId,
    /// The model that answers, in the vendor's words.
    pub served_model: Option<Arc<str>>,
    /// The vendor's own id of the answer.
    pub generation: Option<Arc<str>>,
    /// What was used up to now.
    pub usage: Usage,
    /// What that costs.
    pub cost: Option<Money>,
    /// What its caller would be charged for it.
    pub charge: Option<Money>,
}

impl Progress {
    /// A mark of this usage, which is not priced.
    pub const fn new(call: CallId, usage: Usage) -> Self {
        Self { call, served_model: None, generation: None, usage, cost: None, charge: None }
    }
}

/// Where in a journal something is: before it everything was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The number of the file.
    pub segment: u64,
    /// Bytes from its beginning.
    pub offset: u64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}+{}", self.segment, self.offset)
    }
}

/// Remembers calls over the end of the process.
///
/// A call is admitted, dispatched once for each attempt that is sent, progresses or does not, and is settled exactly once.
/// One that was dispatched and not settled when the process ended is settled by the next one that opens the journal, as
/// far as it had come. Everything is written in the order in which it is said; nothing here waits for a database.
pub trait Journal: Debug + Send + Sync + 'static {
    /// Takes room for the end of one more call, so that [`Journal::settled`] always finds some.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) with the code `metering_unavailable` when there is none: the disk is full
    /// or fails, or the journal is as large as it may be because nobody takes it over. Calls that run go on.
    fn admit(&self) -> Result<()>;

    /// An attempt is about to be sent. `draft` is the record that the call will have if nothing more is ever heard of it.
    ///
    /// # Errors
    ///
    /// As for [`Journal::admit`]; nothing may be sent then.
    fn dispatched(&self, draft: &UsageRecord) -> Result<Written>;

    /// An answer has come this far. Lost without harm but to the figures of a call that is cut: it fails silently.
    fn progressed(&self, mark: &Progress);

    /// An admitted call has ended, and gives back its room. `windows` are those that it was held in.
    ///
    /// Fails in no way that the caller could do anything about: what cannot be written is kept in memory and written as
    /// soon as it can be, and no further call is admitted until then.
    fn settled(&self, record: &UsageRecord, windows: &[Window]) -> Written;
}

const _: fn(&dyn Journal) = |_| {};

/// What callers read while nothing can be written down.
#[cold]
pub fn unavailable(retry_after: Duration) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "Usage cannot be recorded at present, so that no call is taken: try again shortly",
    )
    .with_code("metering_unavailable")
    .with_retry_after(retry_after)
    .with_alert()
}
