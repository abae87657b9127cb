//! From usage to money: what a call costs us, and what its caller is charged.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;

use crate::error::Error;
use crate::money::Money;
use crate::price::{Price, PriceList};
use crate::usage::{Outcome, Usage};

/// What is added to a vendor's price, in whole parts per million of it; `20%` is 200 000 of them. As text, and in
/// settings, it is a percentage: `20%`, `-12.5%`. No less than -100 %, which gives away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Markup(i32);

impl Markup {
    /// Sold at the vendor's price.
    pub const NONE: Self = Self(0);

    /// So many parts per million more, or less; `None` when it is below -1 000 000, which would pay callers.
    pub const fn from_ppm(ppm: i32) -> Option<Self> {
        if ppm < -1_000_000 { None } else { Some(Self(ppm)) }
    }

    /// In parts per million.
    pub const fn ppm(self) -> i32 {
        self.0
    }

    /// Whether nothing is added.
    pub const fn is_none(&self) -> bool {
        self.0 == 0
    }

    /// `amount` with the markup, rounded once, half to even; `None` when it does not fit.
    pub fn on(self, amount: Money) -> Option<Money> {
        self.times(amount.nanos()).map(|nanos| Money::from_nanos(nanos, amount.currency()))
    }

    /// `price` with the markup, to be shown: a charge is rounded from the whole cost, not from prices. `None` when it
    /// does not fit.
    pub fn on_price(self, price: Price) -> Option<Price> {
        self.times(price.pico()).and_then(Price::from_pico)
    }

    fn times(self, units: i64) -> Option<i64> {
        let parts = i128::from(units) * (1_000_000 + i128::from(self.0));
        let (whole, rest) = (parts.div_euclid(1_000_000), parts.rem_euclid(1_000_000));
        let up = rest > 500_000 || rest == 500_000 && whole % 2 != 0;
        i64::try_from(whole + i128::from(up)).ok()
    }
}

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", Decimal::new(self.0.into(), 4).normalize())
    }
}

impl FromStr for Markup {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts = text.strip_suffix('%').and_then(|percent| Decimal::from_str_exact(percent.trim()).ok());
        let parts = parts.and_then(|percent| percent.checked_mul(Decimal::from(10_000))).map(|parts| parts.normalize());
        let parts = parts.filter(|parts| parts.scale() == 0).and_then(|parts| i32::try_from(parts.mantissa()).ok());
        parts.and_then(Self::from_ppm).ok_or_else(|| {
            Error::invalid("markup", "a markup is a percentage such as `20%`, not below -100%, of at most four places")
        })
    }
}

impl serde::Serialize for Markup {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Markup {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Percentage;
        impl serde::de::Visitor<'_> for Percentage {
            type Value = Markup;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a percentage such as `20%`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Markup, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Percentage)
    }
}

/// What one call comes to, by the price list of the offer that served it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Charge {
    /// What the vendor charges.
    pub cost: Option<Money>,
    /// What the caller is charged: the cost with the markup; nothing where it is let off; and never more than
    /// the hold allows.
    pub charge: Option<Money>,
    /// What the house bears because the hold allowed no more.
    pub shortfall: Option<Money>,
}

impl Charge {
    /// What `usage` comes to at `prices` for a caller with this `markup`. `waived` lets the caller off;
    /// `most` is what the hold of the call allows to charge, where a limit of money bounds it.
    pub fn of(prices: &PriceList, usage: &Usage, markup: Markup, waived: bool, most: Option<Money>) -> Self {
        let Some(cost) = prices.cost(usage) else { return Self::default() };
        if waived {
            return Self { cost: Some(cost), charge: Some(Money::zero(cost.currency())), shortfall: None };
        }
        let worth = markup.on(cost);
        let beyond = worth.zip(most).and_then(|(worth, most)| worth.checked_sub(most)).filter(|gap| gap.nanos() > 0);
        Self { cost: Some(cost), charge: beyond.and(most).or(worth), shortfall: beyond }
    }

