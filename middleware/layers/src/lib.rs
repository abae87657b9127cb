//! .
pub mod access;
pub mod authenticate;
pub mod fallback;
pub mod intake;
pub mod meter;
pub mod quota;
pub mod rate_limit;
pub mod rescue;
pub mod upstream;

pub use access::{Access, AccessLayer, Routed};
pub use authenticate::{Authenticate, AuthenticateLayer, Network, Peer};
pub use fallback::{Fallback, FallbackLayer};
pub use intake::{Intake, IntakeLayer};
pub use meter::{Meter, MeterBuilder, MeterHandle, MeterLayer, Undelivered};
pub use quota::{Quota, QuotaLayer};
pub use rate_limit::{RateLimit, RateLimitLayer};
pub use rescue::{Failure, RequestId, Rescue, RescueLayer, envelope, failure};
pub use upstream::{Providers, Upstream};
