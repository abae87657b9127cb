//! On which terms an account buys.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::{AccountId, OrganisationId};
use crate::money::Currency;
use crate::quota::{Calendar, Quota};

/// How an account pays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Funding {
    /// What was used is billed afterwards.
    #[default]
    Postpaid,
    /// Only what was paid in before can be used, in this currency.
    Prepaid(Currency),
}

impl Funding {
    /// Whether it is billed afterwards.
    pub const fn is_postpaid(&self) -> bool {
        matches!(self, Self::Postpaid)
    }
}

/// What is agreed with one account, beside its plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Terms {
    /// Whom it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisation: Option<OrganisationId>,
    /// When its days and months begin.
    pub calendar: Calendar,
    /// How it pays.
    pub funding: Funding,
    /// Limits of its own, beside those of its plan.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<Quota>,
}

/// Where terms are kept.
///
/// Keys carry the terms of their account ([`ApiKey::terms`](crate::ApiKey::terms)), so that a call reads them with its
/// key; whoever changes them through this is heard of as late as of a changed key.
#[async_trait]
pub trait TermsStore: Debug + Send + Sync + 'static {
    /// The terms of `account`; [`Terms::default`] for one that has none of its own.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the store does not answer.
    async fn terms(&self, account: AccountId) -> Result<Arc<Terms>>;

    /// Sets the terms of `account`, whole. Idempotent; dropped midway, they are changed or not.
    ///
    /// # Errors
    ///
    /// As above.
    async fn set_terms(&self, account: AccountId, terms: Terms) -> Result<()>;
}

const _: fn(&dyn TermsStore) = |_| {};
