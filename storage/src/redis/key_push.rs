//! News of changed keys.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::key::{KeyChange, NewKey, NewSecret};
use aihub_core::page::{Page, PageRequest};
use aihub_core::{AccountId, ApiKey, KeyHash, KeyId, KeyStore, Result, Timestamp};
use async_trait::async_trait;
use futures_util::StreamExt as _;
use redis::Msg;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::{Failure, Redis, may_have_changed};
use crate::CachedKeys;

/// Tells the caches of other replicas which keys have changed, so that they do not use up their second.
///
/// A hint and no more: news are lost when nobody listens, and nobody is told so. What holds without
/// them is [`CachedKeys::BOUND`].
#[derive(Debug, Clone)]
pub struct KeyPush {
    redis: Redis,
    channel: String,
}

/// A task that listens; dropped, it stops.
#[derive(Debug)]
#[must_use = "a listener stops when this is dropped"]
pub struct Listening {
    task: JoinHandle<()>,
    heard: watch::Receiver<bool>,
}

/// How often the connection of a listener is asked whether it still is one.
const PING_EVERY: Duration = Duration::from_secs(1);

/// How long a listener waits after its connection broke, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

impl KeyPush {
    /// Speaks on `redis`, with everybody who has the same server and prefix.
    pub fn new(redis: Redis) -> Self {
        let channel = redis.name("keys:changed");
        Self { redis, channel }
    }

    /// Says that the key `id` has changed. Idempotent; dropped midway, it is said or not.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](aihub_core::ErrorKind::Unavailable) within [`Redis::deadline`], when nobody may have heard it.
    pub async fn publish(&self, id: KeyId) -> Result<()> {
        Ok(self.redis.query(redis::cmd("PUBLISH").arg(&self.channel).arg(id.to_string())).await?)
    }

    /// Has `cache` forget what others publish, until the handle is dropped. Needs tokio's runtime.
    ///
    /// On a connection of its own. Whenever that has been made, `cache` forgets everything: what was
    /// said meanwhile is lost. A connection that broke, or has not answered for a second and a
    /// [`Redis::deadline`], is made again: after 100 ms, and after twice as long each time that it breaks
    /// again within five seconds, which is also the longest; each time up to half of it earlier, so that
    /// replicas that lost the same server do not come back at the same moment.
    pub fn listen<K: KeyStore + ?Sized>(&self, cache: Arc<CachedKeys<K>>) -> Listening {
        let (state, heard) = watch::channel(false);
        let push = self.clone();
        let task = tokio::spawn(async move {
            let mut wait = BACKOFF.0;
            loop {
                let begun = Instant::now();
                let broken = push.hear(&cache, &state).await;
                // Said once: that it still does not work is no news.
                if state.send_replace(false) || wait == BACKOFF.0 {
                    tracing::warn!(error = %broken, "news of changed keys do not arrive; they are seen within a second");
                }
                // Not for every connection that was made: a server that breaks each at once would have
                // all be forgotten ten times a second.
                if begun.elapsed() >= BACKOFF.1 {
                    wait = BACKOFF.0;
                }
                sleep(wait.mul_f64(rand::random_range(0.5..=1.0))).await;
                wait = BACKOFF.1.min(wait * 2);
            }
        });
        Listening { task, heard }
    }

    /// Listens until the connection breaks, and says why it did.
    async fn hear<K: KeyStore + ?Sized>(&self, cache: &CachedKeys<K>, state: &watch::Sender<bool>) -> Failure {
        let (mut sink, mut news) = match self.redis.subscribed(&self.channel).await {
            Ok(subscribed) => subscribed,
            Err(failure) => return failure,
        };
        // Not before the subscription: what is said between the two would be heard by nobody.
        cache.forget_all();
        state.send_replace(true);
        let deadline = self.redis.deadline();
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = news.next() => match message {
                    Some(message) => heed(cache, &message),
                    None => return Failure::Unreachable("the subscription ended".into()),
                },
                // News that come during a ping wait for its end, which the deadline bounds.
                _ = pings.tick() => match timeout(deadline, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return self.redis.failure(&error),
                    Err(_) => return Failure::Slow(deadline),
                },
            }
        }
    }
}

fn heed<K: KeyStore + ?Sized>(cache: &CachedKeys<K>, message: &Msg) {
    match std::str::from_utf8(message.get_payload_bytes()).map(str::parse) {
        Ok(Ok(id)) => cache.forget(id),
        // Somebody says something that a newer version understands: it may be about any key.
        _ => cache.forget_all(),
    }
}

impl Listening {
    /// Whether news arrive now. While they do not, changes made elsewhere are seen within
    /// [`CachedKeys::BOUND`]: no reason to be taken out of service.
    pub fn hears(&self) -> bool {
        *self.heard.borrow()
    }

    /// Waits until news arrive. Dropped midway, nothing has changed.
    pub async fn heard(&mut self) {
        // An error says that the task has ended, which it does only with this handle.
        drop(self.heard.wait_for(|hears| *hears).await);
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A [`KeyStore`] that publishes which keys it has changed, once the store behind it has.
///
/// What cannot be published is logged and changes nothing: the change was made, and others see it
/// within [`CachedKeys::BOUND`]. It waits for at most [`Redis::deadline`]. A change whose caller leaves
/// midway may be made and not published.
///
/// New keys are not published: nobody can have been asked for one before it was made, save those who
/// guess, and an unknown key is remembered by its hash, which Redis does not get to see.
///
/// Stands between [`CachedKeys`] and [`RedisKeys`](super::RedisKeys); above the cache instead, it would
/// publish just as well, but changes made through the cache alone would pass it by.
#[derive(Debug)]
pub struct PushingKeys<K: ?Sized = dyn KeyStore> {
    push: KeyPush,
    inner: Arc<K>,
}

impl<K: KeyStore + ?Sized> PushingKeys<K> {
    /// Publishes by `push` what is changed in `inner`.
    pub fn new(inner: Arc<K>, push: KeyPush) -> Self {
        Self { push, inner }
    }

    /// Publishes `id`, unless nothing was changed.
    async fn publish<T>(&self, id: KeyId, changed: &Result<T>) {
        if !may_have_changed(changed) {
            return;
        }
        if let Err(error) = self.push.publish(id).await {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(key = %id, cause = cause.as_deref(), "a changed key was not published");
        }
    }
}

#[async_trait]
impl<K: KeyStore + ?Sized> KeyStore for PushingKeys<K> {
    async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<ApiKey>>> {
        self.inner.find(hash).await
    }

    async fn insert(&self, key: NewKey) -> Result<()> {
        self.inner.insert(key).await
    }

    async fn update(&self, account: AccountId, id: KeyId, change: KeyChange) -> Result<Arc<ApiKey>> {
        let changed = self.inner.update(account, id, change).await;
        self.publish(id, &changed).await;
        changed
    }

    async fn revoke(&self, account: AccountId, id: KeyId, at: Timestamp) -> Result<()> {
        let changed = self.inner.revoke(account, id, at).await;
        self.publish(id, &changed).await;
        changed
    }

    async fn rotate(&self, account: AccountId, id: KeyId, secret: NewSecret) -> Result<Arc<ApiKey>> {
        let changed = self.inner.rotate(account, id, secret).await;
        self.publish(id, &changed).await;
        changed
    }

    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<()> {
        self.inner.touch(uses).await
    }

    async fn list(&self, account: AccountId, page: PageRequest<KeyId>) -> Result<Page<Arc<ApiKey>, KeyId>> {
        self.inner.list(account, page).await
    }
}
