//! The connection to Redis that everybody shares.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aihub_core::Result;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisResult, ScriptInvocation};
use tokio::time::{Instant, timeout};

use super::{Failure, Options};

/// A Redis server. A clone is the same connection: calls of everybody travel on it beside each other.
///
/// - **No call takes longer than its deadline** ([`Options::DEADLINE`]), the making of a connection
///   included, whatever the server does: also when it accepts and never answers.
/// - **It heals by itself.** A connection that broke, or on which an answer was late, is given up; the
///   next call begins another one, and those who come meanwhile share it.
/// - **It fails fast.** After a connection could not be made, or while it takes longer than a
///   deadline, calls fail at once; a fifth of a second later the next one tries again. Callers of a
///   server that is gone do not each wait for it.
/// - **No call is repeated.** One that failed was carried out by the server once or not at all.
///
/// Cancellation: a future that is dropped leaves the connection in order; what it asked for may still
/// be carried out. Neither messages nor `Debug` show the password.
///
/// The `redis` crate's `ConnectionManager` was refused: it keeps a connection on which every answer is
/// late, until TCP gives it up a quarter of an hour later, and it keeps for ever the error of a server
/// that refused it while it started. A pool was refused too: one connection carries more than one
/// Redis answers.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    client: Client,
    options: Options,
    /// Held for as long as it takes to clone a line, never over a wait.
    line: RwLock<Option<Line>>,
    /// Whether the last connection could not be made: said once, not with every try.
    down: Arc<AtomicBool>,
}

/// A connection, or the making of it. It goes on when those who wait for it leave.
#[derive(Clone)]
struct Line {
    begun: Instant,
    made: Shared<BoxFuture<'static, Result<Connected, Down>>>,
}

/// A connection that has been made.
#[derive(Clone)]
pub(super) struct Connected {
    pub(super) connection: MultiplexedConnection,
    pub(super) since: Instant,
}

/// A connection that could not be made.
#[derive(Clone)]
struct Down {
    at: Instant,
    why: Failure,
}

/// How long calls fail at once after a connection could not be made.
const PAUSE: Duration = Duration::from_millis(200);

/// How many calls may wait to be written; beyond, they wait before.
const QUEUE: usize = 1_024;

impl Redis {
    /// Opens what `url` names, as [`Options::open`] does with the defaults: `redis://HOST`, or with TLS
    /// `rediss://HOST`.
    ///
    /// # Errors
    ///
    /// As [`Options::open`].
    pub async fn open(url: &str) -> Result<Self> {
        Options::default().open(url).await
    }

