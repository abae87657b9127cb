//! Recorded answers of the vendors, served from a loopback server to the real providers: one named
//! result per sample.
//!
//! The samples are those of the folder in `AIHUB_WIRE_SAMPLES`, or this crate's own
//! (`tests/fixtures`). A folder that cannot be read fails, and so does an expectation that nothing
//! here checks: a sample is never green because it was not understood.

mod compare;
mod expect;
mod index;
mod outcome;
mod reverse;
mod run;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

/// Names the folder of other samples.
const FOLDER: &str = "AIHUB_WIRE_SAMPLES";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = std::env::var_os(FOLDER)
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")), PathBuf::from);
    let samples = match index::read(&folder) {
        Ok(samples) => samples,
        Err(reason) => {
            eprintln!("the samples in {} cannot be read: {reason}", folder.display());
            return ExitCode::FAILURE;
        }
    };
    let folder = Arc::new(folder);
    let trials = samples.into_iter().map(|sample| {
        let folder = Arc::clone(&folder);
        Trial::test(sample.id.clone(), move || run::sample(&folder, &sample).map_err(Into::into))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
