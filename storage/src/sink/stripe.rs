//! Usage records as events of a meter of Stripe.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aihub_core::{AccountId, BillingSink, CallId, Clock, Currency, Error, ErrorKind, Result, Timestamp, UsageRecord};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, TryStreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::form_urlencoded;

use super::receiver::{Answer, Reach, Receiver};

/// What a meter counts of a call. Stripe takes whole numbers alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StripeMeasure {
    /// One for each call that was not refused.
    Calls,
    /// All its tokens.
    Tokens,
    /// What its caller is charged, in whole nano-units of this currency: exact, since no record is finer, and nothing
    /// is carried from one event to the next. The price of the meter is then 0.0000001 cents a unit
    /// (`unit_amount_decimal`); Stripe rounds once, on the line of the invoice.
    Charge(Currency),
}

/// Which meter, and how it is reached.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StripeSettings {
    /// Stripe's API, without the version. Default `https://api.stripe.com`.
    pub base_url: String,
    /// The secret key; a restricted one that may write meter events is enough.
    pub key: SecretString,
    /// The meter's `event_name`, at most 100 bytes.
    pub event_name: String,
    /// What it counts.
    pub measure: StripeMeasure,
    /// Where the address may lead. Default: the public network.
    pub reach: Reach,
    /// How long one request may take. Default 30 s.
    pub time_limit: Duration,
    /// How many customers are told about at once. Default 16; Stripe takes 1,000 events a second. Of one customer it
    /// takes one at a time, and so does this sink.
    pub concurrency: usize,
}

impl StripeSettings {
    /// The defaults for this meter.
    pub fn new(key: SecretString, event_name: impl Into<String>, measure: StripeMeasure) -> Self {
        Self {
            base_url: "https://api.stripe.com".to_owned(),
            key,
            event_name: event_name.into(),
            measure,
            reach: Reach::default(),
            time_limit: Duration::from_secs(30),
            concurrency: 16,
        }
    }
}

/// Which customer of Stripe an account is, such as `cus_NciAYcXfLnqBoz`; none when it is not known.
pub type StripeCustomers = Arc<dyn Fn(AccountId) -> Option<Arc<str>> + Send + Sync>;

/// A [`BillingSink`] that tells a meter of Stripe of every call, one event for each; of calls with nothing to count it
/// says nothing.
///
/// The event's `identifier` is the call. Stripe knows identifiers for at least 24 hours and refuses a second event with
/// one, which counts as taken. This sink knows the newest 20,000 by itself, so that a batch which cannot be ended for
/// longer than a day counts nothing twice either, unless the process is started anew after that day.
///
/// Rejected are records of accounts without a customer, older than Stripe's 35 days or ahead of its 5 minutes, of
/// another currency, with usage but without a charge where the charge is measured, and whatever Stripe refuses with
/// 400. What Stripe finds out later, such as a customer without a subscription, it tells by its own webhook
/// (`v1.billing.meter.error_report_triggered`).
pub struct StripeSink {
    receiver: Receiver,
    headers: HeaderMap,
    event_name: String,
    measure: StripeMeasure,
    concurrency: usize,
    customers: StripeCustomers,
    clock: Arc<dyn Clock>,
    taken: Cache<CallId, ()>,
    /// One batch at a time: two of them may be about one customer.
    turn: Mutex<()>,
}

/// How old an event may be, and how far ahead of Stripe's clock.
const OLDEST_S: i64 = 35 * 86_400;
const LATEST_S: i64 = 300;

/// The version of the API that is spoken, whatever the account's own is.
const VERSION: HeaderValue = HeaderValue::from_static("2024-09-30.acacia");

/// One event, about to be told.
#[derive(Debug)]
struct Event {
    call: CallId,
    at: Timestamp,
    value: i128,
}

impl StripeSink {
    /// A sink for `settings`; connects with the first batch.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) naming the setting that is wrong.
    pub fn new(settings: &StripeSettings, customers: StripeCustomers, clock: Arc<dyn Clock>) -> Result<Self> {
        let name = &settings.event_name;
        if name.is_empty() || name.len() > 100 {
            return Err(Error::invalid("event_name", "`event_name` has 1 to 100 bytes"));
        }
        if settings.concurrency == 0 {
            return Err(Error::invalid("concurrency", "`concurrency` is at least 1"));
        }
        let mut key = HeaderValue::try_from(format!("Bearer {}", settings.key.expose_secret()))
            .ok()
            .filter(|_| !settings.key.expose_secret().is_empty())
            .ok_or_else(|| Error::invalid("key", "the key of Stripe is empty, or holds what no key does"))?;
        key.set_sensitive(true);
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(header::AUTHORIZATION, key);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(HeaderName::from_static("stripe-version"), VERSION);
        let url = format!("{}/v1/billing/meter_events", settings.base_url.trim_end_matches('/'));
        Ok(Self {
            receiver: Receiver::new("base_url", &url, settings.reach, settings.time_limit)?,
            headers,
            event_name: name.clone(),
            measure: settings.measure,
            concurrency: settings.concurrency,
            customers,
            clock,
            taken: Cache::builder().max_capacity(20_000).eviction_policy(EvictionPolicy::lru()).build(),
            turn: Mutex::default(),
        })
    }

