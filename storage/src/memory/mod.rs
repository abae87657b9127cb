//! Everything in this process's memory: for tests, for embedding, and for what a restart may forget.
//!
//! Nothing here does I/O or waits; each type shares no lock between accounts, keys or subjects that
//! have nothing to do with each other.

mod billing;
mod feed;
mod key;
mod quota;
mod rate;
#[cfg(feature = "secrets")]
mod secret;

pub use billing::MemorySink;
pub use feed::MemoryFeed;
pub use key::MemoryKeys;
pub use quota::{MemoryQuota, Standing};
pub use rate::MemoryRates;
#[cfg(feature = "secrets")]
pub use secret::{MemoryRows, MemorySecrets};
