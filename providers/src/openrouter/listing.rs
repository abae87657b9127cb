//! `OpenRouter`'s list of models, with prices that may be sold by.

use std::sync::Arc;

use aihub_core::price::{Price, Rates, Tier};
use aihub_core::provider::Listing;
use aihub_core::{Currency, PriceList, Result};
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::openai::unreadable;

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    #[serde(default)]
    context_length: Option<u64>,
    #[serde(default)]
    top_provider: Option<TopProvider>,
    #[serde(default)]
    pricing: Option<Pricing>,
}

#[derive(Deserialize)]
struct TopProvider {
    #[serde(default)]
    max_completion_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Pricing {
    #[serde(flatten)]
    base: Prices,
    #[serde(default)]
    overrides: Vec<Override>,
}

/// Dollars per token, as decimal strings.
#[derive(Clone, Default, Deserialize)]
struct Prices {
    prompt: Option<String>,
    completion: Option<String>,
    input_cache_read: Option<String>,
    input_cache_write: Option<String>,
    audio: Option<String>,
    audio_output: Option<String>,
    image_output: Option<String>,
}

#[derive(Deserialize)]
struct Override {
    #[serde(default)]
    min_prompt_tokens: Option<u64>,
    #[serde(flatten)]
    prices: Prices,
}

/// Reads the list. A model whose price is missing or negative (routers say `-1`: "depends") keeps
/// its place without a price list, and so is not sold.
pub(crate) fn read(body: &[u8]) -> Result<Vec<Listing>> {
    let models: Models = serde_json::from_slice(body).map_err(unreadable)?;
    let listings = models.data.into_iter().map(|model| {
        let mut listing = Listing::new(model.id);
        listing.context_tokens = model.context_length;
        listing.max_output_tokens = model.top_provider.and_then(|top| top.max_completion_tokens);
        listing.prices = model.pricing.and_then(|pricing| price_list(&pricing)).map(Arc::new);
        listing
    });
    Ok(listings.collect())
}

fn price_list(pricing: &Pricing) -> Option<PriceList> {
    let base = rates(&pricing.base, None)?;
    // A price that depends on the hour cannot be held for: the base price is the listed one then,
    // and what the vendor reports settles the rest.
    let mut tiers = Vec::new();
    for tier in &pricing.overrides {
        if let Some(prompt_tokens_above) = tier.min_prompt_tokens {
            tiers.push(Tier { prompt_tokens_above, rates: rates(&tier.prices, Some(&base))? });
        }
    }
    Some(PriceList::new(Currency::USD, base, tiers))
}

/// `None` when a price is missing without a base to inherit from, or is no price.
fn rates(prices: &Prices, base: Option<&Rates>) -> Option<Rates> {
    let price = |text: &Option<String>, inherited: Option<Price>| match text {
        None => inherited,
        Some(text) => {
            let per_million = text.parse::<Decimal>().ok()?.checked_mul(Decimal::from(1_000_000))?;
            Price::per_million(&per_million.to_string()).ok()
        }
    };
    let mut rates = Rates::flat(
        price(&prices.prompt, base.map(|base| base.input))?,
        price(&prices.completion, base.map(|base| base.output))?,
    );
    rates.cache_read = price(&prices.input_cache_read, Some(base.map_or(rates.input, |base| base.cache_read)))?;
    rates.cache_write = price(&prices.input_cache_write, Some(base.map_or(rates.input, |base| base.cache_write)))?;
    rates.audio_input = price(&prices.audio, Some(base.map_or(rates.input, |base| base.audio_input)))?;
    rates.audio_output = price(&prices.audio_output, Some(base.map_or(rates.output, |base| base.audio_output)))?;
    rates.image_output = price(&prices.image_output, Some(base.map_or(rates.output, |base| base.image_output)))?;
    Some(rates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_prices_tiers_and_refuses_sentinels() {
        let body = br#"{"data":[
            {"id":"a","context_length":10,"pricing":{"prompt":"0.00000125","completion":"0.00001","input_cache_read":"0.000000125",
             "overrides":[{"min_prompt_tokens":200000,"prompt":"0.0000025"}]}},
            {"id":"router","pricing":{"prompt":"-1","completion":"-1"}},
            {"id":"free","pricing":{"prompt":"0","completion":"0"}},
            {"id":"unpriced"}]}"#;
        let listings = read(body).unwrap();
        let prices = listings[0].prices.as_ref().unwrap();
        assert_eq!(prices.base().input.pico(), 1_250_000);
        assert_eq!(
            (prices.tiers()[0].rates.input.pico(), prices.tiers()[0].rates.cache_read.pico()),
            (2_500_000, 125_000)
        );
        assert_eq!(prices.tiers()[0].rates.output.pico(), 10_000_000);
        let sold: Vec<_> = listings.iter().filter(|l| l.prices.is_some()).map(|l| &*l.id).collect();
        assert_eq!(sold, ["a", "free"]);
    }
}
