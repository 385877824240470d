//! One manager or one agent, as a process of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::process::{Daemon, Ran, binary, mortal, run};
use super::until;

/// A manager process and its folder.
#[derive(Debug)]
pub struct Manager {
    folder: PathBuf,
    port: u16,
    daemon: Option<Daemon>,
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

impl Manager {
    /// Makes its folder and starts it.
    pub(crate) fn start(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut manager = Self { folder, port: free_port(), daemon: None };
        manager.start_again();
        manager
    }

    /// Starts it on the data that it left, and waits for its socket.
    pub fn start_again(&mut self) {
        drop(self.daemon.take());
        let mut command = self.command();
        self.daemon = Some(Daemon::start(&mut command, &self.log()));
        until("a manager's socket", || {
            self.skep(&["status", "--format", "json"]).out.contains("\"state\"").then_some(())
        });
    }

    /// The command that runs it.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = mortal(&binary());
        let address = self.address();
        command.args(["manager", "run", "--listen", &address, "--advertise", &address]);
        command.arg("--data-dir").arg(self.data()).arg("--socket").arg(self.socket());
        command
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("manager.sock")
    }

    /// What it logs.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Runs the CLI against its control socket.
    pub fn skep(&self, words: &[&str]) -> Ran {
        self.skep_with(words, b"")
    }

    /// Runs the CLI against its control socket with something on stdin.
    pub fn skep_with(&self, words: &[&str], input: &[u8]) -> Ran {
        run(mortal(&binary()).args(words).arg("--socket").arg(self.socket()), input)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        drop(self.daemon.take());
    }

    /// Whether its process was started and not killed since.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.daemon.is_some()
    }

    /// `kill -9` while others talk to it.
    pub fn kill_amid_work(&self) {
        self.daemon.as_ref().expect("a running manager").signal(Signal::KILL);
    }

    /// Stops it as it stands; [`Self::resume`] lets it go on.
    pub fn freeze(&self) {
        self.daemon.as_ref().expect("a running manager").signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.daemon.as_ref().expect("a running manager").signal(Signal::CONT);
    }

    /// Asks it to stop and answers its status.
    pub fn stop(&mut self) -> i32 {
        let mut daemon = self.daemon.take().expect("a running manager");
        daemon.signal(Signal::TERM);
        daemon.wait()
    }

    /// Waits until it ends by itself and answers its status.
    pub fn ended(&mut self) -> i32 {
        self.daemon.take().expect("a running manager").wait()
    }

    /// Its state, as `status` names it.
    #[must_use]
    pub fn state(&self) -> String {
        let status = self.skep(&["status", "--format", "json"]);
        let json: serde_json::Value = serde_json::from_str(&status.out).unwrap_or_default();
        json.get("state").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    }
}

/// An agent process and its folder.
#[derive(Debug)]
pub struct Agent {
    /// Its node name.
    pub name: String,
    folder: PathBuf,
    managers: String,
    daemon: Option<Daemon>,
}

impl Agent {
    /// Makes its folder with the token in it, and starts it.
    pub(crate) fn start(folder: PathBuf, name: &str, managers: &str, token: &str) -> Self {
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("token"), token).expect("a token file");
        let mut agent =
            Self { name: name.to_owned(), folder, managers: managers.to_owned(), daemon: None };
        agent.start_again();
        agent
    }

    /// Starts it on what it left.
    pub fn start_again(&mut self) {
        drop(self.daemon.take());
        let mut command = mortal(&binary());
        command.args(["agent", "run", "--name", &self.name, "--manager", &self.managers]);
        command.arg("--data-dir").arg(self.folder.join("data")).arg("--socket").arg(self.socket());
        command.arg("--root").arg(self.root()).arg("--token-file").arg(self.folder.join("token"));
        self.daemon = Some(Daemon::start(&mut command, &self.log()));
        until("an agent's socket", || (self.skep(&["agent", "status"]).status == 0).then_some(()));
    }

    /// Where it shows secrets.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.join("secrets")
    }

    /// A file as the host sees it.
    #[must_use]
    pub fn file(&self, service: &str, target: &str) -> PathBuf {
        self.root().join(service).join(target)
    }

    /// Its local socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    /// What it logs.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Runs the CLI against its socket.
    pub fn skep(&self, words: &[&str]) -> Ran {
        run(mortal(&binary()).args(words).env("SKEP_AGENT", self.socket()), b"")
    }

    /// A `skep exec` of `command` under `service`, not started yet.
    #[must_use]
    pub fn exec(&self, service: &str, command: &[&str]) -> Command {
        let mut exec = mortal(&binary());
        exec.arg("exec")
            .arg("--agent-socket")
            .arg(self.socket())
            .args(["--service", service, "--"])
            .args(command);
        exec
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        drop(self.daemon.take());
    }

    /// Asks it to stop and answers its status.
    pub fn stop(&mut self) -> i32 {
        let mut daemon = self.daemon.take().expect("a running agent");
        daemon.signal(Signal::TERM);
        daemon.wait()
    }

    /// Waits until it ends by itself and answers its status.
    pub fn ended(&mut self) -> i32 {
        self.daemon.take().expect("a running agent").wait()
    }

    /// Stops it as it stands; [`Self::resume`] lets it go on.
    pub fn freeze(&self) {
        self.daemon.as_ref().expect("a running agent").signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.daemon.as_ref().expect("a running agent").signal(Signal::CONT);
    }

    /// Waits until it says that it is connected.
    pub fn connected(&self) {
        until("an agent's session", || {
            self.skep(&["agent", "status"]).out.contains("connected").then_some(())
        });
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.daemon.take());
        unmount_below(&self.root());
    }
}

/// Takes away what is mounted below a folder, the innermost first.
pub(crate) fn unmount_below(folder: &Path) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut points: Vec<_> = points.filter(|point| point.starts_with(folder)).collect();
    points.reverse();
    for point in points {
        let _gone_already = rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH);
    }
}
