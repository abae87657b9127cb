//! Money: whole nano-units of a currency, checked arithmetic, one rounding rule.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;

use crate::error::Error;
use crate::fixed::{Fixed, Room};

/// An ISO 4217 currency code of three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

impl Currency {
    /// United States dollar, the currency vendors' prices are listed in.
    pub const USD: Self = Self(*b"USD");

    /// The three letters.
    #[expect(clippy::missing_panics_doc, reason = "never panics: every constructor takes ASCII letters only")]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("three ASCII capitals")
    }
}

impl FromStr for Currency {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(|letter| letter.is_ascii_uppercase()) => Ok(Self([*a, *b, *c])),
            _ => Err(Error::invalid("currency", "a currency is three capital letters, such as USD")),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An exact amount: nano-units (10⁻⁹) of one currency; ±9.2 billion units fit.
///
/// Arithmetic is checked and refuses to mix currencies; there is no conversion from or to floating
/// point. The text form is a decimal without exponent, such as `0.00256995`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    nanos: i64,
    currency: Currency,
}

impl Money {
    /// `nanos` nano-units of `currency`.
    pub const fn from_nanos(nanos: i64, currency: Currency) -> Self {
        Self { nanos, currency }
    }

    /// Nothing, in `currency`.
    pub const fn zero(currency: Currency) -> Self {
        Self::from_nanos(0, currency)
    }

    /// The amount that `pico` pico-units (10⁻¹²) round to, half to even: the one rounding of a record.
    /// `None` when it does not fit.
    pub fn from_pico(pico: i128, currency: Currency) -> Option<Self> {
        let (whole, rest) = (pico.div_euclid(1_000), pico.rem_euclid(1_000));
        let up = rest > 500 || rest == 500 && whole % 2 != 0;
        i64::try_from(whole + i128::from(up)).ok().map(|nanos| Self { nanos, currency })
    }

    /// Reads a decimal such as `12.5` or `1.58e-05` exactly.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is no decimal, is finer than a nano-unit, or
    /// does not fit.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, Error> {
        let amount = decimal(text, Decimal::from_str_exact);
        amount
            .and_then(|amount| Self::exact(amount, currency))
            .ok_or_else(|| Error::invalid("amount", "an amount is a decimal with at most nine places"))
    }

    /// As [`Money::parse`], for amounts that vendors report: digits finer than a nano-unit are
    /// rounded, half to even.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is no decimal or does not fit.
    pub fn parse_rounded(text: &str, currency: Currency) -> Result<Self, Error> {
        let amount = decimal(text, Decimal::from_str);
        amount
            .and_then(|amount| Self::exact(amount.round_dp(9), currency))
            .ok_or_else(|| Error::invalid("amount", "an amount is a decimal number"))
    }

    /// `None` when it is finer than a nano-unit or does not fit.
    fn exact(amount: Decimal, currency: Currency) -> Option<Self> {
        let nanos = amount.checked_mul(Decimal::from(1_000_000_000))?.normalize();
        let nanos = i64::try_from(nanos.mantissa()).ok().filter(|_| nanos.scale() == 0)?;
        Some(Self { nanos, currency })
    }

    /// The amount in nano-units.
    pub const fn nanos(self) -> i64 {
        self.nanos
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The sum; `None` when the currencies differ or the sum does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.same_currency(other)?.nanos.checked_add(other.nanos).map(|nanos| Self { nanos, ..self })
    }

    /// The difference; `None` when the currencies differ or it does not fit.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.same_currency(other)?.nanos.checked_sub(other.nanos).map(|nanos| Self { nanos, ..self })
    }

    fn same_currency(self, other: Self) -> Option<Self> {
        (self.currency == other.currency).then_some(self)
    }

    /// The decimal, without the currency.
    pub fn decimal(self) -> Decimal {
        Decimal::new(self.nanos, 9).normalize()
    }
}

/// Reads a number in either notation.
fn decimal(text: &str, plain: fn(&str) -> rust_decimal::Result<Decimal>) -> Option<Decimal> {
    let read = if text.contains(['e', 'E']) { Decimal::from_scientific } else { plain };
    read(text).ok()
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Fixed::<9>(self.nanos), self.currency)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `{"amount":"0.00256995","currency":"USD"}`.
#[derive(serde::Deserialize)]
struct Wire {
    amount: String,
    currency: String,
}

/// What is read: also `0.00256995 USD`, as people write it in settings.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Wire(Wire),
}

impl serde::Serialize for Money {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut wire = serializer.serialize_struct("Money", 2)?;
        wire.serialize_field("amount", Fixed::<9>(self.nanos).text(&mut Room::default()))?;
        wire.serialize_field("currency", self.currency.as_str())?;
        wire.end()
    }
}

impl<'de> serde::Deserialize<'de> for Money {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = match Form::deserialize(deserializer)? {
            Form::Wire(wire) => wire,
            Form::Text(text) => match text.split_once(' ') {
                Some((amount, currency)) => Wire { amount: amount.to_owned(), currency: currency.to_owned() },
                None => return Err(serde::de::Error::custom("an amount has a currency, such as `25.00 USD`")),
            },
        };
        let currency = wire.currency.parse().map_err(serde::de::Error::custom)?;
        Self::parse(&wire.amount, currency).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_what_vendors_send() {
        for (text, nanos) in [("0.00256995", 2_569_950), ("1.58e-05", 15_800), ("0", 0), ("12", 12_000_000_000)] {
            assert_eq!(Money::parse(text, Currency::USD).unwrap().nanos(), nanos, "{text}");
        }
        assert_eq!(Money::parse_rounded("0.00000000150001", Currency::USD).unwrap().nanos(), 2);
        assert_eq!(Money::parse_rounded("1.58e-05", Currency::USD).unwrap().nanos(), 15_800);
        assert!(Money::parse("0.0000000001", Currency::USD).is_err());
        assert!(Money::parse("NaN", Currency::USD).is_err());
    }

    #[test]
    fn rounds_half_to_even() {
        for (pico, nanos) in [(500, 0), (1_500, 2), (2_500, 2), (501, 1), (-500, 0), (-1_500, -2)] {
            assert_eq!(Money::from_pico(pico, Currency::USD).unwrap().nanos(), nanos, "{pico}");
        }
    }

    #[test]
    fn currencies_do_not_mix() {
        let yen = Money::from_nanos(1, "JPY".parse().unwrap());
        assert_eq!(yen.checked_add(Money::from_nanos(1, Currency::USD)), None);
    }

    proptest! {
        #[test]
        fn text_form_is_exact(nanos: i64) {
            let money = Money::from_nanos(nanos, Currency::USD);
            prop_assert_eq!(Money::parse(&money.decimal().to_string(), Currency::USD).unwrap(), money);
            prop_assert_eq!(money.to_string(), format!("{} USD", money.decimal()));
            prop_assert_eq!(serde_json::from_value::<Money>(money.to_string().into()).unwrap(), money);
            prop_assert_eq!(serde_json::from_value::<Money>(serde_json::to_value(money).unwrap()).unwrap(), money);
        }
    }
}
