//! The addresses over a store of the test's own, and the worker over alerts of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod alerts;
mod reports;
mod world;
