//! [`Upstream`]: the leaf of the stack, which hands an attempt to the provider that its offer names.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use std::sync::Arc;
//!
//! use aihub_core::{Provider, Reply};
//! use aihub_layers::{Providers, Upstream};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! # let vendor: Arc<dyn Provider> = world::Scripted::new("first", []);
//! # let attempt = world::attempt();
//! let upstream = Upstream::new(Providers::from_iter([vendor]));
//! let reply = upstream.oneshot(attempt).await?;
//! assert_eq!(&*reply.served().offer.as_ref().unwrap().provider, "first");
//! # Ok(())
//! # }
//! ```
//!
//! # Where it stands
//!
//! Innermost: everything else wraps it. It marks the call's [`Trail`](aihub_core::Trail) before the
//! vendor is asked, and that mark is how every layer above knows whether a call that ended without
//! a reply may have cost money.
//!
//!
//! # A wrong order
//!
//! A cache around this leaf, below Fallback, answers without the mark and without an offer on the
//! reply, so that its record has no price. Answer from a cache above Quota, where nothing has been
//! held or chosen yet.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use aihub_core::model::ModelKind;
use aihub_core::{Attempt, Capabilities, Error, ErrorKind, Operation, Provider, Reply as _};
use futures_util::future::BoxFuture;
use tower::Service;

/// Every provider that is wired, by the name that offers refer to.
#[derive(Debug, Clone, Default)]
pub struct Providers(HashMap<Arc<str>, Arc<dyn Provider>>);

impl Providers {
    /// The provider of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.0.get(name)
    }

    /// The names, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.0.keys().map(|name| &**name).collect();
        names.sort_unstable();
        names
    }
}

/// Of two providers of the same name the later one stays.
impl FromIterator<Arc<dyn Provider>> for Providers {
    fn from_iter<T: IntoIterator<Item = Arc<dyn Provider>>>(providers: T) -> Self {
        Self(providers.into_iter().map(|provider| (provider.name().into(), provider)).collect())
    }
}

/// The leaf: a service of [`Attempt`]s over [`Providers`].
#[derive(Debug, Clone)]
pub struct Upstream {
    providers: Arc<Providers>,
}

impl Upstream {
    /// A leaf over these providers.
    pub fn new(providers: impl Into<Arc<Providers>>) -> Self {
        Self { providers: providers.into() }
    }
}

impl<O: Operation> Service<Attempt<O>> for Upstream {
    type Response = O::Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<O::Reply, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attempt: Attempt<O>) -> Self::Future {
        let provider = match self.providers.get(&attempt.offer.provider) {
            Some(provider) if serves(provider.capabilities(), O::KIND) => Arc::clone(provider),
            found => {
                return Box::pin(std::future::ready(Err(misrouted(&attempt.offer.provider, O::KIND, found.is_some()))));
            }
        };
        let trail = Arc::clone(&attempt.call.trail);
        let offer = attempt.offer.clone();
        Box::pin(async move {
            if trail.left() {
                return Err(left());
            }
            // Marked on the first poll, not in `call`: a future that is never polled sends nothing.
            trail.attempt(&offer);
            match O::dispatch(&*provider, attempt).await {
                Ok(mut reply) => {
                    reply.set_offer(offer);
                    Ok(reply)
                }
                Err(error) => {
                    trail.failed(error.spent());
                    Err(error)
                }
            }
        })
    }
}

/// What runs on without its caller is the attempt that was with a vendor then, and no other.
#[cold]
fn left() -> Error {
    Error::new(ErrorKind::Cancelled, "The caller left before there was an answer")
}

const fn serves(capabilities: Capabilities, kind: ModelKind) -> bool {
    match kind {
        ModelKind::Chat => capabilities.chat,
        ModelKind::Embedding => capabilities.embed,
        // A kind that this version does not know has no method that it could be handed to.
        _ => false,
    }
}

/// The catalogue offers what is not wired: ours to repair, so it is no fault of the caller's
/// ([`Error::unsupported`] would say so), and another offer may do.
#[cold]
fn misrouted(provider: &str, kind: ModelKind, wired: bool) -> Error {
    let cause = if wired {
        format!("provider `{provider}` has an offer for the operation {kind}, which its capabilities do not list")
    } else {
        format!("an offer names provider `{provider}`, which is not wired")
    };
    Error::new(ErrorKind::Unavailable, "No upstream is able to serve this model now: try another model, or later")
        .with_code("no_upstream")
        .with_failover()
        .with_alert()
        .with_source(cause)
}

#[cfg(test)]
mod tests {
    use aihub_core::{Call, EmbedRequest, ManualClock};
    use tower::ServiceExt as _;

    use super::*;
    use crate::world::{self, Scripted, Step};

    #[derive(Debug)]
    struct ChatOnly;
    #[async_trait::async_trait]
    impl Provider for ChatOnly {
        fn name(&self) -> &'static str {
            "first"
        }
        fn capabilities(&self) -> Capabilities {
            Capabilities::CHAT
        }
        async fn chat(&self, _: Attempt<aihub_core::ChatRequest>) -> Result<aihub_core::ChatReply, Error> {
            Ok(world::answer())
        }
    }

    fn upstream(script: impl IntoIterator<Item = Step>) -> Upstream {
        Upstream::new(Providers::from_iter([Scripted::new("first", script) as Arc<dyn Provider>]))
    }

    #[tokio::test]
    async fn an_attempt_leaves_its_mark_and_the_reply_its_offer() {
        let attempt = world::attempt();
        let trail = Arc::clone(&attempt.call.trail);
        let future = upstream([]).oneshot(attempt);
        assert_eq!(trail.attempts(), 0, "nothing is sent before the first poll");
        let reply = future.await.unwrap();
        assert_eq!((trail.attempts(), trail.in_flight()), (1, true));
        assert_eq!(reply.served().offer, trail.offer());
    }

    #[tokio::test]
    async fn a_failure_says_what_it_cost() {
        let attempt = world::attempt();
        let trail = Arc::clone(&attempt.call.trail);
        upstream([Step::Fail(world::failover().with_spent(world::usage()))]).oneshot(attempt).await.unwrap_err();
        assert_eq!((trail.in_flight(), trail.discarded()), (false, world::usage()));
    }

    #[tokio::test]
    async fn an_offer_that_leads_nowhere_is_the_operators_to_mend() {
        let mut attempt = world::attempt();
        attempt.offer.provider = "unwired".into();
        let error = upstream([]).oneshot(attempt.clone()).await.unwrap_err();
        assert!(error.may_fail_over() && error.needs_operator());
        assert_eq!(attempt.call.trail.attempts(), 0);

        let operation = EmbedRequest::parse(r#"{"model":"e","input":"hello"}"#.into()).unwrap();
        let call = Call::new(world::caller(), operation, &ManualClock::default());
        let embedding = Attempt::new(call, world::offer("first", "1"));
        let providers = Providers::from_iter([Arc::new(ChatOnly) as Arc<dyn Provider>]);
        assert_eq!(providers.names(), ["first"]);
        assert_eq!(Upstream::new(providers).oneshot(embedding).await.unwrap_err().code(), "no_upstream");
    }
}
