//! Keys that replicas load for each other.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::conformance::Fixture;
use aihub_core::conformance::key_store::new_key;
use aihub_core::key::NewKey;
use aihub_core::{AccountId, Clock, KeyStore, ManualClock};
use aihub_storage::redis::{Options, Redis};
use aihub_storage::{CachedKeys, KeyPush, PushingKeys, RedisKeys};
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::server::Server;
use super::wire::Wire;
use super::{Truth, bare, is_revoked, names, opened, options, prefix, revoke, until, url};

mod suite {
    use aihub_core::conformance;

    conformance::key_store!(super::trusted());
}

mod suite_of_all_layers {
    use aihub_core::conformance;

    conformance::key_store!(super::stacked());
}

/// A store over an empty one that Redis has begun to answer for.
async fn trusted() -> Fixture<dyn KeyStore> {
    let (truth, redis) = (Truth::new(), opened(&prefix()).await);
    let keys = replica(&truth, &redis).await;
    Fixture::from(Arc::new(keys) as Arc<dyn KeyStore>)
}

async fn stacked() -> Fixture<dyn KeyStore> {
    let (truth, redis) = (Truth::new(), opened(&prefix()).await);
    let keys = Arc::new(replica(&truth, &redis).await);
    let push = KeyPush::new(redis);
    let pushing = Arc::new(PushingKeys::new(keys, push.clone()));
    let cached = Arc::new(CachedKeys::new(pushing, Arc::new(ManualClock::default())));
    let mut listening = push.listen(Arc::clone(&cached));
    listening.heard().await;
    Fixture::from(cached as Arc<dyn KeyStore>).keeping(listening)
}

/// A replica whose connection is old enough for what is in Redis to be used.
async fn replica(truth: &Arc<Truth>, redis: &Redis) -> RedisKeys<Truth> {
    let keys = RedisKeys::new(Arc::clone(truth), redis.clone());
    used(&keys, truth).await;
    keys
}

async fn used(keys: &RedisKeys<Truth>, truth: &Truth) {
    let probe = truth.key().await;
    until("Redis is asked first", async || {
        assert!(!is_revoked(keys, &probe).await);
        let asked = truth.asked();
        assert!(!is_revoked(keys, &probe).await);
        truth.asked() == asked
    })
    .await;
}

/// Has a clock that stands still, so that leases do not run out under a test that is interrupted.
struct Scene {
    truth: Arc<Truth>,
    prefix: String,
    clock: Arc<ManualClock>,
    here: Arc<RedisKeys<Truth>>,
    there: Arc<RedisKeys<Truth>>,
    key: NewKey,
}

impl Scene {
    async fn new() -> Self {
        let (truth, prefix, clock) = (Truth::new(), prefix(), Arc::new(ManualClock::default()));
        let open = async || {
            let given = Arc::clone(&clock) as Arc<dyn Clock>;
            Arc::new(RedisKeys::with_clock(Arc::clone(&truth), opened(&prefix).await, given))
        };
        let (here, there) = (open().await, open().await);
        for replica in [&here, &there] {
            used(replica, &truth).await;
        }
        let key = truth.key().await;
        Self { truth, prefix, clock, here, there, key }
    }

    /// Has `there` look the key up, which asks the truth or does not.
    async fn asks(&self) -> bool {
        let asked = self.truth.asked();
        assert!(self.there.find(&self.key.hash).await.unwrap().is_some());
        self.truth.asked() > asked
    }

    /// Rewrites every row in Redis.
    async fn rewritten(&self, field: &str, value: &[u8]) {
        let mut bare = bare(&url()).await;
        for name in names(&mut bare, &self.prefix).await {
            let kind: String = redis::cmd("TYPE").arg(&name).query_async(&mut bare).await.unwrap();
            if kind == "hash" {
                let set = redis::cmd("HSET").arg(&name).arg(field).arg(value).query_async(&mut bare).await;
                assert_eq!(set, Ok(0), "there is no such field");
            }
        }
    }
}

