//! What a settlement moves, wherever the books are kept: pure arithmetic over calls that have ended.

mod alert;
mod moves;
mod posting;
mod rollup;

pub(crate) use alert::passed;
pub(crate) use moves::{Leased, Moves, subjects};
pub(crate) use posting::posting;
pub(crate) use rollup::{Bucket, Sums, by_model, rollups, whole};
