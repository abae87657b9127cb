//! A NATS of our own, with `JetStream`: it asks for a password and keeps nothing beyond its folder.

use std::io::{BufRead as _, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::scratch::{Scratch, secret};
use crate::process::{Program, Running, free_port};
use crate::{Result, setup};

const NAME: &str = "aihub";
const START: Duration = Duration::from_mins(1);
/// What one PING may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Debian keeps servers where plain users do not look.
const FIND: &str = "PATH=\"$PATH:/usr/sbin:/usr/local/sbin\" command -v nats-server";

/// NATS, answering.
#[derive(Debug)]
pub(super) struct Nats {
    pub(super) url: String,
    pub(super) running: Running,
}

impl Nats {
    /// Starts one below `scratch`.
    pub(super) fn start(scratch: &Scratch, log: &Path) -> Result<Self> {
        let find = || Program::shell(FIND).read(START, false);
        if find().is_err() {
            setup::apt("nats-server", "nats-server")?;
        }
        let program = PathBuf::from(find()?.trim());
        let (password, port) = (secret()?, free_port()?);
        let settings = scratch.write("nats.conf", &settings(port, &password, &scratch.path("jetstream")))?;
        let mut running = scratch.program(&program).arg("--config").arg(settings).log(log).start()?;
        // Only ours knows the password: an answer cannot come from another that took the port.
        running.until(START, Duration::from_millis(20), || answers(port, &password).unwrap_or(false))?;
        Ok(Self { url: url(&password, port), running })
    }
}

/// In a file, since everybody on the machine sees the arguments of a program. What is acknowledged is on the disk.
fn settings(port: u16, password: &str, store: &Path) -> String {
    format!(
        "listen: \"127.0.0.1:{port}\"\n\
         authorization {{ user: \"{NAME}\", password: \"{password}\" }}\n\
         jetstream {{ store_dir: \"{}\" }}\n",
        store.display()
    )
}

fn url(password: &str, port: u16) -> String {
    format!("nats://{NAME}:{password}@127.0.0.1:{port}")
}

/// Whether a PING with this password gets its PONG, from a server with `JetStream`.
fn answers(port: u16, password: &str) -> std::io::Result<bool> {
    let mut socket = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(socket.try_clone()?);
    let mut line = || {
        let mut line = String::new();
        lines.read_line(&mut line).map(|_| line)
    };
    let info = line()?;
    let connect = format!(r#"CONNECT {{"user":"{NAME}","pass":"{password}","verbose":false,"pedantic":false}}"#);
    socket.write_all(format!("{connect}\r\nPING\r\n").as_bytes())?;
    Ok(info.starts_with("INFO ") && info.contains("\"jetstream\":true") && line()? == "PONG\r\n")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_url_names_user_password_and_port() {
        assert_eq!(url("abc", 4), "nats://aihub:abc@127.0.0.1:4");
    }

    /// What [`answers`] makes of a server that says this, the second line once it has heard something.
    fn judged(info: &'static str, then: &'static str) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.write_all(info.as_bytes()).unwrap();
            let mut heard = String::new();
            let mut lines = BufReader::new(socket.try_clone().unwrap());
            while !heard.ends_with("PING\r\n") {
                assert_ne!(lines.read_line(&mut heard).unwrap(), 0);
            }
            assert!(heard.contains("\"pass\":\"abc\""), "{heard}");
            socket.write_all(then.as_bytes()).unwrap();
        });
        let answer = answers(port, "abc").unwrap();
        server.join().unwrap();
        answer
    }

    #[test]
    fn only_a_pong_after_the_password_counts() {
        assert!(judged("INFO {\"jetstream\":true}\r\n", "PONG\r\n"));
        assert!(!judged("INFO {\"jetstream\":true}\r\n", "-ERR 'Authorization Violation'\r\n"));
        assert!(!judged("INFO {}\r\n", "PONG\r\n"));
    }
}
