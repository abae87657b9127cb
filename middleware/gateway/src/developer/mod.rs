//! The developer form: the least that has to be said for an answer.

pub(crate) mod chat;
pub(crate) mod quote;
