//! Prices from outside: read from a candidate, compared with what is in force, and written down with a date.
//!
//! A vendor's list is not to be trusted with money. What is missing, negative or no number is refused, and so is what
//! has moved further than anybody would expect, until somebody says that it is meant. A price is never changed: the new
//! one is put beside it with the instant from which it holds, so that what was charged before can be rated again.

use std::collections::BTreeMap;

use aihub_core::price::{Price, Rates};
use aihub_core::{Error, PriceList, Result, Timestamp};
use serde_json::{Map, Value, json};

use super::{DatedPrices, Entry, Place, Prices, SHIPPED, TierPrices, Vendor, Written};
use crate::openrouter::listing;

/// Prices that somebody proposes, by model and place.
#[derive(Debug, Clone, Default)]
pub struct Candidate {
    proposed: BTreeMap<(String, Place), Result<Written, String>>,
    /// By `OpenRouter`'s names of models and not by ours.
    by_vendor: bool,
}

impl Candidate {
    /// Reads a catalogue in the form of `models.json`, or what `OpenRouter` answers to `GET /models`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](aihub_core::ErrorKind::Invalid) when it is neither. A price that is none is no error here: it is
    /// refused by itself, with its model, by [`review`].
    pub fn read(json: &[u8]) -> Result<Self> {
        let file: Map<String, Value> = aihub_core::json::decode(json)?;
        if file.contains_key("data") {
            let listings = listing::read(json)?;
            let proposed = listings.into_iter().map(|listing| {
                let written = listing.prices.as_deref().map(written);
                let missing = || "a price is missing, negative or no number".to_owned();
                ((listing.id, Place::List), written.ok_or_else(missing))
            });
            return Ok(Self { proposed: proposed.collect(), by_vendor: true });
        }
        let neither = || {
            Error::invalid(
                "models",
                "the file has neither `models`, as a catalogue has, nor `data`, as a vendor's list",
            )
        };
        let models = file.get("models").and_then(Value::as_array).ok_or_else(neither)?;
        let mut proposed = BTreeMap::new();
        for model in models {
            let id = model.get("id").and_then(Value::as_str);
            let id = id.ok_or_else(|| Error::invalid("models", "a model of the file has no `id`"))?;
            // Each by itself: one that cannot be read is refused, and the others are not.
            match serde_json::from_value::<Entry>(model.clone()) {
                Ok(entry) => {
                    for place in entry.places() {
                        let written = latest(&entry, &place).ok_or_else(|| "it has no price".to_owned());
                        proposed.insert((id.to_owned(), place), written);
                    }
                }
                Err(error) => {
                    proposed.insert((id.to_owned(), Place::List), Err(format!("it cannot be read: {error}")));
                }
            }
        }
        Ok(Self { proposed, by_vendor: false })
    }
}

/// What an entry says last.
fn latest(entry: &Entry, place: &Place) -> Option<Written> {
    let (always, dated) = entry.written(place);
    let last = dated.iter().max_by_key(|dated| dated.valid_from).map(|dated| dated.written.clone());
    last.or(always)
}

/// A list in the catalogue's words. A price to write to the cache that is the input's is none of its own (where it is a
/// surcharge, it would be added), and what a tier has from the base is left to the rules of the catalogue.
fn written(list: &PriceList) -> Written {
    let prices = |rates: &Rates, base: Option<&Rates>| {
        let own = |rate: fn(&Rates) -> Price| {
            let price = rate(rates);
            base.is_none_or(|base| rate(base) != price).then(|| price.decimal_per_million().to_string())
        };
        Prices {
            input: own(|rates| rates.input),
            output: own(|rates| rates.output),
            cache_read: own(|rates| rates.cache_read),
            cache_write: own(|rates| rates.cache_write).filter(|_| rates.cache_write != rates.input),
            audio_input: own(|rates| rates.audio_input),
            audio_output: own(|rates| rates.audio_output),
            image_output: own(|rates| rates.image_output),
        }
    };
    let tiers = list.tiers().iter().map(|tier| {
        let prices = prices(&tier.rates, Some(list.base()));
        TierPrices { prompt_tokens_above: tier.prompt_tokens_above, prices }
    });
    Written { tiers: tiers.collect(), prices: prices(list.base(), None), batch: None }
}

/// What is accepted.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// How far a price may move from what is in force, up or down, in percent of that.
    pub max_drift_percent: u32,
    /// Models, by our id, whose prices may move further.
    pub accept_drift: Vec<String>,
}

/// What becomes of the proposed prices of one model in one place.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Change {
    /// Our id of the model.
    pub model: String,
    /// Where its prices stand.
    pub place: Place,
    /// What is in force, if anything is.
    pub before: Option<PriceList>,
    /// What it shall be, or why not.
    pub after: Result<Accepted, String>,
}

/// Prices that may be sold by: only [`review`] makes them.
#[derive(Debug, Clone)]
pub struct Accepted {
    list: PriceList,
    written: Written,
}

impl Accepted {
    /// The prices.
    pub const fn list(&self) -> &PriceList {
        &self.list
    }
}

/// What an import would do.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Review {
    /// What would change or is refused, by model.
    pub changes: Vec<Change>,
    /// How many proposals say what is in force already.
    pub unchanged: usize,
    /// How many are of models that the catalogue does not have, or of places that its entries do not have.
    pub unknown: usize,
}

