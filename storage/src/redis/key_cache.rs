//! Keys that replicas load for each other.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aihub_core::key::{KeyChange, NewKey, NewSecret};
use aihub_core::page::{Page, PageRequest};
use aihub_core::{AccountId, ApiKey, Clock, Error, ErrorKind, KeyHash, KeyId, KeyStore, Result, Timestamp};
use async_trait::async_trait;
use redis::{RedisResult, Script};
use sha2::{Digest as _, Sha256};
use tracing::Instrument as _;

use super::{Failure, Redis, may_have_changed, row};

/// A [`KeyStore`] that asks Redis before the store behind it, and leaves there what it was told. Stands
/// behind [`CachedKeys`](crate::CachedKeys): with many replicas, each key in use costs the database two
/// questions a second instead of one for each replica. With fewer than four replicas it gains little.
///
/// - **Revoked means revoked.** No look-up that begins after a change was acknowledged is answered with
///   what was before it, whatever Redis does meanwhile. `CachedKeys` may therefore use its whole second.
/// - **No resurrection.** All rows carry the generation that stood before their question was put, a
///   change ends the generation, and a row of another one is neither kept nor used.
/// - **Redis down is no outage.** Look-ups go to the store behind, after [`Redis::deadline`] at most,
///   and at once while no connection can be made.
/// - **Redis cannot make keys.** Rows are sealed under the key's hash, which never gets there.
///
/// Unknown keys are not remembered here: `CachedKeys` does that, and whoever guesses would fill Redis.
///
/// # A writer that cannot reach Redis
///
/// A row is used for less than [`RedisKeys::LEASE`], counted by Redis' clock from before its question
/// was put. A change that could not end the generation waits twice that long before it is acknowledged,
/// until nobody uses an older row: a revocation always succeeds, and takes a second longer while Redis
/// is down. Twice, because a clock that is set back prolongs a lease by as much again at most.
///
/// A Redis that restarts or fails over may have forgotten the end of a generation. So rows are not used
/// on a connection that is younger than that either: everything from before it has run out then. Behind
/// a proxy that keeps connections over a failover, this does not hold, and a revocation that the old
/// server took with it is seen a lease later.
///
/// **Whoever writes past this value** (by hand, or a replica set up without Redis) is seen only when
/// lease and cache have run out, half a second late: within one and a half. Every replica that changes
/// keys must be set up with the same Redis and prefix. The store behind has to show a change to every
/// question that begins after it: a database replica that lags does not.
///
/// # What was refused
///
/// Rows that are merely young: half a second here and one in `CachedKeys` are more than the one second
/// that is promised, for every revocation and not only for those made past us. A generation for each
/// key: a look-up knows the hash, a change the id, and an index from one to the other would have to be
/// right at all times. One for all costs the store a question per key in use and change, which every
/// lease costs anyway. Ending the generation before the change as well: a row is refused by the end
/// that comes after, so it would prove nothing more.
#[derive(Debug)]
pub struct RedisKeys<K: ?Sized = dyn KeyStore> {
    shared: Arc<Shared>,
    inner: Arc<K>,
}

#[derive(Debug)]
struct Shared {
    redis: Redis,
    clock: Option<Arc<dyn Clock>>,
    generation: String,
    look: Script,
    keep: Script,
}

/// What a row has to show to be kept: the generation, and Redis' time in microseconds, from before its
/// question was put.
#[derive(Debug)]
struct Ticket {
    generation: String,
    at: String,
}

/// Gives back the generation, begun if there is none; and the row with its instant if it is of this
/// generation and young enough, else the instant now.
const LOOK: &str = r"
local generation = redis.call('GET', KEYS[2])
if not generation then
  generation = ARGV[1]
  redis.call('SET', KEYS[2], generation)
end
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local entry = redis.call('HMGET', KEYS[1], 'generation', 'at', 'row')
if entry[1] == generation and entry[3] then
  local age = now - tonumber(entry[2])
  if age >= 0 and age < tonumber(ARGV[3]) then
    return {generation, entry[2], entry[3]}
  end
end
return {generation, string.format('%.0f', now), false}
";

/// Keeps a row whose generation still stands: of another one it would not be used, and might displace one
/// that is.
const KEEP: &str = r"
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'at', ARGV[2], 'row', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
";

impl<K: KeyStore + ?Sized> RedisKeys<K> {
    /// How long a row in Redis is used.
    pub const LEASE: Duration = LEASE;

    /// Keeps in `redis` what `inner` says.
    pub fn new(inner: Arc<K>, redis: Redis) -> Self {
        Self::made(inner, redis, None)
    }

    /// Counts leases by [`Clock::now`] of `clock` instead of Redis' own, for tests: replicas need
    /// clocks that agree.
    pub fn with_clock(inner: Arc<K>, redis: Redis, clock: Arc<dyn Clock>) -> Self {
        Self::made(inner, redis, Some(clock))
    }

    fn made(inner: Arc<K>, redis: Redis, clock: Option<Arc<dyn Clock>>) -> Self {
        let generation = redis.name("keys:generation");
        let (look, keep) = (Script::new(LOOK), Script::new(KEEP));
        Self { shared: Arc::new(Shared { redis, clock, generation, look, keep }), inner }
    }

