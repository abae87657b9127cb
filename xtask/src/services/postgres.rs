//! A Postgres of our own: found or installed, made anew, asked for a password and for TLS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::scratch::{Scratch, secret};
use super::tls;
use crate::process::{Program, Running, free_port};
use crate::{Result, setup};

/// What is needed of an installation; all stand in one folder.
const PROGRAMS: [&str; 4] = ["initdb", "postgres", "pg_isready", "createdb"];
/// The superuser and the database, in one word.
const NAME: &str = "aihub";
/// A first start on a slow disk.
const START: Duration = Duration::from_mins(2);
/// Many tests run side by side, each with a pool of its own.
const CONNECTIONS: u16 = 300;

/// Postgres, answering.
#[derive(Debug)]
pub(super) struct Postgres {
    pub(super) url: String,
    /// The certificate of the authority that vouches for the server.
    pub(super) authority: PathBuf,
    /// The program of the server.
    pub(super) program: PathBuf,
    pub(super) running: Option<Running>,
    port: u16,
    certificates: tls::Files,
    log: PathBuf,
}

impl Postgres {
    /// Makes and starts one below `scratch`.
    pub(super) fn start(scratch: &Scratch, log: &Path) -> Result<Self> {
        let programs = programs()?;
        let password = secret()?;
        initialise(scratch, &programs, &password, log)?;
        let files = tls::issue(scratch, log.to_path_buf())?;
        let port = free_port()?;
        let program = programs.join("postgres");
        let mut postgres = Self {
            url: url(&password, port),
            authority: files.authority.clone(),
            program,
            running: None,
            port,
            certificates: files,
            log: log.to_path_buf(),
        };
        postgres.serve(scratch)?;
        postgres.client("createdb").env("PGPASSWORD", &password).arg(NAME).run(START)?;
        Ok(postgres)
    }

    /// Ends it at once, every session with it, as a crash would: what was committed is on the disk.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// An error once it has ended without being asked to.
    pub(super) fn still(&mut self) -> Result {
        self.running.as_mut().map_or(Ok(()), Running::still)
    }

    /// Starts it, on what is in the folder, and waits until it answers.
    pub(super) fn serve(&mut self, scratch: &Scratch) -> Result {
        let setting = |name: &str, value: String| ["-c".to_owned(), format!("{name}={value}")];
        // Immediate shutdown by QUIT ends busy sessions and writes nothing down; TERM would wait for every client. What
        // is on the disk goes anyway. `fsync` stays on: tests judge what a commit promises, and what it costs.
        let mut running = scratch
            .program(&self.program)
            .arg("-D")
            .arg(scratch.path("data"))
            .args(["-p".to_owned(), self.port.to_string()])
            .args(setting("listen_addresses", "127.0.0.1".to_owned()))
            .args(setting("unix_socket_directories", scratch.path("").display().to_string()))
            .args(setting("max_connections", CONNECTIONS.to_string()))
            .args(setting("ssl", "on".to_owned()))
            .args(setting("ssl_cert_file", self.certificates.certificate.display().to_string()))
            .args(setting("ssl_key_file", self.certificates.key.display().to_string()))
            .stopped_by("QUIT")
            .log(&self.log)
            .start()?;
        running.until(START, Duration::from_millis(100), || self.client("pg_isready").run(START).is_ok())?;
        self.running = Some(running);
        Ok(())
    }

    /// One of its clients, told where it is.
    fn client(&self, name: &str) -> Program {
        let program = Program::new(self.program.with_file_name(name)).args(["--host", "127.0.0.1", "--username", NAME]);
        program.args(["--port".to_owned(), self.port.to_string()]).log(&self.log)
    }
}

fn url(password: &str, port: u16) -> String {
    format!("postgres://{NAME}:{password}@127.0.0.1:{port}/{NAME}")
}

fn initialise(scratch: &Scratch, programs: &Path, password: &str, log: &Path) -> Result {
    let file = scratch.write("password", password)?;
    scratch
        .program(programs.join("initdb"))
        .args(["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--no-sync"])
        .args(["--username", NAME, "--pwfile"])
        .arg(&file)
        .arg("--pgdata")
        .arg(scratch.path("data"))
        .log(log)
        .run(START)?;
    std::fs::remove_file(file)?;
    Ok(())
}

/// The folder of an installation that has every program; one is installed when there is none.
fn programs() -> Result<PathBuf> {
    if let Some(folder) = find() {
        return Ok(folder);
    }
    setup::apt("postgres", "postgresql")?;
    find()
        .ok_or_else(|| format!("no folder has all of {}, though `postgresql` is installed", PROGRAMS.join(", ")).into())
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let configured = Program::shell("pg_config --bindir 2>/dev/null").read(START, false).unwrap_or_default();
    // Debian keeps several versions side by side and out of the path.
    let debian = Path::new("/usr/lib/postgresql");
    let versions = std::fs::read_dir(debian).into_iter().flatten().flatten();
    let versions = newest_first(versions.filter_map(|entry| entry.file_name().into_string().ok()).collect());
    std::env::split_paths(&path)
        .chain([PathBuf::from(configured.trim())])
        .chain(versions.into_iter().map(|version| debian.join(version).join("bin")))
        .find_map(|folder| complete(&folder))
}

/// The folder in which the server's program really is, if the others are there too: a folder of links may have but some.
fn complete(folder: &Path) -> Option<PathBuf> {
    let server = folder.join("postgres").canonicalize().ok()?;
    let folder = server.parent()?;
    PROGRAMS.iter().all(|program| folder.join(program).is_file()).then(|| folder.to_path_buf())
}

/// By number, since `9.6` is older than `15`.
fn newest_first(mut versions: Vec<String>) -> Vec<String> {
    let number = |version: &String| version.split('.').filter_map(|part| part.parse().ok()).collect::<Vec<u32>>();
    versions.sort_by_key(|version| std::cmp::Reverse(number(version)));
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_the_greatest_number() {
        let versions = ["9.6", "15", "9.10", "17"].map(str::to_owned).to_vec();
        assert_eq!(newest_first(versions), ["17", "15", "9.10", "9.6"]);
    }

    #[test]
    fn the_url_names_user_password_port_and_database() {
        assert_eq!(url("abc", 5), "postgres://aihub:abc@127.0.0.1:5/aihub");
    }

    #[test]
    fn an_installation_is_where_links_lead_and_must_be_whole() {
        let folder = crate::place::fresh("postgres-programs").unwrap();
        let (real, links) = (folder.join("real"), folder.join("links"));
        std::fs::create_dir_all(&real).unwrap();
        std::fs::create_dir_all(&links).unwrap();
        std::os::unix::fs::symlink(real.join("postgres"), links.join("postgres")).unwrap();
        for program in PROGRAMS {
            assert_eq!(complete(&links), None, "without {program}");
            std::fs::write(real.join(program), "").unwrap();
        }
        assert_eq!(complete(&links), Some(real.canonicalize().unwrap()));
    }
}
