//! What this crate promises, on every store that it has.
#![expect(clippy::unwrap_used, reason = "everything here is a test or stands under one")]

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod analytics;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod books;
mod cached;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod feed;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod leased;
mod memory;
#[cfg(feature = "sqlite")]
mod open;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "postgres", feature = "redis"))]
#[cfg(feature = "secrets")]
mod secrets;
#[cfg(any(feature = "nats-sink", feature = "postgres"))]
mod servers;
mod sink;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod usage;
