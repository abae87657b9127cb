//! The reference server, as a process, over the scripted vendors.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod chat;
mod connection;
mod departure;
mod disk_full;
mod hub;
mod idempotency;
mod markup;
mod metering;
mod migrate;
mod overspend;
mod prices;
mod quote;
mod replicas;
mod secrets;
mod settings;
mod shutdown;
mod sinks;
mod sqlite;
mod stream;
mod usage;
mod wire;
