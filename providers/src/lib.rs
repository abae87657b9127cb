#![doc = include_str!("../README.md")]

mod http;
mod keys;
pub mod openai;
pub mod openrouter;
mod sse;

pub use crate::http::UpstreamSettings;
