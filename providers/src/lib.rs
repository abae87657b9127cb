#![doc = include_str!("../README.md")]

pub mod catalogue;
mod http;
mod keys;
pub mod openai;
pub mod openrouter;
mod sse;

pub use crate::http::UpstreamSettings;
