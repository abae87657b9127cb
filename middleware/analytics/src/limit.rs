//! How the limits of a key stand.

use aihub_core::commerce::{Alert, Standing};
use aihub_core::quota::{Limit, Most, Unit, all_limits, windows};
use aihub_core::{Caller, Money, Result, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Analytics;

/// The limits of a key, each with what is left.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LimitList {
    /// `list`.
    object: &'static str,
    /// The limits: of the key, of the account's terms, of the plan, and what is paid in.
    data: Vec<LimitView>,
    /// How many requests a minute the key may make, if that is limited; the headers `ratelimit` and
    /// `x-ratelimit-remaining-requests` of every answer say how many are left.
    requests_per_minute: Option<u32>,
}

/// One limit. Amounts are decimals, in the unit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LimitView {
    /// What it is called where it refuses.
    #[schema(example = "plan_monthly_calls")]
    source: String,
    /// `calls`, `tokens`, or a currency.
    #[schema(example = "calls")]
    unit: String,
    /// How much is allowed.
    limit: String,
    /// What was used and is booked.
    used: String,
    /// What is held for calls that run, or may be admitted without asking.
    held: String,
    /// What is left beside both; never less than 0.
    remaining: String,
    /// Since when it counts.
    starts_at: Timestamp,
    /// When it starts anew; absent for one that never does.
    resets_at: Option<Timestamp>,
    /// Whether use beyond it is counted and charged, and not refused.
    overage: bool,
    /// The thresholds that were passed.
    alerts: Vec<AlertView>,
}

/// A threshold that was passed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlertView {
    /// Of how many percent.
    percent: u16,
    /// When.
    raised_at: Timestamp,
}

impl Analytics {
    /// The limits of `caller`'s key as they stand at `at`.
    pub(crate) async fn limits(&self, caller: &Caller, at: Timestamp) -> Result<LimitList> {
        let limits = all_limits(caller, at);
        let standings = self.0.standings.standings(&windows(&limits)).await?;
        let of = |limit: &Limit| standings.iter().find(|standing| standing.window == limit.window);
        let data = limits.iter().filter_map(|limit| Some(LimitView::of(limit, of(limit)?))).collect();
        let (plan, key) = (caller.plan.requests_per_minute, caller.key.limits.requests_per_minute);
        Ok(LimitList { object: "list", data, requests_per_minute: plan.into_iter().chain(key).min() })
    }
}

impl LimitView {
    fn of(limit: &Limit, standing: &Standing) -> Self {
        let unit = limit.window.unit;
        let most = match limit.most {
            Most::Fixed(most) => most,
            Most::Prepaid => standing.granted,
        };
        let taken = standing.settled.saturating_add(standing.leased);
        Self {
            source: limit.source.clone().into_owned(),
            unit: unit.to_string(),
            limit: shown(unit, most),
            used: shown(unit, standing.settled),
            held: shown(unit, standing.leased),
            remaining: shown(unit, most.saturating_sub(taken).max(0)),
            starts_at: limit.window.starts_at,
            resets_at: limit.ends_at,
            overage: limit.overage,
            alerts: standing.alerts.iter().map(AlertView::from).collect(),
        }
    }
}

impl From<&Alert> for AlertView {
    fn from(alert: &Alert) -> Self {
        Self { percent: alert.percent, raised_at: alert.raised_at }
    }
}

/// An amount as a decimal of its unit.
pub(crate) fn shown(unit: Unit, amount: i64) -> String {
    match unit {
        Unit::Calls | Unit::Tokens => amount.to_string(),
        Unit::Money(currency) => Money::from_nanos(amount, currency).decimal().to_string(),
    }
}
