//! The models that are shipped as data (`models.json`), and what becomes of them when some vendors
//! are enabled and others are not.

use std::collections::BTreeMap;
use std::sync::Arc;

use aihub_core::model::ModelKind;
use aihub_core::price::{Price, PriceBook, Rates, Tier};
use aihub_core::{Currency, Error, Model, Offer, PriceList, Result, Timestamp};
use serde::Deserialize;

const SHIPPED: &str = include_str!("../models.json");

/// Which list of an [`Entry`] a provider sells by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
#[non_exhaustive]
pub enum Vendor {
    /// Google's own API: the low-cost route to its models, so it comes first at equal prices.
    Gemini,
    /// `OpenRouter`.
    OpenRouter,
    /// Any upstream of `OpenAI`'s dialect; sells what entries offer in its name.
    OpenAi,
}

/// A model of the catalogue's data, in the form of `models.json`.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// The public id.
    pub id: String,
    /// The name for people; the id where it is absent.
    #[serde(default)]
    pub name: Option<String>,
    /// `chat` or `embedding`.
    pub kind: String,
    /// Whether the smallest plans reach it.
    #[serde(default)]
    pub basic: bool,
    /// The most tokens of prompt and answer.
    pub context_length: u64,
    /// The most tokens of an answer.
    #[serde(default)]
    pub max_output_tokens: Option<u64>,
    /// What it reads.
    #[serde(default)]
    pub input_modalities: Vec<String>,
    /// What it writes.
    #[serde(default)]
    pub output_modalities: Vec<String>,
    /// Whether it thinks.
    #[serde(default)]
    pub reasoning: bool,
    /// `OpenRouter`'s name of it.
    #[serde(default)]
    pub openrouter_id: Option<String>,
    /// Google's name of it.
    #[serde(default)]
    pub gemini_id: Option<String>,
    /// The list price: `OpenRouter`'s, and Google's where it has none of its own here.
    #[serde(default)]
    pub usd_per_mtok: Option<Prices>,
    /// Prices for long prompts.
    #[serde(default)]
    pub tiers: Vec<TierPrices>,
    /// What the list price is from some instant on, instead.
    #[serde(default)]
    pub dated: Vec<DatedPrices>,
    /// `surcharge` where writing to the cache costs its price on top of the input's.
    #[serde(default)]
    pub cache_write_mode: Option<String>,
    /// What Google bills.
    #[serde(default)]
    pub gemini_native: Option<NativePrices>,
    /// Further offers, by the name of the provider.
    #[serde(default)]
    pub offers: BTreeMap<String, NativePrices>,
}

/// US dollars per million tokens, as decimal strings; an absent one follows its direction.
#[derive(Debug, Clone, Default, Deserialize)]
#[non_exhaustive]
pub struct Prices {
    /// Prompt tokens.
    #[serde(default)]
    pub input: Option<String>,
    /// Tokens of the answer.
    #[serde(default)]
    pub output: Option<String>,
    /// Prompt tokens read from the cache.
    #[serde(default)]
    pub cache_read: Option<String>,
    /// Prompt tokens written to the cache.
    #[serde(default)]
    pub cache_write: Option<String>,
    /// Prompt tokens of audio.
    #[serde(default)]
    pub audio_input: Option<String>,
}

/// Prices that hold for the whole call above a threshold.
#[derive(Debug, Clone, Deserialize)]
pub struct TierPrices {
    /// Strictly more prompt tokens than this.
    pub prompt_tokens_above: u64,
    /// What differs from the base.
    #[serde(flatten)]
    pub prices: Prices,
}

/// A vendor's own name and prices of a model.
#[derive(Debug, Clone, Deserialize)]
pub struct NativePrices {
    /// The vendor's name of the model.
    pub model: String,
    /// The base prices.
    #[serde(flatten)]
    pub prices: Prices,
    /// Prices for long prompts.
    #[serde(default)]
    pub tiers: Vec<TierPrices>,
    /// What a batch costs; the same where it is absent.
    #[serde(default)]
    pub batch: Option<Prices>,
    /// What the prices are from some instant on, instead.
    #[serde(default)]
    pub dated: Vec<DatedPrices>,
}

/// The base, for long prompts, and in a batch.
type Written<'a> = (&'a Prices, &'a [TierPrices], Option<&'a Prices>);

impl NativePrices {
    /// Its name, what it always cost, and what it costs from when on. Without an input price at the beginning there
    /// is nothing to sell before the first date.
    fn book(&self) -> (String, Option<Written<'_>>, &[DatedPrices]) {
        let begins = self.dated.is_empty() || self.prices.input.is_some();
        (self.model.clone(), begins.then_some((&self.prices, &*self.tiers, self.batch.as_ref())), &self.dated)
    }
}

