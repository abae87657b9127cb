//! Everything in this process's memory: for tests, for embedding, and for what a restart may forget.
//!
//! Nothing here does I/O or waits; each type shares no lock between accounts, keys or subjects that
//! have nothing to do with each other.

mod billing;
#[cfg(feature = "journal")]
mod books;
mod feed;
mod idempotency;
mod key;
#[cfg(feature = "journal")]
mod quota;
mod rate;
#[cfg(feature = "secrets")]
mod secret;

pub use billing::MemorySink;
#[cfg(feature = "journal")]
pub use books::MemoryBooks;
pub use feed::MemoryFeed;
pub use idempotency::MemoryIdempotency;
pub use key::MemoryKeys;
#[cfg(feature = "journal")]
pub use quota::MemoryQuota;
pub use rate::MemoryRates;
#[cfg(feature = "secrets")]
pub use secret::{MemoryRows, MemorySecrets};
