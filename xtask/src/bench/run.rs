//! The processes of a benchmark, and the runs over them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::load::{self, SCENARIOS, Scenario, Subject};
use super::table::{self, Row, Sample};
use super::{LOAD_CPU, Options, SUBJECT_CPU, measure, streams};
use crate::hub::{Addresses, Setting};
use crate::place::{self, Profile};
use crate::process::{Program, Running, free_port, now};
use crate::{Result, probe};

/// The model of calls outside the counted lines.
const MODEL: &str = "openai/gpt-4o-mini";
/// Starts that are timed.
const STARTS: usize = 5;

/// A process under measurement.
#[derive(Debug)]
struct Measured {
    subject: Subject,
    running: Running,
    port: u16,
    key: String,
}

/// Everything that runs during the benchmark.
#[derive(Debug)]
pub(crate) struct Bench {
    options: Options,
    folder: PathBuf,
    setting: Setting,
    mock: Running,
    gateway: Measured,
    proxy: Measured,
}

/// Starts a program of the bench package and answers the port from its first line.
fn listener(name: &str, cpu: usize, args: &[&str], log: &Path) -> Result<(Running, u16)> {
    let program = Program::new(place::binary(Profile::Release, name)?).args(args.iter().copied());
    let mut running = program.on_cpu(cpu).log(log).start_reading()?;
    let line = running.first_line(Duration::from_secs(10))?;
    let port = line.rsplit(':').next().and_then(|port| port.trim().parse().ok());
    Ok((running, port.ok_or_else(|| format!("{name} printed `{line}`, not its address"))?))
}

/// The server with a key whose plan has no limits.
fn server(setting: &Setting) -> Result<Measured> {
    let hub = setting.clone().start()?;
    let key = hub.create_key("bench", Some("enterprise"))?;
    Ok(Measured { subject: Subject::Gateway, running: hub.running, port: setting.port, key })
}

/// The proxy before the same vendor.
fn bare_proxy(setting: &Setting) -> Result<Measured> {
    let vendor = setting.vendors.as_ref().ok_or("the benchmark runs against the mock vendor")?;
    let log = setting.folder.join("programs.log");
    let (running, port) = listener("bare-proxy", SUBJECT_CPU, &["--upstream", &vendor.openrouter], &log)?;
    Ok(Measured { subject: Subject::Proxy, running, port, key: "none".into() })
}

impl Bench {
    /// Starts the mock vendor, the proxy and the server.
    pub(crate) fn start(options: Options) -> Result<Self> {
        let folder = place::fresh("bench")?;
        let (mock, port) = listener("mock-vendor", LOAD_CPU, &[], &folder.join("programs.log"))?;
        let vendor = format!("http://127.0.0.1:{port}");
        let setting = Setting {
            profile: Profile::Release,
            folder: folder.clone(),
            port: free_port()?,
            vendors: Some(Addresses {
                openrouter: format!("{vendor}/api/v1"),
                gemini: format!("{vendor}/v1beta"),
                openrouter_key: "bench".to_owned(),
                gemini_key: "bench".to_owned(),
            }),
            cpu: Some(SUBJECT_CPU),
            settings: Vec::new(),
        };
        let proxy = bare_proxy(&setting)?;
        let gateway = if options.calibrate { bare_proxy(&setting)? } else { server(&setting)? };
        Ok(Self { options, folder, setting, mock, gateway, proxy })
    }

    /// One call of each kind outside the measurement whose answer is looked at: a fast error would make a fine figure.
    pub(crate) fn prove(&self) -> Result {
        for scenario in &SCENARIOS {
            for measured in [&self.gateway, &self.proxy] {
                let (path, body) = scenario.request(measured.subject);
                let request = probe::request("POST", &path, Some(&measured.key), &body);
                let (status, text) = probe::ask(measured.port, &request)?;
                let proof = scenario.proof(measured.subject);
                if status != 200 || !text.contains(proof) {
                    let name = scenario.name;
                    let subject = measured.subject;
                    return Err(format!("{name}, {subject:?}: no `{proof}` in:\n{text}").into());
                }
            }
        }
        Ok(())
    }

