//! The chores of this repository, run as `cargo xtask COMMAND`.
//!
//! This is the whole of continuous integration: what passes here passes there, because `.ci/run` calls nothing else.
//! It depends on serde alone so that it is built in seconds on a machine that has never seen the workspace.

mod bench;
mod demo;
mod failures;
mod hub;
mod layout;
mod lint;
mod place;
mod probe;
mod process;
mod services;
mod setup;
mod test;
mod torture;

use std::process::ExitCode;

/// Every chore answers with a sentence that says what to do when it fails.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A failure that has been told in full: nothing is printed after it.
#[derive(Debug)]
pub(crate) struct Told;

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("see above")
    }
}

impl std::error::Error for Told {}

/// A chore: its name, one line about it, and what runs it.
struct Chore {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result,
}

const CHORES: &[Chore] = &[
    Chore {
        name: "demo",
        about: "start the reference server with scripted vendors and print a working curl line",
        run: demo::main,
    },
    Chore {
        name: "services",
        about: "start a Postgres, a Redis and a NATS to work with, or run a command with them",
        run: services::main,
    },
    Chore { name: "test", about: "run every suite of the repository, or the named ones", run: test::main },
    Chore { name: "lint", about: "formatting, clippy, layout, names and sizes of files", run: lint::main },
    Chore { name: "layout", about: "check which package may depend on which", run: layout::main },
    Chore { name: "failures", about: "write docs/FAILURES.md from the tests", run: failures::main },
    Chore { name: "bench", about: "measure the server against a bare proxy, or the stores", run: bench::main },
    Chore {
        name: "torture",
        about: "kill the server under load, again and again, and prove its books",
        run: torture::main,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(name) = args.first().filter(|name| !is_help(name)) else {
        eprintln!("{}", overview());
        return if args.is_empty() { ExitCode::from(64) } else { ExitCode::SUCCESS };
    };
    let Some(chore) = CHORES.iter().find(|chore| chore.name == name) else {
        eprintln!("There is no chore `{name}`.\n\n{}", overview());
        return ExitCode::from(64);
    };
    match (chore.run)(&args[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Told>() => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\ncargo xtask {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn overview() -> String {
    let line = |chore: &Chore| {
        format!(
            "  {:8} {}
",
            chore.name, chore.about
        )
    };
    let list: String = CHORES.iter().map(line).collect();
    format!(
        "Usage: cargo xtask COMMAND [OPTIONS]

{list}
`cargo xtask COMMAND --help` explains one of them."
    )
}

/// Whether this argument asks for help.
pub(crate) fn is_help(arg: &str) -> bool {
    matches!(arg, "-h" | "--help" | "help")
}

/// Prints `text` and answers true when the arguments ask for help.
pub(crate) fn helped(args: &[String], text: &str) -> bool {
    let asked = args.iter().any(|arg| is_help(arg));
    if asked {
        println!("{text}");
    }
    asked
}
