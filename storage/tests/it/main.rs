//! What this crate promises, on every store that it has.
#![expect(clippy::unwrap_used, reason = "everything here is a test or stands under one")]

mod cached;
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

/// `policy`, with the limit of money that there is, if there is one.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn limited(
    policy: aihub_storage::SqlQuota,
    limits: aihub_core::conformance::quota_policy::Limits,
) -> aihub_storage::SqlQuota {
    match limits.money {
        Some(most) => policy.with_monthly_money(most),
        None => policy,
    }
}
