//! A Redis of our own: it asks for a password and keeps nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::scratch::{Scratch, secret};
use crate::process::{Program, Running, free_port};
use crate::{Result, setup};

const START: Duration = Duration::from_mins(1);
/// What one PING may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Redis, answering.
#[derive(Debug)]
pub(super) struct Redis {
    pub(super) url: String,
    /// The program of the server.
    pub(super) program: PathBuf,
    pub(super) running: Running,
}

impl Redis {
    /// Starts one below `scratch`.
    pub(super) fn start(scratch: &Scratch, log: &Path) -> Result<Self> {
        setup::tool("redis-server", "redis-server")?;
        let found = Program::shell("command -v redis-server").read(START, false)?;
        // Links are not followed: Debian's Redis is one program that goes by the name it was started with.
        let program = PathBuf::from(found.trim());
        let (password, port) = (secret()?, free_port()?);
        // In a file, since everybody on the machine sees the arguments of a program.
        let settings = scratch.write("redis.conf", &format!("requirepass {password}\n"))?;
        let mut running = scratch
            .program(&program)
            .arg(settings)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--dir"])
            .arg(scratch.path(""))
            .log(log)
            .start()?;
        // Only ours knows the password: an answer cannot come from another that took the port.
        running.until(START, Duration::from_millis(20), || answers(port, &password).unwrap_or(false))?;
        Ok(Self { url: url(&password, port), program, running })
    }
}

fn url(password: &str, port: u16) -> String {
    format!("redis://:{password}@127.0.0.1:{port}/0")
}

/// Whether a PING with this password gets its PONG.
fn answers(port: u16, password: &str) -> std::io::Result<bool> {
    let mut socket = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(format!("AUTH {password}\r\nPING\r\nQUIT\r\n").as_bytes())?;
    let mut said = String::new();
    // The server closes after QUIT.
    socket.read_to_string(&mut said)?;
    Ok(said.starts_with("+OK\r\n+PONG\r\n"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_url_names_password_port_and_database() {
        assert_eq!(url("abc", 6), "redis://:abc@127.0.0.1:6/0");
    }

    /// What [`answers`] makes of a server that says this.
    fn judged(said: &'static str) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            // Unread bytes would turn the close into a reset.
            assert_ne!(socket.read(&mut [0; 256]).unwrap(), 0);
            socket.write_all(said.as_bytes()).unwrap();
        });
        let answer = answers(port, "abc").unwrap();
        server.join().unwrap();
        answer
    }

    #[test]
    fn only_a_pong_after_the_password_counts() {
        assert!(judged("+OK\r\n+PONG\r\n+OK\r\n"));
        assert!(!judged("-ERR Client sent AUTH, but no password is set\r\n+PONG\r\n+OK\r\n"));
        assert!(!judged(""));
    }
}
