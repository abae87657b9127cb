//! Prices: whole pico-units per token, lists of them, and when which list holds.

mod book;
mod list;

pub use book::{PriceBook, Priced};
pub use list::{Price, PriceList, Rates, Tier};