/// Prices that hold from an instant on, until the next ones do. What they omit follows its direction, and not what was
/// before: each stands for itself, so that none is changed by taking out another.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct DatedPrices {
    /// The first instant of the prices.
    pub valid_from: Timestamp,
    /// The base prices.
    #[serde(flatten)]
    pub prices: Prices,
    /// Prices for long prompts.
    #[serde(default)]
    pub tiers: Vec<TierPrices>,
    /// What a batch costs; the same where it is absent.
    #[serde(default)]
    pub batch: Option<Prices>,
}

#[derive(Deserialize)]
struct File {
    models: Vec<Entry>,
}

/// The models shipped with this crate.
///
/// # Errors
///
/// As [`read`]; a test proves that the shipped file is sound.
pub fn shipped() -> Result<Vec<Entry>> {
    read(SHIPPED)
}

/// Reads a file in the form of `models.json`.
///
/// # Errors
///
/// [`Invalid`](aihub_core::ErrorKind::Invalid) with the place of what is wrong.
pub fn read(json: &str) -> Result<Vec<Entry>> {
    let file: File = aihub_core::json::decode(json.as_bytes())?;
    Ok(file.models)
}

impl Entry {
    /// The model as the enabled `providers` (name and vendor) serve it, cheapest first by the prices in force at `at`
    /// (an offer that is not sold yet is last); `None` when none of them serves it.
    ///
    /// # Errors
    ///
    /// [`Invalid`](aihub_core::ErrorKind::Invalid) when a price is negative or none, or the kind is
    /// unknown: a catalogue that cannot be read whole is not sold in part.
    pub fn model(&self, providers: &[(Arc<str>, Vendor)], at: Timestamp) -> Result<Option<Model>> {
        let wrong = |error: Error| Error::invalid(format!("models.{}", self.id), format!("`{}`: {error}", self.id));
        let kind: ModelKind = self
            .kind
            .parse()
            .map_err(|_| wrong(Error::invalid("kind", format!("`{}` is no kind of model", self.kind))))?;
        let mut offers = Vec::new();
        for (name, vendor) in providers {
            offers.extend(self.offer(name, *vendor).map_err(wrong)?);
        }
        // A stable sort: vendors of equal price stay in the order of `Vendor`.
        offers.sort_by_key(|(vendor, offer)| {
            (offer.prices.at(at).map_or(i64::MAX, |prices| blended(&prices.list)), *vendor as u8)
        });
        let offers: Vec<_> = offers.into_iter().map(|(_, offer)| offer).collect();
        Ok((!offers.is_empty()).then(|| Model {
            id: Arc::from(&*self.id),
            name: self.name.clone().unwrap_or_else(|| self.id.clone()),
            kind,
            basic: self.basic,
            context_tokens: self.context_length,
            max_output_tokens: self.max_output_tokens,
            input_modalities: self.input_modalities.clone(),
            output_modalities: self.output_modalities.clone(),
            reasoning: self.reasoning,
            offers,
            fallbacks: Vec::new(),
        }))
    }

    fn offer(&self, provider: &Arc<str>, vendor: Vendor) -> Result<Option<(Vendor, Offer)>> {
        let listed = |id: &Option<String>| {
            let prices = self.usd_per_mtok.as_ref().map(|prices| (prices, &*self.tiers, None));
            Some((id.clone()?, prices, &*self.dated))
        };
        let found = match (self.offers.get(&**provider), vendor, &self.gemini_native) {
            (Some(own), _, _) | (None, Vendor::Gemini, Some(own)) => Some(own.book()),
            (None, Vendor::Gemini, None) => listed(&self.gemini_id),
            (None, Vendor::OpenRouter, _) => listed(&self.openrouter_id),
            (None, Vendor::OpenAi, _) => None,
        };
        let Some((model, always, dated)) = found else { return Ok(None) };
        let surcharge = self.cache_write_mode.as_deref() == Some("surcharge") && vendor == Vendor::OpenRouter;
        let always = always.map(|prices| (Timestamp::MIN, prices));
        let dated = dated.iter().map(|dated| (dated.valid_from, (&dated.prices, &*dated.tiers, dated.batch.as_ref())));
        let lists = always.into_iter().chain(dated).map(|(from, (prices, tiers, batch))| {
            let list = price_list(prices, tiers, batch, surcharge)?;
            Ok((from, list))
        });
        let book = PriceBook::new(lists.collect::<Result<Vec<_>>>()?)?;
        // A model that was never given a price is not sold, today or ever.
        Ok((!book.lists().is_empty()).then(|| (vendor, Offer::new(Arc::clone(provider), model, book))))
    }
}

/// What decides which offer is cheapest: three tokens in for one out, as chats are on average.
fn blended(prices: &PriceList) -> i64 {
    let rates = prices.base();
    rates.input.pico().saturating_mul(3).saturating_add(rates.output.pico())
}

