//! A reply whose caller left before its end.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt as _};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::{ChatEvent, ChatReply, ChatSource, unfinished};
use crate::charge::{Charge, Markup};
use crate::departure::{Draining, OnDeparture};
use crate::error::{ErrorKind, Result};
use crate::money::Money;
use crate::reply::run_on;
use crate::time::Timestamp;
use crate::usage::{Outcome, Usage};

impl ChatReply {
    /// The caller is gone, and this is being dropped: what is left of it is read on in a task of its own, or ends here.
    pub(super) fn left(&mut self) {
        if let OnDeparture::Drain { within, cost_cap } = self.departure
            && let Some(drains) = self.drains.take()
            && let Ok(runtime) = Handle::try_current()
            && !self.hooks.is_empty()
        {
            let source = std::mem::replace(&mut self.source, Box::pin(Gone));
            let (served, hooks) = (std::mem::take(&mut self.served), std::mem::take(&mut self.hooks));
            // Cancelled itself when it is dropped: by a runtime that ends, in which case its hooks are told here and now.
            let rest = Self::flowing(served, self.prompt_tokens, source, hooks);
            runtime.spawn(rest.drain(drains.enter(), within, cost_cap));
            return;
        }
        let ending = self.ending(None);
        run_on(self.hooks.tell(&ending));
    }

    /// Reads on to the end, or to the end of what may be spent on it.
    async fn drain(mut self, mut draining: Draining, within: Duration, cost_cap: Option<Money>) {
        let before = self.cost();
        let end = {
            let mut over = pin!(draining.over(Instant::now() + within));
            loop {
                if cost_cap.is_some_and(|cap| !self.within(cap, before)) {
                    break None;
                }
                // A source that is always ready would keep its thread.
                tokio::task::consume_budget().await;
                match select(over.as_mut(), self.source.next()).await {
                    Either::Left(_) => break None,
                    Either::Right((Some(Ok(event)), _)) if event.is_piece() => {}
                    Either::Right((event, _)) => break Some(event.unwrap_or_else(|| Err(unfinished()))),
                }
            }
        };
        let end = end.map(|end| self.completed(end));
        let mut ending = self.ending(end.as_ref());
        (ending.outcome, ending.error) = (Outcome::ClientGone, Some(ErrorKind::Cancelled));
        self.state = super::State::Over;
        // The vendor does not wait until the books are written.
        self.source = Box::pin(Gone);
        if let Some(work) = self.hooks.tell(&ending) {
            work.await;
        }
        drop(draining);
    }

    /// What was used up to now costs this much.
    fn cost(&self) -> Option<Money> {
        // A reply does not know when its call was admitted: the newest prices do for a cap.
        let prices = self.served.offer.as_ref()?.prices.at(Timestamp::MAX)?;
        Charge::of(&prices.list, &self.measured(), Markup::NONE, false, None).cost
    }

    /// Whether no more than `cap` was spent since it had cost `before`; what cannot be told is not within.
    fn within(&self, cap: Money, before: Option<Money>) -> bool {
        let more = self.cost().zip(before).and_then(|(now, before)| now.checked_sub(before));
        more.and_then(|more| cap.checked_sub(more)).is_some_and(|left| left.nanos() > 0)
    }
}

/// In the place of a source that was moved away.
struct Gone;

impl Stream for Gone {
    type Item = Result<ChatEvent>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}

impl ChatSource for Gone {
    fn so_far(&self) -> Usage {
        Usage::default()
    }
}
