use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aihub_core::{ApiKey, ManualClock, Network};
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::world::{self, Keys};

struct Setup {
    plain: PlainKey,
    layer: AuthenticateLayer<dyn KeyStore>,
    clock: Arc<ManualClock>,
}

fn setup(key: ApiKey) -> Setup {
    let (plain, pepper, clock) = (PlainKey::generate("live"), Pepper::random(), world::clock());
    let keys: Arc<dyn KeyStore> = Arc::new(Keys(Ok(Some((pepper.hash(&plain), Arc::new(key))))));
    let plans = Arc::new(Plans::from_iter([world::plan()]));
    let layer = AuthenticateLayer::new(keys, pepper, plans, clock.clone());
    Setup { plain, layer, clock }
}

impl Setup {
    async fn ask(&self, headers: &[(&'static str, &str)], peer: Option<&str>) -> Result<Arc<Caller>, Error> {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.headers_mut().append(*name, value.replace("KEY", self.plain.reveal()).parse().unwrap());
        }
        if let Some(peer) = peer {
            request.extensions_mut().insert(Peer(SocketAddr::new(peer.parse().unwrap(), 1)));
        }
        let echo = service_fn(|request: Request<()>| async move {
            assert_eq!(request.extensions().len(), 1 + usize::from(request.extensions().get::<Peer>().is_some()));
            Ok::<_, Error>(Response::new(Arc::clone(request.extensions().get::<Arc<Caller>>().unwrap())))
        });
        self.layer.layer(echo).oneshot(request).await.map(Response::into_body)
    }

    async fn code(&self, headers: &[(&'static str, &str)]) -> (ErrorKind, String) {
        let error = self.ask(headers, None).await.unwrap_err();
        (error.kind(), error.code().to_owned())
    }
}

const BEARER: (&str, &str) = ("authorization", "Bearer KEY");

#[tokio::test]
async fn takes_both_headers_and_any_case_of_the_scheme() {
    let setup = setup(world::key());
    for headers in [BEARER, ("authorization", "bearer  KEY"), ("x-api-key", "KEY"), ("x-api-key", " KEY ")] {
        setup.ask(&[headers, ("user-agent", "sdk/1")], None).await.unwrap();
    }
    let caller = setup.ask(&[BEARER, ("x-api-key", "something else"), ("user-agent", "sdk/1")], None).await.unwrap();
    assert_eq!((caller.user_agent.as_deref(), &*caller.plan.name, caller.ip), (Some("sdk/1"), "free", None));
}

#[tokio::test]
async fn says_which_way_a_key_does_not_hold() {
    let plain = setup(world::key());
    let missing = (ErrorKind::Unauthenticated, "missing_api_key".to_owned());
    assert_eq!(plain.code(&[]).await, missing);
    assert_eq!(plain.code(&[("authorization", "Basic eDp5")]).await, missing);
    let invalid = (ErrorKind::Unauthenticated, "invalid_api_key".to_owned());
    assert_eq!(plain.code(&[("authorization", "Bearer sk-1234")]).await, invalid);
    assert_eq!(plain.code(&[("x-api-key", PlainKey::generate("live").reveal())]).await, invalid);

    let mut key = world::key();
    key.revoked_at = Some(aihub_core::Timestamp::UNIX_EPOCH);
    assert_eq!(setup(key).code(&[BEARER]).await.1, "api_key_revoked");
    let mut key = world::key();
    key.plan = "no longer sold".into();
    assert_eq!(setup(key).code(&[BEARER]).await, (ErrorKind::Forbidden, "plan_not_found".into()));
}

#[tokio::test]
async fn a_key_ends_at_its_instant_although_the_store_still_has_it() {
    let mut key = world::key();
    key.expires_at = Some(world::clock().now() + Duration::from_mins(1));
    let setup = setup(key);
    setup.ask(&[BEARER], None).await.unwrap();
    setup.clock.advance(Duration::from_mins(1));
    assert_eq!(setup.code(&[BEARER]).await.1, "api_key_expired");
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_no_unknown_key() {
    let keys: Arc<dyn KeyStore> = Arc::new(Keys(Err(ErrorKind::Unavailable)));
    let layer = AuthenticateLayer::new(keys, Pepper::random(), Arc::default(), world::clock());
    let setup = Setup { plain: PlainKey::generate("live"), layer, clock: world::clock() };
    assert_eq!(setup.code(&[BEARER]).await.0, ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_key_with_an_address_list_works_there_only() {
    let mut key = world::key();
    key.allowed_ips = vec!["10.1.2.3".parse().unwrap()];
    let setup = setup(key);
    setup.ask(&[BEARER], Some("10.1.2.3")).await.unwrap();
    setup.ask(&[BEARER], Some("::ffff:10.1.2.3")).await.unwrap();
    for elsewhere in [Some("10.1.2.4"), None] {
        assert_eq!(setup.ask(&[BEARER], elsewhere).await.unwrap_err().code(), "ip_not_allowed");
    }
    let forged = [BEARER, ("x-forwarded-for", "10.1.2.3")];
    assert_eq!(setup.ask(&forged, Some("10.9.9.9")).await.unwrap_err().code(), "ip_not_allowed");
}

#[test]
fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
    let trusted: Vec<Network> = ["10.0.0.0/8", "2001:db8::1"].map(|network| network.parse().unwrap()).to_vec();
    for (peer, forwarded, caller) in [
        ("1.1.1.1", vec!["2.2.2.2"], "1.1.1.1"),
        ("10.0.0.1", vec![], "10.0.0.1"),
        ("10.0.0.1", vec!["2.2.2.2"], "2.2.2.2"),
        ("10.0.0.1", vec!["3.3.3.3, 2.2.2.2"], "2.2.2.2"),
        ("10.0.0.1", vec!["3.3.3.3, 2.2.2.2, 10.0.0.7"], "2.2.2.2"),
        ("10.0.0.1", vec!["3.3.3.3", "2.2.2.2:4711,10.0.0.7"], "2.2.2.2"),
        ("10.0.0.1", vec!["2.2.2.2, unknown, 10.0.0.7"], "10.0.0.7"),
        ("2001:db8::1", vec!["[2001:db8::2]:80"], "2001:db8::2"),
        ("::ffff:10.0.0.1", vec!["::ffff:2.2.2.2"], "2.2.2.2"),
    ] {
        let mut headers = HeaderMap::new();
        for line in &forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let peer = Peer(SocketAddr::new(peer.parse().unwrap(), 1));
        assert_eq!(address::caller(peer, &headers, &trusted), caller.parse::<IpAddr>().unwrap(), "{forwarded:?}");
    }
}

#[test]
fn networks_are_read_and_compared_by_their_bits() {
    let network = |text: &str| text.parse::<Network>();
    for wrong in ["", "10", "10.0.0.0/33", "10.0.0.0/x", "2001:db8::/129", "10.0.0.0/8/8"] {
        assert!(network(wrong).is_err(), "{wrong}");
    }
    let inside = |text: &str, address: &str| network(text).unwrap().contains(address.parse().unwrap());
    assert!(inside("10.0.0.0/8", "10.255.0.1") && !inside("10.0.0.0/8", "11.0.0.1"));
    assert!(inside("0.0.0.0/0", "1.2.3.4") && !inside("0.0.0.0/0", "::1"));
    assert!(inside("2001:db8::/32", "2001:db8:1::1") && inside("::/0", "2001::1"));
    assert!(inside("127.0.0.1", "127.0.0.1") && !inside("127.0.0.1", "127.0.0.2"));
}
