//! The servers and their store, and what is done to them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::hub::{Addresses, Setting};
use crate::place::{self, Profile};
use crate::process::{Program, Running};
use crate::services::Database;
use crate::{Result, setup};

/// A server that is asked to stop finishes what runs, and what it wrote down.
const STOP: Duration = Duration::from_secs(40);
const SHORT: Duration = Duration::from_mins(1);
/// What a server's clock is read from.
const CLOCK: &str = "clock";

/// What the servers share.
#[derive(Debug)]
pub(super) enum Store {
    Sqlite(PathBuf),
    Postgres(Box<Database>),
}

/// One server, up or down.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) setting: Setting,
    pub(super) running: Option<Running>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) servers: Vec<Server>,
    pub(super) store: Store,
}

impl Fleet {
    /// Starts as many servers as that, each with a journal of its own.
    pub(super) fn start(folder: &Path, count: usize, postgres: bool, vendors: &Addresses, steps: bool) -> Result<Self> {
        let faketime = steps.then(faketime).transpose()?;
        let store = if postgres {
            setup::tool("psql", "postgresql-client")?;
            Store::Postgres(Box::new(Database::start("torture-services")?))
        } else {
            setup::tool("sqlite3", "sqlite3")?;
            Store::Sqlite(folder.join("server-0").join("aihub.db"))
        };
        let mut fleet = Self { servers: Vec::new(), store };
        for number in 0..count {
            let folder = folder.join(format!("server-{number}"));
            std::fs::create_dir_all(&folder)?;
            let mut settings = vec![
                // Vendors fail on purpose here, far more often than a breaker lets pass.
                ("AIHUB_UPSTREAM__BREAKER_FAILURES", "1000000".to_owned()),
                ("AIHUB_JOURNAL__FOLDER", folder.join("journal").display().to_string()),
            ];
            if let Store::Postgres(database) = &fleet.store {
                settings.push(("DATABASE_URL", database.url().to_owned()));
                settings.push(("AIHUB_KEYS__PEPPER", "a pepper of servers that are tortured".to_owned()));
            }
            if let Some(library) = &faketime {
                let clock = folder.join(CLOCK);
                std::fs::write(&clock, "+0")?;
                settings.push(("LD_PRELOAD", library.clone()));
                settings.push(("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()));
                settings.push(("FAKETIME_NO_CACHE", "1".to_owned()));
                // What is waited for is measured by another clock, which does not step.
                settings.push(("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()));
            }
            let (profile, vendors) = (Profile::Debug, Some(vendors.clone()));
            let setting = Setting { profile, folder, port: port(number)?, vendors, cpu: None, settings };
            fleet.servers.push(Server { setting, running: None });
            fleet.up(number)?;
        }
        Ok(fleet)
    }

    pub(super) fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(|server| server.setting.port).collect()
    }

    /// Runs a command of the server's program.
    pub(super) fn run(&self, args: &[&str]) -> Result<String> {
        self.servers[0].setting.run(args)
    }

    /// Starts this server on what it left.
    pub(super) fn up(&mut self, number: usize) -> Result {
        let server = &mut self.servers[number];
        server.running = Some(server.setting.clone().start()?.running);
        Ok(())
    }

    /// Ends this server without a word.
    pub(super) fn kill(&mut self, number: usize) -> Result {
        self.signal(number, "KILL")?;
        if let Some(mut running) = self.servers[number].running.take() {
            running.wait(SHORT)?;
        }
        Ok(())
    }

    /// Sends a signal to this server, if it is up.
    pub(super) fn signal(&self, number: usize, signal: &str) -> Result {
        let Some(running) = &self.servers[number].running else { return Ok(()) };
        let status = Command::new("kill").arg(format!("-{signal}")).arg(running.pid().to_string()).status()?;
        if status.success() { Ok(()) } else { Err(format!("server {number} could not be sent {signal}").into()) }
    }

    /// Sets the clock of this server so many seconds off, if it has one that can be.
    pub(super) fn step(&self, number: usize, seconds: i64) -> Result<bool> {
        let clock = self.servers[number].setting.folder.join(CLOCK);
        if !clock.exists() {
            return Ok(false);
        }
        // Read at any moment: it is there whole, or not yet.
        let new = clock.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}"))?;
        std::fs::rename(new, clock)?;
        Ok(true)
    }

    /// Stops every server in good order; one that does not end with 0 is an error.
    pub(super) fn stop(&mut self) -> Result {
        for number in 0..self.servers.len() {
            self.signal(number, "TERM")?;
        }
        (0..self.servers.len()).try_for_each(|number| self.ended(number))
    }

    /// Stops this server in good order.
    pub(super) fn stop_one(&mut self, number: usize) -> Result {
        self.signal(number, "TERM")?;
        self.ended(number)
    }

    fn ended(&mut self, number: usize) -> Result {
        let Some(mut running) = self.servers[number].running.take() else { return Ok(()) };
        let status = running.wait(STOP)?;
        if status.success() {
            return Ok(());
        }
        Err(format!("server {number} did not stop in good order ({status}){}", running.tail()).into())
    }

    /// Starts and stops every server once more; what one of them found open in its journal.
    pub(super) fn open_calls(&mut self) -> Result<Vec<String>> {
        let mut open = Vec::new();
        for number in 0..self.servers.len() {
            let log = self.servers[number].setting.folder.join("server.log");
            let before = std::fs::read_to_string(&log)?.len();
            self.up(number)?;
            let said = std::fs::read_to_string(&log)?;
            let found = said.get(before..).unwrap_or_default().lines().filter(|line| line.contains("was cut off"));
            open.extend(found.map(|line| format!("server {number}: {line}")));
        }
        self.stop()?;
        Ok(open)
    }

    /// Ends the database, lets it be gone for a while, and starts it again; nothing where it is a file.
    pub(super) fn without_database(&mut self, gone: Duration, meanwhile: impl FnOnce(&mut Self) -> Result) -> Result {
        if let Store::Postgres(database) = &mut self.store {
            database.stop();
        }
        let done = meanwhile(self);
        std::thread::sleep(gone);
        if let Store::Postgres(database) = &mut self.store {
            database.start_again()?;
        }
        done
    }

    /// What a query says, one document a line; `{object}`, `{hex NAME}` and `{json NAME}` are said in each dialect's words.
    pub(super) fn ask(&self, query: &str) -> Result<String> {
        let postgres = matches!(self.store, Store::Postgres(_));
        let mut said = query.replace("{object}", if postgres { "json_build_object" } else { "json_object" });
        for (word, here, there) in [
            ("{hex ", ("replace(CAST(", " AS text), '-', '')"), ("lower(hex(", "))")),
            ("{json ", ("", ""), ("json(", ")")),
        ] {
            let (open, close) = if postgres { here } else { there };
            while let Some((before, rest)) = said.split_once(word) {
                let (name, after) = rest.split_once('}').ok_or("a brace is open in a query")?;
                said = format!("{before}{open}{name}{close}{after}");
            }
        }
        let program = match &self.store {
            Store::Sqlite(file) => Program::new("sqlite3").arg("-readonly").arg(file).arg(said),
            Store::Postgres(database) => Program::new("psql").args([database.url(), "-X", "-At", "-c", &said]),
        };
        program.read(SHORT, false)
    }
}

/// The library that shows a process another clock, as its own program would load it.
fn faketime() -> Result<String> {
    setup::tool("faketime", "faketime")?;
    let said = Program::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).read(SHORT, false)?;
    let library = said.lines().find(|line| line.contains("libfaketime"));
    // The one for programs of several threads stands beside it.
    Ok(library.ok_or("`faketime` names no library")?.replace("libfaketime.so", "libfaketimeMT.so"))
}

/// A port that nobody has, from below those that the system gives to callers: there will be many of them while a server
/// that was killed is not there to hold its own.
fn port(number: usize) -> Result<u16> {
    let start = 18_000 + u16::try_from(std::process::id() % 1_000 * 10 + u32::try_from(number)?)?;
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (start..32_000).step_by(7).find(free).ok_or_else(|| "no port below 32000 is free".into())
}

/// Where the vendors' program listens.
pub(super) fn port_of(origin: &str) -> Result<u16> {
    Ok(origin.rsplit(':').next().ok_or("an origin without a port")?.parse()?)
}

/// Builds what is needed.
pub(super) fn build() -> Result {
    place::build(Profile::Debug, &["aihub-server", "aihub-vendors"])
}
