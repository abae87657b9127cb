//! Time as a parameter: nothing in AI Hub reads a clock that a test could not move.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

pub use jiff::Timestamp;

/// Where the time comes from.
///
/// `now` is civil time: it may step when the machine's clock is set, and is what records carry.
/// `elapsed` never goes back and is what limits, holds and breakers measure with.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The instant, in UTC, to the microsecond (finer digits are cut, so that what a store gives
    /// back equals what was written).
    fn now(&self) -> Timestamp;

    /// Time since an origin of this clock's own; never decreases.
    fn elapsed(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: std::time::Instant,
}

impl SystemClock {
    /// A clock whose [`Clock::elapsed`] starts at zero now.
    #[expect(clippy::disallowed_methods, reason = "this is the Clock that everybody else asks")]
    pub fn new() -> Self {
        Self { origin: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the Clock that everybody else asks")]
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A clock that stands still until it is moved: for tests and simulations.
#[derive(Debug)]
pub struct ManualClock {
    start: Timestamp,
    moved_us: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `start`.
    pub fn at(start: Timestamp) -> Self {
        Self { start, moved_us: AtomicI64::new(0) }
    }

    /// Moves both faces of the clock forward by `step`.
    ///
    /// # Panics
    ///
    /// When the sum of all steps exceeds what a [`Timestamp`] can show.
    pub fn advance(&self, step: Duration) {
        let step = i64::try_from(step.as_micros()).expect("a step a clock can show");
        self.moved_us.fetch_add(step, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::at(Timestamp::from_second(1_790_000_000).expect("a constant within range"))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.start + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.moved_us.load(Ordering::SeqCst).unsigned_abs())
    }
}

/// Reads the date of a header, in the one form that is still written (RFC 9110, IMF-fixdate).
pub fn http_date(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix(" GMT")?;
    Timestamp::strptime("%a, %d %b %Y %H:%M:%S %z", format!("{text} +0000")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_both_faces_together() {
        let clock = ManualClock::default();
        let before = clock.now();
        clock.advance(Duration::from_secs(61));
        assert_eq!(clock.now().duration_since(before).as_secs(), 61);
        assert_eq!(clock.elapsed(), Duration::from_secs(61));
    }

    #[test]
    fn system_clock_cuts_to_microseconds() {
        let now = SystemClock::new().now();
        assert_eq!(now.subsec_nanosecond() % 1_000, 0);
    }
}
