//! Quotas, wherever they are counted: what an ask weighs, and which limits of a month it has to pass.

use std::fmt::Display;

use aihub_core::key::KeyLimits;
use aihub_core::quota::Amounts;
use aihub_core::{Error, ErrorKind, Money, Plan, Refusal, Result, Timestamp};
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// The first day of a month.
pub(crate) type Month = Date;

/// Wide enough for every sum of 2⁶⁴ amounts: the arithmetic on it cannot overflow, and an ask too
/// large to be true does not wrap into a small one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) calls: u128,
    pub(crate) tokens: u128,
    pub(crate) nanos: i128,
}

impl Tally {
    /// What `amounts` weigh. Money counts only where it is limited, and never below zero: a negative
    /// ask would widen the limit for everybody else.
    pub(crate) fn weigh(amounts: Amounts, limit: Option<Money>) -> Result<Self> {
        let nanos = match (limit, amounts.money) {
            (None, _) => 0,
            (Some(most), Some(money)) if money.currency() == most.currency() => i128::from(money.nanos().max(0)),
            (Some(most), Some(_)) => return Err(unpriced(&format!("this model is not priced in {}", most.currency()))),
            (Some(_), None) => return Err(unpriced("this model has no price")),
        };
        Ok(Self { calls: amounts.calls.into(), tokens: amounts.tokens.into(), nanos })
    }

    /// What was used, of a call that held `self`. What it cost may not be known at the end, which is never nothing:
    /// all the money held is counted then.
    pub(crate) fn used(self, used: Amounts, limit: Option<Money>) -> Self {
        let known = Self::weigh(used, limit);
        known.unwrap_or(Self { calls: used.calls.into(), tokens: used.tokens.into(), nanos: self.nanos })
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { calls: self.calls + other.calls, tokens: self.tokens + other.tokens, nanos: self.nanos + other.nanos }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self { calls: self.calls - other.calls, tokens: self.tokens - other.tokens, nanos: self.nanos - other.nanos }
    }
}

/// What a window may hold, and the names that its limits have in a refusal.
pub(crate) struct Limits {
    who: &'static str,
    calls: (&'static str, Option<u64>),
    tokens: (&'static str, Option<u64>),
    money: Option<Money>,
}

impl Limits {
    pub(crate) fn of_account(plan: &Plan, money: Option<Money>) -> Self {
        let (calls, tokens) =
            (("plan_monthly_calls", plan.monthly_calls), ("plan_monthly_tokens", plan.monthly_tokens));
        Self { who: "account", calls, tokens, money }
    }

    pub(crate) fn of_key(limits: &KeyLimits) -> Self {
        let calls = ("key_monthly_calls", limits.monthly_calls);
        Self { who: "API key", calls, tokens: ("key_monthly_tokens", limits.monthly_tokens), money: None }
    }

    /// Whether `ask` fits beside what is `taken` in `month`.
    ///
    /// # Errors
    ///
    /// [`PaymentRequired`](ErrorKind::PaymentRequired) with the limit that refuses.
    pub(crate) fn admit(&self, taken: Tally, ask: Tally, month: Month) -> Result<()> {
        let counts = [(self.calls, "calls", ask.calls, taken.calls), (self.tokens, "tokens", ask.tokens, taken.tokens)];
        for ((source, limit), unit, ask, taken) in counts {
            let Some(limit) = limit else { continue };
            let free = u128::from(limit).saturating_sub(taken);
            if ask > free {
                return Err(refuse(self.who, source, unit, limit, free, month));
            }
        }
        if let Some(limit) = self.money {
            let free = (i128::from(limit.nanos()) - taken.nanos).max(0);
            if ask.nanos > free {
                let left = Money::from_nanos(i64::try_from(free).unwrap_or(i64::MAX), limit.currency());
                let source = "account_monthly_money";
                return Err(refuse(self.who, source, limit.currency(), limit.decimal(), left.decimal(), month));
            }
        }
        Ok(())
    }
}

pub(crate) fn month(at: Timestamp) -> Month {
    TimeZone::UTC.to_datetime(at).date().first_of_month()
}

/// The first instant after `month`; `None` past the end of the calendar.
fn end_of(month: Month) -> Option<Timestamp> {
    let next = month.last_of_month().tomorrow().ok()?;
    next.to_zoned(TimeZone::UTC).ok().map(|start| start.timestamp())
}

fn refuse(
    who: &str,
    source: &'static str,
    unit: impl Display,
    limit: impl Display,
    left: impl Display,
    month: Month,
) -> Error {
    let resets_at = end_of(month);
    let until = resets_at.map(|end| format!(" until {end}")).unwrap_or_default();
    let message = format!(
        "This {who} may use {limit} {unit} a month and has {left} left{until}, less than this call may need: \
         ask for less, wait, or move to a larger plan"
    );
    let refusal = Refusal::new(source, format!("{limit} {unit}"), format!("{left} {unit}"));
    let refusal = match resets_at {
        Some(end) => refusal.with_reset(end),
        None => refusal,
    };
    Error::new(ErrorKind::PaymentRequired, message).with_refusal(refusal)
}

fn unpriced(why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("The spending limit cannot be checked: {why}. Choose another model"))
        .with_code("unpriced_model")
        .with_alert()
}
