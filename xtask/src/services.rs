//! A real Postgres, a real Redis and a real NATS, for tests and for work by hand.
//!
//! They listen on loopback alone, on free ports and with passwords made up at the start; nothing of them outlives us.

mod nats;
mod postgres;
mod redis;
mod scratch;
mod tls;

use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::process::Env;
use crate::{Result, is_help, place};
use nats::Nats;
use postgres::Postgres;
use redis::Redis;
use scratch::Scratch;

const HELP: &str = "Usage: cargo xtask services [[--] COMMAND [ARGUMENT...]]

Starts a new Postgres, Redis and NATS on free ports of 127.0.0.1 and prints the variables that lead to them, until Ctrl-C.
With a command it runs that instead, with the variables set, and ends with it. Everything in the servers is lost at the
end. What is missing is installed by apt-get when this runs as root.

  AIHUB_TEST_POSTGRES_URL   a database, by the superuser `aihub`; TLS is on, for localhost and 127.0.0.1
  AIHUB_TEST_POSTGRES_CA    the certificate to verify it with
  AIHUB_TEST_REDIS_URL      database 0 of Redis
  AIHUB_TEST_NATS_URL       NATS, with JetStream
  AIHUB_TEST_POSTGRES_BIN   the program `postgres`, with `initdb` beside it, and
  AIHUB_TEST_REDIS_BIN      the program `redis-server`, for tests that start servers of their own";

const POSTGRES_URL: &str = "AIHUB_TEST_POSTGRES_URL";
const POSTGRES_CA: &str = "AIHUB_TEST_POSTGRES_CA";
const POSTGRES_BIN: &str = "AIHUB_TEST_POSTGRES_BIN";
const REDIS_URL: &str = "AIHUB_TEST_REDIS_URL";
const NATS_URL: &str = "AIHUB_TEST_NATS_URL";
const REDIS_BIN: &str = "AIHUB_TEST_REDIS_BIN";

/// What to do with the servers.
#[derive(Debug, PartialEq, Eq)]
enum Ask<'a> {
    Help,
    Hold,
    Run(&'a str, &'a [String]),
}

/// Runs the chore.
pub(crate) fn main(args: &[String]) -> Result {
    match ask(args)? {
        Ask::Help => println!("{HELP}"),
        Ask::Hold => hold()?,
        Ask::Run(command, args) => run(command, args)?,
    }
    Ok(())
}

/// Only the first word can be for us: the rest belongs to the command, its `--help` included.
fn ask(args: &[String]) -> Result<Ask<'_>> {
    match args {
        [] => Ok(Ask::Hold),
        [dashes, command, args @ ..] if dashes == "--" => Ok(Ask::Run(command, args)),
        [word, ..] if is_help(word) => Ok(Ask::Help),
        [word, ..] if word.starts_with('-') => Err(format!("there is no option `{word}`\n\n{HELP}").into()),
        [command, args @ ..] => Ok(Ask::Run(command, args)),
    }
}

fn hold() -> Result {
    let mut services = Services::start("services")?;
    println!("{}\n\n{}", exports(&services.env), examples());
    loop {
        services.postgres.still()?;
        services.redis.running.still()?;
        services.nats.running.still()?;
        thread::sleep(Duration::from_millis(500));
    }
}

/// The command is a plain child, not on a leash: it may read from the terminal, and Ctrl-C reaches it by itself.
fn run(command: &str, args: &[String]) -> Result {
    let services = Services::start("services-run")?;
    let mut program = Command::new(command);
    program.args(args).envs(services.env.iter().map(|(name, value)| (name, value)));
    let status = program.status().map_err(|error| format!("cannot start `{command}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{command}` failed ({status})").into()) }
}

