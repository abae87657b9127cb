//! `cargo xtask torture`: servers are killed under load, again and again, and their books are compared with what callers
//! saw and with what the vendors bill.

mod books;
mod chance;
mod exchange;
mod fleet;
mod judge;
mod keys;
mod load;
mod overspend;
mod report;
mod trouble;

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::hub::Vendors;
use crate::place::{self, Profile};
use crate::process::now;
use crate::{Result, Told, helped};
use books::Books;
use chance::Chance;
use fleet::Fleet;
use judge::Check;
use keys::{Key, Limit};
use load::Load;

const HELP: &str = "Usage: cargo xtask torture [--kills N] [--seconds S] [--seed X] [--store sqlite|postgres] [--servers N]
       cargo xtask torture overspend [--servers N] [--connections N] [--calls N] [--seed X]

Starts scripted vendors that keep a book of their own, servers with a journal each, and callers of every kind. While they
call, servers are ended by `kill -9`, paused and started again on what they left, and Postgres is ended and started
again. Then it compares: what callers saw, what the vendors bill, usage records, quotas, what was paid in, and `aihub
audit`. Fails, with the rows, when anything is off.

  --kills N       how often a server is killed; default 20
  --seconds S     for how long at least; default 30
  --seed X        the choices of an earlier run; default is another one each time
  --store WHICH   default sqlite, which is for one server; postgres is started anew, and lost at the end
  --servers N     default 1, or 2 with postgres
  --clock steps   also sets the servers' clocks up to two minutes off, each for itself, again and again (libfaketime)

`overspend` has many connections of several servers on Postgres use one key up, and looks whether exactly as much was
sold as was left.";

/// Callers at once.
const CALLERS: u64 = 12;

/// How long everything may take to be in the books after the last call.
const SETTLED: Duration = Duration::from_mins(2);

/// How to torture.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) kills: usize,
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
    pub(crate) postgres: bool,
    pub(crate) servers: usize,
    /// Whether clocks step.
    pub(crate) steps: bool,
    /// Of `overspend`.
    pub(crate) connections: usize,
    pub(crate) calls: usize,
}

/// Runs the chore.
pub(crate) fn main(args: &[String]) -> Result {
    if helped(args, HELP) {
        return Ok(());
    }
    let (overspend, args) = match args.split_first() {
        Some((first, rest)) if first == "overspend" => (true, rest),
        _ => (false, args),
    };
    let options = options(args, overspend)?;
    fleet::build()?;
    let said = if overspend { overspend::run(&options) } else { run(&options) }?;
    println!("\n{said}");
    Ok(())
}

fn options(args: &[String], overspend: bool) -> Result<Options> {
    let mut options = Options {
        kills: 20,
        seconds: 30,
        seed: u64::from(std::process::id()),
        postgres: overspend,
        servers: 0,
        steps: false,
        connections: 64,
        calls: 300,
    };
    let mut left = args.iter();
    while let Some(name) = left.next() {
        let value = left.next().ok_or_else(|| format!("`{name}` needs a value\n\n{HELP}"))?;
        let wrong = || format!("`{name} {value}` is not understood\n\n{HELP}");
        match name.as_str() {
            "--kills" => options.kills = value.parse().map_err(|_| wrong())?,
            "--seconds" => options.seconds = value.parse().map_err(|_| wrong())?,
            "--seed" => options.seed = value.parse().map_err(|_| wrong())?,
            "--servers" => options.servers = value.parse().map_err(|_| wrong())?,
            "--connections" if overspend => options.connections = value.parse().map_err(|_| wrong())?,
            "--calls" if overspend => options.calls = value.parse().map_err(|_| wrong())?,
            "--clock" if !overspend && value == "steps" => options.steps = true,
            "--store" if !overspend && value == "sqlite" => options.postgres = false,
            "--store" if !overspend && value == "postgres" => options.postgres = true,
            _ => return Err(wrong().into()),
        }
    }
    if options.servers == 0 {
        options.servers = if overspend { 4 } else { 1 + usize::from(options.postgres) };
    }
    if options.servers > 1 && !options.postgres {
        return Err("several servers need `--store postgres`".into());
    }
    Ok(options)
}

/// The form that the tests run, of about a minute: one server on SQLite, and two on a Postgres that is also restarted.
pub(crate) fn short() -> Result<String> {
    fleet::build()?;
    let seed = u64::from(std::process::id());
    let sqlite =
        Options { kills: 8, seconds: 10, seed, postgres: false, servers: 1, steps: false, connections: 0, calls: 0 };
    let postgres = Options { kills: 4, postgres: true, servers: 2, ..sqlite.clone() };
    Ok(format!("{}; {}", run(&sqlite)?, run(&postgres)?))
}

