//! When an account's days and months begin.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::time::Timestamp;

/// How long a limit counts before it starts anew.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Span {
    /// A minute of the clock.
    Minute,
    /// A civil day of the account.
    Day,
    /// From the account's anchor day to the next month's.
    Month,
    /// For ever.
    Lifetime,
}

/// One stretch of time that a limit counts over: from `starts_at` on, and before `ends_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Its first instant.
    pub starts_at: Timestamp,
    /// The first instant that is no longer in it; absent where it does not end.
    pub ends_at: Option<Timestamp>,
}

/// An account's time zone, and the day on which its months begin.
///
/// Every month is computed from the anchor day, never from the month before: an anchor of 31 begins February on its
/// last day, and March on the 31st again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    zone: TimeZone,
    anchor_day: i8,
}

impl Calendar {
    /// Civil days and calendar months in UTC.
    pub const UTC: Self = Self { zone: TimeZone::UTC, anchor_day: 1 };

    /// Days of `zone`, and months that begin on `anchor_day`, or on the last day of a month that is shorter.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for a day that no month has.
    pub fn new(zone: TimeZone, anchor_day: i8) -> Result<Self> {
        if (1..=31).contains(&anchor_day) {
            Ok(Self { zone, anchor_day })
        } else {
            Err(Error::invalid("anchor_day", format!("months begin on a day from 1 to 31, not on {anchor_day}")))
        }
    }

    /// As [`Calendar::new`], with the zone by its name, such as `Europe/Berlin`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for an unknown zone, too.
    pub fn of(zone: &str, anchor_day: i8) -> Result<Self> {
        let zone = TimeZone::get(zone).map_err(|error| {
            let message = format!("`{zone}` is no time zone: write one such as `UTC` or `Europe/Berlin`");
            Error::invalid("time_zone", message).with_source(error)
        })?;
        Self::new(zone, anchor_day)
    }

    /// The time zone.
    pub const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The name of the time zone.
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The day of the month on which months begin, where they have it.
    pub const fn anchor_day(&self) -> i8 {
        self.anchor_day
    }

    /// The period of this length that `at` is in.
    pub fn period(&self, span: Span, at: Timestamp) -> Period {
        match span {
            Span::Lifetime => Period { starts_at: Timestamp::UNIX_EPOCH, ends_at: None },
            Span::Minute => {
                let start = at.as_second().div_euclid(60) * 60;
                let instant = |second| Timestamp::from_second(second).ok();
                Period { starts_at: instant(start).unwrap_or(at), ends_at: instant(start.saturating_add(60)) }
            }
            Span::Day => {
                let day = self.zone.to_datetime(at).date();
                self.days(day, day.tomorrow().ok())
            }
            Span::Month => {
                let day = self.zone.to_datetime(at).date();
                let begun = self.anchored(day);
                let (first, last) = if begun <= day { (Some(begun), after(day)) } else { (before(day), Some(day)) };
                let first = first.map_or(Date::MIN, |month| self.anchored(month));
                self.days(first, last.map(|month| self.anchored(month)))
            }
        }
    }

    /// The day on which the month that has `day` begins for the account.
    fn anchored(&self, day: Date) -> Date {
        day.with().day(self.anchor_day.min(day.days_in_month())).build().unwrap_or(day)
    }

    /// From the first instant of one day to that of the other; a day may begin at one in the morning.
    fn days(&self, first: Date, last: Option<Date>) -> Period {
        let start = |day: Date| day.to_zoned(self.zone.clone()).ok().map(|start| start.timestamp());
        Period { starts_at: start(first).unwrap_or(Timestamp::MIN), ends_at: last.and_then(start) }
    }
}

/// Some day of the next month.
fn after(day: Date) -> Option<Date> {
    day.last_of_month().tomorrow().ok()
}

/// Some day of the month before.
fn before(day: Date) -> Option<Date> {
    day.first_of_month().yesterday().ok()
}

impl Default for Calendar {
    fn default() -> Self {
        Self::UTC
    }
}