#[tokio::test]
async fn what_one_replica_loads_another_does_not_ask_for() {
    let it = Scene::new().await;
    assert_eq!(*it.here.find(&it.key.hash).await.unwrap().unwrap(), it.key.key);
    let asked = it.truth.asked();
    assert_eq!(*it.there.find(&it.key.hash).await.unwrap().unwrap(), it.key.key);
    assert_eq!(it.truth.asked(), asked);
}

#[tokio::test]
async fn a_row_is_used_for_less_than_a_lease_however_often() {
    let it = Scene::new().await;
    let lease = RedisKeys::<dyn KeyStore>::LEASE;
    assert!(it.asks().await);
    it.clock.advance(lease.checked_sub(Duration::from_micros(1)).unwrap());
    assert!(!it.asks().await);
    it.clock.advance(Duration::from_micros(1));
    assert!(it.asks().await);
}

#[tokio::test]
async fn a_row_from_the_future_is_not_used() {
    let it = Scene::new().await;
    let ahead = Arc::new(ManualClock::default());
    ahead.advance(Duration::from_millis(100));
    let early = RedisKeys::with_clock(Arc::clone(&it.truth), opened(&it.prefix).await, ahead);
    assert!(!is_revoked(&early, &it.key).await);
    assert!(it.asks().await, "by a clock that was set back, its age says nothing");
}

#[tokio::test]
async fn every_change_is_seen_by_every_replica_at_once() {
    let it = Scene::new().await;
    assert!(it.asks().await && !it.asks().await);
    let mut change = aihub_core::key::KeyChange::default();
    change.plan = Some("other".to_owned());
    it.here.update(it.key.key.account, it.key.key.id, change).await.unwrap();
    assert_eq!(it.there.find(&it.key.hash).await.unwrap().unwrap().plan, "other");
    revoke(&*it.here, &it.key).await;
    assert!(is_revoked(&*it.there, &it.key).await && is_revoked(&*it.here, &it.key).await);
}

#[tokio::test]
async fn a_load_in_flight_does_not_bring_a_revoked_key_back() {
    let it = Scene::new().await;
    it.truth.hold_back();
    let asked = it.truth.asked();
    let (there, hash) = (Arc::clone(&it.there), it.key.hash);
    let load = tokio::spawn(async move { there.find(&hash).await });
    until("the load has read", async || it.truth.asked() > asked).await;
    revoke(&*it.here, &it.key).await;
    it.truth.let_go();
    assert!(load.await.unwrap().unwrap().unwrap().revoked_at.is_none(), "it began before");
    assert!(is_revoked(&*it.here, &it.key).await && is_revoked(&*it.there, &it.key).await);
}

#[tokio::test]
async fn a_revocation_whose_caller_left_counts() {
    let it = Scene::new().await;
    assert!(it.asks().await && !it.asks().await);
    assert!(revoke(&*it.here, &it.key).now_or_never().is_none(), "it waits for Redis");
    until("the revocation is seen", async || is_revoked(&*it.there, &it.key).await).await;
}

#[tokio::test]
async fn rows_that_somebody_else_wrote_are_not_used() {
    let it = Scene::new().await;
    assert!(it.asks().await && !it.asks().await);
    it.rewritten("row", b"").await;
    assert!(it.asks().await && !it.asks().await);
    it.rewritten("row", &[0; 300]).await;
    assert!(it.asks().await && !it.asks().await);
    let later = (it.clock.now().as_microsecond() - 1).to_string();
    it.rewritten("at", later.as_bytes()).await;
    assert!(it.asks().await, "with another instant, it is another row");
}

#[tokio::test]
async fn unknown_keys_leave_nothing_in_redis_and_no_hash_gets_there() {
    let it = Scene::new().await;
    let mut bare = bare(&url()).await;
    let before = names(&mut bare, &it.prefix).await.len();
    for age in 0..20 {
        let stranger = new_key(AccountId::new(it.clock.now()), age);
        assert!(it.here.find(&stranger.hash).await.unwrap().is_none());
    }
    let names = names(&mut bare, &it.prefix).await;
    assert!(names.len() == before && names.iter().all(|name| name.len() < it.prefix.len() + 40), "{names:?}");
}

