//! Decimals of a fixed number of places, in text.

use std::fmt;

/// A whole number of 10⁻ᴾ as a decimal without trailing zeros, such as `0.00256995`.
///
/// Written by itself and not through [`Decimal`](rust_decimal::Decimal): every record and every request to a vendor
/// holds amounts, and a 96-bit division for each of their zeros is felt there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fixed<const P: usize>(pub(crate) i64);

/// Room for every text form.
pub(crate) type Room = [u8; 32];

impl<const P: usize> Fixed<P> {
    /// The text form, written to the end of `text`.
    pub(crate) fn text(self, text: &mut Room) -> &str {
        let (mut at, mut places, mut rest) = (text.len(), P, self.0.unsigned_abs());
        while places > 0 && rest.is_multiple_of(10) {
            rest /= 10;
            places -= 1;
        }
        let mut put = |byte: u8| {
            at -= 1;
            text[at] = byte;
        };
        for _ in 0..places {
            put(b'0' + (rest % 10) as u8);
            rest /= 10;
        }
        if places > 0 {
            put(b'.');
        }
        loop {
            put(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if self.0 < 0 {
            put(b'-');
        }
        std::str::from_utf8(&text[at..]).unwrap_or_default()
    }
}

impl<const P: usize> fmt::Display for Fixed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut Room::default()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use super::Fixed;

    proptest! {
        #[test]
        fn is_what_a_decimal_shows(units: i64) {
            prop_assert_eq!(Fixed::<9>(units).to_string(), Decimal::new(units, 9).normalize().to_string());
            let round = units / 1_000_000_000 * 1_000_000_000;
            prop_assert_eq!(Fixed::<9>(round).to_string(), Decimal::new(round, 9).normalize().to_string());
            prop_assert_eq!(Fixed::<6>(units % 100).to_string(), Decimal::new(units % 100, 6).normalize().to_string());
        }
    }

    #[test]
    fn the_ends_fit() {
        assert_eq!(Fixed::<9>(i64::MIN).to_string(), "-9223372036.854775808");
        assert_eq!(Fixed::<9>(0).to_string(), "0");
        assert_eq!(Fixed::<6>(-1_500_000).to_string(), "-1.5");
    }
}
