//! Usage records posted to a receiver, signed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aihub_core::json::write_flat;
use aihub_core::{BillingSink, Clock, Error, ErrorKind, Result, UsageRecord};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::receiver::{Reach, Receiver};

/// Where records are posted to, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpSettings {
    /// The address, such as `https://example.com/usage`.
    pub url: String,
    /// The secrets that sign, as `whsec_` and 24 to 64 bytes in base 64. While one is replaced there are two: a request
    /// carries a signature by each.
    pub secrets: Vec<SecretString>,
    /// Where the address may lead. Default: the public network.
    pub reach: Reach,
    /// How long one request may take. Default 30 s. Too low delivers twice what a slow receiver had taken.
    pub time_limit: Duration,
    /// The most records of one request. Default 500, about 300 KB. Too many and the receiver may refuse the length.
    pub most_records: usize,
}

impl HttpSettings {
    /// The defaults for this address and this secret.
    pub fn new(url: impl Into<String>, secret: SecretString) -> Self {
        Self {
            url: url.into(),
            secrets: vec![secret],
            reach: Reach::default(),
            time_limit: Duration::from_secs(30),
            most_records: 500,
        }
    }
}

/// A [`BillingSink`] that posts records as `{"records":[…]}`, signed as Standard Webhooks has it.
///
/// `webhook-id` is made of the records: the same batch that is delivered again has the same one, with a new
/// `webhook-timestamp` and a new `webhook-signature`. A receiver that knows ids needs no more; one that wants each call
/// once, whatever batches it comes in, tells by `call`.
///
/// A batch is taken when the receiver has answered 2xx for all of it. 408, 425, 429, 5xx and no answer are delivered
/// again, not before `Retry-After`; so are 401, 403, 404, 405 and redirects, which need the operator. Other statuses of
/// 400 reject the records.
pub struct HttpSink {
    receiver: Receiver,
    keys: Vec<Hmac<Sha256>>,
    most_records: usize,
    clock: Arc<dyn Clock>,
}

impl HttpSink {
    /// A sink for `settings`; connects with the first batch.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) naming the setting that is wrong.
    pub fn new(settings: &HttpSettings, clock: Arc<dyn Clock>) -> Result<Self> {
        if settings.secrets.is_empty() || settings.most_records == 0 {
            return Err(Error::invalid("secrets", "a receiver needs a secret, and room for a record in a request"));
        }
        let keys = settings.secrets.iter().map(key).collect::<Result<_>>()?;
        let receiver = Receiver::new("url", &settings.url, settings.reach, settings.time_limit)?;
        Ok(Self { receiver, keys, most_records: settings.most_records, clock })
    }

    async fn post(&self, records: &[UsageRecord]) -> Result<()> {
        let body = body(records)?;
        // Of the bytes that are signed and sent: whoever serialises anew signs something else.
        let id = id(&body);
        let now = self.clock.now();
        let timestamp = now.as_second().to_string();
        let signatures: Vec<_> = self.keys.iter().map(|key| sign(key, &id, &timestamp, &body)).collect();
        let mut headers = HeaderMap::with_capacity(5);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in
            [("webhook-id", id), ("webhook-timestamp", timestamp), ("webhook-signature", signatures.join(" "))]
        {
            let value = HeaderValue::try_from(value).map_err(|error| internal("A header").with_source(error))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let answer = self.receiver.post(headers, body).await?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.error(now)) }
    }
}

#[async_trait]
impl BillingSink for HttpSink {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        for part in records.chunks(self.most_records) {
            self.post(part).await?;
        }
        Ok(())
    }
}

impl fmt::Debug for HttpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSink").field("receiver", &self.receiver).finish_non_exhaustive()
    }
}

fn key(secret: &SecretString) -> Result<Hmac<Sha256>> {
    let text = secret.expose_secret();
    let bytes = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok();
    bytes
        .filter(|bytes| (24..=64).contains(&bytes.len()))
        .and_then(|bytes| Hmac::new_from_slice(&bytes).ok())
        .ok_or_else(|| Error::invalid("secrets", "a secret is `whsec_` and 24 to 64 bytes in base 64"))
}

fn body(records: &[UsageRecord]) -> Result<Bytes> {
    let mut body = Vec::with_capacity(16 + records.len() * 512);
    let mut before: &[u8] = br#"{"records":["#;
    for record in records {
        body.extend_from_slice(before);
        write_flat(&mut body, record).map_err(|error| internal("A usage record").with_source(error))?;
        before = b",";
    }
    body.extend_from_slice(b"]}");
    Ok(body.into())
}

fn id(body: &[u8]) -> String {
    let hash = Sha256::digest(body);
    hash[..16].iter().fold("usage_".to_owned(), |id, byte| id + &format!("{byte:02x}"))
}

fn sign(key: &Hmac<Sha256>, id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = key.clone();
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

fn internal(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("{what} cannot be written")).with_alert()
}
