//! `aihub`, the reference server: settings in, every part of AI Hub wired, the API out.
//!
//! Exit codes: 0 well, 64 wrong settings or usage, 1 anything else.

mod accounts;
mod audit;
mod bookkeeping;
mod cli;
mod compress;
mod health;
mod idempotency;
mod keys;
mod listen;
mod parts;
mod pepper;
mod prices;
mod ring;
mod routes;
mod secret_file;
mod secrets;
mod serve;
mod settings;
mod sinks;
mod stack;
mod store;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use settings::{Settings, SettingsError};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage (`EX_USAGE` of BSD's sysexits).
const USAGE: u8 = 64;

/// Why a command ends: the setting that is wrong, or whatever failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Failed(#[from] aihub_core::Error),
    #[error("the books are off in {0} places")]
    Drift(usize),
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; anything else is wrong usage.
            let usage = error.use_stderr();
            drop(error.print());
            return if usage { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            eprintln!("aihub: {stop}");
            let mut cause = std::error::Error::source(&stop);
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            if matches!(stop, Stop::Settings(_)) { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn run(cli: Cli) -> Result<(), Stop> {
    match cli.command {
        Command::Openapi => {
            routes::print_document();
            return Ok(());
        }
        Command::Settings => {
            print!("{}", settings::DEFAULTS);
            return Ok(());
        }
        _ => {}
    }
    let settings = settings::load(cli.config.as_deref())?;
    telemetry::start(&settings.log)?;
    // Whichever crate comes to bring a second provider: the choice is made once, here.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if settings.server.workers > 0 {
        runtime.worker_threads(settings.server.workers);
    }
    let runtime = runtime.enable_all().build();
    let runtime = runtime.map_err(|error| Stop::Io { what: "the runtime could not be started".to_owned(), error })?;
    runtime.block_on(command(cli.command, settings))
}

async fn command(command: Command, settings: Settings) -> Result<(), Stop> {
    match command {
        Command::Serve => serve::serve(settings).await,
        Command::Check => serve::check(&settings).await,
        Command::Migrate => store::migrate(&settings).await,
        Command::Backup { file } => store::backup(&settings, &file).await,
        Command::Keys(command) => keys::run(command, &settings).await,
        Command::Accounts(command) => accounts::run(command, &settings).await,
        Command::Audit => audit::run(&settings).await,
        Command::Secrets(command) => secrets::run(command, &settings).await,
        Command::Prices(command) => prices::run(&command, &settings),
        Command::Openapi | Command::Settings => Ok(()),
    }
}
