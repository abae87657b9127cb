//! The reference server, as a process, over the scripted vendors.

mod bad_input;
mod chat;
mod hub;
mod metering;
mod settings;
mod shutdown;
mod stream;
