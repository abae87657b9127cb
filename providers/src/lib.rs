#![doc = include_str!("../README.md")]

mod http;
mod keys;
mod sse;

pub use crate::http::UpstreamSettings;