    /// All lines of the table, round by round.
    pub(crate) fn rounds(&self) -> Result<Vec<Row>> {
        let row = |line: &Scenario| Row { name: line.name, rounds: Vec::new() };
        let mut rows: Vec<Row> = SCENARIOS.iter().map(row).collect();
        for round in 0..self.options.rounds {
            for (number, (scenario, row)) in SCENARIOS.iter().zip(&mut rows).enumerate() {
                eprintln!("round {} of {}: {}", round + 1, self.options.rounds, scenario.name);
                let gateway = || self.sample(number, scenario, &self.gateway);
                let proxy = || self.sample(number, scenario, &self.proxy);
                // Who goes first changes, so that a trend of the machine favours nobody.
                row.rounds.push(if round % 2 == 0 {
                    (gateway()?, proxy()?)
                } else {
                    let proxy = proxy()?;
                    (gateway()?, proxy)
                });
            }
        }
        Ok(rows)
    }

    fn sample(&self, number: usize, scenario: &Scenario, measured: &Measured) -> Result<Sample> {
        let (path, body) = scenario.request(measured.subject);
        let name = format!("{number}-{:?}", measured.subject).to_lowercase();
        let script = load::script(&self.folder, &name, &measured.key, &path, &body)?;
        let drive = |length| load::drive(measured.port, &script, scenario.connections, length, LOAD_CPU);
        let pid = measured.running.pid();
        drive(Duration::from_secs(1))?;
        measure::settle(pid)?;
        let start = now();
        let (cpu, ours, machine) = (measure::cpu(pid)?, self.our_load()?, measure::machine_cpu()?);
        let counted = drive(self.options.length)?;
        measure::settle(pid)?;
        let cpu = measure::cpu(pid)? - cpu;
        let foreign = (measure::machine_cpu()? - machine) - (self.our_load()? - ours) - cpu;
        Ok(Sample {
            per_second: counted.requests / counted.seconds,
            p50_ms: counted.p50_ms,
            p99_ms: counted.p99_ms,
            cpu: cpu / counted.requests * 1e3,
            foreign: (foreign / start.elapsed().as_secs_f64()).max(0.0),
        })
    }

    fn our_load(&self) -> Result<f64> {
        Ok(measure::cpu(self.mock.pid())? + measure::children_cpu()?)
    }

    /// What an open stream costs, on new processes beside those that were measured.
    pub(crate) fn memory(&self) -> Result<String> {
        eprintln!("{} open streams", streams::OPEN);
        let kib = |measured: &Measured| -> Result<f64> {
            let pid = measured.running.pid();
            Ok(streams::memory(pid, measured.port, &measured.key, MODEL)? / 1024.0)
        };
        let server = if self.options.calibrate {
            kib(&bare_proxy(&self.setting)?)?
        } else {
            kib(&server(&self.beside("streams")?)?)?
        };
        let proxy = kib(&bare_proxy(&self.setting)?)?;
        let total =
            |measured: &Measured| -> Result<u64> { Ok(measure::resident(measured.running.pid())? / (1024 * 1024)) };
        Ok(format!(
            "\nMemory per open stream ({} open at once, growth of resident memory of a new process): \
             server {server:.1} KiB, bare proxy {proxy:.1} KiB. Resident after the runs of the table: \
             server {} MiB, bare proxy {} MiB.\n",
            streams::OPEN,
            total(&self.gateway)?,
            total(&self.proxy)?,
        ))
    }

    /// How long the server takes from nothing to an answer.
    pub(crate) fn starts(&self) -> Result<String> {
        eprintln!("{STARTS} starts");
        let setting = self.beside("starts")?;
        let key = server(&setting)?.key;
        let once = |_| streams::first_answer(|| setting.launch(), setting.port, &key, MODEL);
        let mut times = (0..STARTS).map(once).collect::<Result<Vec<f64>>>()?;
        times.sort_by(f64::total_cmp);
        Ok(format!(
            "\nFrom the start of the process to the first answered chat call (migrated database, \
             {STARTS} starts): median {:.0} ms, worst {:.0} ms.\n",
            table::median(times.iter().copied()),
            times[times.len() - 1],
        ))
    }

    /// A setting like the measured server's, over a database and a port of its own.
    fn beside(&self, name: &str) -> Result<Setting> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(Setting { folder, port: free_port()?, ..self.setting.clone() })
    }

    /// Where the results go.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}
