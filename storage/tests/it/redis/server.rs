//! A server of one test's own, which may be stopped.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{bare, until};

/// A `redis-server` on a port of its own; dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    folder: TempDir,
    process: Option<Child>,
}

pub(crate) const PASSWORD: &str = "open-sesame-5f1c";

impl Server {
    /// Starts one, and waits until it answers.
    pub(crate) async fn start() -> Self {
        for _ in 0..5 {
            let mut server = Self { port: free_port(), folder: TempDir::new().unwrap(), process: None };
            server.begin();
            if server.answers().await {
                return server;
            }
        }
        panic!("no redis-server could be started on a free port");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// As by a machine that fails: nothing is written, connections break.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again where it was, empty.
    pub(crate) async fn restart(&mut self) {
        self.begin();
        assert!(self.answers().await, "the server did not come back");
    }

    fn begin(&mut self) {
        let program = std::env::var("AIHUB_TEST_REDIS_BIN").unwrap_or_else(|_| "redis-server".to_owned());
        let process = Command::new(program)
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--requirepass", PASSWORD, "--dir"])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server could not be started: install it, or run `cargo xtask test`");
        self.process = Some(process);
    }

    /// Whether it comes to answer; not when it has ended, as on a port that somebody else took.
    async fn answers(&mut self) -> bool {
        let client = redis::Client::open(self.url()).unwrap();
        let process = self.process.as_mut().unwrap();
        let ended = std::cell::Cell::new(false);
        let ask = || {
            ended.set(process.try_wait().unwrap().is_some());
            async { ended.get() || client.get_multiplexed_async_connection().await.is_ok() }
        };
        until("a server answers", ask).await;
        !ended.get()
    }

    /// Says `command` to it, past what is tested.
    pub(crate) async fn say(&self, command: &str) -> redis::Value {
        let mut asked = redis::Cmd::new();
        for word in command.split(' ') {
            asked.arg(word);
        }
        asked.query_async(&mut bare(&self.url()).await).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
