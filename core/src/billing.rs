//! Usage records and the port that receives them.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

use crate::caller::Caller;
use crate::charge::Markup;
use crate::error::Result;
use crate::id::{AccountId, CallId, KeyId};
use crate::money::Money;
use crate::time::Timestamp;
use crate::usage::{Outcome, Usage};

/// Everything there is to say of one call (inventory row F1). There is exactly one per call,
/// refused and failed ones included. Written as JSON, what is unknown or empty is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UsageRecord {
    /// The call; whoever receives a record twice knows it by this.
    pub call: CallId,
    /// When the call was admitted: the instant that decides period and price.
    pub at: Timestamp,
    /// Who pays.
    pub account: AccountId,
    /// The key used.
    pub key: KeyId,
    /// The plan it was under.
    pub plan: Arc<str>,
    /// `chat` or `embedding`.
    pub operation: &'static str,
    /// Whether the answer came piece by piece.
    pub stream: bool,
    /// The model asked for.
    pub model: Arc<str>,
    /// The provider that served it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Arc<str>>,
    /// The model that served it, in the vendor's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_model: Option<Arc<str>>,
    /// The vendor's own id of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<Arc<str>>,
    /// What was used.
    pub usage: Usage,
    /// What vendors counted for attempts of which nothing reached the caller.
    #[serde(skip_serializing_if = "Usage::is_zero")]
    pub discarded: Usage,
    /// What the vendor charges for the usage, by the price list of the offer that served it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    /// What the caller is charged; zero where nothing is (see [`Charge`](crate::Charge)), absent where no
    /// price is known. In the currency of the cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charge: Option<Money>,
    /// What the call was worth beyond what its hold allowed to charge: the house bears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortfall: Option<Money>,
    /// The version of the price list that both are of; with `markup` it says the charge again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_version: Option<Arc<str>>,
    /// What was added to the price for this caller.
    #[serde(skip_serializing_if = "Markup::is_none")]
    pub markup: Markup,
    /// What the vendor says it charges; absent is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_cost: Option<Money>,
    /// How the call ended.
    pub outcome: Outcome,
    /// `true` when the process that made the call was killed, and another one ended it by its journal.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
    /// The HTTP status of the answer; of a stream that failed later it is the error's.
    pub status: u16,
    /// Why the model stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<Arc<str>>,
    /// How many attempts were sent to vendors.
    pub attempts: u32,
    /// From admission to the end, in microseconds.
    pub duration_us: u64,
    /// From admission to the first event of the answer, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_event_us: Option<u64>,
    /// Where the caller was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// What the caller said it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Arc<str>>,
}

impl UsageRecord {
    /// The record of a call of `caller` of which nothing else is known yet: nothing was sent or used.
    pub fn new(call: CallId, at: Timestamp, caller: &Caller, operation: &'static str, model: Arc<str>) -> Self {
        let plan = caller.plan.name.as_str().into();
        Self {
            ip: caller.ip,
            user_agent: caller.user_agent.clone(),
            ..Self::from_parts(call, at, caller.account(), caller.key.id, plan, operation, model)
        }
    }

    /// As [`UsageRecord::new`], for stores that read a record back and know ids, but no caller.
    pub fn from_parts(
        call: CallId,
        at: Timestamp,
        account: AccountId,
        key: KeyId,
        plan: Arc<str>,
        operation: &'static str,
        model: Arc<str>,
    ) -> Self {
        Self {
            call,
            at,
            account,
            key,
            plan,
            operation,
            stream: false,
            model,
            provider: None,
            served_model: None,
            generation: None,
            usage: Usage::default(),
            discarded: Usage::default(),
            cost: None,
            charge: None,
            shortfall: None,
            price_version: None,
            markup: Markup::NONE,
            vendor_cost: None,
            outcome: Outcome::Refused,
            recovered: false,
            status: 0,
            finish_reason: None,
            attempts: 0,
            duration_us: 0,
            first_event_us: None,
            ip: None,
            user_agent: None,
        }
    }
}

/// Receives usage records: a ledger, a file, a broker.
///
/// Proved by `conformance::billing_sink` (feature `conformance`).
#[async_trait]
pub trait BillingSink: Debug + Send + Sync + 'static {
    /// Takes a batch over.
    ///
    /// Promise: `Ok` means that every record of the batch is as durable as this sink makes it.
    /// Delivery is *at least once*, in batches of any size and order; a sink that adds up has to be
    /// idempotent by [`UsageRecord::call`].
    ///
    /// Errors: the batch is delivered again, whole, for as long as it takes. Only an error that is a
    /// [rejection](crate::Error::is_rejection) says that the same batch will never be taken: whoever delivers then
    /// looks for the records it is about, in smaller batches, and puts each aside that is rejected alone. So a fault
    /// of the place (an address, a credential) is no rejection: it would put everything aside. Who delivers and does
    /// not know rejections, as Meter, delivers again.
    ///
    /// Cancellation: as an error.
    async fn record(&self, records: &[UsageRecord]) -> Result<()>;
}

const _: fn(&dyn BillingSink) = |_| {};
