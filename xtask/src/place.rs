//! Where things are: the repository, the build folder and the programs built into it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Result;
use crate::process::Program;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The build folder of cargo, asked of cargo's own placing of this program so that `CARGO_TARGET_DIR` is respected.
pub(crate) fn target() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let target = exe.ancestors().nth(2).ok_or("this program is not in a build folder: start it with `cargo xtask`")?;
    Ok(target.to_path_buf())
}

/// An empty folder below the build folder; what an earlier run left in it is removed.
pub(crate) fn fresh(name: &str) -> Result<PathBuf> {
    let folder = target()?.join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// How a program is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build; what tests use.
    Debug,
    /// What people run and what is measured.
    Release,
}

/// Builds the binaries of these packages.
pub(crate) fn build(profile: Profile, packages: &[&str]) -> Result {
    let mut cargo = Program::cargo().args(["build", "--bins"]);
    for package in packages {
        cargo = cargo.args(["--package", package]);
    }
    if profile == Profile::Release {
        cargo = cargo.arg("--release");
    }
    cargo.run(Duration::from_mins(40))
}

/// The path of a binary that [`build`] made.
pub(crate) fn binary(profile: Profile, name: &str) -> Result<PathBuf> {
    let folder = match profile {
        Profile::Debug => "debug",
        Profile::Release => "release",
    };
    let path = target()?.join(folder).join(name);
    if !path.is_file() {
        return Err(format!("{} was not built: does its package still have a binary `{name}`?", path.display()).into());
    }
    Ok(path)
}
