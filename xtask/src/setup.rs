//! Finds or installs what is not Rust: Debian's tools, Python environments, node modules.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::Program;
use crate::{Result, place};

const PATIENCE: Duration = Duration::from_mins(10);

/// Makes sure that a program can be started: from the path, else from Debian's packages when we may install them.
pub(crate) fn tool(program: &str, package: &str) -> Result {
    if works(&format!("command -v {program} >/dev/null")) {
        return Ok(());
    }
    apt(program, package)
}

/// Whether a line of shell succeeds.
fn works(line: &str) -> bool {
    Program::shell(line).read(Duration::from_mins(1), false).is_ok()
}

/// Installs a package, with what it needs, and nothing that it brings is started: a server of Debian's own would take
/// its usual port, and stay after us. The policy is what Debian asks before it starts a service; the other file keeps
/// Postgres from making a cluster that would be started with the machine.
const INSTALL: &str = r#"
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
case "$1" in postgresql*)
  mkdir -p /etc/postgresql-common/createcluster.d
  echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/no-main-cluster.conf
esac
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1"
"#;

/// Installs the package that gives `what` from Debian's packages when we may, else says what to install.
pub(crate) fn apt(what: &str, package: &str) -> Result {
    let by_hand = format!("`{what}` is missing: install it (Debian's package is `{package}`) and run this again");
    if !works("command -v apt-get >/dev/null") || !works("[ \"$(id -u)\" = 0 ]") {
        return Err(by_hand.into());
    }
    println!("Installing {package}, which gives `{what}` …");
    Program::shell("apt-get update -qq").read(PATIENCE, false)?;
    Program::shell(INSTALL)
        .args(["install", package])
        .read(PATIENCE, false)
        .map_err(|error| format!("{by_hand}\n{error}"))?;
    Ok(())
}

/// The Python of an environment in the build folder with everything of `requirements` in it.
///
/// It is made anew when the list changes: `pip install` never removes what is no longer asked for.
pub(crate) fn python(name: &str, requirements: &Path) -> Result<PathBuf> {
    let wanted = std::fs::read_to_string(requirements).map_err(|error| {
        format!("{} cannot be read ({error}): the suite has no list of packages", requirements.display())
    })?;
    let folder = place::target()?.join("python").join(name);
    let python = folder.join("bin").join("python");
    let stamp = folder.join("requirements.txt");
    // The environment points to the Python that made it, and that may have been replaced since.
    let alive = || Program::new(&python).arg("--version").read(PATIENCE, false).is_ok();
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) && alive() {
        return Ok(python);
    }
    tool("python3", "python3")?;
    if !works("python3 -c 'import ensurepip, venv'") {
        apt("python3 -m venv", "python3-venv")?;
    }
    println!("Making the Python environment `{name}` …");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    Program::new("python3").args(["-m", "venv"]).arg(&folder).run(PATIENCE)?;
    Program::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(requirements)
        .run(PATIENCE)?;
    std::fs::write(stamp, wanted)?;
    Ok(python)
}

/// Installs exactly what the lock file of `folder` names, unless that has been done.
pub(crate) fn node(folder: &Path) -> Result {
    let lock = folder.join("package-lock.json");
    let wanted = std::fs::read_to_string(&lock)
        .map_err(|error| format!("{} cannot be read ({error}): the suite has no list of packages", lock.display()))?;
    let stamp = folder.join("node_modules").join(".installed-from");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    tool("node", "nodejs")?;
    tool("npm", "npm")?;
    println!("Installing the node modules of {} …", folder.display());
    Program::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).folder(folder).run(PATIENCE)?;
    std::fs::write(stamp, wanted)?;
    Ok(())
}
