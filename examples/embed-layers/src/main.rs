//! Layers of AI Hub around a service that is not ours.
//!
//! The service is a plain function behind hyper, as it may run in any Rust program. Three layers give
//! it API keys, rates per key, and errors in one envelope; nothing else of AI Hub is there: no
//! gateway, no provider, no server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aihub_core::key::Permission;
use aihub_core::{
    AccountId, ApiKey, Caller, Clock, KeyStore, ManualClock, NewKey, Pepper, PlainKey, Plan, Plans, Timestamp,
};
use aihub_layers::{AuthenticateLayer, RateLimitLayer, RescueLayer};
use aihub_storage::{MemoryKeys, MemoryRates};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::ServiceBuilder;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The service that was there before. It may ask who calls, and need not.
async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let caller = request.extensions().get::<Arc<Caller>>();
    let name = caller.map_or("nobody", |caller| &caller.key.name);
    Ok(Response::new(Full::from(format!("hello, {name}"))))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // Time is a parameter. A service takes `SystemClock::new()`; here half a minute has to pass at once.
    let clock = Arc::new(ManualClock::default());

    // What Authenticate asks: keys by their hash, and the plans that keys are under.
    let (keys, pepper) = (Arc::new(MemoryKeys::new()), Pepper::random());
    let secret = issue(&*keys, &pepper, clock.now()).await?;
    let plans = Plans::from_iter([Plan { requests_per_minute: Some(2), ..Plan::unlimited("trial") }]);
    let rates = Arc::new(MemoryRates::new(clock.clone()));

    let service = ServiceBuilder::new()
        // Outermost: the layers below fail with errors, and here alone they become responses.
        .layer(RescueLayer::new(clock.clone()))
        // Puts an `Arc<Caller>` into the extensions, or refuses.
        .layer(AuthenticateLayer::new(keys, pepper, Arc::new(plans), clock.clone()))
        // Counts by that caller, so it stands below; a stranger uses up nobody's rate.
        .layer(RateLimitLayer::new(rates, clock.clone()))
        .service_fn(hello);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });

    let client = Visitor { client: Client::builder(TokioExecutor::new()).build_http(), address };
    assert_eq!(client.visit("without a key", None).await?, StatusCode::UNAUTHORIZED);
    assert_eq!(client.visit("with a key", Some(&secret)).await?, StatusCode::OK);
    assert_eq!(client.visit("a second time", Some(&secret)).await?, StatusCode::OK);
    assert_eq!(client.visit("a third time", Some(&secret)).await?, StatusCode::TOO_MANY_REQUESTS);
    clock.advance(Duration::from_secs(30));
    assert_eq!(client.visit("half a minute later", Some(&secret)).await?, StatusCode::OK);
    println!("every answer was the expected one");
    Ok(())
}

/// Makes a key, keeps its hash, and gives back the only copy of its text.
async fn issue(keys: &dyn KeyStore, pepper: &Pepper, now: Timestamp) -> Result<PlainKey, Failure> {
    let key = ApiKey { permission: Permission::ReadOnly, ..ApiKey::new(AccountId::new(now), "reader", "trial", now) };
    let (new, plain) = NewKey::issue("test", pepper, key);
    keys.insert(new).await?;
    Ok(plain)
}

/// Somebody who calls the service over HTTP.
struct Visitor {
    client: Client<HttpConnector, Empty<Bytes>>,
    address: SocketAddr,
}

impl Visitor {
    /// Calls, prints what came back and gives its status.
    async fn visit(&self, what: &str, key: Option<&PlainKey>) -> Result<StatusCode, Failure> {
        let mut request = Request::get(format!("http://{}/", self.address));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {}", key.reveal()));
        }
        let response = self.client.request(request.body(Empty::new())?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        println!("{what:20} {}  {}", status.as_u16(), String::from_utf8_lossy(&body));
        Ok(status)
    }
}
