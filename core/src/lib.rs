#![doc = include_str!("../README.md")]

pub mod billing;
pub mod call;
pub mod caller;
pub mod charge;
pub mod chat;
#[cfg(feature = "commerce")]
pub mod commerce;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod correction;
pub mod departure;
pub mod embedding;
pub mod error;
pub mod feed;
mod fixed;
pub mod id;
pub mod idempotency;
pub mod journal;
pub mod json;
pub mod key;
pub mod model;
pub mod money;
pub mod network;
pub mod page;
pub mod plan;
pub mod price;
pub mod provider;
pub mod quota;
pub mod rate;
pub mod reply;
pub mod secret;
pub mod terms;
pub mod time;
pub mod tokens;
pub mod usage;

pub use billing::{BillingSink, UsageRecord};
pub use call::{Attempt, Call, Demand, Operation, Reply, Trail, Unanswered};
pub use caller::Caller;
pub use charge::{Charge, Markup};
pub use chat::{ChatEvent, ChatReply, ChatRequest};
pub use correction::{Correction, Corrections, Corrector, Doubts};
pub use departure::{DepartureRule, Departures, Draining, Drains, OnDeparture};
pub use embedding::{EmbedReply, EmbedRequest};
pub use error::{Error, ErrorKind, Refusal, Result};
pub use feed::Feed;
/// Times in signatures are jiff's: who counts days or months takes its calendar from here, and so never
/// from another version.
pub use jiff;

pub use id::{AccountId, CallId, KeyId, OrganisationId};
pub use idempotency::{IdempotencyKey, IdempotencyStore};
pub use journal::Journal;
pub use key::{ApiKey, KeyHash, KeyStore, NewKey, Pepper, PlainKey};
pub use model::{Catalogue, Model, Offer};
pub use money::{Currency, Money};
pub use network::Network;
pub use plan::{Plan, Plans};
pub use price::{Price, PriceBook, PriceList, Priced};
pub use provider::{Capabilities, Provider, VendorRecord};
pub use quota::{QuotaPolicy, Reservation};
pub use rate::{Rate, RateStore};
pub use reply::{Ending, Hook, Marker, Served};
pub use secret::{SecretName, SecretOwner, SecretStore};
pub use terms::{Funding, Terms, TermsStore};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use usage::{Outcome, Usage};
