//! Windows: what limits count, for whom, and from when.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::calendar::Span;
use crate::error::{Error, Result};
use crate::id::{AccountId, KeyId, OrganisationId};
use crate::money::Currency;
use crate::time::Timestamp;

/// Whose use is counted together.
///
/// As text it is the id, `plan:NAME`, or `ACCOUNT/PATTERN`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// One key.
    Key(KeyId),
    /// All keys of an account.
    Account(AccountId),
    /// An account's calls of the models that match a pattern.
    Model(AccountId, Arc<str>),
    /// All accounts of an organisation.
    Organisation(OrganisationId),
    /// Everybody on a plan.
    Plan(Arc<str>),
}

/// What is counted.
///
/// As text it is `calls`, `tokens`, or the currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Calls.
    Calls,
    /// Tokens, in and out together.
    Tokens,
    /// Nano-units of a currency.
    Money(Currency),
}

/// One counter: whose use of what, over which period.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// Whose use.
    pub subject: Subject,
    /// Of what.
    pub unit: Unit,
    /// How long it counts.
    pub span: Span,
    /// Since when.
    pub starts_at: Timestamp,
}

/// How much a window allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Most {
    /// This much.
    Fixed(i64),
    /// What was paid in: the window itself knows, and top-ups raise it.
    Prepaid,
}

impl Most {
    /// Smaller amounts first; what is paid in before all of them, since it is the window's own.
    pub const fn order(self) -> i64 {
        match self {
            Self::Prepaid => i64::MIN,
            Self::Fixed(most) => most,
        }
    }
}

/// A window, and how much of it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// What is counted.
    pub window: Window,
    /// When it starts anew.
    pub ends_at: Option<Timestamp>,
    /// How much is allowed.
    pub most: Most,
    /// Whether use beyond it is counted, and not refused.
    pub overage: bool,
    /// What it is called where it refuses, such as `plan_monthly_calls`.
    pub source: Cow<'static, str>,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "{id}"),
            Self::Account(id) => write!(f, "{id}"),
            Self::Model(account, pattern) => write!(f, "{account}/{pattern}"),
            Self::Organisation(id) => write!(f, "{id}"),
            Self::Plan(name) => write!(f, "plan:{name}"),
        }
    }
}

impl FromStr for Subject {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(name) = text.strip_prefix("plan:") {
            return Ok(Self::Plan(name.into()));
        }
        if let Some((account, pattern)) = text.split_once('/') {
            return Ok(Self::Model(account.parse()?, pattern.into()));
        }
        if text.starts_with(KeyId::PREFIX) {
            return text.parse().map(Self::Key);
        }
        if text.starts_with(OrganisationId::PREFIX) {
            return text.parse().map(Self::Organisation);
        }
        text.parse().map(Self::Account)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calls => f.write_str("calls"),
            Self::Tokens => f.write_str("tokens"),
            Self::Money(currency) => write!(f, "{currency}"),
        }
    }
}

impl FromStr for Unit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "calls" => Ok(Self::Calls),
            "tokens" => Ok(Self::Tokens),
            currency => currency.parse().map(Self::Money),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_round_trip() {
        let at = Timestamp::from_second(1_790_000_000).unwrap();
        let account = AccountId::new(at);
        for subject in [
            Subject::Key(KeyId::new(at)),
            Subject::Account(account),
            Subject::Model(account, "google/*".into()),
            Subject::Organisation(OrganisationId::new(at)),
            Subject::Plan("pro".into()),
        ] {
            assert_eq!(subject.to_string().parse::<Subject>().unwrap(), subject);
        }
        for unit in [Unit::Calls, Unit::Tokens, Unit::Money(Currency::USD)] {
            assert_eq!(unit.to_string().parse::<Unit>().unwrap(), unit);
        }
        assert!("nobody".parse::<Subject>().is_err() && "many".parse::<Unit>().is_err());
    }
}
