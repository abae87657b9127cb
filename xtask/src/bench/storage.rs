//! What the stores cost, beside what they promise.

use std::time::Duration;

use super::machine;
use crate::place::{self, Profile};
use crate::process::Program;
use crate::{Result, helped, services};

const HELP: &str = "Usage: cargo xtask bench storage [--quick]

Measures the stores in a release build: finding keys that are remembered and keys that are not, writing usage records in
batches, and reading pages of long lists, on SQLite and on Postgres. Prints a table in markdown, with the goals beside
the figures, and writes it to target/bench-storage/table.md. It fails when an answer is wrong, never for being slow.

  --quick   fewer keys and fewer rounds: within a minute instead of five, once everything is built

Postgres is started as `cargo xtask services` does it, or is the one that AIHUB_TEST_POSTGRES_URL leads to when
AIHUB_TEST_REDIS_URL is set, too.";

/// As options of the program: keys stored beside those that are looked up, and rounds.
const WHOLE: [&str; 4] = ["--stored", "1000000", "--rounds", "7"];
const QUICK: [&str; 4] = ["--stored", "110000", "--rounds", "3"];

/// Runs the chore.
pub(super) fn main(args: &[String]) -> Result {
    if helped(args, HELP) {
        return Ok(());
    }
    let extent = extent(args)?;
    place::build(Profile::Release, &["aihub-bench"])?;
    let folder = place::fresh("bench-storage")?;
    let mut services = None;
    let program = Program::new(place::binary(Profile::Release, "bench-storage")?)
        .arg("--folder")
        .arg(&folder)
        .args(extent)
        .envs(services::env(&mut services)?);
    let table = program.read(Duration::from_mins(20), false)?;
    let text = format!(
        "{}. Goals are for two cores. Works are done one after the other, by one caller, except where it says two \
         threads; a warm look-up is the median of {} rounds of 1,000,000 a thread.\n\n{table}",
        machine()?,
        extent[3]
    );
    std::fs::write(folder.join("table.md"), &text)?;
    println!("\n{text}");
    Ok(())
}

fn extent(args: &[String]) -> Result<[&'static str; 4]> {
    match args {
        [] => Ok(WHOLE),
        [quick] if quick == "--quick" => Ok(QUICK),
        _ => Err(format!("unknown options `{}`\n\n{HELP}", args.join(" ")).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        assert_eq!(extent(&[]).unwrap(), WHOLE);
        assert_eq!(extent(&["--quick".to_owned()]).unwrap(), QUICK);
        assert!(extent(&["--fast".to_owned()]).is_err());
        assert!(extent(&["--quick".to_owned(), "--quick".to_owned()]).is_err());
    }
}
