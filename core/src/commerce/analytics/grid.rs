//! Which stretches of time a question is about, and from which sums they are made.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::series::{Bucket, Group, Series, SeriesBucket, SeriesQuery, SeriesRow, Sums};
use crate::error::{Error, Result};
use crate::money::Currency;
use crate::quota::{Calendar, Span};
use crate::time::Timestamp;

/// How much time is summed up beforehand, in UTC.
///
/// Quarters of an hour are the finest that hours and days of every time zone are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    /// A quarter of an hour.
    Quarter,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl Width {
    /// All of them, coarse ones first.
    pub const ALL: [Self; 3] = [Self::Day, Self::Hour, Self::Quarter];

    /// How long it is.
    pub const fn seconds(self) -> i64 {
        match self {
            Self::Quarter => 900,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}

/// Sums of one width that an answer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Which sums.
    pub width: Width,
    /// Stretches of them, in order, that do not touch: from the first instant on, and before the second.
    pub stretches: Vec<(Timestamp, Timestamp)>,
}

impl Read {
    /// From the first instant that is read to the one after the last.
    pub fn range(&self) -> (Timestamp, Timestamp) {
        let first = self.stretches.first().map_or(Timestamp::MIN, |stretch| stretch.0);
        (first, self.stretches.last().map_or(first, |stretch| stretch.1))
    }

    /// Whether the sum that starts at this instant is read.
    pub fn has(&self, starts_at: Timestamp) -> bool {
        let next = self.stretches.partition_point(|stretch| stretch.0 <= starts_at);
        next.checked_sub(1).is_some_and(|last| starts_at < self.stretches[last].1)
    }

    /// The starts of what is read, where naming them spares more than half of the range.
    pub fn starts(&self) -> Option<Vec<Timestamp>> {
        let seconds = self.width.seconds();
        let of = |from: Timestamp, to: Timestamp| (to.as_second() - from.as_second()) / seconds;
        let (from, to) = self.range();
        let read: i64 = self.stretches.iter().map(|stretch| of(stretch.0, stretch.1)).sum();
        (read * 2 < of(from, to)).then(|| {
            let starts = self.stretches.iter().flat_map(|(from, to)| {
                (from.as_second()..to.as_second()).step_by(usize::try_from(seconds).unwrap_or(1))
            });
            starts.filter_map(|second| Timestamp::from_second(second).ok()).collect()
        })
    }
}

/// The buckets of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    edges: Vec<Timestamp>,
}

impl Grid {
    /// The buckets of `query`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the range is empty or has more than [`Bucket::most`] of them, or begins
    /// before 2000: until 1972 there were time zones that no quarter of an hour is a part of.
    pub fn new(query: &SeriesQuery) -> Result<Self> {
        const EARLIEST: i64 = 946_684_800;
        if query.from >= query.to {
            return Err(Error::invalid("from", "`from` has to be before `to`"));
        }
        if query.from.as_second() < EARLIEST {
            return Err(Error::invalid("from", "There is no usage before 2000: ask for a later `from`"));
        }
        let days = Calendar::new(query.zone.clone(), 1)?;
        let most = query.bucket.most();
        let mut edges = vec![first(query, &days)];
        while let Some(edge) = edges.last().copied().filter(|edge| *edge < query.to) {
            if edges.len() > most {
                let bucket = query.bucket;
                let message = format!(
                    "This is more than {most} buckets of {bucket}, and no answer is that long: ask for less time, or for \
                     wider buckets"
                );
                return Err(Error::invalid("bucket", message).with_code("range_too_long"));
            }
            let next = next(query, &days, edge).filter(|next| *next > edge);
            edges.push(next.ok_or_else(|| Error::invalid("to", "No calendar goes on that long: ask for less time"))?);
        }
        Ok(Self { edges })
    }

    /// From the first instant of the first bucket to the one after the last bucket's.
    pub fn range(&self) -> (Timestamp, Timestamp) {
        let first = self.edges.first().copied().unwrap_or_default();
        (first, self.edges.last().copied().unwrap_or(first))
    }

    /// The bucket that has this instant.
    pub fn place(&self, at: Timestamp) -> Option<usize> {
        let after = self.edges.partition_point(|edge| *edge <= at);
        (after < self.edges.len()).then(|| after.checked_sub(1)).flatten()
    }

