//! Everything that can fail in this repository, run and told in one table.

pub(crate) mod suites;
mod tally;

use std::fmt::Write;
use std::time::Duration;

use crate::process::now;
use crate::{Result, Told, helped, services};
use suites::{Run, SUITES};

const HELP: &str = "Usage: cargo xtask test [NAME...] [--list]

Runs every suite, or the named ones, and prints one table. What a suite needs (Python packages, node modules, curl) is
installed below target/, or by apt-get when this runs as root. A suite that cannot run has failed. The wire-sample suite
also reads recordings from the folder AIHUB_WIRE_SAMPLES when it is set. Tests that need Postgres, Redis or NATS get new
servers, or those of `cargo xtask services` when its variables are set.

  --list   print the names of the suites";

/// How a suite ended.
struct Outcome {
    name: &'static str,
    /// What it counted, or why it failed.
    result: Result<String>,
    took: Duration,
}

/// Runs the chore.
pub(crate) fn main(args: &[String]) -> Result {
    if helped(args, HELP) {
        return Ok(());
    }
    if args.iter().any(|arg| arg == "--list") {
        for suite in SUITES {
            println!("{:16} {}", suite.name, suite.about);
        }
        return Ok(());
    }
    if let Some(unknown) = args.iter().find(|arg| SUITES.iter().all(|suite| suite.name != arg.as_str())) {
        return Err(format!("there is no suite `{unknown}`; `cargo xtask test --list` names them").into());
    }
    let chosen = SUITES.iter().filter(|suite| args.is_empty() || args.iter().any(|arg| arg == suite.name));
    let mut outcomes = Vec::new();
    let mut services = None;
    for suite in chosen {
        println!("\n━━ {} ━━ {}", suite.name, suite.about);
        let start = now();
        let result = match suite.run {
            Run::Alone(run) => run(),
            Run::WithServices(run) => services::env(&mut services).and_then(run),
        };
        if let Err(error) = &result {
            eprintln!("{}: {error}", suite.name);
        }
        outcomes.push(Outcome { name: suite.name, result, took: start.elapsed() });
    }
    drop(services);
    println!("\n{}", summary(&outcomes));
    // The table ends with the line that counts, so that a reader of a log finds it at the very end.
    if outcomes.iter().all(|outcome| outcome.result.is_ok()) { Ok(()) } else { Err(Told.into()) }
}

fn summary(outcomes: &[Outcome]) -> String {
    let mut text = format!("{:16} {:6} {:>8}  note\n", "suite", "result", "seconds");
    for outcome in outcomes {
        let (result, note) = match &outcome.result {
            Ok(note) => ("passed", note.clone()),
            Err(error) => ("FAILED", error.to_string().lines().next().unwrap_or_default().to_owned()),
        };
        let seconds = outcome.took.as_secs_f64();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:16} {result:6} {seconds:8.1}  {note}", outcome.name);
    }
    let failed = outcomes.iter().filter(|outcome| outcome.result.is_err()).count();
    text + &format!("\n{} passed, {failed} failed", outcomes.len() - failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_suites_and_keeps_one_line_for_each() {
        let outcome = |name, result| Outcome { name, result, took: Duration::from_millis(1500) };
        let text =
            summary(&[outcome("one", Ok("12 tests".into())), outcome("two", Err("it broke\nwith details".into()))]);
        assert!(text.ends_with("\n1 passed, 1 failed"), "{text}");
        assert!(text.contains("one              passed      1.5  12 tests\n"), "{text}");
        assert!(text.contains("FAILED      1.5  it broke\n") && !text.contains("details"), "{text}");
    }

    #[test]
    fn unknown_suites_are_refused() {
        assert!(main(&["no-such-suite".into()]).is_err());
    }

    #[test]
    fn names_of_suites_are_unique() {
        let mut names: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SUITES.len());
    }
}