/// Compares what is proposed with what `entries` say that is in force at `at`.
pub fn review(entries: &[Entry], candidate: &Candidate, at: Timestamp, rules: &Rules) -> Review {
    let mut review = Review::default();
    for ((id, place), proposed) in &candidate.proposed {
        let named = |entry: &&Entry| {
            if candidate.by_vendor { entry.openrouter_id.as_ref() == Some(id) } else { entry.id == *id }
        };
        // What cannot be read is told also where nobody knows which place it was for.
        let placed = |entry: &&Entry| proposed.is_err() || entry.places().any(|own| own == *place);
        let mut found = entries.iter().filter(named).filter(placed).peekable();
        review.unknown += usize::from(found.peek().is_none());
        for entry in found {
            let vendor = if *place == Place::List { Vendor::OpenRouter } else { Vendor::Gemini };
            let before = entry.book(place, vendor).ok();
            let before = before.and_then(|book| book.at(at).map(|prices| PriceList::clone(&prices.list)));
            let after = proposed.clone().and_then(|written| {
                let list = entry.list(&written, vendor).map_err(|error| error.message().to_owned())?;
                if !rules.accept_drift.contains(&entry.id)
                    && let Some(before) = &before
                    && let Some(moved) = drift(before, &list, rules.max_drift_percent)
                {
                    return Err(moved);
                }
                Ok(Accepted { list, written })
            });
            if after.as_ref().is_ok_and(|after| Some(&after.list) == before.as_ref()) {
                review.unchanged += 1;
            } else {
                review.changes.push(Change { model: entry.id.clone(), place: place.clone(), before, after });
            }
        }
    }
    review
}

/// The first price that moves by more than `percent`, in words. Compared are all prices of both lists, in and outside
/// of a batch, for a short prompt and above every threshold that one of them has.
fn drift(before: &PriceList, after: &PriceList, percent: u32) -> Option<String> {
    let batches = [(before, after, ""), (before.for_batch(), after.for_batch(), " of a batch")];
    batches.into_iter().find_map(|(before, after, batch)| {
        let thresholds = before.tiers().iter().chain(after.tiers()).map(|tier| tier.prompt_tokens_above);
        std::iter::once(0).chain(thresholds.map(|above| above.saturating_add(1))).find_map(|prompt| {
            let (old, new) = (before.rates(prompt), after.rates(prompt));
            let named = |rates: &Rates| {
                [
                    ("input", rates.input),
                    ("output", rates.output),
                    ("cache_read", rates.cache_read),
                    ("cache_write", rates.cache_write),
                    ("audio_input", rates.audio_input),
                    ("image_input", rates.image_input),
                    ("audio_output", rates.audio_output),
                    ("image_output", rates.image_output),
                    ("search", rates.search),
                ]
            };
            named(old).into_iter().zip(named(new)).find_map(|((name, old), (_, new))| {
                let moved = (i128::from(new.pico()) - i128::from(old.pico())).abs() * 100;
                (moved > i128::from(old.pico()) * i128::from(percent)).then(|| {
                    let (old, new) = (old.decimal_per_million(), new.decimal_per_million());
                    format!("{name}{batch} moves from {old} to {new}, by more than {percent} %")
                })
            })
        })
    })
}

/// The operator's catalogue with the accepted prices in it, from `valid_from` on. `file` is what it holds now; nothing
/// where there is none yet. A shipped model comes to stand there with all that it had.
///
/// # Errors
///
/// [`Invalid`](aihub_core::ErrorKind::Invalid) when the file cannot be read, or has prices from the same instant already.
pub fn write(file: Option<&str>, changes: &[Change], valid_from: Timestamp) -> Result<String> {
    let mut file: Value = match file {
        Some(text) => aihub_core::json::decode(text.as_bytes())?,
        None => json!({"models": []}),
    };
    let shipped: Value = aihub_core::json::decode(SHIPPED.as_bytes())?;
    let models = file.get_mut("models").and_then(Value::as_array_mut);
    let models = models.ok_or_else(|| Error::invalid("models", "the catalogue's file has no list of `models`"))?;
    let is = |model: &Value, id: &str| model.get("id").and_then(Value::as_str) == Some(id);
    for change in changes {
        let Ok(accepted) = &change.after else { continue };
        let lost = || Error::invalid("models", format!("`{}` is in no catalogue", change.model));
        let at = models.iter().position(|model| is(model, &change.model)).unwrap_or(models.len());
        if at == models.len() {
            let own = shipped["models"].as_array().and_then(|all| all.iter().find(|model| is(model, &change.model)));
            models.push(own.cloned().ok_or_else(lost)?);
        }
        let place = match &change.place {
            Place::List => Some(&mut models[at]),
            Place::Gemini => models[at].get_mut("gemini_native"),
            Place::Own(name) => models[at].get_mut("offers").and_then(|offers| offers.get_mut(name)),
        };
        let place = place.and_then(Value::as_object_mut).ok_or_else(lost)?;
        let dated = place.entry("dated").or_insert_with(|| json!([])).as_array_mut().ok_or_else(lost)?;
        let new = DatedPrices { valid_from, written: accepted.written.clone() };
        dated.push(serde_json::to_value(new).map_err(aihub_core::json::unwritable)?);
    }
    let text = serde_json::to_string_pretty(&file).map_err(aihub_core::json::unwritable)?;
    // What was written is what will be read, or it is not handed out.
    for entry in super::read(&text)? {
        for place in entry.places() {
            entry.book(&place, Vendor::OpenRouter)?;
        }
    }
    Ok(text + "\n")
}

#[cfg(test)]
mod tests;
