//! Rates: how often something may be done.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;

/// At most `burst` at once, and `per_minute` in the long run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Events per minute; not 0.
    pub per_minute: u32,
    /// Events at once; not 0.
    pub burst: u32,
}

impl Rate {
    /// `per_minute` events a minute, all of them at once if need be. `None` for 0.
    pub const fn per_minute(per_minute: u32) -> Option<Self> {
        if per_minute == 0 { None } else { Some(Self { per_minute, burst: per_minute }) }
    }
}

/// What a rate allows now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateDecision {
    /// `true`: counted, go on. `false`: not counted.
    pub allowed: bool,
    /// How many more would be allowed at once.
    pub remaining: u32,
    /// When `allowed` is false: how long until one is allowed; else how long until `burst` are.
    pub reset_after: Duration,
}

/// Counts events against rates. A refused event is not counted, so that a storm of retries does not
/// lengthen its own wait. Proved by `conformance::rate_store` (feature `conformance`).
#[async_trait]
pub trait RateStore: Debug + Send + Sync + 'static {
    /// Counts one event of `subject` (such as a key's id) against `rate`.
    ///
    /// Errors: [`Unavailable`](crate::ErrorKind::Unavailable) when it cannot be evaluated; the
    /// caller refuses then.
    async fn take(&self, subject: &str, rate: Rate) -> Result<RateDecision>;
}

const _: fn(&dyn RateStore) = |_| {};
