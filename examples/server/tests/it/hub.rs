//! A server of a test's own: its process, its folder, its vendors, its keys.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use aihub_vendors::Vendors;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// Longer than anything here takes, short enough to end a test that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
pub(crate) struct Hub {
    pub(crate) vendors: Vendors,
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    process: Child,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// `aihub` with these arguments in this folder, told nothing by the environment of the test.
pub(crate) fn aihub(folder: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aihub"));
    for (name, _) in std::env::vars() {
        if name.starts_with("AIHUB_")
            || ["DATABASE_URL", "REDIS_URL", "OPENROUTER_API_KEY", "GEMINI_API_KEY"].contains(&&*name)
        {
            command.env_remove(name);
        }
    }
    command.args(arguments).current_dir(folder).env("AIHUB_SERVER__LISTEN", "127.0.0.1:0");
    command.env("AIHUB_STORE__USAGE_FILE", "aihub.usage.jsonl");
    command
}

impl Hub {
    /// A server with the defaults.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with these variables set.
    pub(crate) fn start_with(environment: &[(&str, &str)]) -> Self {
        Self::started(tempfile::tempdir().unwrap(), environment)
    }

    /// The same, of a process that is not ended when a file would become larger than it may be: see
    /// [`Hub::limit_files`].
    pub(crate) fn start_deaf(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hears = aihub(folder.path(), &["serve"]);
        let mut deaf = Command::new("sh");
        deaf.args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#]).arg(hears.get_program()).args(hears.get_args());
        deaf.current_dir(folder.path());
        for (name, value) in hears.get_envs() {
            match value {
                Some(value) => deaf.env(name, value),
                None => deaf.env_remove(name),
            };
        }
        Self::launched(folder, deaf, environment)
    }

    /// A server with the defaults, over what is in this folder.
    pub(crate) fn start_in(folder: tempfile::TempDir) -> Self {
        Self::started(folder, &[])
    }

    pub(crate) fn started(folder: tempfile::TempDir, environment: &[(&str, &str)]) -> Self {
        let command = aihub(folder.path(), &["serve"]);
        Self::launched(folder, command, environment)
    }

    fn launched(folder: tempfile::TempDir, mut command: Command, environment: &[(&str, &str)]) -> Self {
        let vendors = Vendors::start().unwrap();
        command
            .env("OPENROUTER_API_KEY", aihub_vendors::OPENROUTER_KEY)
            .env("GEMINI_API_KEY", aihub_vendors::GEMINI_KEY)
            .env("AIHUB_PROVIDERS__OPENROUTER__BASE_URL", vendors.openrouter_base_url())
            .env("AIHUB_PROVIDERS__GEMINI__BASE_URL", vendors.gemini_base_url())
            .envs(environment.iter().copied())
            .stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let address = line.trim().rsplit("http://").next().unwrap().parse();
        let address = address.unwrap_or_else(|_| panic!("the server did not start: {line:?}"));
        let client = Client::builder(TokioExecutor::new()).build_http();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { vendors, address, folder, environment, process, client }
    }

    /// A new key of this plan, made as an operator does.
    pub(crate) fn key(&self, plan: &str) -> String {
        last_line(&self.run(&["keys", "create", "--name", "test", "--plan", plan]))
    }

    /// Runs `aihub` in the server's folder, under the server's settings.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        aihub(self.folder.path(), arguments).envs(environment).output().unwrap()
    }

    /// Sends a request.
    pub(crate) async fn send(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Response<Incoming> {
        let request = request.body(Full::new(body.into())).unwrap();
        tokio::time::timeout(PATIENCE, self.client.request(request)).await.unwrap().unwrap()
    }

    /// A request to `path` with this key.
    pub(crate) fn request(&self, method: &str, path: &str, key: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
    }

    /// Posts JSON and gives back status and JSON.
    pub(crate) async fn post(&self, path: &str, key: &str, body: &Value) -> (StatusCode, Value) {
        let response = self.send(self.request("POST", path, key), body.to_string()).await;
        let status = response.status();
        (status, serde_json::from_slice(&read(response).await).unwrap())
    }

    /// Ends the process without a word.
    pub(crate) fn kill(&self) {
        let killed = Command::new("kill").arg("-9").arg(self.process.id().to_string()).status().unwrap();
        assert!(killed.success());
    }

    /// Lets no file of the process become larger than so many bytes, as a full disk would: what is longer stays, and
    /// cannot be written on.
    pub(crate) fn limit_files(&self, bytes: &str) {
        let process = self.process.id().to_string();
        let limited = Command::new("prlimit").args(["--pid", &process, &format!("--fsize={bytes}:")]).status().unwrap();
        assert!(limited.success());
    }

    /// Asks the process to stop, the way a service manager does.
    pub(crate) fn terminate(&self) {
        let killed = Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        assert!(killed.success());
    }

    /// Waits for the process and gives back its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }

    /// The usage records written so far, after a clean stop.
    pub(crate) fn stop_and_read_records(mut self) -> Vec<Value> {
        self.terminate();
        assert_eq!(self.wait(), Some(0), "the server did not stop cleanly");
        let file: PathBuf = self.folder.path().join("aihub.usage.jsonl");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The last line of what a command printed.
pub(crate) fn last_line(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().last().unwrap().to_owned()
}

/// The whole body of a response.
pub(crate) async fn read(response: Response<Incoming>) -> Bytes {
    tokio::time::timeout(PATIENCE, response.into_body().collect()).await.unwrap().unwrap().to_bytes()
}

/// A chat of one user message.
pub(crate) fn chat(model: &str, text: &str) -> Value {
    serde_json::json!({"model": model, "messages": [{"role": "user", "content": text}]})
}

/// The same, streamed.
pub(crate) fn stream(model: &str, text: &str) -> Value {
    let mut body = chat(model, text);
    body["stream"] = true.into();
    body
}
