//! Where usage records are forwarded to.

mod delivery;
mod fan_out;
#[cfg(feature = "http-sink")]
mod http;
mod json_lines;
mod last_use;
#[cfg(feature = "nats-sink")]
mod nats;
#[cfg(any(feature = "http-sink", feature = "stripe-sink"))]
mod receiver;
#[cfg(feature = "stripe-sink")]
mod stripe;

#[cfg(feature = "http-sink")]
pub use self::http::{HttpSettings, HttpSink};
pub use delivery::{Deliveries, DeliverySettings, DeliveryStatus};
pub use fan_out::FanOut;
pub use json_lines::{Durability, JsonLines};
pub use last_use::LastUse;
#[cfg(feature = "nats-sink")]
pub use nats::{NatsSettings, NatsSink};
#[cfg(any(feature = "http-sink", feature = "stripe-sink"))]
pub use receiver::Reach;
#[cfg(feature = "stripe-sink")]
pub use stripe::{StripeCustomers, StripeMeasure, StripeSettings, StripeSink};