fn price_list(prices: &Prices, tiers: &[TierPrices], batch: Option<&Prices>, surcharge: bool) -> Result<PriceList> {
    let base = rates(prices, None, surcharge)?;
    let tiers = tiers.iter().map(|tier| {
        let rates = rates(&tier.prices, Some(&base), surcharge)?;
        Ok(Tier { prompt_tokens_above: tier.prompt_tokens_above, rates })
    });
    let tiers: Vec<_> = tiers.collect::<Result<_>>()?;
    let list = PriceList::new(Currency::USD, base, tiers.clone());
    Ok(match batch {
        // No vendor says what a long prompt costs in a batch: no less than outside of one.
        Some(batch) => list.with_batch(rates(batch, None, surcharge)?, tiers),
        None => list,
    })
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
    Ok(rates)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn both() -> Vec<(Arc<str>, Vendor)> {
        vec![("openrouter".into(), Vendor::OpenRouter), ("gemini".into(), Vendor::Gemini)]
    }

    #[test]
    fn the_shipped_file_is_sound_and_rich() {
        let models: Vec<_> = shipped().unwrap().iter().filter_map(|entry| entry.model(&both(), NOW).unwrap()).collect();
        assert!(models.len() >= 50);
        assert!(models.iter().any(|model| model.kind == ModelKind::Embedding));
        assert!(models.iter().any(|model| model.basic) && models.iter().any(|model| !model.basic));
    }

    #[test]
    fn at_equal_prices_the_maker_of_the_model_comes_first() {
        let entries = shipped().unwrap();
        let flash = entries.iter().find(|entry| entry.id == "google/gemini-2.5-flash").unwrap();
        let model = flash.model(&both(), NOW).unwrap().unwrap();
        assert_eq!(model.offers.iter().map(|offer| &*offer.provider).collect::<Vec<_>>(), ["gemini", "openrouter"]);
        let alone = flash.model(&both()[..1], NOW).unwrap().unwrap();
        assert_eq!(alone.offers.len(), 1);
        assert_eq!(alone.offers[0].prices.at(NOW).unwrap().list.base().cache_write.pico(), 300_000 + 83_333);
    }

    #[test]
    fn nobody_serves_a_model_whose_vendor_is_off() {
        let entries = shipped().unwrap();
        let mini = entries.iter().find(|entry| entry.id == "openai/gpt-5.4-mini").unwrap();
        assert!(mini.model(&both()[1..], NOW).unwrap().is_none());
    }

    #[test]
    fn prices_have_dates() {
        let json = r#"{"models":[{"id":"m","kind":"chat","context_length":1,"openrouter_id":"m",
            "usd_per_mtok":{"input":"1","output":"2"},
            "dated":[{"valid_from":"2026-06-01T00:00:00Z","input":"3","output":"4","tiers":[{"prompt_tokens_above":9,"input":"5"}]}],
            "offers":{"gemini":{"model":"g","dated":[{"valid_from":"2026-06-01T00:00:00Z","input":"0.5","output":"0"}]}}}]}"#;
        let entry = &read(json).unwrap()[0];
        let (may, june) = ("2026-05-31T23:59:59Z".parse().unwrap(), "2026-06-01T00:00:00Z".parse().unwrap());
        let sold = |at| {
            let model = entry.model(&both(), at).unwrap().unwrap();
            let price = |offer: &Offer| Some(offer.prices.at(at)?.list.rates(10).input.pico() / 1_000);
            model.offers.iter().map(|offer| (offer.provider.to_string(), price(offer))).collect::<Vec<_>>()
        };
        assert_eq!(sold(may), [("openrouter".to_owned(), Some(1_000)), ("gemini".to_owned(), None)]);
        assert_eq!(sold(june), [("gemini".to_owned(), Some(500)), ("openrouter".to_owned(), Some(5_000))]);
        let twice = json.replace(
            r#""input":"0.5","output":"0"}"#,
            r#""input":"0.5"},{"valid_from":"2026-06-01T00:00:00Z","input":"1"}"#,
        );
        assert!(read(&twice).unwrap()[0].model(&both(), may).is_err());
    }

    #[test]
    fn a_batch_has_the_prices_that_the_vendor_lists() {
        let entries = shipped().unwrap();
        let pro = entries.iter().find(|entry| entry.id == "google/gemini-2.5-pro").unwrap();
        let offers = pro.model(&both()[1..], NOW).unwrap().unwrap().offers;
        let list = &offers[0].prices.at(NOW).unwrap().list;
        assert_eq!((list.base().output.pico(), list.for_batch().base().output.pico()), (10_000_000, 5_000_000));
        assert_eq!(list.for_batch().rates(200_001), list.rates(200_001), "unknown is no discount");
    }

    #[test]
    fn a_sentinel_price_is_refused() {
        let json = r#"{"models":[{"id":"m","kind":"chat","context_length":1,"openrouter_id":"m","usd_per_mtok":{"input":"-1","output":"-1"}}]}"#;
        assert!(read(json).unwrap()[0].model(&both(), NOW).is_err());
    }
}
