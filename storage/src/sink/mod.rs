//! Where usage records are forwarded to.

mod fan_out;
mod json_lines;
mod last_use;

pub use fan_out::FanOut;
pub use json_lines::{Durability, JsonLines};
pub use last_use::LastUse;