/// Lines for a shell.
fn exports(env: &Env) -> String {
    let line = |(name, value): &(&str, String)| format!("export {name}='{}'", value.replace('\'', r"'\''"));
    env.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What to do next. Comments of a shell, so that all that is printed can be pasted.
fn examples() -> String {
    format!(
        "# In another shell, after these lines:\n\
         #   export AIHUB_KEYS__PEPPER=\"$(openssl rand -hex 32)\"\n\
         #   DATABASE_URL=\"${POSTGRES_URL}\" REDIS_URL=\"${REDIS_URL}\" aihub serve\n\
         #   cargo test -p aihub-storage\n\
         # Ctrl-C stops the servers and forgets what is in them."
    )
}

/// The servers, answering until this guard is dropped.
#[derive(Debug)]
pub(crate) struct Services {
    env: Vec<(&'static str, String)>,
    postgres: Postgres,
    redis: Redis,
    nats: Nats,
    // The last one: the folder goes after those that write into it.
    _scratch: Scratch,
}

impl Services {
    /// Starts them; their logs stay in the build folder, below `name`.
    fn start(name: &str) -> Result<Self> {
        let logs = place::fresh(name)?;
        let scratch = Scratch::make(name)?;
        let redis = Redis::start(&scratch, &logs.join("redis.log")).map_err(|error| format!("no Redis: {error}"))?;
        let nats = Nats::start(&scratch, &logs.join("nats.log")).map_err(|error| format!("no NATS: {error}"))?;
        let postgres =
            Postgres::start(&scratch, &logs.join("postgres.log")).map_err(|error| format!("no Postgres: {error}"))?;
        let env = vec![
            (POSTGRES_URL, postgres.url.clone()),
            (POSTGRES_CA, postgres.authority.display().to_string()),
            (POSTGRES_BIN, postgres.program.display().to_string()),
            (REDIS_URL, redis.url.clone()),
            (NATS_URL, nats.url.clone()),
            (REDIS_BIN, redis.program.display().to_string()),
        ];
        Ok(Self { env, postgres, redis, nats, _scratch: scratch })
    }
}

/// A Postgres alone, which can be ended and started again.
#[derive(Debug)]
pub(crate) struct Database {
    postgres: Postgres,
    // As above.
    scratch: Scratch,
}

impl Database {
    /// Starts it; its log stays in the build folder, below `name`.
    pub(crate) fn start(name: &str) -> Result<Self> {
        let logs = place::fresh(name)?;
        let scratch = Scratch::make(name)?;
        let postgres = Postgres::start(&scratch, &logs.join("postgres.log"));
        Ok(Self { postgres: postgres.map_err(|error| format!("no Postgres: {error}"))?, scratch })
    }

    /// Where it is, by its superuser.
    pub(crate) fn url(&self) -> &str {
        &self.postgres.url
    }

    /// Ends it as a crash would.
    pub(crate) fn stop(&mut self) {
        self.postgres.stop();
    }

    /// Starts it again, with all that it had committed.
    pub(crate) fn start_again(&mut self) -> Result {
        self.postgres.serve(&self.scratch)
    }
}

/// The variables that lead to the servers, which are started when this is first asked. None when our own environment
/// leads to all of them: what we start inherits it.
pub(crate) fn env(services: &mut Option<Services>) -> Result<&Env> {
    if given(|name| std::env::var(name).ok()) {
        return Ok(&[]);
    }
    let services = match services {
        Some(services) => services,
        none => none.insert(Services::start("services-test")?),
    };
    Ok(&services.env)
}

fn given(variable: impl Fn(&str) -> Option<String>) -> bool {
    [POSTGRES_URL, REDIS_URL, NATS_URL].into_iter().all(|name| variable(name).is_some_and(|url| !url.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_first_word_is_ours_or_the_command() {
        assert_eq!(ask(&[]).unwrap(), Ask::Hold);
        assert_eq!(ask(&words("--help")).unwrap(), Ask::Help);
        assert_eq!(ask(&words("psql --help")).unwrap(), Ask::Run("psql", &words("--help")));
        assert_eq!(ask(&words("-- psql -- x")).unwrap(), Ask::Run("psql", &words("-- x")));
        assert_eq!(ask(&words("-- --help")).unwrap(), Ask::Run("--help", &[]));
        for wrong in ["--", "--list"] {
            let error = ask(&words(wrong)).unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
    }

    #[test]
    fn what_is_printed_is_what_a_shell_reads() {
        let env = [("ONE", "it's $HOME `x`".to_owned()), ("TWO", "redis://:a@b/0".to_owned())];
        let line = format!("{}\n{}\nprintf '%s\\n' \"$ONE\" \"$TWO\"", exports(&env), examples());
        let said = crate::process::Program::shell(&line).read(Duration::from_secs(10), false).unwrap();
        assert_eq!(said, "it's $HOME `x`\nredis://:a@b/0\n");
    }

    #[test]
    fn servers_are_given_by_all_their_urls() {
        let with = |names: &'static [&str], url: &'static str| {
            given(move |name| names.contains(&name).then(|| url.to_owned()))
        };
        assert!(with(&[POSTGRES_URL, REDIS_URL, NATS_URL], "x"));
        assert!(!with(&[POSTGRES_URL, REDIS_URL], "x"));
        assert!(!with(&[REDIS_URL, NATS_URL, REDIS_BIN], "x"));
        assert!(!with(&[POSTGRES_URL, REDIS_URL, NATS_URL], ""));
    }
}
