//! Usage records and the port that receives them.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

use crate::caller::Caller;
use crate::charge::{Charge, Markup};
use crate::error::Result;
use crate::id::{AccountId, CallId, KeyId, OrganisationId};
use crate::money::Money;
use crate::price::PriceList;
use crate::quota::Amounts;
use crate::terms::Funding;
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
    /// Whom the account belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisation: Option<OrganisationId>,
    /// How the account pays.
    #[serde(skip_serializing_if = "Funding::is_postpaid")]
    pub funding: Funding,
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
    /// What the caller is charged; zero where nothing is (see [`Charge`]), absent where no
    /// price is known. In the currency of the cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charge: Option<Money>,
    /// What the call was worth beyond what its hold allowed to charge: the house bears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortfall: Option<Money>,
    /// The most that the caller may be charged, where the call holds it of a limit of money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charge_at_most: Option<Money>,
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
    /// Whether the caller was let off: it is charged nothing, and the call counts in no quota.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub waived: bool,
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
            organisation: caller.key.terms.organisation,
            funding: caller.key.terms.funding,
            ip: caller.ip,
            user_agent: caller.user_agent.clone(),
            ..Self::from_parts(call, at, caller.account(), caller.key.id, plan, operation, model)
        }
    }

    /// What the call counts in windows of quotas: nothing where its caller was let off, or nothing was used and no answer
    /// was whole.
    pub fn amounts(&self) -> Amounts {
        if !self.waived && (self.outcome == Outcome::Completed || !self.usage.is_zero()) {
            Amounts::call(self.usage.total_tokens(), self.charge)
        } else {
            Amounts::default()
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
            organisation: None,
            funding: Funding::Postpaid,
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
            charge_at_most: None,
            price_version: None,
            markup: Markup::NONE,
            vendor_cost: None,
            outcome: Outcome::Refused,
            waived: false,
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

    /// What the call comes to by `prices` under the terms on which it was charged: its markup, whether it was let off,
    /// and where its hold ended. By the list that [`UsageRecord::price_version`] names that is what the record says, so
    /// that a closed month can be rated again.
    pub fn rated(&self, prices: &PriceList) -> Charge {
        let most = self.shortfall.and(self.charge);
        Charge::of(prices, &self.usage, self.markup, self.waived, most)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::money::Currency;

    proptest! {
        /// Whatever a call was charged, its record and its price list say it again.
        #[test]
        fn a_record_is_rated_again_to_the_last_nano(
            tokens in prop::array::uniform4(0_u64..5_000_000), markup in -1_000_000_i32..3_000_000, waived: bool,
            most in prop::option::of(0_i64..10_000_000_000),
        ) {
            let mut usage = Usage::new(tokens[0], tokens[1]);
            (usage.cache_read, usage.reasoning) = (tokens[2], tokens[3]);
            let prices = PriceList::flat("0.0375", "4.1").unwrap();
            let markup = Markup::from_ppm(markup).unwrap();
            let most = most.map(|nanos| Money::from_nanos(nanos, Currency::USD));
            let charge = Charge::of(&prices, &usage, markup, waived, most);
            let at = Timestamp::UNIX_EPOCH;
            let (call, account, key) = (CallId::new(at), AccountId::new(at), KeyId::new(at));
            let mut record = UsageRecord::from_parts(call, at, account, key, "pro".into(), "chat", "m".into());
            (record.usage, record.markup, record.waived) = (usage, markup, waived);
            (record.cost, record.charge, record.shortfall) = (charge.cost, charge.charge, charge.shortfall);
            prop_assert_eq!(record.rated(&prices), charge);
        }
    }
}
