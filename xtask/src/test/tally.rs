//! How many tests really ran, read from what the runners print: a runner that finds none ends well.

use crate::Result;

/// The number of passed tests in the output of `cargo test`, whichever harness printed it.
pub(crate) fn cargo(output: &str) -> Result<String> {
    let results = output.lines().filter_map(|line| line.trim_start().strip_prefix("test result: ok."));
    told(results.filter_map(|rest| number_before(rest, "passed")).sum())
}

/// The number of passed tests in the last line of pytest.
pub(crate) fn pytest(output: &str) -> Result<String> {
    let line = output.lines().rev().find(|line| line.contains(" passed")).unwrap_or_default();
    if line.contains("skipped") {
        return Err(format!("tests were skipped, and a skipped test proves nothing: {}", line.trim()).into());
    }
    told(number_before(line, "passed").unwrap_or(0))
}

/// The number of passed tests in the summary of `node --test`, in its spec or its TAP form.
pub(crate) fn node(output: &str) -> Result<String> {
    let count = |what: &str| {
        let line = output.lines().rev().find_map(|line| {
            line.strip_prefix("# ").or_else(|| line.strip_prefix("ℹ "))?.strip_prefix(what)?.trim().parse::<u64>().ok()
        });
        line.unwrap_or(0)
    };
    if count("skipped ") + count("todo ") > 0 {
        return Err("tests were skipped, and a skipped test proves nothing".into());
    }
    told(count("pass "))
}

fn told(count: u64) -> Result<String> {
    if count == 0 {
        return Err("no test ran".into());
    }
    Ok(format!("{count} tests"))
}

/// The number that stands before a word.
fn number_before(text: &str, word: &str) -> Option<u64> {
    let words: Vec<&str> = text.split([' ', ';', ',', '=']).filter(|part| !part.is_empty()).collect();
    let place = words.iter().position(|part| *part == word)?;
    words[place.checked_sub(1)?].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_results_are_added_up() {
        let output = "test result: ok. 4 passed; 0 failed; 1 ignored\nnoise\ntest result: ok. 38 passed; 0 failed\n";
        assert_eq!(cargo(output).unwrap(), "42 tests");
        assert!(cargo("test result: ok. 0 passed; 0 failed\n").is_err());
        assert!(cargo("").is_err());
    }

    #[test]
    fn pytest_results_with_skips_do_not_count() {
        assert_eq!(pytest(".....\n===== 5 passed in 1.20s =====\n").unwrap(), "5 tests");
        assert_eq!(pytest("5 passed, 2 warnings in 1.20s\n").unwrap(), "5 tests");
        assert!(pytest("===== 4 passed, 1 skipped in 1.20s =====\n").is_err());
        assert!(pytest("no tests ran in 0.01s\n").is_err());
    }

    #[test]
    fn node_results_in_both_forms() {
        assert_eq!(node("# tests 7\n# pass 7\n# fail 0\n# skipped 0\n").unwrap(), "7 tests");
        assert_eq!(node("ℹ tests 7\nℹ pass 7\nℹ skipped 0\n").unwrap(), "7 tests");
        assert!(node("# pass 6\n# skipped 1\n").is_err());
        assert!(node("# pass 0\n").is_err());
    }
}
