#![doc = include_str!("../README.md")]

pub mod cached_keys;
mod key;
pub mod memory;
mod paging;
#[cfg(feature = "secrets")]
pub mod secret;
pub mod sink;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod sql;
pub mod stores;

pub use cached_keys::CachedKeys;
#[cfg(feature = "secrets")]
pub use memory::MemorySecrets;
pub use memory::{MemoryKeys, MemoryQuota, MemoryRates, MemorySink};
#[cfg(feature = "secrets")]
pub use secret::KeyRing;
pub use sink::{FanOut, JsonLines};
#[cfg(all(feature = "secrets", any(feature = "postgres", feature = "sqlite")))]
pub use sql::SqlSecrets;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use sql::{Database, Migrate, PoolSettings, SqlKeys};
pub use stores::{OpenSettings, Stores, open};