    /// Makes a change, and acknowledges it when no older row is used any more. The work goes on when
    /// its caller leaves: a change that was made must end the generation.
    async fn change<T: Send + 'static>(&self, change: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        let work = async move {
            let changed = change.await;
            if may_have_changed(&changed) {
                shared.end_generation().await;
            }
            changed
        };
        tokio::spawn(work.in_current_span()).await.unwrap_or_else(|stopped| {
            Err(Error::new(ErrorKind::Unavailable, "The change did not end: try again").with_source(stopped))
        })
    }
}

const LEASE: Duration = Duration::from_millis(500);

/// After this long, no row from before is used: see [`RedisKeys`].
const RUN_OUT: Duration = Duration::from_secs(1);

impl Shared {
    /// Removed, not replaced: a full Redis still removes, and the next look-up begins another one.
    async fn end_generation(&self) {
        let ended: Result<(), Failure> = self.redis.query(redis::cmd("DEL").arg(&self.generation)).await;
        if let Err(error) = ended {
            tracing::warn!(%error, "a changed key cannot be taken out of Redis: waiting until its row has run out");
            tokio::time::sleep(RUN_OUT).await;
        }
    }

    /// Where the row of `hash` is kept: not the hash itself, which seals it.
    fn entry(&self, hash: &KeyHash) -> String {
        let mut name = self.redis.name("keys:");
        for byte in &Sha256::new_with_prefix("row of ").chain_update(hash.as_bytes()).finalize()[..16] {
            write!(name, "{byte:02x}").expect("writing into a String does not fail");
        }
        name
    }

    /// The row, or what a row needs to be kept.
    async fn look(&self, hash: &KeyHash) -> Result<Result<ApiKey, Ticket>, Failure> {
        let now = self.clock.as_ref().map(|clock| clock.now().as_microsecond().to_string()).unwrap_or_default();
        // Never one that stood before, also after Redis has lost all it held.
        let new = format!("{:032x}", rand::random::<u128>());
        let mut script = self.look.key(self.entry(hash));
        script.key(&self.generation).arg(new).arg(now).arg(u64::try_from(LEASE.as_micros()).unwrap_or(u64::MAX));
        let script = &script;
        let looked = self.redis.call(|mut on| async move {
            let reply: RedisResult<(String, String, Option<Vec<u8>>)> = script.invoke_async(&mut on.connection).await;
            reply.map(|reply| (on.since.elapsed() >= RUN_OUT, reply))
        });
        let (trusted, (generation, at, sealed)) = looked.await?;
        let ticket = Ticket { generation, at };
        let sealed = match sealed {
            Some(sealed) if trusted => sealed,
            Some(_) | None => return Ok(Err(ticket)),
        };
        Ok(row::open(hash, &ticket.context(), &sealed).ok_or(ticket))
    }

    async fn keep(&self, hash: &KeyHash, ticket: &Ticket, key: &ApiKey) -> Result<(), Failure> {
        let Some(sealed) = row::seal(hash, &ticket.context(), key) else { return Ok(()) };
        let mut script = self.keep.key(self.entry(hash));
        script.key(&self.generation).arg(&ticket.generation).arg(&ticket.at).arg(sealed);
        // Only frees memory, the instant decides; so by a given clock, which may stand still, later.
        let outlives = if self.clock.is_some() { Duration::from_mins(1) } else { RUN_OUT };
        script.arg(outlives.as_secs() * 1_000);
        self.redis.run(&script).await
    }
}

impl Ticket {
    /// What the row is sealed with: put back later, or under another generation, it does not open.
    fn context(&self) -> Vec<u8> {
        format!("{} {}", self.generation, self.at).into_bytes()
    }
}

#[async_trait]
impl<K: KeyStore + ?Sized> KeyStore for RedisKeys<K> {
    async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<ApiKey>>> {
        let ticket = match self.shared.look(hash).await {
            Ok(Ok(key)) => return Ok(Some(Arc::new(key))),
            Ok(Err(ticket)) => ticket,
            Err(error) => {
                tracing::debug!(%error, "a key is looked up past Redis");
                return self.inner.find(hash).await;
            }
        };
        let found = self.inner.find(hash).await?;
        if let Some(key) = &found
            && let Err(error) = self.shared.keep(hash, &ticket, key).await
        {
            tracing::debug!(%error, "a key is not kept in Redis");
        }
        Ok(found)
    }

    /// As the store behind: there is nothing older of a new key that could be used.
    async fn insert(&self, key: NewKey) -> Result<()> {
        self.inner.insert(key).await
    }

    async fn update(&self, account: AccountId, id: KeyId, change: KeyChange) -> Result<Arc<ApiKey>> {
        let inner = Arc::clone(&self.inner);
        self.change(async move { inner.update(account, id, change).await }).await
    }

    async fn revoke(&self, account: AccountId, id: KeyId, at: Timestamp) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        self.change(async move { inner.revoke(account, id, at).await }).await
    }

    async fn rotate(&self, account: AccountId, id: KeyId, secret: NewSecret) -> Result<Arc<ApiKey>> {
        let inner = Arc::clone(&self.inner);
        self.change(async move { inner.rotate(account, id, secret).await }).await
    }

    /// As the store behind: when a key was used last decides nothing, and is worth no row.
    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<()> {
        self.inner.touch(uses).await
    }

    async fn list(&self, account: AccountId, page: PageRequest<KeyId>) -> Result<Page<Arc<ApiKey>, KeyId>> {
        self.inner.list(account, page).await
    }
}
