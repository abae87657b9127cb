//! Which package may depend on which, checked on what cargo itself says.
//!
//! The directions are the architecture: everything depends on `core`, `core` on nothing of ours, and the rooms meet in
//! ports of `core` or in `examples/server`. An arrow that slips in is cheap to remove on the day it appears and dear
//! a year later, so it fails the build.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::process::Program;
use crate::{Result, helped};

const HELP: &str = "Usage: cargo xtask layout

Checks the directions between the packages of this workspace, from `cargo metadata`:
  - every package is named aihub-<folder>
  - core and xtask depend on nothing of ours
  - providers, storage and middleware/* do not know each other; those that answer HTTP (gateway, analytics) know layers
  - nothing depends on examples/server, nothing but examples on examples (for tests: also on examples/vendors)
  - core, layers, gateway and the subjects name no database, no cache server and no settings library
  - packages that would bring a second TLS, HTTP or database stack are nowhere in the tree";

/// Packages that may be nowhere in the tree, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "TLS is rustls with aws-lc-rs; find who asks for a `native-tls` feature and switch it off"),
    ("pq-sys", "Postgres is spoken by diesel-async without libpq; switch off diesel's `postgres` feature"),
    ("reqwest", "HTTP is spoken by hyper, pooled once in providers; use its client"),
    ("ring", "the one crypto library is aws-lc-rs; switch on the dependency's `aws-lc-rs` feature instead"),
    ("sqlx", "SQL is written in diesel; a second stack means a second pool and second migrations"),
];

/// What rooms of rules must not name: it belongs into `storage` or `examples/server`.
const KEPT_OUT_OF_RULES: &[&str] = &[
    "diesel",
    "diesel-async",
    "diesel_migrations",
    "libsqlite3-sys",
    "tokio-postgres",
    "redis",
    "deadpool-redis",
    "figment",
];

/// The middleware that answers at addresses.
const DOORS: &[&str] = &["gateway", "analytics"];

/// The part of `cargo metadata` that is judged.
#[derive(Debug, Deserialize)]
struct Metadata {
    workspace_root: String,
    workspace_members: BTreeSet<String>,
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

/// Where a package stands in the plan of the house.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Room {
    Core,
    Providers,
    Storage,
    Middleware(String),
    Example(String),
    Xtask,
    Unknown,
}

impl Room {
    fn of(folder: &str) -> Self {
        match folder.split_once('/') {
            None => match folder {
                "core" => Self::Core,
                "providers" => Self::Providers,
                "storage" => Self::Storage,
                "xtask" => Self::Xtask,
                _ => Self::Unknown,
            },
            Some(("middleware", name)) if !name.contains('/') => Self::Middleware(name.into()),
            Some(("examples", name)) if !name.contains('/') => Self::Example(name.into()),
            Some(_) => Self::Unknown,
        }
    }

    /// Rooms that hold rules: they work over any store and any settings.
    fn holds_rules(&self) -> bool {
        matches!(self, Self::Core | Self::Middleware(_))
    }
}

/// Runs the chore.
pub(crate) fn main(args: &[String]) -> Result {
    if helped(args, HELP) {
        return Ok(());
    }
    let patience = Duration::from_mins(5);
    let text = Program::cargo().args(["metadata", "--format-version", "1"]).read(patience, false)?;
    let metadata: Metadata = serde_json::from_str(&text)?;
    // Not the resolve part of the metadata: it lists optional dependencies that no feature switched on.
    let tree = Program::cargo()
        .args([
            "tree",
            "--workspace",
            "--target",
            "all",
            "--edges",
            "normal,build,dev",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .read(patience, false)?;
    let mut violations = arrows(&metadata);
    violations.extend(banned(&tree));
    if violations.is_empty() {
        println!("layout: {} packages, every arrow points the right way.", metadata.workspace_members.len());
        return Ok(());
    }
    for violation in &violations {
        eprintln!("- {violation}");
    }
    Err(format!("{} violation(s) of the layout", violations.len()).into())
}

/// Every dependency between our packages, and of our packages, that should not be.
fn arrows(metadata: &Metadata) -> Vec<String> {
    let root = Path::new(&metadata.workspace_root);
    let mut found = Vec::new();
    for package in metadata.packages.iter().filter(|package| metadata.workspace_members.contains(&package.id)) {
        let manifest = Path::new(&package.manifest_path);
        let folder = folder_in(root, manifest.parent().unwrap_or(manifest));
        let from = Room::of(&folder);
        let leaf = folder.rsplit('/').next().unwrap_or(&folder);
        if package.name != format!("aihub-{leaf}") {
            found.push(format!("{folder}: the package is named `{}`; name it `aihub-{leaf}`", package.name));
        }
        if from == Room::Unknown {
            found.push(format!(
                "{folder}: no such room; packages live in core, providers, storage, middleware/*, examples/*, xtask"
            ));
        }
        for dependency in &package.dependencies {
            let dev = dependency.kind.as_deref() == Some("dev");
            let complaint = match &dependency.path {
                Some(path) => {
                    let to = folder_in(root, Path::new(path));
                    // A package may name itself for its tests, to switch on a feature.
                    if to == folder {
                        None
                    } else {
                        refuse(&from, &Room::of(&to), dev).map(|what| format!("{folder} → {to}: {what}"))
                    }
                }
                None if from.holds_rules() && KEPT_OUT_OF_RULES.contains(&dependency.name.as_str()) => Some(format!(
                    "{folder} → {}: rules know no backend and no settings library; put a port into core and its \
                     implementation into storage, or read the setting in examples/server",
                    dependency.name
                )),
                None => None,
            };
            found.extend(complaint);
        }
    }
    found
}

/// Why one room may not depend on another, with what to do; `None` when it may.
fn refuse(from: &Room, to: &Room, dev: bool) -> Option<&'static str> {
    match (from, to) {
        (_, Room::Example(name)) if name == "server" => {
            Some("nothing depends on the reference server; move what is needed into the room that owns it")
        }
        (_, Room::Unknown) => {
            Some("no such room; packages live in core, providers, storage, middleware/*, examples/*, xtask")
        }
        (Room::Core | Room::Xtask, _) => Some("this package depends on nothing of ours; turn the arrow around"),
        (_, Room::Xtask) => Some("nothing depends on the chores; move what is needed into the room that owns it"),
        (_, Room::Core) | (Room::Example(_), _) => None,
        // The scripted vendors may play the other side of anybody's test.
        (_, Room::Example(name)) if dev && name == "vendors" => None,
        (_, Room::Example(_)) => {
            Some("libraries do not depend on examples; move what is needed into the room that owns it")
        }
        // Whoever answers at an address gives its errors up to Rescue.
        (Room::Middleware(from), Room::Middleware(to)) if DOORS.contains(&from.as_str()) && to == "layers" => None,
        _ => Some(
            "rooms do not know each other: make a port in core that one implements and the other takes, and wire them in examples/server",
        ),
    }
}

/// The banned packages in the output of `cargo tree --prefix none --format {p}`.
fn banned(tree: &str) -> Vec<String> {
    let present: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let banned = BANNED.iter().filter(|(name, _)| present.contains(name));
    banned
        .map(|(name, why)| {
            format!("`{name}` is in the tree (`cargo tree --workspace --target all --invert {name}` tells how): {why}")
        })
        .collect()
}

/// A folder as the plan names it: relative to the root, with forward slashes.
fn folder_in(root: &Path, folder: &Path) -> String {
    folder.strip_prefix(root).unwrap_or(folder).to_string_lossy().replace('\\', "/")
}

#[cfg(test)]
mod tests;
