//! The reference server, as a process, over the scripted vendors.

mod bad_input;
mod chat;
mod connection;
mod hub;
mod metering;
mod settings;
mod shutdown;
mod stream;
