//! Rates that replicas share.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use aihub_core::rate::RateDecision;
use aihub_core::{Clock, Error, Rate, RateStore, Result};
use async_trait::async_trait;
use redis::Script;
use sha2::{Digest as _, Sha256};

use super::Redis;

/// A [`RateStore`] whose counts every replica on the same Redis shares: the generic cell rate
/// algorithm, each decision one script, which no other decision runs beside.
///
/// - **Exact.** Counts are whole numbers of a unit in which both an event and a microsecond are whole;
///   no rate is rounded. As with [`MemoryRates`](crate::MemoryRates), a subject that moves to another
///   rate starts with a full burst there.
/// - **Refuses when it cannot tell.** [`Unavailable`](aihub_core::ErrorKind::Unavailable) within
///   [`Redis::deadline`], when Redis is gone, slow, full or a replica that takes no writes. The event
///   may have been counted then, once at most; likewise when the future is dropped.
/// - **One clock.** Redis' own, since those of replicas differ. Set back, it lengthens no wait; set
///   forward, it gives back what would have come back in that time, a burst of each subject at most.
/// - **Forgets.** A subject whose burst is whole again leaves nothing in Redis. Names have a bounded
///   length and do not show the subject.
///
/// A Redis that loses its memory, evicts keys (`maxmemory-policy` other than `noeviction`) or fails
/// over to a replica that lags forgets events: at worst, each subject has its burst once more.
///
/// A store that falls back to counts of its own process while Redis is down was refused: as many
/// replicas as there are would each grant the whole burst, and a limit divided by their number refuses
/// who happens to meet the same one. A limit that cannot be evaluated refuses.
#[derive(Debug)]
pub struct RedisRates {
    redis: Redis,
    clock: Option<Arc<dyn Clock>>,
    take: Script,
}

/// Decides on one event. All numbers are whole, and exact below 2^53.
///
/// `level` is what has been counted and has not drained, in units of which an event has 60 million and
/// `per_minute` drain each microsecond. With bursts of more than 150 million, it is rounded by less
/// than a millionth of an event.
///
/// The usual form of the algorithm keeps the instant at which the level will be zero instead. That is
/// a rounded number for most rates, and a clock set back by an hour would block everybody for an hour.
const TAKE: &str = r"
local per_minute, burst, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local event = 60000000
local most = burst * event

local level = 0
local seen = redis.call('HMGET', KEYS[1], 'level', 'at')
if seen[1] and seen[2] then
  level = math.max(0, tonumber(seen[1]) - math.max(0, now - tonumber(seen[2])) * per_minute)
end
if level + event > most then
  return {0, 0, math.ceil((level + event - most) / per_minute)}
end

level = level + event
local whole_in = math.ceil(level / per_minute)
-- Not tostring, which would cut microseconds since 1970 to 14 digits.
redis.call('HSET', KEYS[1], 'level', string.format('%.0f', level), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(whole_in / 1000) + tonumber(ARGV[4]))
return {1, math.floor((most - level) / event), whole_in}
";

/// How long a subject outlives its use when time is given: Redis expires keys by its own clock, which
/// a clock that stands still must not be behind of.
const OUTLIVES: Duration = Duration::from_hours(1);

impl RedisRates {
    /// Counts in `redis`, by its clock.
    pub fn new(redis: Redis) -> Self {
        Self { redis, clock: None, take: Script::new(TAKE) }
    }

    /// Counts by [`Clock::now`] of `clock`, for tests and simulations: replicas that count together
    /// need clocks that agree.
    pub fn with_clock(redis: Redis, clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..Self::new(redis) }
    }

    /// Where the events of `subject` are counted. A part of the hash is enough: nobody gains by two
    /// names that meet, which takes 2^64 of them.
    fn name(&self, subject: &str, rate: Rate) -> String {
        let mut name = self.redis.name(format_args!("rate:{}:{}:", rate.per_minute, rate.burst));
        for byte in &Sha256::digest(subject)[..16] {
            write!(name, "{byte:02x}").expect("writing into a String does not fail");
        }
        name
    }
}

#[async_trait]
impl RateStore for RedisRates {
    async fn take(&self, subject: &str, rate: Rate) -> Result<RateDecision> {
        if rate.per_minute == 0 || rate.burst == 0 {
            return Err(Error::invalid("rate", "A rate and its burst are at least 1"));
        }
        let (now, outlives) = match &self.clock {
            Some(clock) => (clock.now().as_microsecond().to_string(), OUTLIVES),
            None => (String::new(), Duration::ZERO),
        };
        let mut script = self.take.key(self.name(subject, rate));
        script.arg(rate.per_minute).arg(rate.burst).arg(now).arg(outlives.as_secs() * 1_000);
        let (allowed, remaining, wait_us): (bool, u32, u64) = self.redis.run(&script).await?;
        Ok(RateDecision { allowed, remaining, reset_after: Duration::from_micros(wait_us) })
    }
}
