//! What becomes of a call whose caller leaves before its end.
//!
//! Vendors differ: some stop writing, and billing, when the connection is closed; others write and bill the whole
//! answer all the same. So it is a table, and one that a customer can read: [`Departures`] has one rule after the
//! other, and the first that matches an [`Offer`] says what is done.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::watch;

use crate::model::Offer;
use crate::money::Money;

/// What is done when the caller of a running call leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDeparture {
    /// The connection to the vendor is closed at once, and the caller is charged what was measured up to then: for
    /// vendors that stop when they are left.
    #[default]
    Cancel,
    /// The answer is read on without its caller, so that the vendor's own figures are known, and charged: for vendors
    /// that bill it to the end anyhow. What is read is counted and thrown away.
    Drain {
        /// How long; too low measures what the vendor would have said, too high holds connections and places for
        /// nobody.
        within: Duration,
        /// The most that reading on may cost, by the vendor's prices: should the vendor stop after all when it is
        /// left, no caller pays without bound for what nobody reads. A cap that cannot be compared (no price,
        /// another currency) lets nothing be read on.
        cost_cap: Option<Money>,
    },
    /// The connection is closed at once, and the caller is not charged; what it cost is booked as a cost of the house.
    Void,
}

/// One rule: which calls it is about, and what is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepartureRule {
    /// The name of the provider.
    pub provider: Arc<str>,
    /// The model in the vendor's words; one that ends in `*` matches whatever starts so.
    pub model: String,
    /// Only answers that come piece by piece (`true`), or only whole ones; vendors that stop a stream when it is left
    /// may still finish what is asked for in one piece.
    pub stream: Option<bool>,
    /// What is done.
    pub then: OnDeparture,
}

impl DepartureRule {
    /// Whether it is about calls that `offer` serves, as a stream or not.
    pub fn matches(&self, offer: &Offer, stream: bool) -> bool {
        let model = match self.model.strip_suffix('*') {
            Some(prefix) => offer.model.starts_with(prefix),
            None => *offer.model == *self.model,
        };
        model && self.provider == offer.provider && self.stream.is_none_or(|only| only == stream)
    }
}

/// Which calls are left how: rules, of which the first that matches counts. What none matches is cancelled, which is
/// what nobody pays too much for. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Departures(Arc<[DepartureRule]>);

impl Departures {
    /// What is done about a call that `offer` serves, as a stream or not.
    pub fn of(&self, offer: &Offer, stream: bool) -> OnDeparture {
        self.rule(offer, stream).map_or(OnDeparture::Cancel, |at| self.0[at].then)
    }

    /// The place of the rule that says so: a rule that is never found has no effect.
    pub fn rule(&self, offer: &Offer, stream: bool) -> Option<usize> {
        self.0.iter().position(|rule| rule.matches(offer, stream))
    }
}

impl FromIterator<DepartureRule> for Departures {
    fn from_iter<T: IntoIterator<Item = DepartureRule>>(rules: T) -> Self {
        Self(rules.into_iter().collect())
    }
}

/// The calls that run on without their callers, so that a process can wait for them before it ends. Clones are one.
#[derive(Debug, Clone)]
pub struct Drains(Arc<watch::Sender<bool>>);

impl Drains {
    /// How long calls that are cut may take to write down how they ended.
    const LAST_WORDS: Duration = Duration::from_secs(5);

    /// How many there are.
    pub fn running(&self) -> usize {
        self.0.receiver_count()
    }

    /// Lets those that run finish for at most `within`, then has them settled with what was measured, as well as
    /// those that come later. Ends when there is none any more.
    pub async fn finish(&self, within: Duration) {
        drop(tokio::time::timeout(within, self.0.closed()).await);
        self.0.send_replace(true);
        // A store that is in trouble shall not keep the process from ending.
        drop(tokio::time::timeout(Self::LAST_WORDS, self.0.closed()).await);
    }

    /// A place among them.
    pub fn enter(&self) -> Draining {
        Draining(self.0.subscribe())
    }
}

impl Default for Drains {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

/// A call that runs on without its caller, for as long as this lives.
#[derive(Debug)]
pub struct Draining(watch::Receiver<bool>);

impl Draining {
    /// Ends when the call has to: at `deadline`, or when the process is about to end.
    ///
    /// # Panics
    ///
    /// On a runtime without timers.
    pub async fn over(&mut self, deadline: tokio::time::Instant) {
        let late = std::pin::pin!(tokio::time::sleep_until(deadline));
        let stopped = std::pin::pin!(async { self.0.wait_for(|stop| *stop).await.is_ok() });
        // Where nobody is left who could stop it, the deadline counts.
        if let Either::Left((false, late)) = select(stopped, late).await {
            late.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::PriceList;

    fn rule(provider: &str, model: &str, stream: Option<bool>, then: OnDeparture) -> DepartureRule {
        DepartureRule { provider: provider.into(), model: model.to_owned(), stream, then }
    }

    #[test]
    fn the_first_rule_that_matches_counts_and_without_one_the_call_is_cancelled() {
        let drain = OnDeparture::Drain { within: Duration::from_secs(30), cost_cap: None };
        let table = Departures::from_iter([
            rule("router", "google/exact", None, OnDeparture::Void),
            rule("router", "*", Some(false), drain),
            rule("router", "google/*", None, drain),
        ]);
        let offer = |provider: &str, model: &str| Offer::new(provider, model, PriceList::flat("1", "1").unwrap());
        for (provider, model, stream, then) in [
            ("router", "google/exact", true, OnDeparture::Void),
            ("router", "google/exact-1", true, drain),
            ("router", "openai/any", false, drain),
            ("router", "openai/any", true, OnDeparture::Cancel),
            ("other", "google/exact", true, OnDeparture::Cancel),
        ] {
            assert_eq!(table.of(&offer(provider, model), stream), then, "{provider} {model} {stream}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_those_that_finish_in_time_and_cuts_the_others() {
        let (drains, started) = (Drains::default(), tokio::time::Instant::now());
        let run = |seconds| {
            let mut draining = drains.enter();
            tokio::spawn(async move { draining.over(started + Duration::from_secs(seconds)).await })
        };
        let (quick, slow) = (run(2), run(1_000));
        assert_eq!(drains.running(), 2);
        drains.finish(Duration::from_secs(10)).await;
        assert_eq!((started.elapsed().as_secs(), drains.running()), (10, 0));
        quick.await.unwrap();
        slow.await.unwrap();
        run(1_000).await.unwrap();
        assert_eq!(started.elapsed().as_secs(), 10, "what comes after the stop ends at once");
    }
}
