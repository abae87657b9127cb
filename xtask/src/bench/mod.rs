//! What a request costs: the server against a bare proxy, on the same machine in the same minutes.
//!
//! A benchmark and not a timed test: it fails when an answer is wrong or missing, never because a machine is slow. The
//! figure to quote is the ratio of CPU time per request; requests per second also tell how busy the machine was.

mod load;
mod measure;
mod run;
mod storage;
mod streams;
mod table;

use std::time::Duration;

use crate::place::{self, Profile};
use crate::process::Program;
use crate::{Result, helped, setup};
use run::Bench;

const HELP: &str = "Usage: cargo xtask bench [--rounds N] [--seconds N] [--quick] [--calibrate]
       cargo xtask bench storage [--quick]

Measures the reference server against a bare hyper proxy: CPU time per request, requests per second, latency, memory per
open stream and the time from start to first answer. Prints a table in markdown and writes it to target/bench/table.md.

  --rounds N    interleaved rounds, medians are shown (default 3)
  --seconds N   length of each run (default 3)
  --quick       one round of one second: does it work, not how fast is it
  --calibrate   puts a second bare proxy in the server's place: the ratios then show the noise of the machine
  storage       measures the stores instead: keys, usage records and pages, on SQLite and Postgres

Needs two cores: the subject has CPU 0, wrk and the mock vendor share CPU 1. `wrk` is installed when it is missing.";

/// Where the measured process runs.
const SUBJECT_CPU: usize = 0;
/// Where everything that loads it runs.
const LOAD_CPU: usize = 1;
/// What a caller may choose.
#[derive(Clone, Copy, Debug)]
struct Options {
    rounds: usize,
    length: Duration,
    calibrate: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self { rounds: 3, length: Duration::from_secs(3), calibrate: false };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut number = || -> Result<u64> {
                let value = args.next().and_then(|value| value.parse().ok()).filter(|&value| value > 0);
                value.ok_or_else(|| format!("`{arg}` needs a number above zero").into())
            };
            match arg.as_str() {
                "--rounds" => options.rounds = usize::try_from(number()?)?,
                "--seconds" => options.length = Duration::from_secs(number()?),
                "--quick" => (options.rounds, options.length) = (1, Duration::from_secs(1)),
                "--calibrate" => options.calibrate = true,
                _ => return Err(format!("unknown option `{arg}`\n\n{HELP}").into()),
            }
        }
        Ok(options)
    }
}

/// Runs the chore.
pub(crate) fn main(args: &[String]) -> Result {
    if args.first().is_some_and(|word| word == "storage") {
        return storage::main(&args[1..]);
    }
    if helped(args, HELP) {
        return Ok(());
    }
    let options = Options::parse(args)?;
    if std::thread::available_parallelism()?.get() < 2 {
        return Err("two cores are needed: load and subject on one core would measure each other".into());
    }
    setup::tool("wrk", "wrk")?;
    setup::tool("taskset", "util-linux")?;
    let packages: &[&str] = if options.calibrate { &["aihub-bench"] } else { &["aihub-bench", "aihub-server"] };
    place::build(Profile::Release, packages)?;
    let bench = Bench::start(options)?;
    bench.prove()?;
    let rows = bench.rounds()?;
    let mut text = conditions(options)? + "\n" + &table::markdown(&rows);
    text += &bench.memory()?;
    if !options.calibrate {
        text += &bench.starts()?;
    }
    std::fs::write(bench.folder().join("table.md"), &text)?;
    println!("\n{text}");
    Ok(())
}

/// The first line of what a line of shell prints.
fn said(line: &str) -> Result<String> {
    let text = Program::shell(line).read(Duration::from_secs(20), false)?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// What has to be known of the machine and the build to compare a table with another.
fn machine() -> Result<String> {
    Ok(format!(
        "{} cores ({}), Linux {}, {}, commit {}, {}",
        said("nproc")?,
        said("sed -n 's/^model name[^:]*: //p' /proc/cpuinfo")?,
        said("uname -r")?,
        said("rustc --version")?,
        said("git rev-parse --short HEAD 2>/dev/null || echo 'no commit'")?,
        said("date -u +%F")?,
    ))
}

/// How this table came about.
fn conditions(options: Options) -> Result<String> {
    let calibrated = if options.calibrate { " **Calibration: the server is a second bare proxy.**" } else { "" };
    Ok(format!(
        "{}, {}.{calibrated} Subject on CPU {SUBJECT_CPU}; wrk and \
         the mock vendor on CPU {LOAD_CPU}; loopback. {} round(s) of {} s, interleaved, each after 1 s of warm-up; medians. \
         CPU is user and kernel time of the subject's process, including what it does after the answers. The server runs \
         with its books open: key, limits, hold, settlement and usage record of every call, SQLite in one file.\n",
        machine()?,
        said("wrk --version 2>&1 | head -n 1 | cut -d' ' -f1,2; true")?,
        options.rounds,
        options.length.as_secs(),
    ))
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn parse(line: &str) -> crate::Result<Options> {
        Options::parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        let options = parse("--rounds 5 --seconds 2 --calibrate").unwrap();
        assert_eq!((options.rounds, options.length.as_secs(), options.calibrate), (5, 2, true));
        assert_eq!(parse("--quick").unwrap().rounds, 1);
        for wrong in ["--rounds", "--rounds 0", "--seconds x", "--fast"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
