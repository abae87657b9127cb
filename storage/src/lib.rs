#![doc = include_str!("../README.md")]

pub mod cached_keys;
mod key;
pub mod memory;
mod paging;
pub mod sink;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod sql;
pub mod stores;

pub use cached_keys::CachedKeys;
pub use memory::{MemoryKeys, MemoryQuota, MemoryRates, MemorySink};
pub use sink::{FanOut, JsonLines};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use sql::{Database, Migrate, PoolSettings, SqlKeys, SqlUsage};
pub use stores::{OpenSettings, Stores, open};
