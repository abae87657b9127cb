//! News of changed keys.

use std::sync::Arc;

use aihub_core::{Clock, KeyStore, ManualClock};
use aihub_storage::redis::{Listening, Options};
use aihub_storage::{CachedKeys, KeyPush, PushingKeys};

use super::server::Server;
use super::wire::Wire;
use super::{Truth, is_revoked, opened, prefix, revoke, until, url};

mod suite {
    use std::sync::Arc;

    use aihub_core::{KeyStore, conformance};
    use aihub_storage::{KeyPush, MemoryKeys, PushingKeys};

    use super::{opened, prefix};

    conformance::key_store!(async {
        let push = KeyPush::new(opened(&prefix()).await);
        Arc::new(PushingKeys::new(Arc::new(MemoryKeys::new()), push)) as Arc<dyn KeyStore>
    });
}

/// A replica that listens. Its clock stands still: it forgets nothing by itself.
struct Replica {
    clock: Arc<ManualClock>,
    keys: Arc<CachedKeys<Truth>>,
    listening: Listening,
}

impl Replica {
    async fn listening(truth: &Arc<Truth>, push: &KeyPush) -> Self {
        let clock = Arc::new(ManualClock::default());
        let keys = Arc::new(CachedKeys::new(Arc::clone(truth), Arc::clone(&clock) as Arc<dyn Clock>));
        let mut listening = push.listen(Arc::clone(&keys));
        listening.heard().await;
        Self { clock, keys, listening }
    }
}

#[tokio::test]
async fn what_one_replica_changes_another_forgets() {
    let (truth, prefix) = (Truth::new(), prefix());
    let (here, there) = (KeyPush::new(opened(&prefix).await), KeyPush::new(opened(&prefix).await));
    let replica = Replica::listening(&truth, &there).await;
    let (key, other) = (truth.key().await, truth.key().await);
    assert!(!is_revoked(&*replica.keys, &key).await && !is_revoked(&*replica.keys, &other).await);
    revoke(&PushingKeys::new(Arc::clone(&truth), here), &key).await;
    until("the revocation is seen", async || is_revoked(&*replica.keys, &key).await).await;
    let asked = truth.asked();
    assert!(!is_revoked(&*replica.keys, &other).await);
    assert_eq!(truth.asked(), asked, "another key was forgotten too");
}

#[tokio::test]
async fn news_that_are_not_understood_may_be_about_any_key() {
    let (truth, prefix) = (Truth::new(), prefix());
    let replica = Replica::listening(&truth, &KeyPush::new(opened(&prefix).await)).await;
    let key = truth.key().await;
    assert!(!is_revoked(&*replica.keys, &key).await);
    revoke(&*truth, &key).await;
    let mut bare = super::bare(&url()).await;
    let said = redis::cmd("PUBLISH").arg(format!("{prefix}keys:changed")).arg(b"\xff").query_async(&mut bare).await;
    assert_eq!(said, Ok(1), "how many heard it");
    until("the revocation is seen", async || is_revoked(&*replica.keys, &key).await).await;
}

/// Nothing is published, and the clock stands still: only forgetting everything shows the change.
#[tokio::test]
async fn what_was_said_while_nobody_listened_is_made_up_for() {
    let (server, truth) = (Server::start().await, Truth::new());
    let push = KeyPush::new(Options::default().open(&server.url()).await.unwrap());
    let replica = Replica::listening(&truth, &push).await;
    let key = truth.key().await;
    for _ in 0..3 {
        let other = truth.key().await;
        assert!(!is_revoked(&*replica.keys, &other).await);
        revoke(&*truth, &other).await;
        assert!(!is_revoked(&*replica.keys, &other).await, "it was told by somebody else");
        assert_eq!(server.say("CLIENT KILL TYPE pubsub").await, redis::Value::Int(1));
        until("the revocation is seen", async || is_revoked(&*replica.keys, &other).await).await;
        until("news arrive again", async || replica.listening.hears()).await;
    }
    assert!(!is_revoked(&*replica.keys, &key).await);
    revoke(&PushingKeys::new(Arc::clone(&truth), push), &key).await;
    until("news arrive on the new connection", async || is_revoked(&*replica.keys, &key).await).await;
}

#[tokio::test]
async fn without_a_server_a_revocation_is_seen_within_the_bound() {
    let (mut server, truth) = (Server::start().await, Truth::new());
    let push = KeyPush::new(Options::default().open(&server.url()).await.unwrap());
    let replica = Replica::listening(&truth, &push).await;
    let key = truth.key().await;
    assert!(!is_revoked(&*replica.keys, &key).await);
    server.stop();
    until("the listener notices", async || !replica.listening.hears()).await;
    revoke(&PushingKeys::new(Arc::clone(&truth), push), &key).await;
    assert!(!is_revoked(&*replica.keys, &key).await);
    replica.clock.advance(CachedKeys::<dyn KeyStore>::BOUND);
    assert!(is_revoked(&*replica.keys, &key).await);
    server.restart().await;
    until("news arrive again", async || replica.listening.hears()).await;
}

#[tokio::test]
async fn a_connection_that_only_seems_to_be_one_is_noticed() {
    let (server, truth) = (Server::start().await, Truth::new());
    let wire = Wire::to(server.port).await;
    let through = server.url().replace(&server.port.to_string(), &wire.port.to_string());
    let push = KeyPush::new(Options::default().open(&through).await.unwrap());
    let replica = Replica::listening(&truth, &push).await;
    let key = truth.key().await;
    assert!(!is_revoked(&*replica.keys, &key).await);
    wire.stall();
    revoke(&*truth, &key).await;
    until("the listener notices", async || !replica.listening.hears()).await;
    wire.mend();
    until("news arrive again", async || replica.listening.hears()).await;
    assert!(is_revoked(&*replica.keys, &key).await);
}

#[tokio::test]
async fn a_listener_stops_with_its_handle() {
    let (truth, prefix) = (Truth::new(), prefix());
    let replica = Replica::listening(&truth, &KeyPush::new(opened(&prefix).await)).await;
    let bare = super::bare(&url()).await;
    let listeners = async || {
        let channel = format!("{prefix}keys:changed");
        let count: (String, i64) =
            redis::cmd("PUBSUB").arg("NUMSUB").arg(channel).query_async(&mut bare.clone()).await.unwrap();
        count.1
    };
    assert_eq!(listeners().await, 1);
    assert_eq!(Arc::strong_count(&replica.keys), 2);
    drop(replica.listening);
    until("nobody listens", async || listeners().await == 0).await;
    until("the cache is let go", async || Arc::strong_count(&replica.keys) == 1).await;
}

#[tokio::test]
async fn nothing_is_said_of_a_change_that_was_not_made() {
    let (truth, prefix) = (Truth::new(), prefix());
    let push = KeyPush::new(opened(&prefix).await);
    let replica = Replica::listening(&truth, &push).await;
    let (key, other) = (truth.key().await, truth.key().await);
    assert!(!is_revoked(&*replica.keys, &key).await && !is_revoked(&*replica.keys, &other).await);
    let pushing = PushingKeys::new(Arc::clone(&truth), push.clone());
    pushing.revoke(other.key.account, key.key.id, key.key.created_at).await.unwrap_err();
    revoke(&*truth, &key).await;
    // News arrive in the order in which they are said: once these have, others would have.
    revoke(&pushing, &other).await;
    until("the revocation is seen", async || is_revoked(&*replica.keys, &other).await).await;
    assert!(!is_revoked(&*replica.keys, &key).await);
}
