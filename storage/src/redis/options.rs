//! How Redis is opened.

use std::time::Duration;

use aihub_core::{Error, ErrorKind, Result};
use redis::{Client, IntoConnectionInfo as _, ProtocolVersion, RedisError, TlsCertificates};
use rustls::crypto::CryptoProvider;

use super::{Failure, Redis};

/// How Redis is opened, where that differs from [`Redis::open`].
///
/// ```no_run
/// use std::time::Duration;
///
/// # async fn opened() -> aihub_core::Result<()> {
/// use aihub_storage::redis::Options;
///
/// let options = Options::default().with_prefix("hub-eu:").with_deadline(Duration::from_millis(100));
/// let redis = options.open("redis://:secret@cache.internal:6379/0").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) prefix: String,
    pub(super) deadline: Duration,
    pub(super) connect_timeout: Duration,
    root_certificate: Option<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: Self::PREFIX.to_owned(),
            deadline: Self::DEADLINE,
            connect_timeout: Self::CONNECT_TIMEOUT,
            root_certificate: None,
        }
    }
}

impl Options {
    /// What every key and channel starts with, unless said otherwise.
    pub const PREFIX: &str = "aihub:";

    /// How long one call takes at most, unless said otherwise.
    pub const DEADLINE: Duration = Duration::from_millis(250);

    /// How long one connection may take to be made, unless said otherwise.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

    /// Another start of every key and channel: several installations in one Redis need one each, or
    /// they count each other's callers. 1 to 64 letters, digits and any of `-_.:`.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long one call takes at most, from asking for a connection to the answer; not zero. Too
    /// short, and a Redis that only breathes counts as down; too long, and callers wait for one that is.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long one connection may take to be made, its login included; not zero. Longer than the
    /// deadline makes sense: calls fail meanwhile, but the connection is there for later ones.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The certificates (PEM) that sign the server's, instead of the public ones; for `rediss:` only.
    #[must_use]
    pub fn with_root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificate = Some(pem.into());
        self
    }

    /// Opens what `url` names, and has it answer once: a wrong password is found at the start. Needs
    /// tokio's runtime.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a URL or an option that makes no sense,
    /// [`Unavailable`](ErrorKind::Unavailable) when the server does not answer within the time for a
    /// connection, or refuses the login. No message holds the password.
    pub async fn open(self, url: &str) -> Result<Redis> {
        let redis = self.open_lazily(url)?;
        redis.connected().await.map_err(|failure| {
            let message = match &failure {
                Failure::Login => "Redis refuses the user or the password of its URL: correct them".to_owned(),
                other => format!("Redis cannot be used under its URL: {other}"),
            };
            Error::new(ErrorKind::Unavailable, message).with_alert().with_source(failure)
        })?;
        Ok(redis)
    }

    /// Opens what `url` names without asking it anything: the first call connects.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid), as [`Options::open`].
    pub fn open_lazily(self, url: &str) -> Result<Redis> {
        let in_prefix = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if !(1..=64).contains(&self.prefix.len()) || !self.prefix.bytes().all(in_prefix) {
            return Err(wrong("a prefix of keys is 1 to 64 letters, digits and any of `-_.:`"));
        }
        if self.deadline.is_zero() || self.connect_timeout.is_zero() {
            return Err(wrong("a deadline of zero would refuse every call"));
        }
        let client = self.client(url)?;
        Ok(Redis::new(client, self))
    }

    fn client(&self, url: &str) -> Result<Client> {
        let tls = match url.split_once("://") {
            Some(("redis", _)) => false,
            Some(("rediss", _)) => true,
            _ => return Err(wrong(KNOWN)),
        };
        // The client would understand `#insecure`, which trusts any server, and options of its own.
        if url.contains(['?', '#']) {
            return Err(wrong("a Redis URL takes no options; in a password, write `?` as `%3F` and `#` as `%23`"));
        }
        let info = url.into_connection_info().map_err(|error| unread(&error))?;
        // Before RESP 3 a subscription has a connection to itself, and no other one gets pushes.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let info = info.set_redis_settings(settings).set_tcp_settings(tcp);
        if tls && CryptoProvider::get_default().is_none() {
            // The client takes the process's provider. It is lost only against somebody who was faster.
            drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        }
        match &self.root_certificate {
            Some(_) if !tls => Err(wrong("a certificate for `redis:` would have no effect: write `rediss:`")),
            Some(pem) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) };
                Client::build_with_tls(info, certificates).map_err(|error| unread(&error))
            }
            None => Client::open(info).map_err(|error| unread(&error)),
        }
    }
}

const KNOWN: &str =
    "Redis is named by a URL: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss:` with TLS";

fn wrong(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::invalid("redis_url", message).with_code("redis_url")
}

/// The client's own words are left out: they may hold a part of the URL.
fn unread(error: &RedisError) -> Error {
    match error.kind() {
        redis::ErrorKind::InvalidClientConfig => wrong(KNOWN),
        _ => wrong("the certificates for Redis cannot be read: they are to be PEM"),
    }
}
