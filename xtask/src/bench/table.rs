//! Medians, and the table people read.

use std::fmt::Write;

/// One counted run of one subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// CPU seconds of the subject per 1,000 requests.
    pub(crate) cpu: f64,
    /// Cores taken meanwhile by processes that are not ours.
    pub(crate) foreign: f64,
}

/// All runs of one line: round by round, gateway and proxy.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) rounds: Vec<(Sample, Sample)>,
}

/// The middle value; of an even number the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// The rows as markdown. The ratio is the median of the rounds' own ratios: both halves of a round saw the same machine.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| line | CPU s per 1,000: server | bare proxy | **ratio** | ratios of the rounds | req/s: server | proxy | \
         p50 / p99 ms: server | proxy | foreign cores |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let server = |pick: fn(&Sample) -> f64| median(row.rounds.iter().map(|(server, _)| pick(server)));
        let proxy = |pick: fn(&Sample) -> f64| median(row.rounds.iter().map(|(_, proxy)| pick(proxy)));
        let ratios: Vec<f64> = row.rounds.iter().map(|(server, proxy)| server.cpu / proxy.cpu).collect();
        let spread: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        let foreign = median(row.rounds.iter().map(|(server, proxy)| f64::midpoint(server.foreign, proxy.foreign)));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {:.4} | {:.4} | **{:.2}** | {} | {:.0} | {:.0} | {:.2} / {:.2} | {:.2} / {:.2} | {:.2} |",
            row.name,
            server(|sample| sample.cpu),
            proxy(|sample| sample.cpu),
            median(ratios.iter().copied()),
            spread.join(" "),
            server(|sample| sample.per_second),
            proxy(|sample| sample.per_second),
            server(|sample| sample.p50_ms),
            server(|sample| sample.p99_ms),
            proxy(|sample| sample.p50_ms),
            proxy(|sample| sample.p99_ms),
            foreign,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu: f64) -> Sample {
        Sample { per_second: 1000.0, p50_ms: 1.0, p99_ms: 2.0, cpu, foreign: 0.0 }
    }

    #[test]
    fn medians() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median([]).is_nan());
    }

    #[test]
    fn the_ratio_is_taken_within_each_round() {
        let rounds = vec![(sample(2.0), sample(1.0)), (sample(30.0), sample(10.0)), (sample(8.0), sample(2.0))];
        let text = markdown(&[Row { name: "plain", rounds }]);
        assert!(text.contains("| **3.00** | 2.00 3.00 4.00 |"), "{text}");
    }
}
