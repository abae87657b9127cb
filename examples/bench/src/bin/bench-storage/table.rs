//! Medians, and the table people read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aihub_core::{Clock, SystemClock};

/// What was measured, line by line.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) clock: Arc<SystemClock>,
    pub(crate) rounds: usize,
    lines: Vec<[String; 3]>,
}

impl Table {
    pub(crate) fn new(clock: Arc<SystemClock>, rounds: usize) -> Self {
        Self { clock, rounds, lines: Vec::new() }
    }

    pub(crate) fn line(&mut self, what: impl Into<String>, measured: impl Into<String>, goal: impl Into<String>) {
        let line = [what.into(), measured.into(), goal.into()];
        eprintln!("{}: {}", line[0], line[1]);
        self.lines.push(line);
    }

    /// How long each of so many works took, which are done one after the other.
    pub(crate) async fn times<Work: Future>(&self, count: usize, work: impl Fn(usize) -> Work) -> Times {
        let mut times = Vec::with_capacity(count);
        for place in 0..count {
            let start = self.clock.elapsed();
            std::hint::black_box(work(place).await);
            times.push(self.clock.elapsed().saturating_sub(start));
        }
        times.sort_unstable();
        Times(times)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | measured | goal |\n|---|---|---|")?;
        self.lines.iter().try_for_each(|[what, measured, goal]| writeln!(f, "| {what} | {measured} | {goal} |"))
    }
}

/// Times, shortest first.
#[derive(Debug)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// The time that `hundredths` of all do not exceed.
    pub(crate) fn percentile(&self, hundredths: usize) -> Duration {
        let place = (self.0.len() * hundredths / 100).min(self.0.len().saturating_sub(1));
        self.0.get(place).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// As [`Times::percentile`], in milliseconds.
    pub(crate) fn millis(&self, hundredths: usize) -> f64 {
        self.percentile(hundredths).as_secs_f64() * 1e3
    }

    /// As `median / p99 µs`.
    pub(crate) fn shown(&self) -> String {
        format!("{} / {} µs", self.median().as_micros(), self.percentile(99).as_micros())
    }
}
