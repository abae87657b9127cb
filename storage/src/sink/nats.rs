//! Usage records as messages of a stream of NATS.

use std::fmt;
use std::time::Duration;

use aihub_core::json::write_flat;
use aihub_core::{BillingSink, Error, ErrorKind, Result, UsageRecord};
use async_nats::connection::State;
use async_nats::jetstream::context::{Context, ContextBuilder, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};

/// Which NATS, and which subjects.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NatsSettings {
    /// The server, with the credentials: `nats://USER:PASSWORD@HOST:4222` or `nats://TOKEN@HOST`, or with TLS `tls://…`.
    pub url: SecretString,
    /// What a record is published on; `{account}` and `{key}` stand for its own. Default `aihub.usage.{account}`. A
    /// stream has to keep these subjects: this sink makes none, since how long and how often records are kept is
    /// not for it to say.
    pub subject: String,
    /// How long a connection, and an acknowledgement, may take. Default 10 s.
    pub time_limit: Duration,
}

impl NatsSettings {
    /// The defaults for this server.
    pub fn new(url: SecretString) -> Self {
        Self { url, subject: "aihub.usage.{account}".to_owned(), time_limit: Duration::from_secs(10) }
    }
}

/// A [`BillingSink`] that publishes to a stream of NATS (`JetStream`), one message for each record: its JSON, in order.
///
/// A batch is taken when the stream has acknowledged every message of it, which is as durable as the stream is. The
/// call is the `Nats-Msg-Id`, by which the stream drops what it has seen within its own window (two minutes, unless it
/// was made with another); beyond that, readers tell by `call`.
///
/// The connection heals by itself; while there is none, batches fail at once. Rejected is only a record that is longer
/// than the server or the stream takes.
#[derive(Clone)]
pub struct NatsSink {
    client: Client,
    stream: Context,
    subject: String,
}

/// How many messages wait for their acknowledgements at once.
const UNDERWAY: usize = 512;

impl NatsSink {
    /// Opens a connection. A server that is away does not hold up the start: it is tried again, and batches fail
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) naming the setting that is wrong; [`Unavailable`](ErrorKind::Unavailable) when
    /// the client cannot be started.
    pub async fn open(settings: &NatsSettings) -> Result<Self> {
        // What cannot be read is not shown: it may hold a password.
        let address: ServerAddr =
            settings.url.expose_secret().parse().map_err(|_| Error::invalid("url", "`url` is not nats://HOST:PORT"))?;
        check(&settings.subject)?;
        // The client reads an address for where it leads, and leaves what else is in it to us.
        let options = match (address.username(), address.password()) {
            (Some(user), Some(password)) => ConnectOptions::with_user_and_password(user.into(), password.into()),
            (Some(token), None) => ConnectOptions::with_token(token.into()),
            (None, _) => ConnectOptions::new(),
        };
        let client = options
            .name("aihub")
            .event_callback(told)
            .connection_timeout(settings.time_limit)
            .request_timeout(Some(settings.time_limit))
            .retry_on_initial_connect()
            .connect(address)
            .await
            .map_err(|error| Error::new(ErrorKind::Unavailable, "NATS cannot be connected to").with_source(error))?;
        let stream = ContextBuilder::new()
            .timeout(settings.time_limit)
            .ack_timeout(settings.time_limit)
            .max_ack_inflight(8 * UNDERWAY)
            .build(client.clone());
        Ok(Self { client, stream, subject: settings.subject.clone() })
    }

    fn subject(&self, record: &UsageRecord) -> String {
        self.subject.replace("{account}", &record.account.to_string()).replace("{key}", &record.key.to_string())
    }

    async fn publish(&self, records: &[UsageRecord]) -> Result<()> {
        let mut acks = Vec::with_capacity(records.len());
        for record in records {
            let mut body = Vec::with_capacity(512);
            write_flat(&mut body, record).map_err(|error| {
                Error::new(ErrorKind::Internal, "A usage record is not JSON").with_alert().with_source(error)
            })?;
            let message = PublishMessage::build().payload(body.into()).message_id(record.call.to_string());
            let sent = self.stream.send_publish(self.subject(record), message).await;
            acks.push(sent.map_err(|error| failure(error, record))?);
        }
        for (ack, record) in acks.into_iter().zip(records) {
            ack.await.map_err(|error| failure(error, record))?;
        }
        Ok(())
    }
}

#[async_trait]
impl BillingSink for NatsSink {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        // What is handed over now would lie in the client, and be sent when nobody waits for it any more.
        if !records.is_empty() && self.client.connection_state() != State::Connected {
            return Err(Error::new(ErrorKind::Unavailable, "NATS is not connected"));
        }
        for part in records.chunks(UNDERWAY) {
            self.publish(part).await?;
        }
        Ok(())
    }
}

impl fmt::Debug for NatsSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSink").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// Says what becomes of the connection: whoever sees batches fail for want of one learns why.
async fn told(event: Event) {
    match event {
        Event::Connected => tracing::info!("NATS is connected"),
        event => tracing::warn!(%event, "the connection to NATS"),
    }
}

/// Whether what stands for a record leaves a subject.
fn check(template: &str) -> Result<()> {
    let subject = template.replace("{account}", "a").replace("{key}", "k");
    let plain = |token: &str| !token.is_empty() && !token.contains(['*', '>', '{', '}', ' ', '\t', '\r', '\n']);
    if subject.split('.').all(plain) && !subject.starts_with('$') {
        return Ok(());
    }
    Err(Error::invalid(
        "subject",
        format!("`{template}` is no subject: words between dots, of which `{{account}}` and `{{key}}` are filled in"),
    ))
}

fn failure(error: PublishError, record: &UsageRecord) -> Error {
    let refused = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<jetstream::Error>());
    let too_long = refused.is_some_and(|refused| refused.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM);
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => too_large(record),
        _ if too_long => too_large(record),
        PublishErrorKind::StreamNotFound => {
            Error::new(ErrorKind::Unavailable, "No stream of NATS keeps the subject of usage records: make one")
                .with_alert()
        }
        _ if refused.is_some() => {
            Error::new(ErrorKind::Unavailable, "The stream of NATS does not take it").with_alert()
        }
        _ => Error::new(ErrorKind::Unavailable, "NATS did not acknowledge a record"),
    }
    .with_source(error)
}

fn too_large(record: &UsageRecord) -> Error {
    Error::new(ErrorKind::TooLarge, format!("{} is longer than NATS takes", record.call))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_leaves_a_subject() {
        for right in ["usage", "aihub.usage.{account}", "{account}.{key}", "eu-1.usage_{key}"] {
            assert!(check(right).is_ok(), "{right}");
        }
        for wrong in ["", "a..b", ".a", "a.", "a.*", "a.>", "a b", "a.{model}", "a.{account", "$JS.API.x"] {
            assert_eq!(check(wrong).unwrap_err().param(), Some("subject"), "{wrong}");
        }
    }
}
