//! What a request costs: the server against a bare proxy, on the same machine in the same minutes.
//!
//! A benchmark and not a timed test: it fails when an answer is wrong or missing, never because a machine is slow. The
//! figure to quote is the ratio of CPU time per request; requests per second also tell how busy the machine was.

mod load;
mod measure;
mod streams;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::hub::{Addresses, Setting};
use crate::place::{self, Profile};
use crate::process::{Program, Running, free_port, now};
use crate::{Result, helped, probe, setup};
use load::{SCENARIOS, Scenario, Subject};
use table::{Row, Sample};

const HELP: &str = "Usage: cargo xtask bench [--rounds N] [--seconds N] [--quick] [--calibrate]

Measures the reference server against a bare hyper proxy: CPU time per request, requests per second, latency, memory per
open stream and the time from start to first answer. Prints a table in markdown and writes it to target/bench/table.md.

  --rounds N    interleaved rounds, medians are shown (default 3)
  --seconds N   length of each run (default 3)
  --quick       one round of one second: does it work, not how fast is it
  --calibrate   puts a second bare proxy in the server's place: the ratios then show the noise of the machine

Needs two cores: the subject has CPU 0, wrk and the mock vendor share CPU 1. `wrk` is installed when it is missing.";

/// Where the measured process runs.
const SUBJECT_CPU: usize = 0;
/// Where everything that loads it runs.
const LOAD_CPU: usize = 1;
/// The model of calls outside the counted lines.
const MODEL: &str = "openai/gpt-4o-mini";
/// Starts that are timed.
const STARTS: usize = 5;

