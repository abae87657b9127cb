//! The commercial half (feature `commerce`): what becomes of usage once it is written down. May change until 1.0.

mod books;
mod ledger;

pub use books::{Books, RunId, Settled, SettledCall, Settlement};
pub use ledger::{LedgerAccount, Line, Posting, PostingId};
