//! Postgres: one database for every replica. Spoken without libpq.

mod tls;
mod watch;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use aihub_core::{Error, Result};
use diesel::ConnectionError;
use diesel_async::SimpleAsyncConnection as _;
use tokio_postgres::config::Host;
use tokio_postgres::{Config, NoTls};

use super::connection::{Connections, Database, PoolSettings, Postgres, pool};
use super::migrate::{self, Migrate};
use tls::Tls;
pub use watch::KeyWatch;

impl Database {
    /// Opens the Postgres database that `url` names: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with the
    /// parameters that libpq knows, as far as `tokio-postgres` does, and
    ///
    /// - `sslmode=disable`, `prefer`, `require` (encrypted, whoever it is that answers) or `verify-full`
    ///   (encrypted, and its certificate is one for this host). Without it, `disable` for a server on this
    ///   machine and `verify-full` for every other one: passwords do not go out in the open by default.
    /// - `sslrootcert=FILE`: who may have signed the certificate, in PEM; without it the public authorities.
    ///   With it, `require` is `verify-full`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](aihub_core::ErrorKind::Invalid) when the URL cannot be read, without repeating it.
    /// [`Unavailable`](aihub_core::ErrorKind::Unavailable) with the reason, when the server does not answer or
    /// refuses, when the tables are of a newer version of this program, or of an older one and `migrate` says
    /// to leave them.
    pub async fn postgres(url: &str, settings: PoolSettings, migrate: Migrate) -> Result<Self> {
        let server = Server::parse(url, settings)?;
        migrate::postgres(&server, migrate).await?;
        let (shown, listening) = (server.to_string(), server.clone());
        // Long enough for the server's own timeout to speak first, which says more.
        let patience = settings.acquire + settings.statement + Duration::from_secs(1);
        let connections = pool(
            &shown,
            settings.connections,
            settings.acquire,
            Box::new(move |_| {
                let server = server.clone();
                Box::pin(async move { server.connect().await })
            }),
        );
        let connections = Connections::Postgres(connections, patience);
        Ok(Self { read: connections.clone(), write: connections, shown: shown.into(), server: Some(listening) })
    }
}

/// Where a server is, and how to get in. Shown as host and database, never with the password.
#[derive(Clone)]
pub(super) struct Server {
    config: Config,
    tls: Tls,
    acquire: Duration,
    statement: Duration,
}

impl Server {
    pub(super) fn parse(url: &str, settings: PoolSettings) -> Result<Self> {
        let (mut rest, mut mode, mut roots) = (Vec::new(), None, None);
        let (address, parameters) = url.split_once('?').unwrap_or((url, ""));
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => roots = Some(value),
                _ => rest.push(parameter),
            }
        }
        let plain = if rest.is_empty() { address.to_owned() } else { format!("{address}?{}", rest.join("&")) };
        // Its own words may repeat what stands in the URL, the password included: they are left out.
        let mut config: Config = plain.parse().map_err(|_| {
            wrong(
                "the Postgres URL cannot be read: write postgres://USER:PASSWORD@HOST:PORT/DATABASE, with signs \
                   such as `@` and `/` in the password percent-encoded",
            )
        })?;
        if config.get_hosts().is_empty() {
            return Err(wrong("the Postgres URL names no host: write postgres://USER:PASSWORD@HOST:PORT/DATABASE"));
        }
        let tls = Tls::new(mode, roots, is_here(&config))?;
        config.connect_timeout(settings.acquire).ssl_mode(tls.mode());
        if config.get_application_name().is_none() {
            config.application_name("aihub");
        }
        Ok(Self { config, tls, acquire: settings.acquire, statement: settings.statement })
    }

    /// A new connection, with everything set that holds for each.
    pub(super) async fn connect(&self) -> diesel::ConnectionResult<Postgres> {
        // The client's own timeout ends with the handshake of TCP: a server may accept and say nothing.
        let connected = tokio::time::timeout(self.acquire, self.connected()).await;
        connected.unwrap_or_else(|_| {
            Err(ConnectionError::BadConnection(format!("it has not answered for {:?}", self.acquire)))
        })
    }

    /// What comes of `work` on a connection, unless the server falls silent.
    pub(super) async fn answers<T, E: From<diesel::result::Error>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let silent = || {
            let words = format!("it has not answered for {:?}", self.statement + self.acquire);
            let kind = diesel::result::DatabaseErrorKind::Unknown;
            Err(diesel::result::Error::DatabaseError(kind, Box::new(words)).into())
        };
        tokio::time::timeout(self.statement + self.acquire, work).await.unwrap_or_else(|_| silent())
    }

    async fn connected(&self) -> diesel::ConnectionResult<Postgres> {
        let mut conn = match self.tls.connector() {
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(|error| refused(&error))?;
                Postgres::try_from_client_and_connection(client, connection).await?
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(tls).await.map_err(|error| refused(&error))?;
                Postgres::try_from_client_and_connection(client, connection).await?
            }
        };
        let statement = self.statement.as_millis();
        let setup = format!(
            "SET statement_timeout = {statement}; SET lock_timeout = {statement}; \
             SET idle_in_transaction_session_timeout = {statement};"
        );
        conn.batch_execute(&setup).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(conn)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.config.get_ports();
        for (place, host) in self.config.get_hosts().iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            // One port is for every host, and none is Postgres' own.
            let port = ports.get(place).or(ports.first()).copied().unwrap_or(5_432);
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}:{port}")?,
                Host::Unix(path) => write!(f, "{comma}{}:{port}", path.display())?,
            }
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self})")
    }
}

/// Whether every address that may be connected to is on this machine: `hostaddr` goes before the name.
fn is_here(config: &Config) -> bool {
    let named = config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
        Host::Unix(_) => true,
    });
    named && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

/// Why a server did not let us in, down to the first cause: the outer words are "error connecting to server".
fn refused(error: &tokio_postgres::Error) -> ConnectionError {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = error.to_string();
        cause = error.source();
    }
    ConnectionError::BadConnection(words)
}

fn wrong(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::invalid("database_url", message).with_code("database_url")
}
