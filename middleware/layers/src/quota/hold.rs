//! A hold that resolves itself.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::quota::Amounts;
use aihub_core::{
    Charge, Ending, Error, Hook, Markup, Offer, Outcome, QuotaPolicy, Reservation, Trail, Unanswered, Usage,
};

/// Waits between the attempts to resolve a hold whose store fails: about a minute in all. A store
/// that is away for longer finds the hold by its own recovery; to try for ever would pile up a task
/// for every call of the outage.
const WAITS_MS: [u64; 8] = [100, 300, 1_000, 3_000, 8_000, 15_000, 15_000, 15_000];

/// What becomes of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Settle(Amounts),
    Release,
}

/// Resolves its reservation exactly once: by one of its methods, or when it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    /// `None` once it is resolved.
    open: Option<Open>,
    trail: Arc<Trail>,
    prompt_tokens: u64,
    markup: Markup,
    /// What was decided, so that a drop in the middle of it does not decide anew.
    verdict: Option<Verdict>,
}

#[derive(Debug)]
struct Open {
    policy: Arc<dyn QuotaPolicy>,
    reservation: Reservation,
}

impl Open {
    /// Idempotent by the call, as the contract of the policy has it: so it may be asked again after
    /// an error or a cancellation.
    async fn resolve(&self, verdict: Verdict) -> Result<(), Error> {
        let reservation = self.reservation.clone();
        match verdict {
            Verdict::Settle(used) => self.policy.settle(reservation, used).await,
            Verdict::Release => self.policy.release(reservation).await,
        }
    }

    async fn resolve_in_the_end(self, verdict: Verdict) {
        for wait_ms in WAITS_MS {
            let Err(error) = self.resolve(verdict).await else { return };
            tracing::warn!(call = %self.reservation.call, ?error, "a hold could not be resolved; trying again");
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        if let Err(error) = self.resolve(verdict).await {
            tracing::error!(call = %self.reservation.call, ?error, ?verdict, "a hold could not be resolved and stays counted");
        }
    }
}

impl Hold {
    pub(super) fn new(
        policy: Arc<dyn QuotaPolicy>,
        reservation: Reservation,
        trail: Arc<Trail>,
        prompt_tokens: u64,
        markup: Markup,
    ) -> Self {
        if let Some(most) = reservation.charge_at_most {
            trail.charge_at_most(most);
        }
        if !reservation.windows.is_empty() {
            trail.hold(Arc::clone(&reservation.windows));
        }
        Self { open: Some(Open { policy, reservation }), trail, prompt_tokens, markup, verdict: None }
    }

    pub(super) fn held(&self) -> Amounts {
        self.open.as_ref().map(|open| open.reservation.held).unwrap_or_default()
    }

    /// Nothing was used.
    pub(super) async fn release(self) {
        self.resolve(Verdict::Release).await;
    }

    /// The call failed before it had a reply.
    pub(super) async fn failed(self, error: &Error) {
        let verdict = self.verdict_without_reply(Some(error));
        self.resolve(verdict).await;
    }

    /// The call has a reply: the hold waits for its end.
    pub(super) fn into_hook(self) -> Hook {
        Box::new(move |ending: &Ending| {
            // As `UsageRecord::amounts` has it, by which the books count.
            let verdict = if ending.outcome == Outcome::Completed || !ending.usage.is_zero() {
                self.conclude(&ending.usage, ending.served.offer.as_ref(), ending.waived)
            } else {
                Verdict::Release
            };
            Some(Box::pin(self.resolve(verdict)))
        })
    }

    /// What is fair when all that is known is the trail. Who is let off has had nothing, and nothing is counted.
    fn verdict_without_reply(&self, error: Option<&Error>) -> Verdict {
        let Unanswered { usage, waived, .. } = self.trail.unanswered(self.prompt_tokens, error);
        if waived || usage.is_zero() {
            return Verdict::Release;
        }
        self.conclude(&usage, self.trail.offer().as_ref(), false)
    }

    /// What is settled is also what a record says that is written while it is being settled.
    fn conclude(&self, usage: &Usage, offer: Option<&Offer>, waived: bool) -> Verdict {
        self.trail.conclude(usage, waived);
        if waived {
            return Verdict::Release;
        }
        let prices = |offer: &Offer| offer.prices.at(self.open.as_ref()?.reservation.at).cloned();
        let of = |offer| Charge::of(&prices(offer)?.list, usage, self.markup, waived, self.trail.most()).charge;
        Verdict::Settle(Amounts::call(usage.total_tokens(), offer.and_then(of)))
    }

    /// Not an `async fn`: what was decided has to be kept also when the future is never polled.
    fn resolve(mut self, verdict: Verdict) -> impl Future<Output = ()> + Send {
        self.verdict = Some(verdict);
        async move {
            if let Some(open) = &self.open
                && let Err(error) = open.resolve(verdict).await
            {
                // Dropping itself tries again behind the caller's back, who shall not wait for it.
                tracing::warn!(call = %open.reservation.call, ?error, "a hold could not be resolved at once");
                return;
            }
            drop(self.open.take());
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        let verdict = self.verdict.unwrap_or_else(|| self.verdict_without_reply(None));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(open.resolve_in_the_end(verdict));
        } else {
            tracing::error!(call = %open.reservation.call, ?verdict, "no runtime is left to resolve a hold: it stays counted");
        }
    }
}
