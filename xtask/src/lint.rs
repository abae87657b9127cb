//! What can be judged without running the code.

mod files;

use std::time::Duration;

use crate::process::Program;
use crate::{Result, failures, helped, layout, place};

const HELP: &str = "Usage: cargo xtask lint [NAME...]

Runs all of these, or the named ones, and fails when one does:
  fmt      cargo fmt --all --check
  layout   cargo xtask layout
  files    names and sizes of files, and paths of somebody's machine in them
  failures docs/FAILURES.md says what the tests do
  deny     cargo deny check bans licenses sources, when cargo-deny is installed
  clippy   cargo clippy --workspace --all-targets, with the features of sinks, -- -D warnings";

const PATIENCE: Duration = Duration::from_mins(40);

/// A name and what it stands for.
type Check = (&'static str, fn() -> Result);

/// Runs the chore.
pub(crate) fn main(args: &[String]) -> Result {
    if helped(args, HELP) {
        return Ok(());
    }
    let checks: [Check; 6] = [
        ("fmt", || Program::cargo().args(["fmt", "--all", "--check"]).run(PATIENCE)),
        ("layout", || layout::main(&[])),
        ("files", || files::check(&place::root())),
        ("failures", failures::check),
        ("deny", deny),
        ("clippy", || {
            let program = Program::cargo().args(["clippy", "--workspace", "--all-targets"]);
            program.args(["--", "-D", "warnings"]).run(PATIENCE)
        }),
    ];
    if let Some(unknown) = args.iter().find(|arg| checks.iter().all(|(name, _)| name != arg)) {
        return Err(format!("there is no check `{unknown}`\n\n{HELP}").into());
    }
    let mut failed = Vec::new();
    let chosen = |name: &str| args.is_empty() || args.iter().any(|arg| arg == name);
    for (name, check) in checks.into_iter().filter(|(name, _)| chosen(name)) {
        println!("── {name}");
        if let Err(error) = check() {
            eprintln!("{error}");
            failed.push(name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
}

/// Licences, sources and bans of the tree. The one check that may be left out: the tool is a large program of its own
/// and not to be had everywhere; the packages that matter most are also banned by `layout`.
fn deny() -> Result {
    if Program::shell("command -v cargo-deny >/dev/null").read(PATIENCE, false).is_err() {
        println!("SKIPPED: cargo-deny is not installed (`cargo install cargo-deny`); licences were not checked.");
        return Ok(());
    }
    Program::cargo().args(["deny", "check", "bans", "licenses", "sources"]).run(PATIENCE)
}
