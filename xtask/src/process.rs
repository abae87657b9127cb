//! Programs that cannot outlive us, however we end.
//!
//! Each one runs in a process group of its own under a leash: a shell that becomes the program after leaving a watcher
//! behind. The watcher reads a pipe that only this process holds. When the guard is dropped, or this process dies by
//! Ctrl-C or `kill -9`, the pipe closes and the watcher ends the whole group, grandchildren included. Nothing else
//! would do without `unsafe`: destructors do not run on a signal.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// How long a program may take to end after it was asked to; must be longer than the watcher's own patience.
const LAST_WORDS: Duration = Duration::from_secs(4);

/// `$1` says what the program reads: `held` the pipe itself (it may take its end for a request to stop), else nothing.
/// `$2` is the signal that asks it to stop; the watcher must not fall to it itself.
/// Descriptors are raised because a gateway with five hundred streams has a thousand sockets, the usual soft limit.
const LEASH: &str = r#"
ulimit -n 16384 2>/dev/null || ulimit -n "$(ulimit -H -n)"
exec 3<&0
reads=$1 stop=$2; shift 2
( trap '' "$stop"; while read -r _; do :; done <&3; kill -"$stop" 0; sleep 2; kill -KILL 0 ) >/dev/null 2>&1 &
if [ "$reads" = held ]; then exec "$@" <&3 3<&-; fi
exec "$@" </dev/null 3<&-
"#;

/// The one clock of the chores: they time real programs, so no other clock can serve.
#[expect(clippy::disallowed_methods, reason = "chores wait for real programs; there is no time to be moved")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Variables for a program: names and values.
pub(crate) type Env = [(&'static str, String)];

/// A program to be started.
#[derive(Debug)]
pub(crate) struct Program {
    /// What errors call it, whatever else it is started by.
    name: String,
    command: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    folder: PathBuf,
    log: Option<PathBuf>,
    stop: &'static str,
}

impl Program {
    /// A program by name or path, to be run at the root of the repository.
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        let program = program.into();
        let name = Path::new(&program).file_name().unwrap_or(&program).to_string_lossy().into_owned();
        let folder = crate::place::root();
        Self { name, command: vec![program], env: Vec::new(), folder, log: None, stop: "TERM" }
    }

    /// The cargo that started us.
    pub(crate) fn cargo() -> Self {
        Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// A line of shell, run as a person would paste it.
    pub(crate) fn shell(line: &str) -> Self {
        Self::new("sh").args(["-c", line])
    }

    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.command.push(arg.into());
        self
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    pub(crate) fn envs(self, env: &Env) -> Self {
        env.iter().fold(self, |program, (name, value)| program.env(name, value))
    }

    pub(crate) fn without_env(mut self, name: impl Into<OsString>) -> Self {
        self.env.push((name.into(), None));
        self
    }

    pub(crate) fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Sends what the program says to a file, stdout and stderr alike.
    pub(crate) fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }

    /// The signal that asks it to stop, for a program that takes `TERM` for something else.
    pub(crate) fn stopped_by(mut self, signal: &'static str) -> Self {
        self.stop = signal;
        self
    }

    /// Keeps the program on one core.
    pub(crate) fn on_cpu(mut self, cpu: usize) -> Self {
        let pin: [OsString; 3] = ["taskset".into(), "-c".into(), cpu.to_string().into()];
        self.command.splice(0..0, pin);
        self
    }

    /// Runs the program as somebody else, which root alone can do.
    pub(crate) fn by_user(mut self, user: u32, group: u32) -> Self {
        let become_user = ["setpriv", &format!("--reuid={user}"), &format!("--regid={group}"), "--clear-groups"];
        self.command.splice(0..0, become_user.map(OsString::from));
        self
    }

    /// Starts it in the background; what it prints goes to the log, else to our own output.
    pub(crate) fn start(self) -> Result<Running> {
        let (stdout, stderr) = self.log_or_ours()?;
        self.spawn("held", stdout, stderr)
    }

    /// Starts it in the background and reads what it prints line by line.
    pub(crate) fn start_reading(self) -> Result<Running> {
        let (_, stderr) = self.log_or_ours()?;
        self.spawn("held", Stdio::piped(), stderr)
    }

    /// Runs it to its end, its output being ours; anything but success within `limit` is an error.
    pub(crate) fn run(self, limit: Duration) -> Result {
        let (stdout, stderr) = self.log_or_ours()?;
        let mut running = self.spawn("empty", stdout, stderr)?;
        let status = running.wait(limit)?;
        running.success(status)
    }

    /// Runs it to its end and answers what it printed; `shown` also prints it as it comes.
    pub(crate) fn read(self, limit: Duration, shown: bool) -> Result<String> {
        let (status, text, running) = self.read_any(limit, shown)?;
        running.success(status).map_err(|error| if shown { error } else { format!("{error}\n{text}").into() })?;
        Ok(text)
    }

    fn read_any(self, limit: Duration, shown: bool) -> Result<(ExitStatus, String, Running)> {
        let (_, stderr) = self.log_or_ours()?;
        let deadline = now() + limit;
        let mut running = self.spawn("empty", Stdio::piped(), stderr)?;
        let mut text = String::new();
        let lines = running.lines.take().ok_or("output is not read")?;
        // A grandchild may hold the pipe open after the program ended, hence a deadline on reading as well.
        while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(now())) {
            if shown {
                println!("{line}");
            }
            text += &line;
            text.push('\n');
        }
        let status = running.wait(deadline.saturating_duration_since(now()))?;
        Ok((status, text, running))
    }

    fn log_or_ours(&self) -> Result<(Stdio, Stdio)> {
        let Some(path) = &self.log else {
            return Ok((Stdio::inherit(), Stdio::inherit()));
        };
        let file = File::options().create(true).append(true).open(path)?;
        Ok((file.try_clone()?.into(), file.into()))
    }

    fn spawn(self, reads: &str, stdout: Stdio, stderr: Stdio) -> Result<Running> {
        let name = self.name;
        let mut command = Command::new("sh");
        command.args(["-c", LEASH, "leash", reads, self.stop]).args(&self.command);
        command.current_dir(&self.folder).process_group(0);
        command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
        for (key, value) in &self.env {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        let mut child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        let cord = child.stdin.take();
        let lines = child.stdout.take().map(|stdout| {
            let (sender, lines) = channel();
            thread::spawn(move || {
                // Goes on reading when nobody listens any more: a full pipe would stop the program.
                for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
                    drop(sender.send(line));
                }
            });
            lines
        });
        Ok(Running { name, child, cord, lines, log: self.log })
    }
}

