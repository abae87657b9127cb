#![doc = include_str!("../README.md")]

pub mod access;
pub mod authenticate;
pub mod breaker;
pub mod departure;
pub mod fallback;
pub mod idempotency;
pub mod intake;
pub mod journal;
pub mod meter;
pub mod quota;
pub mod rate_limit;
pub mod rescue;
pub mod retry;
pub mod shed;
pub mod timeout;
pub mod upstream;

#[cfg(test)]
#[path = "../tests/it/world.rs"]
#[expect(
    unreachable_pub,
    clippy::unnecessary_wraps,
    dead_code,
    reason = "shared with the integration tests and the examples"
)]
mod world;

pub use access::{Access, AccessLayer, Routed};
pub use authenticate::{Authenticate, AuthenticateLayer, Peer};
pub use breaker::{Breaker, BreakerLayer};
pub use departure::{Departure, DepartureLayer};
pub use fallback::{Fallback, FallbackLayer};
pub use idempotency::{CallTrail, Idempotency, IdempotencyLayer};
pub use intake::{Intake, IntakeLayer};
pub use journal::{JournalLayer, Journaled};
pub use meter::{Meter, MeterBuilder, MeterHandle, MeterLayer, Undelivered};
pub use quota::{Estimate, Quota, QuotaLayer};
pub use rate_limit::{RateLimit, RateLimitLayer};
pub use rescue::{Failure, RequestId, Rescue, RescueLayer, envelope, failure};
pub use retry::{Allowance, RetryPolicy};
pub use shed::{Keyed, Shed, ShedLayer};
pub use timeout::{Timeout, TimeoutLayer};
pub use upstream::{Providers, Upstream};
