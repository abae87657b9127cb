//! Networks: addresses that start with the same bits, and those of the public one.

mod public;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::error::Error;

pub use public::is_public;

/// An address, or all that start with the same bits: `10.0.0.0/8`, `2001:db8::/32`, `127.0.0.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    start: IpAddr,
    bits: u32,
}

impl Network {
    /// Whether `address` is one of them. An IPv4 address mapped to IPv6 is the same address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.start, address.to_canonical()) {
            (IpAddr::V4(start), IpAddr::V4(address)) => {
                let differ = u32::from(start) ^ u32::from(address);
                differ.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(start), IpAddr::V6(address)) => {
                let differ = u128::from(start) ^ u128::from(address);
                differ.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let start = address.to_canonical();
        Self { start, bits: if start.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong =
            || Error::invalid("network", format!("`{text}` is neither an address nor a network such as 10.0.0.0/8"));
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let whole = Self::from(address);
        let Some(bits) = bits else { return Ok(whole) };
        let bits: u32 = bits.parse().map_err(|_| wrong())?;
        // An IPv4 address mapped to IPv6 has 96 bits before its own.
        let before = if address.is_ipv6() && whole.start.is_ipv4() { 96 } else { 0 };
        let bits = bits.checked_sub(before).filter(|bits| *bits <= whole.bits).ok_or_else(wrong)?;
        Ok(Self { bits, ..whole })
    }
}

/// As it is read: an address alone, or with the number of bits that count.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::from(self.start) {
            write!(f, "{}", self.start)
        } else {
            write!(f, "{}/{}", self.start, self.bits)
        }
    }
}

impl serde::Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_what_starts_with_its_bits() {
        let holds =
            |network: &str, address: &str| network.parse::<Network>().unwrap().contains(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("192.0.2.7", "::ffff:192.0.2.7") && holds("2001:db8::/32", "2001:db8:1::"));
        assert!(holds("::/0", "2001:db8::1"));
    }

    #[test]
    fn the_text_form_is_read_back() {
        for text in ["10.0.0.0/8", "127.0.0.1", "2001:db8::/32", "::1"] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), text);
            assert_eq!(serde_json::from_value::<Network>(serde_json::json!(text)).unwrap(), network);
        }
        assert_eq!("::ffff:10.0.0.0/104".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
        for text in ["", "10.0.0.0/33", "::ffff:10.0.0.0/24", "10.0.0/8", "::/129", "10.0.0.0/-1", "everywhere"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
