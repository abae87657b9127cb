//! What one upstream charges for one model, and what a usage costs by that.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::fixed::Fixed;
use crate::money::{Currency, Money};
use crate::usage::Usage;

/// A price per token (or per piece) in pico-units (10⁻¹²) of the list's currency; never negative.
///
/// Nano-units per token would not do: 0.0375 USD per million tokens is 37.5 nano-dollars a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(i64);

impl Price {
    /// Free of charge: a price that somebody set, unlike an absent one.
    pub const FREE: Self = Self(0);

    /// Reads a decimal of units per million tokens, such as `0.0375`; what is finer than a
    /// pico-unit per token is rounded half to even.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is no decimal, negative (vendors use `-1` for
    /// "depends") or does not fit.
    pub fn per_million(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("price", format!("`{text}` is not a price per million tokens"));
        let price = Decimal::from_str(text).map_err(|_| wrong())?;
        if price.is_sign_negative() && !price.is_zero() {
            return Err(Error::invalid("price", format!("`{text}` is negative: a model without a price is not sold")));
        }
        let pico = price.checked_mul(Decimal::from(1_000_000)).ok_or_else(wrong)?.round_dp(0).normalize();
        i64::try_from(pico.mantissa()).map(Self).map_err(|_| wrong())
    }

    /// A price of so many pico-units; `None` when it is negative.
    pub const fn from_pico(pico: i64) -> Option<Self> {
        if pico < 0 { None } else { Some(Self(pico)) }
    }

    /// The price in pico-units.
    pub const fn pico(self) -> i64 {
        self.0
    }

    /// The price as a decimal of units per million tokens, without trailing zeros.
    pub fn decimal_per_million(self) -> impl fmt::Display {
        Fixed::<6>(self.0)
    }

    /// The sum, for vendors whose cache price is a surcharge; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// One price for each bucket of [`Usage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rates {
    /// Prompt tokens.
    pub input: Price,
    /// Prompt tokens read from the vendor's cache.
    pub cache_read: Price,
    /// Prompt tokens written to the vendor's cache.
    pub cache_write: Price,
    /// Prompt tokens of audio.
    pub audio_input: Price,
    /// Prompt tokens of images.
    pub image_input: Price,
    /// Tokens of the answer, reasoning included.
    pub output: Price,
    /// Audio tokens of the answer.
    pub audio_output: Price,
    /// Image tokens of the answer.
    pub image_output: Price,
    /// One search.
    pub search: Price,
}

impl Rates {
    /// One price in, one price out; everything else costs what its direction costs, searches nothing.
    pub const fn flat(input: Price, output: Price) -> Self {
        Self {
            input,
            cache_read: input,
            cache_write: input,
            audio_input: input,
            image_input: input,
            output,
            audio_output: output,
            image_output: output,
            search: Price::FREE,
        }
    }

    /// Every price, in an order that never changes: a version is made of it.
    const fn all(&self) -> [Price; 9] {
        [
            self.input,
            self.cache_read,
            self.cache_write,
            self.audio_input,
            self.image_input,
            self.output,
            self.audio_output,
            self.image_output,
            self.search,
        ]
    }

    fn pico(&self, usage: &Usage) -> i128 {
        let line = |tokens: u64, price: Price| i128::from(tokens) * i128::from(price.pico());
        line(usage.input + usage.tool_input, self.input)
            + line(usage.cache_read, self.cache_read)
            + line(usage.cache_write, self.cache_write)
            + line(usage.audio_input, self.audio_input)
            + line(usage.image_input, self.image_input)
            + line(usage.output + usage.reasoning, self.output)
            + line(usage.audio_output, self.audio_output)
            + line(usage.image_output, self.image_output)
            + line(usage.searches, self.search)
    }
}

/// Rates that hold for the *whole* call when its prompt is longer than a threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// The tier holds for prompts of strictly more tokens than this.
    pub prompt_tokens_above: u64,
    /// What every token of such a call costs.
    pub rates: Rates,
}

/// What one upstream charges for one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceList {
    currency: Currency,
    base: Rates,
    tiers: Vec<Tier>,
    batch: Option<Box<PriceList>>,
}

impl PriceList {
    /// A list in dollars with one price in and one out, each per million tokens: `flat("0.15", "0.60")`.
    ///
    /// What is not said costs what its direction costs, as by [`Rates::flat`]. For other currencies,
    /// prices of a cache or tiers, see [`PriceList::new`].
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when one of them is no price, as by [`Price::per_million`].
    pub fn flat(input: &str, output: &str) -> Result<Self> {
        let rates = Rates::flat(Price::per_million(input)?, Price::per_million(output)?);
        Ok(Self::new(Currency::USD, rates, Vec::new()))
    }

    /// A list with `base` rates and `tiers` in any order.
    pub fn new(currency: Currency, base: Rates, mut tiers: Vec<Tier>) -> Self {
        tiers.sort_by_key(|tier| tier.prompt_tokens_above);
        Self { currency, base, tiers, batch: None }
    }

    /// The list with other rates for calls that are made in a batch, which vendors sell at about half the price.
    #[must_use]
    pub fn with_batch(mut self, base: Rates, tiers: Vec<Tier>) -> Self {
        self.batch = Some(Box::new(Self::new(self.currency, base, tiers)));
        self
    }

    /// The list to charge a call of a batch by; this one where a batch costs no other price. Whoever charges by it
    /// records the version of the list that it was taken from, which says both.
    pub fn for_batch(&self) -> &Self {
        self.batch.as_deref().unwrap_or(self)
    }

