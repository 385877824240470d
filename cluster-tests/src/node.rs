//! One manager or one agent, as a process of its own.

use std::future::Future;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use skep::daemon::dev::{self, Launcher, Member, Process};
use skep_core::base::Failure;

use super::process::{Ran, binary, mortal, run, status_of};
use super::until;

/// What starts every daemon of a test: each is killed with it.
#[must_use]
pub fn launcher() -> Launcher {
    Launcher::strict(binary())
}

/// Does it in this thread, which what it starts ends with.
#[track_caller]
pub(crate) fn now<T>(work: impl Future<Output = Result<T, Failure>>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.expect("a runtime").block_on(work) {
        Ok(done) => done,
        Err(failure) => panic!("{failure}"),
    }
}

fn started(member: &Member, launcher: &Launcher) -> Process {
    now(async {
        let mut process = launcher.start(member)?;
        dev::up(member, &mut process).await?;
        Ok(process)
    })
}

/// It is not waited for before its fixture does: the number is its own.
fn send(process: Option<&Process>, signal: Signal) {
    let process = process.expect("a running daemon");
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, signal).expect("a signal sent");
}

/// A figure of the kernel's of a process, in KiB: `VmRSS`, `VmHWM`, `RssAnon`.
fn memory(process: Option<&Process>, what: &str) -> u64 {
    let pid = process.expect("a running daemon").id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let figure = line.expect("a line of it").trim().trim_end_matches(" kB");
    figure.parse().expect("a number")
}

fn end_of(process: Option<Process>) -> i32 {
    let mut process = process.expect("a running daemon");
    status_of(until("a daemon's end", || process.ended()))
}

/// A manager process and its folder.
#[derive(Debug)]
pub struct Manager {
    member: Member,
    launcher: Launcher,
    daemon: Option<Process>,
}

impl Manager {
    /// One that runs.
    pub(crate) fn of(member: Member, launcher: Launcher, process: Process) -> Self {
        Self { member, launcher, daemon: Some(process) }
    }

    /// Makes its folder and starts it.
    pub fn start(folder: PathBuf) -> Self {
        let ports = dev::free_ports(1).expect("a free port");
        let member = Member::manager(folder, ports[0]);
        dev::make(&member, true).expect("a folder");
        let mut manager = Self { member, launcher: launcher(), daemon: None };
        manager.start_again();
        manager
    }

    /// Starts it on the data that it left, and waits for its socket.
    pub fn start_again(&mut self) {
        drop(self.daemon.take());
        self.daemon = Some(started(&self.member, &self.launcher));
    }

    /// Stops it and gives it another address, for the next start.
    ///
    /// # Panics
    /// Where its settings can't be written.
    pub fn moves(&mut self) {
        drop(self.daemon.take());
        let ports = dev::free_ports(1).expect("a free port");
        self.member = Member::manager(self.member.folder.clone(), ports[0]);
        dev::make(&self.member, true).expect("its settings");
    }

    /// Changes its settings file, for the next start.
    ///
    /// # Panics
    /// Where it can't be read or written.
    pub fn settings(&self, change: impl FnOnce(String) -> String) {
        let path = self.member.settings();
        let text = std::fs::read_to_string(&path).expect("its settings");
        std::fs::write(path, change(text)).expect("its settings");
    }

    /// The command that runs it.
    #[must_use]
    pub fn command(&self) -> Command {
        self.launcher.daemon(&self.member)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        self.member.address().unwrap_or_default().to_owned()
    }

