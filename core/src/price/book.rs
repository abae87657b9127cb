//! Which price list of an offer holds when, and what a list is called for ever.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::price::PriceList;
use crate::time::Timestamp;

/// A price list, since when it holds, and what records call it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Priced {
    /// [`PriceList::version`] of the list.
    pub version: Arc<str>,
    /// The first instant of the list; it holds until the next one of its book does.
    pub valid_from: Timestamp,
    /// The prices.
    pub list: Arc<PriceList>,
}

impl Priced {
    fn new(valid_from: Timestamp, list: Arc<PriceList>) -> Self {
        Self { version: list.version().into(), valid_from, list }
    }
}

/// The price lists of one offer, each from its own instant on.
///
/// A call is priced by what is in force when it is admitted ([`Call::received_at`](crate::Call::received_at)), and
/// stays so: a price that changes while an answer streams is the next call's. Lists of the past stay in the book, so
/// that a closed month can be rated again.
///
/// One list that always held is made of it by `into()`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PriceBook(Vec<Arc<Priced>>);

impl PriceBook {
    /// A book of `lists`, in any order, each with the instant from which it holds. Before the first of them nothing is
    /// in force, and so nothing is sold.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when two lists begin at the same instant, since then nobody could say
    /// which one holds; or when they differ in currency, since no limit of money could be kept over both.
    pub fn new<L: Into<Arc<PriceList>>>(lists: impl IntoIterator<Item = (Timestamp, L)>) -> Result<Self> {
        let mut lists: Vec<_> =
            lists.into_iter().map(|(from, list)| Arc::new(Priced::new(from, list.into()))).collect();
        lists.sort_by_key(|priced| priced.valid_from);
        for pair in lists.windows(2) {
            if pair[0].valid_from == pair[1].valid_from {
                let message = format!("two price lists hold from {} on: leave one of them out", pair[0].valid_from);
                return Err(Error::invalid("valid_from", message));
            }
            if pair[0].list.currency() != pair[1].list.currency() {
                return Err(Error::invalid("currency", "the price lists of one offer have to be in one currency"));
            }
        }
        Ok(Self(lists))
    }

    /// What is in force at this instant; `None` when nothing is yet, and the offer is not sold.
    pub fn at(&self, at: Timestamp) -> Option<&Arc<Priced>> {
        let begun = self.0.partition_point(|priced| priced.valid_from <= at);
        self.0[..begun].last()
    }

    /// The list that records call `version`; of two with the same prices, the earlier.
    pub fn version(&self, version: &str) -> Option<&Arc<Priced>> {
        self.0.iter().find(|priced| *priced.version == *version)
    }

    /// Every list, earliest first.
    pub fn lists(&self) -> &[Arc<Priced>] {
        &self.0
    }
}

impl From<Arc<PriceList>> for PriceBook {
    fn from(list: Arc<PriceList>) -> Self {
        Self(vec![Arc::new(Priced::new(Timestamp::MIN, list))])
    }
}

impl From<PriceList> for PriceBook {
    fn from(list: PriceList) -> Self {
        Arc::new(list).into()
    }
}

impl From<Arc<PriceBook>> for PriceBook {
    fn from(book: Arc<Self>) -> Self {
        Arc::unwrap_or_clone(book)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charge::{Charge, Markup};
    use crate::money::Currency;
    use crate::price::{Price, Rates, Tier};
    use crate::usage::Usage;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn list(input: &str) -> PriceList {
        PriceList::flat(input, "1").unwrap()
    }

    #[test]
    fn a_list_holds_from_its_instant_to_the_next() {
        let (march, may) = (at("2026-03-01T00:00:00Z"), at("2026-05-01T00:00:00Z"));
        let book = PriceBook::new([(may, list("5")), (march, list("3"))]).unwrap();
        let input = |text: &str| book.at(at(text)).map(|priced| priced.list.base().input.pico() / 1_000_000);
        assert_eq!(input("2026-02-28T23:59:59.999999Z"), None, "nothing in force is not sold");
        assert_eq!(input("2026-03-01T00:00:00Z"), Some(3));
        assert_eq!(input("2026-04-30T23:59:59.999999Z"), Some(3));
        assert_eq!(input("2026-05-01T00:00:00Z"), Some(5));
        assert_eq!(PriceBook::from(list("7")).at(Timestamp::MIN).unwrap().list.as_ref(), &list("7"));
        assert_eq!(PriceBook::default().at(march), None);
    }

    #[test]
    fn two_lists_of_one_instant_or_of_two_currencies_are_refused() {
        let march = at("2026-03-01T00:00:00Z");
        assert_eq!(PriceBook::new([(march, list("1")), (march, list("2"))]).unwrap_err().param(), Some("valid_from"));
        let yen = PriceList::new("JPY".parse().unwrap(), *list("1").base(), Vec::new());
        let mixed = PriceBook::new([(Timestamp::MIN, list("1")), (march, yen)]);
        assert_eq!(mixed.unwrap_err().param(), Some("currency"));
    }

    /// The version stands in records for years: what it is made of may not change unnoticed.
    #[test]
    fn a_version_says_the_prices_and_nothing_else() {
        let plain = list("0.15");
        assert_eq!(plain.version(), "pv_a4e6f57b0de0ad51");
        assert_eq!(PriceList::flat("0.150", "1.0").unwrap().version(), plain.version());
        let tier = Tier { prompt_tokens_above: 9, rates: *plain.base() };
        let mut dearer = *plain.base();
        dearer.search = Price::per_million("0.000001").unwrap();
        let others = [
            list("0.16"),
            PriceList::new("EUR".parse().unwrap(), *plain.base(), Vec::new()),
            PriceList::new(Currency::USD, *plain.base(), vec![tier]),
            PriceList::new(Currency::USD, dearer, Vec::new()),
            plain.clone().with_batch(Rates::flat(Price::FREE, Price::FREE), Vec::new()),
        ];
        let mut versions: Vec<_> = others.iter().chain([&plain]).map(PriceList::version).collect();
        versions.sort();
        versions.dedup();
        assert_eq!(versions.len(), 6);
    }

    /// Prices change in the middle of a month; rated again by their versions, its calls come to the same.
    #[test]
    fn a_closed_month_is_rated_again_to_the_last_nano() {
        let day = |day: i32| at("2026-03-01T00:00:00Z") + jiff::SignedDuration::from_hours(i64::from(day) * 24);
        let book = PriceBook::new([(Timestamp::MIN, list("3")), (day(10), list("0.0375")), (day(20), list("4.1"))]);
        let book = book.unwrap();
        let markup: Markup = "17.3%".parse().unwrap();
        let calls = (0..31_u32).map(|d| (day(i32::try_from(d).unwrap()), Usage::new(u64::from(d) * 977 + 1, 13)));
        let closed: Vec<_> = calls
            .map(|(at, usage)| {
                let priced = book.at(at).unwrap();
                (Arc::clone(&priced.version), usage, Charge::of(&priced.list, &usage, markup, false, None))
            })
            .collect();
        // The book has grown since, and was read again.
        let later = book.lists().iter().map(|priced| (priced.valid_from, Arc::clone(&priced.list)));
        let later = PriceBook::new(later.chain([(day(40), Arc::new(list("99")))])).unwrap();
        for (version, usage, charge) in &closed {
            let priced = later.version(version).unwrap();
            assert_eq!(Charge::of(&priced.list, usage, markup, false, None), *charge);
        }
        assert_eq!(closed.iter().map(|(version, ..)| version).collect::<std::collections::HashSet<_>>().len(), 3);
    }
}
