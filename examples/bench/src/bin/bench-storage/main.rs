//! What the stores cost: keys warm and cold, usage records by the batch, pages at any depth, sums over millions of calls.
//!
//! `bench-storage --folder DIR [--stored N] [--rounds N] [--only usage-query|journal]`, with `AIHUB_TEST_POSTGRES_URL` leading to a Postgres; prints
//! one table in markdown. DIR gets a SQLite file; Postgres gets a schema that is dropped at the end. `cargo xtask bench
//! storage` starts both.

mod journal;
mod keys;
mod place;
mod reports;
mod table;
mod usage;

use std::path::Path;
use std::sync::Arc;

use aihub_bench::{Failure, options};
use aihub_core::SystemClock;
use place::{Place, Postgres, Sqlite};
use table::Table;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Keys beside those that are looked up, all of one account; more than the deepest page.
    stored: usize,
    /// How often each thing is measured; the middle one is shown.
    rounds: usize,
    /// The one thing that is measured, where not everything is.
    only: Option<Only>,
}

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    /// Sums over many calls.
    Reports,
    /// Two ways to keep a journal.
    Journal,
}

fn main() -> Result<(), Failure> {
    let options = options(std::env::args().skip(1), &["folder", "stored", "rounds", "only"])?;
    let number = |name: &str, usual: usize| options.get(name).map_or(Ok(usual), |value| value.parse());
    let only = match options.get("only").map(String::as_str) {
        None => None,
        Some("usage-query") => Some(Only::Reports),
        Some("journal") => Some(Only::Journal),
        Some(other) => return Err(format!("--only knows `usage-query` and `journal`, not `{other}`").into()),
    };
    let extent = Extent { stored: number("stored", 1_000_000)?, rounds: number("rounds", 7)?.max(1), only };
    if extent.stored <= keys::DEEPEST {
        return Err(format!("--stored needs more than {}: that is how deep pages are read", keys::DEEPEST).into());
    }
    let folder = options.get("folder").ok_or("--folder is missing: where the SQLite file goes")?.clone();
    let server = std::env::var("AIHUB_TEST_POSTGRES_URL")
        .map_err(|_| "AIHUB_TEST_POSTGRES_URL is not set: run `cargo xtask bench storage`, which starts a Postgres")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // As a task, since that is where a server does it: the thread of `block_on` is none of the runtime's.
    let table = runtime.block_on(runtime.spawn(async move { run(Path::new(&folder), &server, extent).await }))??;
    println!("{table}");
    Ok(())
}

async fn run(folder: &Path, server: &str, extent: Extent) -> Result<Table, Failure> {
    let mut table = Table::new(Arc::new(SystemClock::new()), extent.rounds);
    if extent.only != Some(Only::Reports) {
        journal::measure(folder, &mut table).await?;
    }
    if extent.only == Some(Only::Journal) {
        return Ok(table);
    }
    let sqlite = Sqlite::make(folder).await?;
    on(&sqlite, extent, 50_000, &mut table).await?;
    let postgres = Postgres::make(server).await?;
    let done = on(&postgres, extent, 20_000, &mut table).await;
    postgres.drop_schema().await?;
    done.map(|()| table)
}

async fn on(place: &impl Place, extent: Extent, rows_goal: u64, table: &mut Table) -> Result<(), Failure> {
    if extent.only.is_none() {
        keys::measure(place, extent.stored, table).await?;
        usage::measure(place, rows_goal, table).await?;
    }
    reports::measure(place, table).await
}
