//! The suites, in the order in which they run: what fails fastest and tells most comes first.

use std::time::Duration;

use super::tally;
use crate::hub::{Setting, VENDOR_KEYS, Vendors};
use crate::place::{self, Profile};
use crate::process::{Env, Program, free_port};
use crate::{Result, setup, torture};

/// Something that passes or fails as a whole.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: Run,
}

/// What runs a suite; it answers what it counted.
pub(crate) enum Run {
    Alone(fn() -> Result<String>),
    /// With the variables that lead to a Postgres, a Redis and a NATS.
    WithServices(fn(&Env) -> Result<String>),
}

/// The longest any suite may take; a first build of the workspace is inside the first one.
const LONGEST: Duration = Duration::from_mins(40);
/// For suites that only talk to programs on loopback.
const SHORT: Duration = Duration::from_mins(5);

/// Where the suites of the SDKs are.
const SERVER_SDK: &str = "examples/server/tests/sdk";
const VENDORS_SDK: &str = "examples/vendors/tests/sdk";

pub(crate) const SUITES: &[Suite] = &[
    Suite {
        name: "workspace",
        about: "unit, integration and documentation tests of all packages",
        run: Run::WithServices(workspace),
    },
    Suite {
        name: "wire-samples",
        about: "recorded traffic of the vendors through the adapters",
        run: Run::Alone(wire_samples),
    },
    Suite { name: "sdk-python", about: "OpenAI's Python SDK against a running server", run: Run::Alone(sdk_python) },
    Suite { name: "sdk-node", about: "OpenAI's Node SDK against a running server", run: Run::Alone(sdk_node) },
    Suite {
        name: "vendors-sdk",
        about: "the vendors' own SDKs judge the scripted vendors",
        run: Run::Alone(vendors_sdk),
    },
    Suite {
        name: "embed-layers",
        about: "example: layers in somebody else's service",
        run: Run::Alone(|| example("embed-layers")),
    },
    Suite {
        name: "custom-provider",
        about: "example: a provider from outside",
        run: Run::Alone(|| example("custom-provider")),
    },
    Suite {
        name: "custom-quota",
        about: "example: a quota policy from outside",
        run: Run::Alone(|| example("custom-quota-policy")),
    },
    Suite {
        name: "custom-sink",
        about: "example: a billing sink from outside",
        run: Run::Alone(|| example("custom-billing-sink")),
    },
    Suite {
        name: "torture",
        about: "servers killed under load, and every book compared",
        run: Run::Alone(torture::short),
    },
    Suite { name: "demo", about: "the demo, its printed curl lines really run", run: Run::Alone(demo) },
    Suite { name: "docs", about: "the documentation, warnings refused", run: Run::Alone(docs) },
];

fn workspace(env: &Env) -> Result<String> {
    let program = Program::cargo().args(["test", "--workspace", "--no-fail-fast"]);
    tally::cargo(&program.envs(env).read(LONGEST, true)?)
}

/// Once more on its own, so that the table says how much traffic was judged, and with which recordings.
fn wire_samples() -> Result<String> {
    let output = Program::cargo()
        .args(["test", "--package", "aihub-providers", "--test", "wire_samples"])
        .read(LONGEST, true)?;
    let from =
        if std::env::var_os("AIHUB_WIRE_SAMPLES").is_some() { "own and given recordings" } else { "own recordings" };
    Ok(format!("{}, {from}", tally::cargo(&output)?))
}

fn sdk_python() -> Result<String> {
    let folder = place::root().join(SERVER_SDK).join("python");
    let python = setup::python("server", &folder.join("requirements.txt"))?;
    against_a_server("sdk-python", |env| {
        let program = Program::new(&python).args(["-m", "pytest", "-p", "no:cacheprovider", "--tb=short", "."]);
        tally::pytest(&program.envs(env).folder(&folder).read(SHORT, true)?)
    })
}

fn sdk_node() -> Result<String> {
    let folder = place::root().join(SERVER_SDK).join("node");
    setup::node(&folder)?;
    against_a_server("sdk-node", |env| {
        let program = Program::new("npm").args(["test", "--silent"]);
        tally::node(&program.envs(env).folder(&folder).read(SHORT, true)?)
    })
}

/// The suites make vendors fail on purpose, far more often than a breaker lets pass, and look whether a caller who leaves is
/// noticed by every vendor, also by those that would be read on. Both have tests of their own.
const SUITE_SETTINGS: &[(&str, &str)] =
    &[("AIHUB_UPSTREAM__BREAKER_FAILURES", "1000000"), ("AIHUB_UPSTREAM__DEPARTURES", "[]")];

/// Runs a suite while a server of its own, with vendors of its own, listens on free ports.
fn against_a_server(name: &str, suite: impl FnOnce(&Env) -> Result<String>) -> Result<String> {
    place::build(Profile::Debug, &["aihub-server", "aihub-vendors"])?;
    let folder = place::fresh(name)?;
    let vendors = Vendors::start(Profile::Debug, &folder)?;
    let addresses = Some(vendors.addresses.clone());
    let hub = Setting {
        profile: Profile::Debug,
        folder,
        port: free_port()?,
        vendors: addresses,
        cpu: None,
        settings: SUITE_SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
    }
    .start()?;
    let env = [
        ("AIHUB_BASE_URL", format!("{}/v1", hub.origin())),
        ("AIHUB_API_KEY", hub.create_key("suite-all", Some("enterprise"))?),
        ("AIHUB_FREE_KEY", hub.create_key("suite-free", Some("free"))?),
        ("AIHUB_VENDORS_URL", vendors.addresses.origin()),
    ];
    suite(&env).map_err(|error| format!("{error}{}", hub.running.tail()).into())
}

fn vendors_sdk() -> Result<String> {
    let folder = place::root().join(VENDORS_SDK);
    let python = setup::python("vendors", &folder.join("requirements.txt"))?;
    place::build(Profile::Debug, &["aihub-vendors"])?;
    let binary = place::binary(Profile::Debug, "aihub-vendors")?;
    let program = Program::new(python)
        .args(["-m", "pytest", "-p", "no:cacheprovider", "--tb=short", "."])
        .env("AIHUB_VENDORS_BIN", binary.display().to_string());
    tally::pytest(&program.folder(&folder).read(SHORT, true)?)
}

/// An example proves itself: it ends by itself, well or not.
fn example(name: &str) -> Result<String> {
    let package = format!("aihub-{name}");
    place::build(Profile::Debug, &[&package])?;
    let said = Program::new(place::binary(Profile::Debug, &package)?).read(SHORT, true)?;
    if said.trim().is_empty() {
        return Err("the example says nothing: it should show what it did".into());
    }
    Ok("ended well".into())
}

fn demo() -> Result<String> {
    // By cargo and not by our own path: the build of the workspace has replaced this very program.
    let program = Program::cargo().args(["xtask", "demo", "--once"]);
    // A test must not spend money with vendors whose keys happen to be set.
    let program = VENDOR_KEYS.into_iter().fold(program, Program::without_env);
    program.run(LONGEST)?;
    Ok("both curl lines answered".into())
}

fn docs() -> Result<String> {
    Program::cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings").run(LONGEST)?;
    Ok("no warnings".into())
}
