//! Prices as the catalogue's data writes them, and the lists that are made of them.

use aihub_core::price::{Price, Rates, Tier};
use aihub_core::{Currency, Error, PriceList, Result, Timestamp};
use serde::{Deserialize, Serialize};

/// US dollars per million tokens, as decimal strings; an absent one follows its direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Prices {
    /// Prompt tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Prompt tokens read from the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<String>,
    /// Prompt tokens written to the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<String>,
    /// Prompt tokens of audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_input: Option<String>,
    /// Audio tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_output: Option<String>,
    /// Image tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_output: Option<String>,
}

/// Prices that hold for the whole call above a threshold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierPrices {
    /// Strictly more prompt tokens than this.
    pub prompt_tokens_above: u64,
    /// What differs from the base.
    #[serde(flatten)]
    pub prices: Prices,
}

/// Everything that one list of prices says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Written {
    /// The base prices.
    #[serde(flatten)]
    pub prices: Prices,
    /// Prices for long prompts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<TierPrices>,
    /// What a batch costs; the same where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<Prices>,
}

/// A vendor's own name and prices of a model.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct NativePrices {
    /// The vendor's name of the model.
    pub model: String,
    /// What always holds, or until the first date.
    #[serde(flatten)]
    pub written: Written,
    /// What the prices are from some instant on, instead.
    #[serde(default)]
    pub dated: Vec<DatedPrices>,
}

impl NativePrices {
    /// What it costs before the first date. Where there are dates and no price before them, it is not sold until then.
    pub(super) fn always(&self) -> Option<Written> {
        let begins = self.dated.is_empty() || self.written != Written::default();
        begins.then(|| self.written.clone())
    }
}

/// Prices that hold from an instant on, until the next ones do. What they omit follows its direction, and not what was
/// before: each stands for itself, so that none is changed by taking out another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DatedPrices {
    /// The first instant of the prices.
    pub valid_from: Timestamp,
    /// The prices.
    #[serde(flatten)]
    pub written: Written,
}

impl Written {
    /// The list that it says; with `surcharge`, writing to the cache costs its price on top of the input's.
    pub(super) fn list(&self, surcharge: bool) -> Result<PriceList> {
        let base = rates(&self.prices, None, surcharge)?;
        let tiers = self.tiers.iter().map(|tier| {
            let rates = rates(&tier.prices, Some(&base), surcharge)?;
            Ok(Tier { prompt_tokens_above: tier.prompt_tokens_above, rates })
        });
        let tiers: Vec<_> = tiers.collect::<Result<_>>()?;
        let list = PriceList::new(Currency::USD, base, tiers.clone());
        Ok(match &self.batch {
            // No vendor says what a long prompt costs in a batch: no less than outside of one.
            Some(batch) => list.with_batch(rates(batch, None, surcharge)?, tiers),
            None => list,
        })
    }
}

fn rates(prices: &Prices, base: Option<&Rates>, surcharge: bool) -> Result<Rates> {
    let price = |text: &Option<String>, inherited: Option<Price>| match text {
        Some(text) => Price::per_million(text).map(Some),
        None => Ok(inherited),
    };
    let input = price(&prices.input, base.map(|base| base.input))?;
    let input = input.ok_or_else(|| Error::invalid("input", "a model without an input price is not sold"))?;
    // Embeddings have nothing on the way out.
    let output = price(&prices.output, base.map(|base| base.output))?.unwrap_or(Price::FREE);
    let mut rates = Rates::flat(input, output);
    rates.cache_read = price(&prices.cache_read, base.map(|base| base.cache_read))?.unwrap_or(input);
    rates.cache_write = match price(&prices.cache_write, None)? {
        Some(write) if surcharge => input.plus(write),
        Some(write) => write,
        None => base.map_or(input, |base| base.cache_write.max(input)),
    };
    rates.audio_input = price(&prices.audio_input, base.map(|base| base.audio_input))?.unwrap_or(input).max(input);
    rates.audio_output = price(&prices.audio_output, base.map(|base| base.audio_output))?.unwrap_or(output);
    rates.image_output = price(&prices.image_output, base.map(|base| base.image_output))?.unwrap_or(output);
    Ok(rates)
}
