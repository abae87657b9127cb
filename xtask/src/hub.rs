//! The reference server with its vendors, running: what the demo, the SDK suites and the benchmark have in common.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::place::{self, Profile};
use crate::process::{Program, Running};
use crate::{Result, probe};

/// A start includes migrations of an empty database.
const START: Duration = Duration::from_mins(1);

/// The vendors' keys, as the server reads them.
pub(crate) const VENDOR_KEYS: [&str; 2] = ["OPENROUTER_API_KEY", "GEMINI_API_KEY"];

/// Where the vendors listen and which keys they take; what the program prints as its first line.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Addresses {
    #[serde(rename = "openrouter_base_url")]
    pub(crate) openrouter: String,
    #[serde(rename = "gemini_base_url")]
    pub(crate) gemini: String,
    #[serde(rename = "openrouter_api_key")]
    pub(crate) openrouter_key: String,
    #[serde(rename = "gemini_api_key")]
    pub(crate) gemini_key: String,
}

impl Addresses {
    /// Scheme, host and port of the vendors' process.
    pub(crate) fn origin(&self) -> String {
        self.openrouter.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")
    }
}

/// The scripted vendors.
#[derive(Debug)]
pub(crate) struct Vendors {
    pub(crate) addresses: Addresses,
    _running: Running,
}

impl Vendors {
    /// Starts them on a free port; their log goes into `folder`.
    pub(crate) fn start(profile: Profile, folder: &std::path::Path) -> Result<Self> {
        let program = Program::new(place::binary(profile, "aihub-vendors")?).args(["--listen", "127.0.0.1:0"]);
        let mut running = program.log(folder.join("vendors.log")).start_reading()?;
        let line = running.first_line(START)?;
        let addresses = serde_json::from_str(&line)
            .map_err(|error| format!("aihub-vendors printed `{line}`, not its addresses: {error}"))?;
        Ok(Self { addresses, _running: running })
    }
}

/// How the server is started.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) profile: Profile,
    /// Holds the database, the journal and the log.
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    /// Scripted vendors; `None` for the real ones, by the keys of the environment.
    pub(crate) vendors: Option<Addresses>,
    /// The core it is kept on.
    pub(crate) cpu: Option<usize>,
    /// Settings that differ from the defaults.
    pub(crate) settings: Vec<(&'static str, String)>,
}

impl Setting {
    /// The server's program with everything it reads from the environment.
    fn program(&self) -> Result<Program> {
        let mut program = Program::new(place::binary(self.profile, "aihub")?)
            .folder(&self.folder)
            .env("AIHUB_SERVER__LISTEN", format!("127.0.0.1:{}", self.port))
            .env("DATABASE_URL", format!("sqlite://{}", self.folder.join("aihub.db").display()));
        if let Some(vendors) = &self.vendors {
            program = program
                .env("OPENROUTER_API_KEY", &vendors.openrouter_key)
                .env("GEMINI_API_KEY", &vendors.gemini_key)
                .env("AIHUB_PROVIDERS__OPENROUTER__BASE_URL", &vendors.openrouter)
                .env("AIHUB_PROVIDERS__GEMINI__BASE_URL", &vendors.gemini);
        }
        for (name, value) in &self.settings {
            program = program.env(name, value);
        }
        Ok(match self.cpu {
            Some(cpu) => program.on_cpu(cpu),
            None => program,
        })
    }

    /// Starts the server without waiting for it.
    pub(crate) fn launch(&self) -> Result<Running> {
        self.program()?.arg("serve").log(self.folder.join("server.log")).start()
    }

    /// Runs a command of the server's program with its settings, and answers what it printed.
    pub(crate) fn run<A: Into<std::ffi::OsString>>(&self, args: impl IntoIterator<Item = A>) -> Result<String> {
        self.program()?.args(args).read(START, false)
    }

    /// Starts the server and waits until it is ready.
    pub(crate) fn start(self) -> Result<Hub> {
        let mut running = self.launch()?;
        running.until(START, Duration::from_millis(20), || probe::is_ok(self.port, "/health/ready"))?;
        Ok(Hub { setting: self, running })
    }
}

/// The server, ready.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) setting: Setting,
    pub(crate) running: Running,
}

impl Hub {
    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.setting.port)
    }

    /// Makes a developer with an API key, the way an operator does.
    pub(crate) fn create_key(&self, name: &str, plan: Option<&str>) -> Result<String> {
        let mut args = vec!["keys", "create", "--name", name];
        if let Some(plan) = plan {
            args.extend(["--plan", plan]);
        }
        let text = self.setting.run(args)?;
        let key = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        let key = key
            .filter(|key| !key.contains(' '))
            .ok_or_else(|| format!("`aihub keys create` printed no key:\n{text}"))?;
        Ok(key.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::Addresses;

    #[test]
    fn the_origin_is_cut_from_an_address() {
        let addresses: Addresses = serde_json::from_str(
            r#"{"openrouter_base_url":"http://127.0.0.1:9/api/v1","gemini_base_url":"http://127.0.0.1:9/v1beta",
                "openrouter_api_key":"a","gemini_api_key":"b","more":1}"#,
        )
        .unwrap();
        assert_eq!(addresses.origin(), "http://127.0.0.1:9");
        assert_eq!(addresses.gemini, "http://127.0.0.1:9/v1beta");
    }
}