    /// What records call the list: `pv_` and 16 hexadecimal digits of a hash of its prices.
    ///
    /// Lists of equal prices have the same version, whoever made them and whenever.
    pub fn version(&self) -> String {
        let hash = Sha256::digest(self.canonical());
        hash.iter().take(8).fold(String::from("pv_"), |text, byte| text + &format!("{byte:02x}"))
    }

    /// The prices as one text that never changes for equal ones.
    fn canonical(&self) -> String {
        let rates = |rates: &Rates| rates.all().map(|price| price.pico().to_string()).join(",");
        let tiers = self.tiers.iter().map(|tier| format!(";>{}:{}", tier.prompt_tokens_above, rates(&tier.rates)));
        let batch = self.batch.as_ref().map(|batch| format!(";batch:{}", batch.canonical()));
        format!("{}:{}{}{}", self.currency, rates(&self.base), tiers.collect::<String>(), batch.unwrap_or_default())
    }

    /// The currency of every price in the list.
    pub const fn currency(&self) -> Currency {
        self.currency
    }

    /// The rates without any tier.
    pub const fn base(&self) -> &Rates {
        &self.base
    }

    /// The tiers, lowest threshold first.
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    /// The rates that hold for a prompt of this many tokens: those of the highest tier it passes.
    pub fn rates(&self, prompt_tokens: u64) -> &Rates {
        let passed = self.tiers.iter().rev().find(|tier| prompt_tokens > tier.prompt_tokens_above);
        passed.map_or(&self.base, |tier| &tier.rates)
    }

    /// What `usage` costs, rounded once, half to even. `None` when the amount does not fit.
    pub fn cost(&self, usage: &Usage) -> Option<Money> {
        Money::from_pico(self.rates(usage.prompt_tokens()).pico(usage), self.currency)
    }

    /// The most that a call of this size can cost: every prompt token written to the cache or read
    /// as the dearest kind of media, every answer token of the dearest kind.
    pub fn bound(&self, prompt_tokens: u64, output_tokens: u64) -> Option<Money> {
        let rates = self.rates(prompt_tokens);
        let dearest_in = rates.input.max(rates.cache_write).max(rates.audio_input).max(rates.image_input);
        let dearest_out = rates.output.max(rates.audio_output).max(rates.image_output);
        let pico = i128::from(prompt_tokens) * i128::from(dearest_in.pico())
            + i128::from(output_tokens) * i128::from(dearest_out.pico());
        Money::from_pico(pico, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str) -> Price {
        Price::per_million(text).unwrap()
    }

    #[test]
    fn reads_prices_finer_than_a_nano() {
        assert_eq!(price("0.0375").pico(), 37_500);
        assert_eq!(price("0.0833333").pico(), 83_333);
        assert!(Price::per_million("-1").is_err());
        assert!(Price::per_million("cheap").is_err());
    }

    /// The arithmetic of a recorded answer: 2649 prompt tokens (2569 read, 79 written) and 100
    /// completion tokens at 3 / 15 / 0.3 / 3.75 dollars a million came to 0.00256995.
    #[test]
    fn reproduces_a_vendor_bill_to_the_last_digit() {
        let mut rates = Rates::flat(price("3"), price("15"));
        rates.cache_read = price("0.3");
        rates.cache_write = price("3.75");
        let list = PriceList::new(Currency::USD, rates, Vec::new());
        let usage = Usage { input: 1, cache_read: 2569, cache_write: 79, output: 100, ..Usage::default() };
        assert_eq!(list.cost(&usage).unwrap().decimal().to_string(), "0.00256995");
    }

    #[test]
    fn a_tier_reprices_the_whole_call_strictly_above_its_threshold() {
        let tier = Tier { prompt_tokens_above: 200_000, rates: Rates::flat(price("4"), price("12")) };
        let list = PriceList::new(Currency::USD, Rates::flat(price("2"), price("6")), vec![tier]);
        let cost = |input| list.cost(&Usage { input, ..Usage::default() }).unwrap().decimal().to_string();
        assert_eq!(cost(200_000), "0.4");
        assert_eq!(cost(200_001), "0.800004");
    }

    #[test]
    fn a_batch_costs_what_the_list_says_of_batches_or_the_same() {
        let list = PriceList::flat("2", "6").unwrap();
        assert_eq!(list.for_batch(), &list);
        let tier = Tier { prompt_tokens_above: 100, rates: Rates::flat(price("2"), price("6")) };
        let halved = list.clone().with_batch(Rates::flat(price("1"), price("3")), vec![tier]);
        let cost = |list: &PriceList, input| list.cost(&Usage::new(input, 10)).unwrap().decimal().to_string();
        assert_eq!((cost(&halved, 100), cost(halved.for_batch(), 100)), ("0.00026".into(), "0.00013".into()));
        assert_eq!(cost(halved.for_batch(), 101), "0.000262", "batches have tiers of their own");
    }

    #[test]
    fn a_flat_list_has_one_price_for_each_direction() {
        let list = PriceList::flat("0.15", "0.60").unwrap();
        let mut usage = Usage::new(900, 250);
        usage.cache_read = 100;
        assert_eq!(list.cost(&usage).unwrap().to_string(), "0.0003 USD");
        assert!(PriceList::flat("0.15", "-1").is_err());
    }

    #[test]
    fn the_bound_is_never_below_the_cost() {
        let mut rates = Rates::flat(price("3"), price("15"));
        rates.cache_write = price("3.75");
        let list = PriceList::new(Currency::USD, rates, Vec::new());
        let usage = Usage { cache_write: 1000, reasoning: 10, ..Usage::default() };
        assert!(list.bound(1000, 10).unwrap().nanos() >= list.cost(&usage).unwrap().nanos());
    }
}
