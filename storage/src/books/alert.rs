//! When somebody is told that little of a limit is left.

/// At how many percent of what a window allows.
const THRESHOLDS: [u16; 2] = [80, 100];

/// The thresholds that are passed when what was used of `most` goes from `before` to `after`.
///
/// One that is passed again, after a larger limit became a smaller one, is the same row: it is raised once in a window.
pub(crate) fn passed(before: i64, after: i64, most: i64) -> impl Iterator<Item = u16> {
    THRESHOLDS.into_iter().filter(move |percent| {
        let line = i128::from(most) * i128::from(*percent);
        most > 0 && i128::from(before) * 100 < line && line <= i128::from(after) * 100
    })
}

#[cfg(test)]
mod tests {
    use super::passed;

    #[test]
    fn a_threshold_is_passed_by_the_call_that_reaches_it() {
        let all = |before, after, most| passed(before, after, most).collect::<Vec<_>>();
        assert!(all(0, 79, 100).is_empty());
        assert_eq!(all(79, 80, 100), [80]);
        assert!(all(80, 99, 100).is_empty());
        assert_eq!(all(80, 100, 100), [100]);
        assert_eq!(all(0, 500, 100), [80, 100]);
        assert!(all(100, 500, 100).is_empty());
        assert_eq!(all(0, 1, 1), [80, 100]);
        assert!(all(0, 5, 0).is_empty(), "a limit of nothing is never near its end");
        assert_eq!(all(0, i64::MAX, i64::MAX), [80, 100]);
    }
}