#[tokio::test]
async fn what_is_in_redis_is_not_used_on_a_young_connection() {
    let it = Scene::new().await;
    assert!(it.asks().await && !it.asks().await);
    let given = Arc::clone(&it.clock) as Arc<dyn Clock>;
    let young = RedisKeys::with_clock(Arc::clone(&it.truth), opened(&it.prefix).await, given);
    let asked = it.truth.asked();
    assert!(!is_revoked(&young, &it.key).await);
    assert_eq!(it.truth.asked(), asked + 1, "the server may have lost the end of a generation");
}

#[tokio::test]
async fn without_redis_the_store_behind_is_asked() {
    let (mut server, truth) = (Server::start().await, Truth::new());
    let redis = Options::default().open(&server.url()).await.unwrap();
    let keys = replica(&truth, &redis).await;
    let key = truth.key().await;
    server.stop();
    let (begun, asked) = (Instant::now(), truth.asked());
    for _ in 0..1_000 {
        assert!(!is_revoked(&keys, &key).await);
    }
    assert_eq!(truth.asked(), asked + 1_000);
    assert!(begun.elapsed() < Duration::from_secs(10), "each waited for Redis: {:?}", begun.elapsed());
    revoke(&keys, &key).await;
    assert!(is_revoked(&keys, &key).await);
    server.restart().await;
    used(&keys, &truth).await;
    assert!(is_revoked(&keys, &key).await);
}

#[tokio::test]
async fn a_full_redis_hides_no_revocation() {
    let (server, truth) = (Server::start().await, Truth::new());
    let redis = options(&prefix()).open(&server.url()).await.unwrap();
    let keys = replica(&truth, &redis).await;
    let key = truth.key().await;
    assert!(!is_revoked(&keys, &key).await);
    server.say("CONFIG SET maxmemory 1").await;
    revoke(&keys, &key).await;
    assert!(is_revoked(&keys, &key).await);
}

/// The writer's cable is pulled; everybody else reaches Redis and goes on using what is there.
#[tokio::test]
async fn a_writer_that_is_cut_off_acknowledges_no_revocation_that_others_do_not_see() {
    let (server, truth, prefix) = (Server::start().await, Truth::new(), prefix());
    let wire = Wire::to(server.port).await;
    let through = server.url().replace(&server.port.to_string(), &wire.port.to_string());
    let cut_off = Options::default().with_prefix(&prefix).open(&through).await.unwrap();
    let writer = replica(&truth, &cut_off).await;
    let reader = Arc::new(replica(&truth, &options(&prefix).open(&server.url()).await.unwrap()).await);
    for _ in 0..3 {
        wire.mend();
        let key = truth.key().await;
        let looking = {
            let (reader, key) = (Arc::clone(&reader), key.clone());
            tokio::spawn(async move { while !is_revoked(&*reader, &key).await {} })
        };
        assert!(!is_revoked(&*reader, &key).await);
        wire.stall();
        revoke(&writer, &key).await;
        assert!(is_revoked(&*reader, &key).await, "acknowledged, and not seen");
        looking.await.unwrap();
    }
}

/// Two replicas with all their layers, and no news: the second that is promised is kept.
#[tokio::test]
async fn with_both_caches_a_revocation_is_seen_within_a_second() {
    let it = Scene::new().await;
    let clock = Arc::new(ManualClock::default());
    let cached = CachedKeys::new(Arc::clone(&it.there), Arc::clone(&clock) as Arc<dyn Clock>);
    assert!(it.asks().await && !it.asks().await);
    assert!(!is_revoked(&cached, &it.key).await);
    revoke(&*it.here, &it.key).await;
    assert!(!is_revoked(&cached, &it.key).await, "nobody told it");
    clock.advance(CachedKeys::<dyn KeyStore>::BOUND);
    assert!(is_revoked(&cached, &it.key).await);
}