    /// What is counted of a call; none when there is nothing.
    fn value(&self, record: &UsageRecord) -> Result<Option<i128>> {
        let value = match self.measure {
            StripeMeasure::Calls => i128::from(record.outcome != aihub_core::Outcome::Refused),
            StripeMeasure::Tokens => record.usage.total_tokens().into(),
            StripeMeasure::Charge(currency) => match record.charge {
                Some(charge) if charge.currency() == currency => charge.nanos().into(),
                Some(charge) if charge.nanos() == 0 => 0,
                Some(charge) => return Err(rejected(record, format!("it is charged in {}", charge.currency()))),
                None if record.usage.is_zero() => 0,
                None => return Err(rejected(record, "it has usage and no known charge")),
            },
        };
        Ok((value != 0).then_some(value))
    }

    /// The events of these records by customer. All are looked at before the first is told.
    fn events(&self, records: &[UsageRecord]) -> Result<BTreeMap<Arc<str>, Vec<Event>>> {
        let now = self.clock.now().as_second();
        let mut events: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for record in records {
            if self.taken.contains_key(&record.call) {
                continue;
            }
            let Some(value) = self.value(record)? else { continue };
            if !(now - OLDEST_S..=now + LATEST_S).contains(&record.at.as_second()) {
                return Err(rejected(record, "it is older than 35 days, or ahead of the clock"));
            }
            let customer = (self.customers)(record.account)
                .ok_or_else(|| rejected(record, format!("{} has no customer in Stripe", record.account)))?;
            events.entry(customer).or_default().push(Event { call: record.call, at: record.at, value });
        }
        Ok(events)
    }

    /// Tells of one customer's events, one after the other.
    async fn tell(&self, (customer, events): (Arc<str>, Vec<Event>)) -> Result<()> {
        for event in events {
            let form = form_urlencoded::Serializer::new(String::with_capacity(256))
                .append_pair("event_name", &self.event_name)
                .append_pair("identifier", &event.call.to_string())
                .append_pair("timestamp", &event.at.as_second().to_string())
                .append_pair("payload[stripe_customer_id]", &customer)
                .append_pair("payload[value]", &event.value.to_string())
                .finish();
            let answer = self.receiver.post(self.headers.clone(), Bytes::from(form)).await?;
            if !answer.status.is_success() && !is_known(&answer) {
                return Err(self.error(&answer));
            }
            self.taken.insert(event.call, ()).await;
        }
        Ok(())
    }

    fn error(&self, answer: &Answer) -> Error {
        let error = answer.error(self.clock.now());
        // Something else holds what this needs; it says nothing of the event.
        if answer.status.as_u16() == 409 {
            return Error::new(ErrorKind::Unavailable, "Stripe is busy with the same thing").with_source(error);
        }
        error
    }
}

/// Whether Stripe refuses an event because it has it. There is no code to tell this by.
fn is_known(answer: &Answer) -> bool {
    #[derive(Deserialize)]
    struct Fault {
        message: String,
    }
    #[derive(Deserialize)]
    struct Body {
        error: Fault,
    }
    answer.status.as_u16() == 400
        && serde_json::from_slice::<Body>(&answer.body)
            .is_ok_and(|body| body.error.message.starts_with("An event already exists with identifier"))
}

fn rejected(record: &UsageRecord, why: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("Stripe would not take {}: {why}", record.call))
}

#[async_trait]
impl BillingSink for StripeSink {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        let _turn = self.turn.lock().await;
        let told = self.events(records)?.into_iter().map(|events| Ok(self.tell(events)));
        stream::iter(told).try_buffer_unordered(self.concurrency).try_collect().await
    }
}

impl fmt::Debug for StripeSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeSink")
            .field("receiver", &self.receiver)
            .field("event_name", &self.event_name)
            .field("measure", &self.measure)
            .finish_non_exhaustive()
    }
}