/// Tortures, and answers in one line what was proved. What was found is printed.
pub(crate) fn run(options: &Options) -> Result<String> {
    let store = if options.postgres { "postgres" } else { "sqlite" };
    println!("seed {} · {store} · {} servers · {} kills", options.seed, options.servers, options.kills);
    let folder = place::fresh(&format!("torture-{store}"))?;
    let vendors = Vendors::start(Profile::Debug, &folder)?;
    let mut fleet = Fleet::start(&folder, options.servers, options.postgres, &vendors.addresses, options.steps)?;
    let kills = i64::try_from(options.kills)?;
    let mut keys = Vec::new();
    for limit in [
        Limit::None,
        Limit::Calls(20 + 5 * kills),
        Limit::Money(2_000_000 + 200_000 * kills),
        Limit::Prepaid(1_000_000 + 200_000 * kills),
    ] {
        keys.push(Key::make(&fleet, limit)?);
    }
    let weighed = keys.iter().zip([5, 1, 2, 2]).map(|(key, weight)| (weight, key.secret.clone())).collect();
    let load = Load::new(options.seed, fleet.ports(), weighed);
    let start = now();
    let done = thread::scope(|scope| {
        for who in 1..=CALLERS {
            let load = &load;
            scope.spawn(move || load.run(who));
        }
        let mut chance = Chance::new(options.seed, 0);
        let length = Duration::from_secs(options.seconds);
        let done = trouble::make(&mut fleet, &mut keys, &mut chance, options.kills, length);
        load.stop.store(true, Ordering::Relaxed);
        done
    })?;
    let calls = load.calls.into_inner().map_err(|_| "a caller panicked")?;
    let took = start.elapsed();
    let mut checks = settle(&mut fleet)?;
    let books = Books::read(&fleet, &vendors.addresses.origin())?;
    checks.extend(judge::calls(&calls, &books));
    checks.extend(keys::limits(&keys, &calls, &books));
    println!("{}", report::done(&calls, &books, &done, took));
    println!("{}", report::checked(&checks));
    let off: usize = checks.iter().map(|check| check.drift.len()).sum();
    if off > 0 {
        println!(
            "To do it again: cargo xtask torture --seed {} --kills {} --seconds {} --store {store} --servers {}. The \
                  logs and what they left are in {}.",
            options.seed,
            options.kills,
            options.seconds,
            options.servers,
            folder.display()
        );
        return Err(Told.into());
    }
    Ok(format!(
        "{} calls, {} kills, {} recovered, nothing lost, nothing twice",
        calls.len(),
        done.kills,
        books.records.iter().filter(|record| record.is_recovered()).count()
    ))
}

/// Waits until everything is in the books, stops the servers, and looks for what they left.
fn settle(fleet: &mut Fleet) -> Result<Vec<Check>> {
    let start = now();
    let mut audit = Check::new("`aihub audit` finds nothing, while the servers run and after they have stopped");
    let (mut still, mut count) = (0, 0);
    let mut said = Ok(String::new());
    while still < 3 && start.elapsed() < SETTLED {
        thread::sleep(Duration::from_millis(500));
        let before = std::mem::replace(&mut count, books::count(fleet)?);
        said = fleet.run(&["audit"]);
        still = if said.is_ok() && before == count { still + 1 } else { 0 };
    }
    audit.see(said.is_ok() && still >= 3, || format!("{said:?}"));
    fleet.stop()?;
    // Before they are started again, which puts right what a stop has left.
    let mut returned = Check::new("nothing is lent after everybody has stopped in good order");
    for window in books::windows(fleet)? {
        returned.see(window.leased == 0, || format!("{window}"));
    }
    let mut open = Check::new("no call is open in a journal");
    let found = fleet.open_calls()?;
    open.see(found.is_empty(), || found.join("\n"));
    let said = fleet.run(&["audit"]);
    audit.see(said.is_ok(), || format!("{said:?}"));
    Ok(vec![audit, returned, open])
}

#[cfg(test)]
mod tests {
    use super::options;

    fn read(line: &str) -> crate::Result<super::Options> {
        options(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), false)
    }

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        let options = read("--kills 3 --store postgres --seed 9").unwrap();
        assert_eq!((options.kills, options.postgres, options.servers, options.seed), (3, true, 2, 9));
        for wrong in ["--kills", "--kills x", "--servers 2", "--calls 3", "--store oracle"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
