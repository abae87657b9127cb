//! The state of one circuit: atomics only, so that calls to one upstream do not wait for each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const BUCKETS: u64 = 8; // as many as `Circuit::buckets` has

/// When a circuit opens and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) failures: u32,
    pub(super) percent: u32,
    pub(super) window: Duration,
    pub(super) rest: Duration,
}

/// Whether a call may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Pass,
    /// The one call that finds out whether the upstream is well again.
    Probe,
    Refused {
        retry_after: Duration,
    },
}

/// Closed: counts over a sliding window. Open: refuses until an instant. After it, half open: one
/// probe at a time decides.
///
/// Orderings are relaxed but for the end of a probe: a count that is seen late opens a call later,
/// while a probe that is seen to have ended has to be seen with what it decided.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    /// `period (24 bits) | failures (20) | calls (20)` of one eighth of the window each.
    buckets: [AtomicU64; 8],
    /// `period (24 bits) | key (40)` of the last failure.
    blamed: AtomicU64,
    /// The last period in which keys failed that were not one and the same; 0 is never.
    several: AtomicU64,
    /// On the clock's elapsed face; 0 is closed.
    open_until_us: AtomicU64,
    probing: AtomicBool,
}

impl Circuit {
    pub(super) fn admit(&self, now: Duration) -> Admission {
        let until = self.open_until_us.load(Ordering::Acquire);
        let now = us(now);
        if until == 0 {
            Admission::Pass
        } else if now < until {
            Admission::Refused { retry_after: Duration::from_micros(until - now) }
        } else if self.probing.swap(true, Ordering::AcqRel) {
            Admission::Refused { retry_after: Duration::from_secs(1) }
        } else if self.open_until_us.load(Ordering::Acquire) != until {
            // Between the two looks somebody else's probe has ended: what it decided holds.
            self.probing.store(false, Ordering::Release);
            self.admit(Duration::from_micros(now))
        } else {
            Admission::Probe
        }
    }

    /// A call that passed has ended, in which way ever; `failed` is the key that met a fault of the upstream.
    pub(super) fn count(&self, settings: &Settings, now: Duration, failed: Option<u64>) {
        self.add(settings, now, failed, 1);
    }

    /// A call that was counted as good has failed after all.
    pub(super) fn broke_off(&self, settings: &Settings, now: Duration, key: u64) {
        self.add(settings, now, Some(key), 0);
    }

    /// The probe has ended.
    pub(super) fn probed(&self, settings: &Settings, now: Duration, failed: bool) {
        let until = if failed {
            us(now.saturating_add(settings.rest)).max(1)
        } else {
            self.buckets.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
            0
        };
        self.open_until_us.store(until, Ordering::Release);
        self.probing.store(false, Ordering::Release);
    }

    /// The probe was given up: the next call is the probe.
    pub(super) fn abandoned(&self) {
        self.probing.store(false, Ordering::Release);
    }