    /// The answer that these sums make, each of which begins at its instant and ends in the same bucket. What is in no bucket
    /// is left out.
    ///
    /// # Errors
    ///
    /// [`Series::too_long`].
    pub fn fold(
        &self,
        sums: impl IntoIterator<Item = (Timestamp, Group, Sums)>,
        booked_at: Option<Timestamp>,
    ) -> Result<Series> {
        let mut rows = BTreeMap::<(usize, Group, Option<Currency>), Sums>::new();
        for (starts_at, group, sums) in sums {
            let Some(place) = self.place(starts_at) else { continue };
            rows.entry((place, group, sums.currency())).or_default().add(&sums);
            if rows.len() > Series::MOST_ROWS {
                return Err(Series::too_long());
            }
        }
        let pairs = self.edges.windows(2);
        let bucket = |pair: &[Timestamp]| SeriesBucket { starts_at: pair[0], ends_at: pair[1], rows: Vec::new() };
        let mut buckets: Vec<SeriesBucket> = pairs.map(bucket).collect();
        for ((place, group, _), sums) in rows {
            buckets[place].rows.push(SeriesRow { group, sums });
        }
        Ok(Series { buckets, booked_at })
    }

    /// The fewest sums that the buckets are made of: days where they are whole days of UTC, hours where they are whole
    /// ones, quarters at the ends. What a bucket of less than a quarter is made of is not summed up anywhere.
    pub fn reads(&self) -> Vec<Read> {
        let mut reads = Width::ALL.map(|width| Read { width, stretches: Vec::new() });
        for pair in self.edges.windows(2) {
            cover(pair[0].as_second(), pair[1].as_second(), &mut reads);
        }
        reads.into_iter().filter(|read| !read.stretches.is_empty()).collect()
    }
}

/// Reads what is between two instants from the first of `reads`, which are coarse ones first, and the ends from the others.
fn cover(from: i64, to: i64, reads: &mut [Read]) {
    let Some((read, finer)) = reads.split_first_mut() else { return };
    let seconds = read.width.seconds();
    let (first, last) = (-(-from).div_euclid(seconds) * seconds, to.div_euclid(seconds) * seconds);
    if first >= last {
        return cover(from, to, finer);
    }
    cover(from, first, finer);
    if let (Ok(first), Ok(last)) = (Timestamp::from_second(first), Timestamp::from_second(last)) {
        match read.stretches.last_mut() {
            Some(stretch) if stretch.1 == first => stretch.1 = last,
            _ => read.stretches.push((first, last)),
        }
    }
    cover(last, to, finer);
}

fn first(query: &SeriesQuery, days: &Calendar) -> Timestamp {
    match query.bucket {
        Bucket::Minute => days.period(Span::Minute, query.from).starts_at,
        Bucket::Hour => {
            let into_it = into_hour(&query.zone, query.from);
            Timestamp::from_second(query.from.as_second() - into_it).unwrap_or(query.from)
        }
        Bucket::Day => days.period(Span::Day, query.from).starts_at,
    }
}

fn next(query: &SeriesQuery, days: &Calendar, edge: Timestamp) -> Option<Timestamp> {
    match query.bucket {
        Bucket::Minute => days.period(Span::Minute, edge).ends_at,
        // An hour that clocks are changed in the middle of, as they are by half an hour on Lord Howe Island, ends there
        // or an hour after it began.
        Bucket::Hour => Timestamp::from_second(edge.as_second() + 3_600 - into_hour(&query.zone, edge)).ok(),
        Bucket::Day => days.period(Span::Day, edge).ends_at,
    }
}