    /// Whether Redis answers, for readiness. Idempotent.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](aihub_core::ErrorKind::Unavailable), within the deadline.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.query(&redis::cmd("PING")).await?)
    }

    pub(super) fn new(client: Client, options: Options) -> Self {
        Self(Arc::new(Inner { client, options, line: RwLock::new(None), down: Arc::default() }))
    }

    /// The longest that one call takes.
    pub fn deadline(&self) -> Duration {
        self.0.options.deadline
    }

    /// The key, or the channel, of this name.
    pub(super) fn name(&self, name: impl fmt::Display) -> String {
        format!("{}{name}", self.0.options.prefix)
    }

    /// As [`Redis::ping`], with the time that making a connection may take.
    pub(super) async fn connected(&self) -> Result<(), Failure> {
        let made = self.line()?.made.await;
        made.map_err(|down| down.why)?;
        // A server without a password lets everybody connect, and one with a password refuses whoever
        // named none only here.
        self.query(&redis::cmd("PING")).await
    }

    /// Carries out one command.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        self.call(|mut on| async move { command.query_async(&mut on.connection).await }).await
    }

    /// Carries out a script, which the server is sent once and knows by its hash from then on.
    pub(super) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Failure> {
        self.call(|mut on| async move { script.invoke_async(&mut on.connection).await }).await
    }

    /// Carries out `ask` within the deadline.
    pub(super) async fn call<T, F>(&self, ask: impl FnOnce(Connected) -> F) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let line = self.line()?;
        let asked = async {
            let connected = line.made.clone().await.map_err(|down| down.why)?;
            ask(connected).await.map_err(|error| self.failure(&error))
        };
        let deadline = self.deadline();
        let done = timeout(deadline, asked).await.unwrap_or(Err(Failure::Slow(deadline)));
        // One that is still being made ends by itself, in time.
        if done.as_ref().is_err_and(|failure| !failure.leaves_connection()) && line.is_made() {
            self.give_up(&line);
        }
        done
    }

    /// A connection of its own that is subscribed to `channel`, within the time for a connection.
    pub(super) async fn subscribed(&self, channel: &str) -> Result<(PubSubSink, PubSubStream), Failure> {
        let patience = self.0.options.connect_timeout;
        let made = async {
            let (mut sink, stream) = self.0.client.get_async_pubsub().await?.split();
            sink.subscribe(channel).await?;
            Ok((sink, stream))
        };
        match timeout(patience, made).await {
            Ok(made) => made.map_err(|error| self.failure(&error)),
            Err(_) => Err(Failure::Slow(patience)),
        }
    }

    pub(super) fn failure(&self, error: &redis::RedisError) -> Failure {
        Failure::of(error, self.0.client.get_connection_info().redis_settings().password())
    }

    /// The line to call on. Begins one where there is none.
    fn line(&self) -> Result<Line, Failure> {
        let now = Instant::now();
        let held = self.0.line.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(line) = self.usable(held, now)? {
            return Ok(line);
        }
        let mut held = self.0.line.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have begun one meanwhile.
        if let Some(line) = self.usable(held.clone(), now)? {
            return Ok(line);
        }
        let line = Line { begun: now, made: self.connect().boxed().shared() };
        tokio::spawn(line.made.clone());
        *held = Some(line.clone());
        Ok(line)
    }

    /// `line`, if it can be called on; `None` when another one is to be begun.
    fn usable(&self, line: Option<Line>, now: Instant) -> Result<Option<Line>, Failure> {
        let Some(line) = line else { return Ok(None) };
        match line.made.peek() {
            Some(Err(down)) if now.duration_since(down.at) < PAUSE => Err(down.why.clone()),
            Some(Err(_)) => Ok(None),
            None if now.duration_since(line.begun) > self.deadline() => Err(Failure::Slow(self.deadline())),
            Some(Ok(_)) | None => Ok(Some(line)),
        }
    }

    fn give_up(&self, line: &Line) {
        let mut held = self.0.line.write().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|held| held.made.ptr_eq(&line.made)) {
            *held = None;
        }
    }

    fn connect(&self) -> impl Future<Output = Result<Connected, Down>> + Send + 'static {
        // Not a reference to all of this: a connection being made must not keep it.
        let (client, was_down) = (self.0.client.clone(), Arc::clone(&self.0.down));
        let patience = self.0.options.connect_timeout;
        async move {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(None)
                .set_response_timeout(None)
                .set_pipeline_buffer_size(QUEUE);
            let made = timeout(patience, client.get_multiplexed_async_connection_with_config(&config)).await;
            let password = client.get_connection_info().redis_settings().password();
            let why = match made {
                Ok(Ok(connection)) => {
                    if was_down.swap(false, Ordering::Relaxed) {
                        tracing::info!("Redis is connected to again");
                    }
                    return Ok(Connected { connection, since: Instant::now() });
                }
                Ok(Err(error)) => Failure::of(&error, password),
                Err(_) => Failure::Slow(patience),
            };
            if !was_down.swap(true, Ordering::Relaxed) {
                tracing::warn!(error = %why, "Redis cannot be connected to");
            }
            Err(Down { at: Instant::now(), why })
        }
    }
}

impl Line {
    fn is_made(&self) -> bool {
        matches!(self.made.peek(), Some(Ok(_)))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.0.client.get_connection_info().addr().to_string();
        f.debug_struct("Redis")
            .field("address", &address)
            .field("prefix", &self.0.options.prefix)
            .finish_non_exhaustive()
    }
}