#[derive(Clone, Copy, Debug)]
struct Options {
    rounds: usize,
    length: Duration,
    calibrate: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self {
            rounds: 3,
            length: Duration::from_secs(3),
            calibrate: false,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut number = || -> Result<u64> {
                let value = args
                    .next()
                    .and_then(|value| value.parse().ok())
                    .filter(|&value| value > 0);
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

/// A process under measurement.
#[derive(Debug)]
struct Measured {
    subject: Subject,
    running: Running,
    port: u16,
}

/// Everything that runs during the benchmark.
#[derive(Debug)]
struct Bench {
    options: Options,
    folder: PathBuf,
    key: String,
    mock: Running,
    gateway: Measured,
    proxy: Measured,
    setting: Setting,
}

/// Runs the chore.
pub(crate) fn main(args: &[String]) -> Result {
    if helped(args, HELP) {
        return Ok(());
    }
    let options = Options::parse(args)?;
    if std::thread::available_parallelism()?.get() < 2 {
        return Err(
            "two cores are needed: load and subject on one core would measure each other".into(),
        );
    }
    setup::tool("wrk", "wrk")?;
    setup::tool("taskset", "util-linux")?;
    let packages: &[&str] = if options.calibrate {
        &["aihub-bench"]
    } else {
        &["aihub-bench", "aihub-server"]
    };
    place::build(Profile::Release, packages)?;
    let bench = Bench::start(options)?;
    for scenario in &SCENARIOS {
        bench.prove(scenario, &bench.gateway)?;
        bench.prove(scenario, &bench.proxy)?;
    }
    let rows = bench.rounds()?;
    let mut text = conditions(options)? + "\n" + &table::markdown(&rows);
    text += &bench.memory()?;
    if !options.calibrate {
        text += &bench.starts()?;
    }
    std::fs::write(bench.folder.join("table.md"), &text)?;
    println!("\n{text}");
    Ok(())
}

/// Starts a program of the bench package and answers the port from its first line.
fn listener(name: &str, cpu: usize, args: &[&str], log: &Path) -> Result<(Running, u16)> {
    let program = Program::new(place::binary(Profile::Release, name)?)
        .args(args.iter().copied())
        .on_cpu(cpu)
        .log(log);
    let mut running = program.start_reading()?;
    let line = running.first_line(Duration::from_secs(10))?;
    let port = line
        .rsplit(':')
        .next()
        .and_then(|port| port.trim().parse().ok());
    Ok((
        running,
        port.ok_or_else(|| format!("{name} printed `{line}`, not its address"))?,
    ))
}

impl Bench {
    fn start(options: Options) -> Result<Self> {
        let folder = place::fresh("bench")?;
        let log = folder.join("programs.log");
        let (mock, port) = listener("mock-vendor", LOAD_CPU, &[], &log)?;
        let vendor = format!("http://127.0.0.1:{port}");
        let addresses = Addresses {
            openrouter: format!("{vendor}/api/v1"),
            gemini: format!("{vendor}/v1beta"),
        };
        let setting = Setting {
            profile: Profile::Release,
            folder: folder.clone(),
            port: free_port()?,
            vendors: Some(addresses.clone()),
            cpu: Some(SUBJECT_CPU),
        };
        let bare = |subject| -> Result<Measured> {
            let (running, port) = listener(
                "bare-proxy",
                SUBJECT_CPU,
                &["--upstream", &addresses.openrouter],
                &log,
            )?;
            Ok(Measured {
                subject,
                running,
                port,
            })
        };
        let proxy = bare(Subject::Proxy)?;
        let (gateway, key) = if options.calibrate {
            (bare(Subject::Proxy)?, String::from("none"))
        } else {
            let hub = setting.clone().start()?;
            let key = hub.create_key("bench", Some("enterprise"))?;
            (
                Measured {
                    subject: Subject::Gateway,
                    running: hub.running,
                    port: setting.port,
                },
                key,
            )
        };
        Ok(Self {
            options,
            folder,
            key,
            mock,
            gateway,
            proxy,
            setting,
        })
    }

    /// One call outside the measurement whose answer is looked at: a fast error would make a fine figure.
    fn prove(&self, scenario: &Scenario, measured: &Measured) -> Result {
        let (path, body) = scenario.request(measured.subject);
        let (status, text) = probe::ask(
            measured.port,
            &probe::request("POST", &path, Some(&self.key), &body),
        )?;
        let proof = scenario.proof(measured.subject);
        if status == 200 && text.contains(proof) {
            return Ok(());
        }
        Err(format!(
            "{}, {:?}: the answer lacks `{proof}`:\n{text}",
            scenario.name, measured.subject
        )
        .into())
    }

    fn rounds(&self) -> Result<Vec<Row>> {
        let mut rows: Vec<Row> = SCENARIOS
            .iter()
            .map(|line| Row {
                name: line.name,
                rounds: Vec::new(),
            })
            .collect();
        for round in 0..self.options.rounds {
            for (number, (scenario, row)) in SCENARIOS.iter().zip(&mut rows).enumerate() {
                eprintln!(
                    "round {} of {}: {}",
                    round + 1,
                    self.options.rounds,
                    scenario.name
                );
                // Who goes first changes from round to round, so that a trend of the machine favours nobody.
                let pair = if round % 2 == 0 {
                    let gateway = self.sample(number, scenario, &self.gateway)?;
                    (gateway, self.sample(number, scenario, &self.proxy)?)
                } else {
                    let proxy = self.sample(number, scenario, &self.proxy)?;
                    (self.sample(number, scenario, &self.gateway)?, proxy)
                };
                row.rounds.push(pair);
            }
        }
        Ok(rows)
    }

    fn sample(&self, number: usize, scenario: &Scenario, measured: &Measured) -> Result<Sample> {
        let (path, body) = scenario.request(measured.subject);
        let name = format!("{number}-{:?}", measured.subject).to_lowercase();
        let script = load::script(&self.folder, &name, &self.key, &path, &body)?;
        let drive = |length| {
            load::drive(
                measured.port,
                &script,
                scenario.connections,
                length,
                LOAD_CPU,
            )
        };
        let pid = measured.running.pid();
        drive(Duration::from_secs(1))?;
        measure::settle(pid)?;
        let start = now();
        let (subject, ours, machine) = (
            measure::cpu(pid)?,
            self.our_load()?,
            measure::machine_cpu()?,
        );
        let counted = drive(self.options.length)?;
        measure::settle(pid)?;
        let subject = measure::cpu(pid)? - subject;
        let foreign = (measure::machine_cpu()? - machine) - (self.our_load()? - ours) - subject;
        Ok(Sample {
            per_second: counted.requests / counted.seconds,
            p50_ms: counted.p50_ms,
            p99_ms: counted.p99_ms,
            cpu: subject / counted.requests * 1e3,
            foreign: (foreign / start.elapsed().as_secs_f64()).max(0.0),
        })
    }

    fn our_load(&self) -> Result<f64> {
        Ok(measure::cpu(self.mock.pid())? + measure::children_cpu()?)
    }

    fn memory(&self) -> Result<String> {
        eprintln!("{} open streams", streams::STREAMS);
        let kib = |measured: &Measured| -> Result<f64> {
            Ok(streams::memory(measured.running.pid(), measured.port, &self.key, MODEL)? / 1024.0)
        };
        let (server, proxy) = (kib(&self.gateway)?, kib(&self.proxy)?);
        let total = |measured: &Measured| {
            measure::resident(measured.running.pid()).map(|bytes| bytes / (1024 * 1024))
        };
        Ok(format!(
            "\nMemory per open stream ({} open at once, growth of resident memory after an equal warm-up): \
             server {server:.1} KiB, bare proxy {proxy:.1} KiB. Resident after all runs: server {} MiB, bare proxy {} MiB.\n",
            streams::STREAMS,
            total(&self.gateway)?,
            total(&self.proxy)?,
        ))
    }

    /// Starts the server anew, beside the one that was measured and over a database of its own.
    fn starts(&self) -> Result<String> {
        eprintln!("{STARTS} starts");
        let folder = self.folder.join("starts");
        std::fs::create_dir_all(&folder)?;
        let setting = Setting {
            folder,
            port: free_port()?,
            ..self.setting.clone()
        };
        let key = setting
            .clone()
            .start()?
            .create_key("bench", Some("enterprise"))?;
        let times: Result<Vec<f64>> = (0..STARTS)
            .map(|_| streams::first_answer(|| setting.launch(), setting.port, &key, MODEL))
            .collect();
        let mut times = times?;
        times.sort_by(f64::total_cmp);
        Ok(format!(
            "\nFrom the start of the process to the first answered chat call (migrated database, {STARTS} starts): \
             median {:.0} ms, worst {:.0} ms.\n",
            table::median(times.iter().copied()),
            times[times.len() - 1],
        ))
    }
}

/// What has to be known to compare this table with another.
fn conditions(options: Options) -> Result<String> {
    let said = |line: &str| -> Result<String> {
        Ok(Program::shell(line)
            .read(Duration::from_secs(20), false)?
            .lines()
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned())
    };
    let commit = said("git rev-parse --short HEAD 2>/dev/null || echo 'no commit'")?;
    let model = said("sed -n 's/^model name[^:]*: //p' /proc/cpuinfo")?;
    let calibrated = if options.calibrate {
        " **Calibration: the server is a second bare proxy.**"
    } else {
        ""
    };
    Ok(format!(
        "{} cores ({model}), Linux {}, {}, {}, commit {commit}, {}.{calibrated} Subject on CPU {SUBJECT_CPU}; wrk and \
         the mock vendor on CPU {LOAD_CPU}; loopback. {} round(s) of {} s, interleaved, each after 1 s of warm-up; medians. \
         CPU is user and kernel time of the subject's process, including what it does after the answers. The server runs \
         with its books open: key, limits, hold, settlement and usage record of every call, SQLite in one file.\n",
        said("nproc")?,
        said("uname -r")?,
        said("rustc --version")?,
        said("wrk --version 2>&1 | head -n 1 | cut -d' ' -f1,2; true")?,
        said("date -u +%F")?,
        options.rounds,
        options.length.as_secs(),
    ))
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn parse(line: &str) -> crate::Result<Options> {
        Options::parse(
            &line
                .split_whitespace()
                .map(String::from)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        let options = parse("--rounds 5 --seconds 2 --calibrate").unwrap();
        assert_eq!(
            (options.rounds, options.length.as_secs(), options.calibrate),
            (5, 2, true)
        );
        assert_eq!(parse("--quick").unwrap().rounds, 1);
        for wrong in ["--rounds", "--rounds 0", "--seconds x", "--fast"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
