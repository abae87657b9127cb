//! The commercial half (feature `commerce`): what becomes of usage once it is written down. May change until 1.0.

mod alert;
pub mod analytics;
mod books;
mod ledger;

pub use alert::{Alert, AlertSink, Alerts, Standing, Standings};
pub use analytics::UsageQuery;
pub use books::{Books, RunId, Settled, SettledCall, Settlement};
pub use ledger::{LedgerAccount, Line, Posting, PostingId};
