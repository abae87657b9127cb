//! The models that are shipped as data (`models.json`), and what becomes of them when some vendors
//! are enabled and others are not.

pub mod import;
mod prices;

use std::collections::BTreeMap;
use std::sync::Arc;

use aihub_core::model::ModelKind;
use aihub_core::price::PriceBook;
use aihub_core::{Error, Model, Offer, PriceList, Result, Timestamp};
use serde::Deserialize;

pub use prices::{DatedPrices, NativePrices, Prices, TierPrices, Written};

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
        let (place, model) = match (self.offers.get(&**provider), vendor, &self.gemini_native) {
            (Some(own), _, _) => (Place::Own(provider.to_string()), Some(&own.model)),
            (None, Vendor::Gemini, Some(own)) => (Place::Gemini, Some(&own.model)),
            (None, Vendor::Gemini, None) => (Place::List, self.gemini_id.as_ref()),
            (None, Vendor::OpenRouter, _) => (Place::List, self.openrouter_id.as_ref()),
            (None, Vendor::OpenAi, _) => return Ok(None),
        };
        let Some(model) = model else { return Ok(None) };
        let book = self.book(&place, vendor)?;
        // A model that was never given a price is not sold, today or ever.
        Ok((!book.lists().is_empty()).then(|| (vendor, Offer::new(Arc::clone(provider), &**model, book))))
    }

    /// The prices in one place of the entry, as they are to a provider of this vendor.
    fn book(&self, place: &Place, vendor: Vendor) -> Result<PriceBook> {
        let (always, dated) = self.written(place);
        let always = always.map(|written| (Timestamp::MIN, written));
        let dated = dated.iter().map(|dated| (dated.valid_from, dated.written.clone()));
        let lists = always.into_iter().chain(dated).map(|(from, written)| Ok((from, self.list(&written, vendor)?)));
        PriceBook::new(lists.collect::<Result<Vec<_>>>()?)
    }

    fn list(&self, written: &Written, vendor: Vendor) -> Result<PriceList> {
        // Embeddings have nothing on the way out; anything else without a price for it would be given away.
        if written.prices.output.is_none() && self.kind != ModelKind::Embedding.to_string() {
            return Err(Error::invalid("output", "a model without an output price is not sold"));
        }
        let surcharge = self.cache_write_mode.as_deref() == Some("surcharge") && vendor == Vendor::OpenRouter;
        written.list(surcharge)
    }

    /// What always holds in one place of the entry, and what from some instant on.
    fn written(&self, place: &Place) -> (Option<Written>, &[DatedPrices]) {
        let native = |own: Option<&'_ NativePrices>| own.and_then(NativePrices::always);
        match place {
            Place::List => {
                let prices = self.usd_per_mtok.clone();
                let written = prices.map(|prices| Written { prices, tiers: self.tiers.clone(), batch: None });
                (written, &self.dated)
            }
            Place::Gemini => {
                let own = self.gemini_native.as_ref();
                (native(own), own.map_or(&[], |own| &own.dated))
            }
            Place::Own(name) => {
                let own = self.offers.get(name);
                (native(own), own.map_or(&[], |own| &own.dated))
            }
        }
    }

    /// The places where it has prices.
    fn places(&self) -> impl Iterator<Item = Place> {
        let list = self.usd_per_mtok.is_some() || !self.dated.is_empty() || self.openrouter_id.is_some();
        let own = self.offers.keys().cloned().map(Place::Own);
        let gemini = self.gemini_native.is_some().then_some(Place::Gemini);
        list.then_some(Place::List).into_iter().chain(gemini).chain(own)
    }
}

/// Where in an entry prices stand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
#[non_exhaustive]
pub enum Place {
    /// The list price, which is `OpenRouter`'s.
    #[strum(to_string = "list")]
    List,
    /// What Google bills.
    #[strum(to_string = "gemini")]
    Gemini,
    /// The offer in the name of a provider.
    #[strum(to_string = "{0}")]
    Own(String),
}

/// What decides which offer is cheapest: three tokens in for one out, as chats are on average.
fn blended(prices: &PriceList) -> i64 {
    let rates = prices.base();
    rates.input.pico().saturating_mul(3).saturating_add(rates.output.pico())
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
    fn what_is_said_is_not_given_away() {
        let json = r#"{"models":[{"id":"m","kind":"chat","context_length":1,"openrouter_id":"m","usd_per_mtok":{"input":"1"}}]}"#;
        assert!(read(json).unwrap()[0].model(&both(), NOW).is_err());
        assert!(read(&json.replace("chat", "embedding")).unwrap()[0].model(&both(), NOW).unwrap().is_some());
    }

    #[test]
    fn a_sentinel_price_is_refused() {
        let json = r#"{"models":[{"id":"m","kind":"chat","context_length":1,"openrouter_id":"m","usd_per_mtok":{"input":"-1","output":"-1"}}]}"#;
        assert!(read(json).unwrap()[0].model(&both(), NOW).is_err());
    }
}