    /// Its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.member.data()
    }

    /// Its control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.member.socket()
    }

    /// What it logs.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.member.log()
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
        send(self.daemon.as_ref(), Signal::KILL);
    }

    /// Its process id.
    ///
    /// # Panics
    /// Where it doesn't run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("a running daemon").id()
    }

    /// Its memory in KiB, as the kernel calls it: `VmRSS`, `VmHWM`, `RssAnon`.
    #[must_use]
    pub fn memory(&self, what: &str) -> u64 {
        memory(self.daemon.as_ref(), what)
    }

    /// Stops it as it stands; [`Self::resume`] lets it go on.
    pub fn freeze(&self) {
        send(self.daemon.as_ref(), Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        send(self.daemon.as_ref(), Signal::CONT);
    }

    /// Asks it to stop and answers its status.
    pub fn stop(&mut self) -> i32 {
        send(self.daemon.as_ref(), Signal::TERM);
        end_of(self.daemon.take())
    }

    /// Waits until it ends by itself and answers its status.
    pub fn ended(&mut self) -> i32 {
        end_of(self.daemon.take())
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
    member: Member,
    launcher: Launcher,
    daemon: Option<Process>,
}

impl Agent {
    /// One that runs.
    pub(crate) fn of(member: Member, launcher: Launcher, process: Process) -> Self {
        Self { name: member.name.clone(), member, launcher, daemon: Some(process) }
    }

    /// Makes its folder with the token in it.
    fn make(folder: PathBuf, managers: Vec<String>, token: &str) -> Self {
        let member = Member::agent(folder, managers);
        dev::make(&member, true).expect("a folder");
        dev::give_token(&member, token.as_bytes()).expect("a token file");
        Self { name: member.name.clone(), member, launcher: launcher(), daemon: None }
    }

    /// Makes its folder with the token in it, and starts it.
    pub(crate) fn start(folder: PathBuf, managers: Vec<String>, token: &str) -> Self {
        let mut agent = Self::make(folder, managers, token);
        agent.start_again();
        agent
    }

    /// The same for one that is refused: the status with which it ends.
    pub(crate) fn refused(folder: PathBuf, managers: Vec<String>, token: &str) -> i32 {
        let mut agent = Self::make(folder, managers, token);
        agent.daemon = Some(now(async { launcher().start(&agent.member) }));
        agent.ended()
    }

    /// Another one with a copy of its data, as of a copied machine.
    pub(crate) fn copied(&self, folder: PathBuf, managers: Vec<String>) -> Self {
        let member = Member::agent(folder, managers);
        dev::make(&member, true).expect("a folder");
        drop(std::fs::remove_dir(member.data()));
        let copy = Command::new("cp").arg("-a").arg(self.data()).arg(member.data()).status();
        assert!(copy.expect("cp").success(), "a copy of its data");
        let mut copy = Self {
            name: member.name.clone(),
            member,
            launcher: self.launcher.clone(),
            daemon: None,
        };
        copy.start_again();
        copy
    }

    /// Starts it on an empty data directory, with another token.
    ///
    /// # Panics
    /// Where the token can't be written.
    pub fn join_anew(&mut self, token: &str) {
        dev::give_token(&self.member, token.as_bytes()).expect("a token file");
        self.start_again();
    }

    /// Starts it on what it left, and waits for its socket.
    pub fn start_again(&mut self) {
        drop(self.daemon.take());
        self.daemon = Some(started(&self.member, &self.launcher));
    }

    /// Starts it on what it left, and answers the status with which it ends by itself.
    pub fn start_refused(&mut self) -> i32 {
        drop(self.daemon.take());
        self.daemon = Some(now(async { self.launcher.start(&self.member) }));
        self.ended()
    }

    /// The command that runs it.
    #[must_use]
    pub fn command(&self) -> Command {
        self.launcher.daemon(&self.member)
    }

    /// Changes its settings file, for the next start.
    ///
    /// # Panics
    /// Where it can't be read or written.
    pub fn settings(&self, change: impl FnOnce(String) -> String) {
        let path = self.member.settings();
        let text = std::fs::read_to_string(&path).expect("its settings");
        std::fs::write(path, change(text)).expect("its settings");
    }

    /// Where it shows secrets.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.member.root()
    }

    /// A file as the host sees it.
    #[must_use]
    pub fn file(&self, service: &str, target: &str) -> PathBuf {
        self.root().join(service).join(target)
    }

    /// Its local socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.member.socket()
    }

    /// What it logs.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.member.log()
    }

    /// Its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.member.data()
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
            .args(command)
            .env("SKEP_AGENT", self.socket());
        exec
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        drop(self.daemon.take());
    }

    /// Asks it to stop and answers its status.
    pub fn stop(&mut self) -> i32 {
        send(self.daemon.as_ref(), Signal::TERM);
        end_of(self.daemon.take())
    }

    /// Waits until it ends by itself and answers its status.
    pub fn ended(&mut self) -> i32 {
        end_of(self.daemon.take())
    }

    /// Its memory in KiB, as the kernel calls it: `VmRSS`, `VmHWM`, `RssAnon`.
    #[must_use]
    pub fn memory(&self, what: &str) -> u64 {
        memory(self.daemon.as_ref(), what)
    }

    /// Stops it as it stands; [`Self::resume`] lets it go on.
    pub fn freeze(&self) {
        send(self.daemon.as_ref(), Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        send(self.daemon.as_ref(), Signal::CONT);
    }

    /// Whether it says that it has a session.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.skep(&["agent", "status", "--format", "{{.State}}"]).out.trim() == "connected"
    }

    /// Waits until it says that it is connected.
    pub fn connected(&self) {
        until("an agent's session", || self.is_connected().then_some(()));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.daemon.take());
        dev::unmount_below(&self.root());
    }
}