/// Seconds since the hour of the clock on the wall began.
fn into_hour(zone: &TimeZone, at: Timestamp) -> i64 {
    let wall = zone.to_datetime(at);
    i64::from(wall.minute()) * 60 + i64::from(wall.second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commerce::analytics::Filter;
    use crate::id::AccountId;

    fn grid(zone: &str, bucket: Bucket, from: &str, to: &str) -> Result<Grid> {
        Grid::new(&SeriesQuery {
            account: AccountId::new(Timestamp::UNIX_EPOCH),
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            bucket,
            zone: TimeZone::get(zone).unwrap(),
            group_by: Vec::new(),
            filter: Filter::default(),
        })
    }

    /// How long each bucket is, in minutes.
    fn minutes(grid: &Grid) -> Vec<i64> {
        grid.edges.windows(2).map(|pair| (pair[1].as_second() - pair[0].as_second()) / 60).collect()
    }

    #[test]
    fn days_are_as_long_as_they_are() {
        let spring = grid("Europe/Berlin", Bucket::Day, "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z").unwrap();
        assert_eq!(minutes(&spring), [24 * 60, 23 * 60, 24 * 60]);
        let autumn = grid("America/New_York", Bucket::Day, "2026-11-01T12:00:00Z", "2026-11-01T12:00:01Z").unwrap();
        assert_eq!(minutes(&autumn), [25 * 60]);
        assert_eq!(autumn.range().0.to_string(), "2026-11-01T04:00:00Z");
    }

    #[test]
    fn hours_begin_with_the_clock_on_the_wall_and_end_where_it_is_changed() {
        let half = grid("Asia/Kolkata", Bucket::Hour, "2026-11-20T00:00:00Z", "2026-11-20T02:00:00Z").unwrap();
        assert_eq!(half.range().0.to_string(), "2026-11-19T23:30:00Z");
        assert_eq!(minutes(&half), [60, 60, 60]);
        // Clocks go back by half an hour at 15:00 UTC, and forward at 15:30.
        for (from, to) in
            [("2026-04-04T14:00:00Z", "2026-04-04T17:00:00Z"), ("2026-10-03T14:30:00Z", "2026-10-03T17:00:00Z")]
        {
            let changed = grid("Australia/Lord_Howe", Bucket::Hour, from, to).unwrap();
            assert_eq!(minutes(&changed)[..3], [60, 30, 60], "{changed:?}");
        }
    }

    #[test]
    fn a_bucket_is_made_of_the_coarsest_sums_that_fit() {
        let reads = |zone, bucket| {
            let reads = grid(zone, bucket, "2026-11-01T12:00:00Z", "2026-11-08T12:00:00Z").unwrap().reads();
            reads
                .into_iter()
                .map(|read| (read.width, read.stretches.len(), read.starts().is_some()))
                .collect::<Vec<_>>()
        };
        assert_eq!(reads("UTC", Bucket::Day), [(Width::Day, 1, false)]);
        assert_eq!(reads("Europe/Berlin", Bucket::Day), [(Width::Hour, 1, false)]);
        assert_eq!(reads("UTC", Bucket::Hour), [(Width::Hour, 1, false)]);
        assert_eq!(reads("Asia/Kathmandu", Bucket::Day), [(Width::Hour, 8, false), (Width::Quarter, 9, true)]);
        assert_eq!(reads("Asia/Kolkata", Bucket::Hour), [(Width::Quarter, 1, false)]);
    }

    #[test]
    fn every_instant_is_read_once_and_in_the_bucket_that_has_it() {
        let grid = grid("Asia/Kathmandu", Bucket::Day, "2026-11-01T12:00:00Z", "2026-11-08T12:00:00Z").unwrap();
        let (from, to) = grid.range();
        let reads = grid.reads();
        for second in (from.as_second()..to.as_second()).step_by(450) {
            let of = |width: i64| Timestamp::from_second(second.div_euclid(width) * width).unwrap();
            let read: Vec<_> = reads.iter().filter(|read| read.has(of(read.width.seconds()))).collect();
            assert_eq!(read.len(), 1, "{second}");
            let at = Timestamp::from_second(second).unwrap();
            assert_eq!(grid.place(of(read[0].width.seconds())), grid.place(at));
        }
        assert_eq!((grid.place(to), grid.place(from)), (None, Some(0)));
    }

    #[test]
    fn what_has_no_answer_says_what_to_ask() {
        let refused = |bucket, from, to| grid("UTC", bucket, from, to).unwrap_err();
        let long = refused(Bucket::Minute, "2026-11-01T00:00:00Z", "2026-11-02T00:00:01Z");
        assert!(long.code() == "range_too_long" && long.message().contains("1440"), "{long}");
        assert!(grid("UTC", Bucket::Minute, "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z").is_ok());
        assert_eq!(refused(Bucket::Day, "2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z").param(), Some("from"));
        assert_eq!(refused(Bucket::Day, "1999-11-01T00:00:00Z", "2026-11-01T00:00:00Z").param(), Some("from"));
        assert_eq!(refused(Bucket::Day, "2026-11-01T00:00:00Z", "9999-12-30T00:00:00Z").param(), Some("bucket"));
    }
}
