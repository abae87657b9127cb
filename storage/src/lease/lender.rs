//! Who lends.

use std::fmt::Debug;
use std::time::Duration;

use aihub_core::commerce::RunId;
use aihub_core::quota::{Most, Window};
use aihub_core::{Result, Timestamp};
use async_trait::async_trait;

/// What is wished for of one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The window; opened, if nobody has used it yet.
    pub window: Window,
    /// When it ends.
    pub ends_at: Option<Timestamp>,
    /// How much it allows.
    pub most: Most,
    /// Less is of no use. Of 0 the window is opened, and nothing is lent.
    pub least: i64,
    /// As much would be enough for now.
    pub enough: i64,
    /// What was asked of the others before, for the same call: see [`Lent::recall`].
    pub recall: Option<i64>,
}

/// What was lent of one window, and how it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lent {
    /// How much; 0 when less is left than is of use.
    pub amount: i64,
    /// How much the window allows.
    pub limit: i64,
    /// How much of it is used.
    pub settled: i64,
    /// How much of it the borrower has, what was lent now included.
    pub own: i64,
    /// How much of it others have borrowed.
    pub elsewhere: i64,
    /// Nothing was lent, and the others were asked for what they do not need: under this number, to be given back with
    /// the next wish for the same call.
    pub recall: Option<i64>,
    /// Whether some of them have not answered that yet.
    pub pending: bool,
}

/// What somebody gives back of one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// The window.
    pub window: Window,
    /// Not used.
    pub unused: i64,
    /// Used, where no books are kept that say so.
    pub used: i64,
    /// Which recall this answers, if one: nothing is left here that is not needed.
    pub answers: Option<i64>,
}

/// Lends slices of windows to processes: all that is used and lent of a window is never more than it allows.
///
/// How much is lent at once is up to it: much while much is left, and near the limit no more than is needed. Every
/// method changes all of what it was asked for, or, with an error or dropped, perhaps all of it and perhaps nothing; so
/// what a process thinks it has is never more than what is written down for it.
#[async_trait]
pub trait Lender: Debug + Send + Sync + 'static {
    /// Lends to `run`, for each wish something or nothing, in the order of the wishes.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](aihub_core::ErrorKind::Unavailable) when it cannot be decided.
    async fn borrow(&self, run: RunId, wishes: Vec<Wish>, at: Timestamp) -> Result<Vec<Lent>>;

    /// Takes back.
    ///
    /// # Errors
    ///
    /// As above.
    async fn give_back(&self, run: RunId, returns: Vec<Return>) -> Result<()>;

    /// Says that `run`, of `node`, lives; and which of the windows that it has borrowed others ask for, each under the
    /// number that is to be answered.
    ///
    /// What was borrowed by processes that have not been seen for so long that they cannot use it any more is taken back.
    ///
    /// # Errors
    ///
    /// As above.
    async fn seen(&self, run: RunId, node: uuid::Uuid, at: Timestamp) -> Result<Vec<(Window, i64)>>;

    /// Takes back all that `run` has borrowed: it has ended, and all that it has used is in the books. Idempotent.
    ///
    /// # Errors
    ///
    /// As above.
    async fn end(&self, run: RunId) -> Result<()>;
}

const _: fn(&dyn Lender) = |_| {};

/// Who has not said for so long that it lives does not answer, and is not waited for.
pub(crate) const SILENT: Duration = Duration::from_secs(12);

/// How much to lend, of what is left: half of an equal share, so that much is left for whoever comes; and near the
/// limit what is needed and no more.
pub(crate) fn share(wish: &Wish, left: i64, borrowers: usize) -> i64 {
    if wish.least == 0 || left < wish.least {
        return 0;
    }
    let shares = i64::try_from(borrowers.max(1)).unwrap_or(i64::MAX).saturating_mul(2);
    (left / shares).max(wish.enough).min(left)
}
