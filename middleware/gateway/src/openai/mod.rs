//! `OpenAI`'s dialect: what the official SDKs speak.

pub(crate) mod chat;
pub(crate) mod embeddings;
pub(crate) mod schema;
pub(crate) mod stream;