    /// Whether nobody has to pay for such an answer: it ended, but not a token of it was of any use. As `OpenRouter`
    /// has it (<https://openrouter.ai/docs/features/zero-completion-insurance>): no output and no reason to have
    /// finished, or an error for one.
    pub fn is_insured(outcome: Outcome, usage: &Usage, finish_reason: Option<&str>) -> bool {
        match outcome {
            Outcome::Completed => {
                finish_reason == Some("error")
                    || usage.completion_tokens() == 0 && finish_reason.is_none_or(str::is_empty)
            }
            Outcome::UpstreamFailed | Outcome::GatewayFailed => usage.completion_tokens() == 0,
            Outcome::ClientGone | Outcome::Refused => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::money::Currency;

    fn usd(nanos: i64) -> Money {
        Money::from_nanos(nanos, Currency::USD)
    }

    #[test]
    fn a_markup_is_a_percentage() {
        for (text, ppm) in [("20%", 200_000), ("-12.5%", -125_000), ("0.0001%", 1), ("0%", 0), ("-100%", -1_000_000)] {
            let markup: Markup = text.parse().unwrap();
            assert_eq!((markup.ppm(), markup.to_string()), (ppm, text.to_owned()));
        }
        for wrong in ["20", "-101%", "0.00001%", "%", "many%", "1e9%"] {
            assert!(wrong.parse::<Markup>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_price_is_shown_with_its_markup() {
        let price = |text| Price::per_million(text).unwrap();
        let shown = |markup: &str, text| markup.parse::<Markup>().unwrap().on_price(price(text));
        assert_eq!(shown("20%", "0.0375"), Some(price("0.045")));
        assert_eq!(shown("-100%", "3"), Some(Price::FREE));
        assert_eq!(shown("50%", "0.000003"), Some(price("0.000004")), "half to even");
        assert_eq!(shown("1%", "9223372036854"), None);
    }

    #[test]
    fn the_hold_is_the_most_that_is_charged_and_the_house_bears_the_rest() {
        let prices = PriceList::flat("1", "1").unwrap();
        let (usage, markup) = (Usage::new(100, 100), "50%".parse().unwrap());
        let charge = |waived, most: Option<i64>| Charge::of(&prices, &usage, markup, waived, most.map(usd));
        let whole = Charge { cost: Some(usd(200_000)), charge: Some(usd(300_000)), shortfall: None };
        assert_eq!(charge(false, None), whole);
        assert_eq!(charge(false, Some(300_000)), whole);
        let capped = Charge { charge: Some(usd(299_999)), shortfall: Some(usd(1)), ..whole };
        assert_eq!(charge(false, Some(299_999)), capped);
        assert_eq!(charge(true, Some(1)), Charge { charge: Some(usd(0)), ..whole });
    }

    #[test]
    fn an_answer_without_a_token_is_insured_and_one_that_was_left_is_not() {
        let (none, some) = (Usage::new(10, 0), Usage::new(10, 1));
        assert!(Charge::is_insured(Outcome::Completed, &none, None));
        assert!(Charge::is_insured(Outcome::Completed, &some, Some("error")));
        assert!(!Charge::is_insured(Outcome::Completed, &none, Some("stop")));
        assert!(!Charge::is_insured(Outcome::Completed, &some, None));
        assert!(Charge::is_insured(Outcome::UpstreamFailed, &none, None));
        assert!(!Charge::is_insured(Outcome::UpstreamFailed, &some, None));
        assert!(!Charge::is_insured(Outcome::ClientGone, &none, None));
    }

    proptest! {
        #[test]
        fn no_part_of_the_worth_is_lost(input in 0..1_000_000_u64, ppm in -1_000_000..2_000_000, most in 0..i64::MAX) {
            let prices = PriceList::flat("0.15", "0.60").unwrap();
            let (usage, markup) = (Usage::new(input, 7), Markup::from_ppm(ppm).unwrap());
            let free = Charge::of(&prices, &usage, markup, false, None);
            let capped = Charge::of(&prices, &usage, markup, false, Some(usd(most % 1_000_000_000)));
            let sum = capped.charge.unwrap().nanos() + capped.shortfall.map_or(0, Money::nanos);
            prop_assert_eq!(sum, free.charge.unwrap().nanos());
            prop_assert!(free.charge.unwrap().nanos() >= 0);
        }
    }
}
