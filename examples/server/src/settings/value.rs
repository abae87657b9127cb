//! Values that are refused where they are read, so that the error names their setting.

use aihub_core::Network;
use serde::de::{Deserialize, Deserializer, Error as _};

/// A number that is not 0: 0 seconds, bytes or calls switch nothing off, they let nothing through.
pub(super) fn positive<'de, N: TryFrom<u32>, D: Deserializer<'de>>(deserializer: D) -> Result<N, D::Error> {
    let number = u32::try_from(i64::deserialize(deserializer)?).ok().filter(|number| *number > 0);
    let number = number.and_then(|number| N::try_from(number).ok());
    number.ok_or_else(|| D::Error::custom(format!("it has to be a number from 1 to {}", u32::MAX)))
}

/// Addresses and networks.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Network>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer).map_err(|_| {
        D::Error::custom(r#"it has to be a list of addresses and networks, such as ["127.0.0.1", "10.0.0.0/8"]"#)
    })?;
    texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}
