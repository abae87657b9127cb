//! Reading what vendors write otherwise than it is documented.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A value, or its default where there is `null`.
pub(super) fn value<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A whole number in any of the forms that a number takes; 0 for anything else.
pub(super) fn number<'de, D, N>(deserializer: D) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<i128> + Default,
{
    let whole = match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_i128().or_else(|| number.as_f64().map(truncated)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    Ok(whole.and_then(|whole| whole.try_into().ok()).unwrap_or_default())
}

#[expect(clippy::cast_possible_truncation, reason = "meant, and what does not fit stays at the border")]
fn truncated(number: f64) -> i128 {
    number as i128
}
