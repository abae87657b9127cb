//! .
pub mod access;
pub mod fallback;
pub mod meter;
pub mod quota;
pub mod rescue;
pub mod upstream;

pub use access::{Access, AccessLayer, Routed};
pub use fallback::{Fallback, FallbackLayer};
pub use meter::{Meter, MeterBuilder, MeterHandle, MeterLayer, Undelivered};
pub use quota::{Quota, QuotaLayer};
pub use rescue::{Failure, RequestId, Rescue, RescueLayer, envelope, failure};
pub use upstream::{Providers, Upstream};
