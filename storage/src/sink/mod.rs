//! Where usage records are forwarded to.

mod fan_out;
mod json_lines;

pub use fan_out::FanOut;
pub use json_lines::{Durability, JsonLines};