#[derive(Serialize, Deserialize)]
struct Wire {
    time_zone: String,
    anchor_day: i8,
}

impl Serialize for Calendar {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Wire { time_zone: self.zone_name().to_owned(), anchor_day: self.anchor_day }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Calendar {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let Wire { time_zone, anchor_day } = Wire::deserialize(deserializer)?;
        Self::of(&time_zone, anchor_day).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn month(zone: &str, anchor: i8, at: &str) -> (String, String) {
        let period = Calendar::of(zone, anchor).unwrap().period(Span::Month, at.parse().unwrap());
        (period.starts_at.to_string(), period.ends_at.unwrap().to_string())
    }

    #[test]
    fn months_are_counted_from_the_anchor_and_not_from_each_other() {
        for (anchor, at, start, end) in [
            (1, "2026-11-21T16:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            (31, "2027-02-27T23:59:59Z", "2027-01-31T00:00:00Z", "2027-02-28T00:00:00Z"),
            (31, "2027-02-28T00:00:00Z", "2027-02-28T00:00:00Z", "2027-03-31T00:00:00Z"),
            (31, "2027-03-30T00:00:00Z", "2027-02-28T00:00:00Z", "2027-03-31T00:00:00Z"),
            (30, "2028-02-29T12:00:00Z", "2028-02-29T00:00:00Z", "2028-03-30T00:00:00Z"),
            (31, "2027-01-01T00:00:00Z", "2026-12-31T00:00:00Z", "2027-01-31T00:00:00Z"),
            (31, "2026-12-31T00:00:00Z", "2026-12-31T00:00:00Z", "2027-01-31T00:00:00Z"),
        ] {
            assert_eq!(month("UTC", anchor, at), (start.to_owned(), end.to_owned()), "{anchor} {at}");
        }
    }

    /// In Berlin clocks go back on 25 October 2026 and forward on 28 March 2027; in Santiago a day of September
    /// begins at one in the morning.
    #[test]
    fn days_and_months_are_those_of_the_zone() {
        let berlin = month("Europe/Berlin", 1, "2026-10-31T23:30:00Z");
        assert_eq!(berlin, ("2026-10-31T23:00:00Z".to_owned(), "2026-11-30T23:00:00Z".to_owned()));
        assert_eq!(month("Europe/Berlin", 25, "2026-10-25T12:00:00Z").0, "2026-10-24T22:00:00Z");
        let day = Calendar::of("America/Santiago", 1).unwrap();
        let day = day.period(Span::Day, "2026-09-06T12:00:00Z".parse().unwrap());
        assert_eq!(day.starts_at.to_string(), "2026-09-06T04:00:00Z");
        assert_eq!(day.ends_at.unwrap().to_string(), "2026-09-07T03:00:00Z");
    }

    #[test]
    fn what_is_no_calendar_is_refused() {
        assert!(Calendar::of("Nowhere/Atall", 1).is_err());
        assert!(Calendar::of("UTC", 0).is_err() && Calendar::of("UTC", 32).is_err());
        let berlin = Calendar::of("Europe/Berlin", 31).unwrap();
        let text = serde_json::to_string(&berlin).unwrap();
        assert_eq!(serde_json::from_str::<Calendar>(&text).unwrap(), berlin);
    }

    proptest! {
        #[test]
        fn periods_hold_their_instant_and_meet_without_a_gap(
            second in 0..4_000_000_000_i64,
            anchor in 1..=31_i8,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe"]),
            span in prop::sample::select(vec![Span::Minute, Span::Day, Span::Month]),
        ) {
            let (calendar, at) = (Calendar::of(zone, anchor).unwrap(), Timestamp::from_second(second).unwrap());
            let period = calendar.period(span, at);
            let end = period.ends_at.unwrap();
            prop_assert!(period.starts_at <= at && at < end);
            prop_assert_eq!(calendar.period(span, end).starts_at, end);
            let last = Timestamp::from_second(end.as_second() - 1).unwrap();
            prop_assert_eq!(calendar.period(span, last), period);
        }
    }
}
