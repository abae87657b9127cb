//! `docs/FAILURES.md`, made from the tests: what fails, how, and what the answer is, in the words that stand above the
//! test which shows it. A line there without a test cannot be written.

use std::path::{Path, PathBuf};

use crate::{Result, helped, place};

const HELP: &str = "Usage: cargo xtask failures

Writes docs/FAILURES.md from the lines `// failure: WHAT | HOW | ANSWER` that stand above tests. `cargo xtask lint` fails
when the file is not what would be written.";

const MARK: &str = "// failure: ";

const HEAD: &str = "# What fails, and what happens then

Made by `cargo xtask failures` from the tests that show it; each line is told by the test it names.

| what | how | the answer | the test |
|---|---|---|---|
";

/// One line of the table.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Failure {
    what: String,
    how: String,
    answer: String,
    test: String,
}

/// Runs the chore.
pub(crate) fn main(args: &[String]) -> Result {
    if helped(args, HELP) {
        return Ok(());
    }
    let (path, text) = written(&place::root())?;
    std::fs::write(&path, text)?;
    println!("{}", path.display());
    Ok(())
}

/// Fails when the file is not what the tests say.
pub(crate) fn check() -> Result {
    let (path, text) = written(&place::root())?;
    if std::fs::read_to_string(&path).unwrap_or_default() == text {
        return Ok(());
    }
    Err(format!("{} is not what the tests say: run `cargo xtask failures`", path.display()).into())
}

fn written(root: &Path) -> Result<(PathBuf, String)> {
    let mut failures = Vec::new();
    for room in ["core", "storage", "middleware", "examples/server"] {
        walk(&root.join(room), root, &mut failures)?;
    }
    failures.sort();
    let lines = failures
        .iter()
        .map(|Failure { what, how, answer, test }| format!("| {what} | {how} | {answer} | `{test}` |\n"));
    Ok((root.join("docs/FAILURES.md"), HEAD.to_owned() + &lines.collect::<String>()))
}

fn walk(folder: &Path, root: &Path, failures: &mut Vec<Failure>) -> Result {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, root, failures)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            let shown = path.strip_prefix(root)?.display().to_string();
            failures.extend(read(&std::fs::read_to_string(&path)?, &shown)?);
        }
    }
    Ok(())
}

/// The failures in one file. A mark belongs to the next function, which has to be a test.
fn read(text: &str, file: &str) -> Result<Vec<Failure>> {
    let (mut failures, mut marks, mut is_test) = (Vec::new(), Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(mark) = line.strip_prefix(MARK) {
            marks.push(mark);
        } else if line.starts_with("#[test") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ").or_else(|| line.strip_prefix("async fn ")) {
            let name = rest.split('(').next().unwrap_or_default();
            for mark in marks.drain(..) {
                let parts: Vec<&str> = mark.split(" | ").collect();
                let ([what, how, answer], true) = (&parts[..], is_test) else {
                    return Err(format!("{file}: `{mark}` has to be `WHAT | HOW | ANSWER` above a test").into());
                };
                let test = format!("{file}: {name}");
                failures.push(Failure { what: (*what).into(), how: (*how).into(), answer: (*answer).into(), test });
            }
            is_test = false;
        }
    }
    Ok(failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_belongs_to_the_test_below_it() {
        let text = "// failure: disk | full | 503\n#[tokio::test]\nasync fn it_refuses() {}\n#[test]\nfn other() {}";
        let failures = read(text, "a.rs").unwrap();
        assert_eq!(failures.len(), 1);
        assert_eq!((&*failures[0].answer, &*failures[0].test), ("503", "a.rs: it_refuses"));
        assert!(read("// failure: disk | full\n#[test]\nfn it() {}", "a.rs").is_err());
        assert!(read("// failure: disk | full | 503\nfn helper() {}", "a.rs").is_err());
    }
}
