//! What is done beside the calls: saying that this process lives, and giving back what it does not need.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aihub_core::Result;

use super::lender::Return;
use super::slice::Slice;
use super::{LeasedQuota, Shared, millis};

/// What a tick did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tick {
    /// Windows of which something was given back.
    pub given_back: usize,
    /// Windows of which something is still borrowed.
    pub borrowed: usize,
}

impl Tick {
    /// How often to tick: others wait as long for what this process does not need.
    pub const EVERY: Duration = Duration::from_millis(100);

    /// After which time without a call a slice is given back.
    pub const IDLE: Duration = Duration::from_secs(5);
}

impl LeasedQuota {
    /// One round: says that this process lives, and gives back what others ask for, what has not been used for
    /// [`Tick::IDLE`], and what is left of periods that have ended.
    ///
    /// # Errors
    ///
    /// Those of the lender; nothing is lost by them, and the next round does what this one did not.
    pub async fn tick(&self) -> Result<Tick> {
        let shared = &self.0;
        let now = shared.clock.now();
        let asked_for = shared.lender.seen(shared.run, shared.node, now).await?;
        shared.seen_at_ms.store(millis(shared.clock.elapsed()), Ordering::Release);
        shared.resolver.forget_before(now);
        let elapsed = shared.clock.elapsed();
        let slices: Vec<Arc<Slice>> = shared.slices.iter().map(|slice| Arc::clone(&slice)).collect();
        let done = |slice: &Slice| slice.ends_at.is_some_and(|end| end <= now) || slice.idle_for(elapsed) >= Tick::IDLE;
        let answers =
            |slice: &Slice| asked_for.iter().find(|(window, _)| *window == slice.window).map(|(_, number)| *number);
        let back = slices.iter().map(|slice| (slice, done(slice), answers(slice)));
        let given_back = shared.give_back(back).await?;
        // Nobody has the slice of a period that has ended but the map and this list.
        let ended = |slice: &Arc<Slice>| slice.ends_at.is_some_and(|end| end <= now) && slice.free() == 0;
        drop(slices);
        shared.slices.retain(|_, slice| !ended(slice) || Arc::strong_count(slice) > 1);
        let borrowed = shared.slices.iter().filter(|slice| slice.free() != 0).count();
        Ok(Tick { given_back, borrowed })
    }

    /// Gives everything back that is not held: for a stop in good order, after the last call.
    ///
    /// # Errors
    ///
    /// Those of the lender: what was not given back stays counted until the next start.
    pub async fn close(&self) -> Result<()> {
        let slices: Vec<Arc<Slice>> = self.0.slices.iter().map(|slice| Arc::clone(&slice)).collect();
        self.0.give_back(slices.iter().map(|slice| (slice, true, None))).await.map(drop)
    }
}

impl Shared {
    /// In a task of its own, as it is borrowed: what was taken out of the slices has to arrive.
    pub(super) async fn give_back<'a>(
        self: &Arc<Self>,
        slices: impl Iterator<Item = (&'a Arc<Slice>, bool, Option<i64>)>,
    ) -> Result<usize> {
        let (from, returns): (Vec<Arc<Slice>>, Vec<Return>) =
            slices.filter_map(|(slice, all, answers)| Some((Arc::clone(slice), slice.returns(all, answers)?))).unzip();
        if returns.is_empty() {
            return Ok(0);
        }
        let count = returns.len();
        let shared = Arc::clone(self);
        let giving = tokio::spawn(async move {
            let gone = shared.lender.give_back(shared.run, returns.clone()).await;
            from.iter().zip(&returns).for_each(|(slice, returns)| slice.returned(returns));
            if gone.is_err() {
                for (slice, returns) in from.iter().zip(&returns) {
                    slice.keep_used(returns);
                }
            }
            gone
        });
        giving.await.unwrap_or_else(|error| Err(super::unfinished(error))).map(|()| count)
    }
}
