#![doc = include_str!("../README.md")]

pub mod cached_keys;
pub mod memory;
mod paging;

pub use cached_keys::CachedKeys;
pub use memory::{MemoryKeys, MemoryQuota, MemoryRates, MemorySink};
