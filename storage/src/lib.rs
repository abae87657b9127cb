#![doc = include_str!("../README.md")]

pub mod cached_keys;
mod key;
pub mod memory;
mod paging;
#[cfg(feature = "sqlite")]
pub mod sql;
pub mod stores;

pub use cached_keys::CachedKeys;
pub use memory::{MemoryKeys, MemoryQuota, MemoryRates, MemorySink};
#[cfg(feature = "sqlite")]
pub use sql::{Database, SqlKeys};
pub use stores::{Stores, open};