    fn add(&self, settings: &Settings, now: Duration, failed: Option<u64>, calls: u64) {
        if self.open_until_us.load(Ordering::Relaxed) != 0 {
            return; // A straggler from before it opened says nothing new.
        }
        let period = period(settings, now);
        let bucket = &self.buckets[usize::try_from(period % BUCKETS).unwrap_or(0)];
        let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
            let (then, failures, called) = unpack(packed);
            let (failures, called) = if then == period & 0xff_ffff { (failures, called) } else { (0, 0) };
            Some(pack(period, failures + u64::from(failed.is_some()), called + calls))
        });
        if let Some(key) = failed {
            let enough = self.enough(settings, period, key);
            let (failed, called) = self.sum(period);
            if failed >= enough && failed * 100 >= called * u64::from(settings.percent) {
                let until = us(now.saturating_add(settings.rest)).max(1);
                // Only from closed: who opens it first says for how long.
                let _ = self.open_until_us.compare_exchange(0, until, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
    }

    /// How many failures open it: twice as many while all of them are of one key, whose requests may be
    /// what breaks. A threshold of one is one.
    fn enough(&self, settings: &Settings, period: u64, key: u64) -> u64 {
        let blamed = (period & 0xff_ffff) << 40 | key >> 24;
        let last = self.blamed.swap(blamed, Ordering::Relaxed);
        if last != 0 && recent(period, last >> 40) && last << 24 != blamed << 24 {
            self.several.store(period, Ordering::Relaxed);
        }
        let several = self.several.load(Ordering::Relaxed);
        let alone = several == 0 || !recent(period, several);
        u64::from(settings.failures) << u32::from(alone && settings.failures > 1)
    }

    fn sum(&self, period: u64) -> (u64, u64) {
        let counts = self.buckets.iter().map(|bucket| unpack(bucket.load(Ordering::Relaxed)));
        counts
            .filter(|(then, ..)| recent(period, *then))
            .fold((0, 0), |(failed, called), (_, f, c)| (failed + f, called + c))
    }
}

/// Whether period `then` is within the window that ends with `period`.
fn recent(period: u64, then: u64) -> bool {
    period.wrapping_sub(then) & 0xff_ffff < BUCKETS
}

/// Periods start at 1, so that a bucket of zeros is never mistaken for one of the present window.
fn period(settings: &Settings, now: Duration) -> u64 {
    us(now) / (us(settings.window) / BUCKETS).max(1) + BUCKETS
}

fn pack(period: u64, failures: u64, calls: u64) -> u64 {
    (period & 0xff_ffff) << 40 | failures.min(0xf_ffff) << 20 | calls.min(0xf_ffff)
}

const fn unpack(packed: u64) -> (u64, u64, u64) {
    (packed >> 40, packed >> 20 & 0xf_ffff, packed & 0xf_ffff)
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings =
        Settings { failures: 3, percent: 50, window: Duration::from_secs(8), rest: Duration::from_secs(10) };

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A failure of another key than the last one.
    fn fail(circuit: &Circuit, now: Duration) {
        let key = circuit.blamed.load(Ordering::Relaxed).wrapping_add(1) << 24;
        circuit.count(&SETTINGS, now, Some(key));
    }

    #[test]
    fn opens_at_the_threshold_and_says_until_when() {
        let circuit = Circuit::default();
        for _ in 0..3 {
            assert_eq!(circuit.admit(at(0)), Admission::Pass);
            fail(&circuit, at(0));
        }
        assert_eq!(circuit.admit(at(4_000)), Admission::Refused { retry_after: Duration::from_secs(6) });
    }

    #[test]
    fn a_share_below_the_ratio_does_not_open_it() {
        let circuit = Circuit::default();
        for _ in 0..10 {
            circuit.count(&SETTINGS, at(0), None);
        }
        for _ in 0..9 {
            fail(&circuit, at(0));
        }
        assert_eq!(circuit.admit(at(0)), Admission::Pass);
        circuit.broke_off(&SETTINGS, at(0), 1);
        assert!(matches!(circuit.admit(at(0)), Admission::Refused { .. }), "10 of 19");
    }

    #[test]
    fn one_key_alone_opens_it_later() {
        let circuit = Circuit::default();
        for _ in 0..5 {
            circuit.count(&SETTINGS, at(0), Some(1 << 30));
            assert_eq!(circuit.admit(at(0)), Admission::Pass);
        }
        circuit.count(&SETTINGS, at(0), Some(1 << 30));
        assert!(matches!(circuit.admit(at(0)), Admission::Refused { .. }), "twice the threshold");
        let circuit = Circuit::default();
        (0..3).for_each(|_| circuit.count(&SETTINGS, at(0), Some(1 << 30)));
        circuit.count(&SETTINGS, at(0), Some(2 << 30));
        assert!(matches!(circuit.admit(at(0)), Admission::Refused { .. }), "a second key fails as well");
    }

    #[test]
    fn failures_leave_the_window_as_it_slides() {
        let circuit = Circuit::default();
        fail(&circuit, at(0));
        fail(&circuit, at(1_000));
        fail(&circuit, at(8_500));
        assert_eq!(circuit.admit(at(8_500)), Admission::Pass, "the first is 8.5 s old");
        fail(&circuit, at(8_600));
        assert!(matches!(circuit.admit(at(8_600)), Admission::Refused { .. }), "three within 8 s");
    }

    #[test]
    fn half_open_lets_one_probe_pass_at_a_time() {
        let circuit = Circuit::default();
        (0..3).for_each(|_| fail(&circuit, at(0)));
        assert_eq!(circuit.admit(at(10_000)), Admission::Probe);
        assert!(matches!(circuit.admit(at(10_000)), Admission::Refused { .. }));
        circuit.abandoned();
        assert_eq!(circuit.admit(at(10_000)), Admission::Probe, "a probe that was given up frees its place");
        circuit.probed(&SETTINGS, at(11_000), true);
        assert_eq!(circuit.admit(at(11_000)), Admission::Refused { retry_after: Duration::from_secs(10) });
        assert_eq!(circuit.admit(at(21_000)), Admission::Probe);
        circuit.probed(&SETTINGS, at(21_000), false);
        assert_eq!(circuit.admit(at(21_000)), Admission::Pass);
        fail(&circuit, at(21_000));
        assert_eq!(circuit.admit(at(21_000)), Admission::Pass, "old failures are forgotten");
    }
}
