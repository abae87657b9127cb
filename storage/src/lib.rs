#![doc = include_str!("../README.md")]

#[cfg(feature = "journal")]
mod books;
pub mod cached_keys;
#[cfg(feature = "journal")]
pub mod journal;
mod key;
#[cfg(feature = "journal")]
pub mod lease;
pub mod memory;
mod paging;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "secrets")]
pub mod secret;
pub mod sink;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod sql;
pub mod stores;

#[cfg(feature = "redis")]
pub use self::redis::{KeyPush, PushingKeys, Redis, RedisKeys, RedisRates};
pub use cached_keys::CachedKeys;
#[cfg(feature = "secrets")]
pub use memory::MemorySecrets;
pub use memory::{MemoryBooks, MemoryFeed, MemoryIdempotency, MemoryKeys, MemoryQuota, MemoryRates, MemorySink};
#[cfg(feature = "secrets")]
pub use secret::KeyRing;
#[cfg(feature = "http-sink")]
pub use sink::HttpSink;
#[cfg(feature = "nats-sink")]
pub use sink::NatsSink;
#[cfg(feature = "stripe-sink")]
pub use sink::StripeSink;
pub use sink::{Deliveries, FanOut, JsonLines, LastUse};
#[cfg(all(feature = "secrets", any(feature = "postgres", feature = "sqlite")))]
pub use sql::SqlSecrets;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use sql::{Database, Migrate, PoolSettings, SqlBooks, SqlFeed, SqlIdempotency, SqlKeys, SqlTerms, SqlUsage};
pub use stores::{OpenSettings, Stores, open};
