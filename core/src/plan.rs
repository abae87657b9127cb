//! Plans: what an account bought, as data.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::charge::Markup;
use crate::model::Model;
use crate::money::Money;
use crate::quota::Quota;

/// Which models a plan or a key reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelAccess {
    /// Every model of the catalogue.
    #[default]
    All,
    /// The models that the catalogue marks as basic.
    Basic,
    /// These models, by id; an entry ending in `*` matches every id that starts with it.
    Only(Vec<String>),
}

impl ModelAccess {
    /// Whether `model` is within reach.
    pub fn permits(&self, model: &Model) -> bool {
        match self {
            Self::All => true,
            Self::Basic => model.basic,
            Self::Only(ids) => ids.iter().any(|id| match id.strip_suffix('*') {
                Some(prefix) => model.id.starts_with(prefix),
                None => *id == *model.id,
            }),
        }
    }
}

/// What an account bought. An absent limit is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The name it is chosen by, such as `free`.
    #[serde(default)]
    pub name: String,
    /// Which models it reaches.
    #[serde(default)]
    pub models: ModelAccess,
    /// Requests per minute of one key; bursts up to the same number.
    #[serde(default)]
    pub requests_per_minute: Option<u32>,
    /// Calls per month of one account; months are those of its [calendar](crate::quota::Calendar).
    #[serde(default)]
    pub monthly_calls: Option<u64>,
    /// Tokens, in and out, per month of one account.
    #[serde(default)]
    pub monthly_tokens: Option<u64>,
    /// Money per month of one account, at the prices that it is charged.
    #[serde(default)]
    pub monthly_money: Option<Money>,
    /// Further limits.
    #[serde(default)]
    pub quotas: Vec<Quota>,
    /// The output tokens held, and asked of the vendor, for a call that names no limit of its own.
    /// Too high holds back money that other calls could use; too low cuts answers short.
    #[serde(default = "default_output_tokens")]
    pub default_output_tokens: u64,
    /// What is added to the vendors' prices for its accounts.
    #[serde(default)]
    pub markup: Markup,
}

const fn default_output_tokens() -> u64 {
    4_096
}

impl Plan {
    /// A plan of this name that reaches every model and limits nothing.
    pub fn unlimited(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            models: ModelAccess::All,
            requests_per_minute: None,
            monthly_calls: None,
            monthly_tokens: None,
            monthly_money: None,
            quotas: Vec::new(),
            default_output_tokens: default_output_tokens(),
            markup: Markup::NONE,
        }
    }
}

/// Every plan that is sold, by name.
#[derive(Debug, Clone, Default)]
pub struct Plans(HashMap<String, Arc<Plan>>);

impl Plans {
    /// The plan of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Plan>> {
        self.0.get(name)
    }

    /// The names, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.0.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

impl FromIterator<Plan> for Plans {
    fn from_iter<T: IntoIterator<Item = Plan>>(plans: T) -> Self {
        Self(plans.into_iter().map(|plan| (plan.name.clone(), Arc::new(plan))).collect())
    }
}