/// A program that runs until this guard is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    child: Child,
    cord: Option<ChildStdin>,
    lines: Option<Receiver<String>>,
    log: Option<PathBuf>,
}

impl Running {
    /// The process id of the program itself: the leash became it.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first line it prints.
    pub(crate) fn first_line(&mut self, limit: Duration) -> Result<String> {
        let lines = self.lines.as_ref().ok_or("output is not read")?;
        lines
            .recv_timeout(limit)
            .map_err(|_| format!("{} printed nothing within {limit:?}{}", self.name, self.tail()).into())
    }

    /// Waits until `ready` says so; an error when the program ends or `limit` passes first.
    pub(crate) fn until(&mut self, limit: Duration, pause: Duration, mut ready: impl FnMut() -> bool) -> Result {
        let deadline = now() + limit;
        while !ready() {
            self.still()?;
            if now() >= deadline {
                return Err(format!("{} was not ready within {limit:?}{}", self.name, self.tail()).into());
            }
            thread::sleep(pause);
        }
        Ok(())
    }

    /// An error once it has ended.
    pub(crate) fn still(&mut self) -> Result {
        match self.child.try_wait()? {
            Some(status) => Err(format!("{} ended early ({status}){}", self.name, self.tail()).into()),
            None => Ok(()),
        }
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if now() >= deadline {
                return Err(format!("{} did not end within {limit:?} and was killed", self.name).into());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits without an end: until it stops by itself.
    pub(crate) fn forever(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    fn success(&self, status: ExitStatus) -> Result {
        if status.success() { Ok(()) } else { Err(format!("{} failed ({status}){}", self.name, self.tail()).into()) }
    }

    /// The end of its log, for an error message.
    pub(crate) fn tail(&self) -> String {
        let Some(path) = &self.log else {
            return String::new();
        };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("; the end of {}:\n{}", path.display(), lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cord = None;
        if self.wait(LAST_WORDS).is_err() {
            // The watcher has already killed the group; this is for the case that it could not even be started.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// A port of loopback that nobody has at this moment. Between this call and its use another program could take it; the
/// start then fails loudly.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[cfg(test)]
mod tests;
