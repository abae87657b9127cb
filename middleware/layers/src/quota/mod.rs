//! [`Quota`]: holds the most that a call can cost before it is sent, settles what it did cost.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use std::sync::Arc;
//!
//! use aihub_core::{ChatRequest, Error};
//! use aihub_layers::{QuotaLayer, Routed};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! # let policy = Arc::new(world::Purse::of(1_000));
//! # let routed = Routed::new(world::call(), Arc::new(world::model("m", vec![world::offer("first", "1")])));
//! let vendor = service_fn(|_: Routed<ChatRequest>| async { Ok::<_, Error>(world::answer()) });
//! let service = QuotaLayer::new(policy.clone()).layer(vendor);
//! let reply = service.oneshot(routed).await?;
//! assert_eq!(policy.open(), 1); // the most that it can cost is held
//! reply.collect().await?;
//! assert_eq!((policy.open(), policy.used()), (0, 12)); // what it did cost is settled
//! # Ok(())
//! # }
//! ```
//!
//! # How much is held
//!
//! One call, the estimated prompt and the longest answer, at the worst price of any offer that may
//! come to serve it, fallbacks included. The longest answer is what the caller names or, when it
//! names nothing, [`Plan::default_output_tokens`](aihub_core::Plan::default_output_tokens) for each
//! choice; never more than the model can give, so that a caller who names a fantastic number and
//! could pay for the real one is not refused.
//!
//! # What is sent upstream
//!
//! The bound of the hold travels on (`max_output_tokens`) only where it says something that the
//! request does not: the caller named nothing, or less is held than it named. Otherwise the
//! request goes out as its own bytes. Sending the bound always would rewrite every request for
//! nothing; sending it never would let an answer outgrow its hold.
//!
//! # How it ends
//!
//! | the call | the hold |
//! |---|---|
//! | has a reply that ends, well or not, or is dropped | settled with the usage it ended with |
//! | failed before it had a reply | released: the caller pays for what reached it |
//! | was dropped while an attempt was with a vendor | settled with the estimate of the prompt; released where the policy lets the caller off |
//! | was dropped otherwise | released |
//!
//! The hold is a guard: it is resolved exactly once wherever the future is dropped, on the runtime if
//! nobody is left to wait. A store that fails is asked again for a while; after that the hold stays
//! counted, which errs on the side of the limit.
//!
//! # Where it stands
//!
//! Below Meter, Access and Shed (nothing is held while a call waits or is refused), above
//! Fallback, so that one hold covers all attempts.
//!
//! # A wrong order
//!
//! Quota below Fallback does not compile: it would take one hold per attempt under the same call id and,
//! since holds are idempotent by it, run the second attempt on a hold that the first one has released.
//! Quota around Shed compiles, and goes to the policy's store and back for every call of an overload
//! that is refused anyway.

mod estimate;
mod hold;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::task::{Context, Poll};

use aihub_core::quota::Ask;
use aihub_core::{Error, Operation, QuotaPolicy, Reply as _};
use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use crate::access::Routed;
use hold::Hold;

pub use estimate::{Estimate, OfferEstimate};

/// Makes [`Quota`].
#[derive(Debug, Clone)]
pub struct QuotaLayer {
    policy: Arc<dyn QuotaPolicy>,
}

impl QuotaLayer {
    /// Holds and settles by this policy.
    pub fn new(policy: Arc<dyn QuotaPolicy>) -> Self {
        Self { policy }
    }
}

impl<S> Layer<S> for QuotaLayer {
    type Service = Quota<S>;

    fn layer(&self, inner: S) -> Quota<S> {
        Quota { inner, policy: Arc::clone(&self.policy) }
    }
}

/// Reserves before a call and settles after it. See the [module](self).
#[derive(Debug, Clone)]
pub struct Quota<S> {
    inner: S,
    policy: Arc<dyn QuotaPolicy>,
}

impl<S, O> Service<Routed<O>> for Quota<S>
where
    O: Operation,
    S: Service<Routed<O>, Response = O::Reply, Error = Error> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = O::Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<O::Reply, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut routed: Routed<O>) -> Self::Future {
        // The service that was polled ready is the one that is called:
        // https://docs.rs/tower-service/latest/tower_service/trait.Service.html#be-careful-when-cloning-inner-services
        let other = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, other);
        let policy = Arc::clone(&self.policy);
        Box::pin(async move {
            let estimate = Estimate::of(&routed);
            let call = &routed.call;
            let ask = Ask::new(
                call.id,
                Arc::clone(&call.caller),
                Arc::clone(&routed.model.id),
                call.received_at,
                estimate.most,
            )
            .or_less(estimate.least(&routed));
            let reservation = policy.reserve(&ask).await?;
            // No await between the grant and its guard: there is no point at which a drop forgets it.
            let hold = Hold::new(
                policy,
                reservation,
                Arc::clone(&call.trail),
                estimate.prompt_tokens,
                call.caller.plan.markup,
            );
            match estimate.bound(&routed, hold.held()) {
                Ok(bound) => routed.max_output_tokens = bound,
                Err(refused) => {
                    hold.release().await;
                    return Err(refused);
                }
            }
            match inner.call(routed).await {
                Ok(reply) => Ok(reply.watch(hold.into_hook()).await),
                Err(error) => {
                    hold.failed(&error).await;
                    Err(error)
                }
            }
        })
    }
}
