//! What is done when a caller leaves, as it is set.

use std::time::Duration;

use aihub_core::{DepartureRule, Money, OnDeparture};
use serde::Deserialize;

/// A rule of `upstream.departures`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Departure {
    provider: String,
    model: String,
    #[serde(default)]
    stream: Option<bool>,
    policy: Policy,
    #[serde(default)]
    within_s: Option<u32>,
    #[serde(default)]
    cost_cap: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Policy {
    Cancel,
    Drain,
    Void,
}

impl Departure {
    /// Which calls it is about, for whoever wrote it.
    pub(crate) fn about(&self) -> String {
        format!("{} {}", self.provider, self.model)
    }

    /// The rule, or what is wrong with it.
    pub(crate) fn rule(&self) -> Result<DepartureRule, String> {
        let bounded = self.within_s.is_some() || self.cost_cap.is_some();
        let then = match (self.policy, self.within_s) {
            (Policy::Drain, Some(seconds @ 1..=3_600)) => OnDeparture::Drain {
                within: Duration::from_secs(seconds.into()),
                cost_cap: self.cost_cap.as_deref().map(amount).transpose()?,
            },
            (Policy::Drain, _) => return Err("`drain` needs `within_s`, from 1 to 3600".to_owned()),
            (Policy::Cancel | Policy::Void, _) if bounded => {
                return Err("`within_s` and `cost_cap` have an effect with `drain` alone: leave them out".to_owned());
            }
            (Policy::Cancel, _) => OnDeparture::Cancel,
            (Policy::Void, _) => OnDeparture::Void,
        };
        Ok(DepartureRule { provider: (&*self.provider).into(), model: self.model.clone(), stream: self.stream, then })
    }
}

/// An amount of money that is more than nothing.
fn amount(text: &str) -> Result<Money, String> {
    let parsed = text.split_once(' ').and_then(|(amount, currency)| {
        let currency = currency.trim().parse().ok()?;
        Money::parse(amount, currency).ok()
    });
    let parsed = parsed.filter(|amount| amount.nanos() > 0);
    parsed.ok_or_else(|| format!("`cost_cap` = {text:?} is no amount above zero, such as \"0.05 USD\""))
}
