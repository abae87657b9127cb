//! Sinks as they are set.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aihub_core::{AccountId, Currency};
use secrecy::SecretString;
use serde::Deserialize;

use super::{Durability, Secrets};

/// Where usage records are delivered to.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Sink {
    /// A file of lines of JSON.
    File {
        path: PathBuf,
        #[serde(default = "process")]
        durability: Durability,
    },
    /// A receiver of signed posts.
    Http {
        url: String,
        secrets: Option<Secrets>,
        secrets_file: Option<PathBuf>,
        #[serde(default)]
        reach: Reach,
    },
    /// A meter of Stripe.
    Stripe {
        key: Option<SecretString>,
        key_file: Option<PathBuf>,
        event_name: String,
        measure: Measure,
        customers: BTreeMap<AccountId, String>,
        base_url: Option<String>,
        #[serde(default)]
        reach: Reach,
    },
    /// A stream of NATS.
    Nats {
        /// With its password, which is why it is a secret.
        url: Option<SecretString>,
        url_file: Option<PathBuf>,
        subject: Option<String>,
    },
}

/// Which addresses may be connected to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reach {
    #[default]
    Public,
    Private,
    Loopback,
}

/// What a meter counts of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Measure {
    Calls,
    Tokens,
    Charge(Currency),
}

const fn process() -> Durability {
    Durability::Process
}
