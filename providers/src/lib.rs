#![doc = include_str!("../README.md")]

pub mod catalogue;
pub mod gemini;
mod http;
mod keys;
mod media;
pub mod openai;
pub mod openrouter;
mod sse;

pub use crate::http::UpstreamSettings;
pub use crate::media::MediaSettings;
