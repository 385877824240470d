//! A cluster whose managers and agents each have a host of their own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::process::{Ran, binary, run};
use super::{Host, Net, until};

/// The port on which managers listen.
const PORT: u16 = 4440;

/// A manager or an agent on a host.
#[derive(Debug)]
pub struct Member {
    /// Where it runs.
    pub host: Host,
    /// Its name in the cluster.
    pub name: String,
    folder: PathBuf,
    daemon: Option<Child>,
}

impl Member {
    fn new(folder: &Path, name: &str, host: Host) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self { host, name: name.to_owned(), folder, daemon: None }
    }

    fn start(&mut self, before: &[&str], words: &[&str]) {
        let program = binary().display().to_string();
        let words: Vec<&str> = [before, &[&program], words].concat();
        let (first, words) = words.split_first().expect("a program");
        let mut command = self.host.command(first);
        let (data, socket) = (self.folder.join("data"), self.socket());
        command.args(words).arg("--data-dir").arg(data).arg("--socket").arg(socket);
        let log = self.folder.join("log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let also = log.try_clone().expect("the log again");
        command.stdin(Stdio::null()).stdout(log).stderr(also);
        self.daemon = Some(command.spawn().expect("a daemon"));
        until("a daemon's socket", || self.socket().exists().then_some(()));
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            drop(daemon.kill());
            drop(daemon.wait());
        }
    }

    /// Its local socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("sock")
    }

    /// Where an agent shows secrets.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.join("secrets")
    }

    /// A manager's address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{PORT}", self.host.address())
    }

    /// Runs a command on its host, against a manager's own socket.
    pub fn skep(&self, words: &[&str], input: &[u8]) -> Ran {
        let mut command = self.host.command(binary());
        run(command.args(words).arg("--socket").arg(self.socket()), input)
    }

    /// What a manager says of itself.
    #[must_use]
    pub fn status(&self) -> serde_json::Value {
        let ran = self.skep(&["status", "--format", "json"], b"");
        serde_json::from_str(&ran.out).unwrap_or_default()
    }

    /// A manager's state.
    #[must_use]
    pub fn state(&self) -> String {
        self.status()["state"].as_str().unwrap_or_default().to_owned()
    }

    /// An agent's state, its manager and the rest.
    #[must_use]
    pub fn agent(&self) -> serde_json::Value {
        let mut command = self.host.command(binary());
        command.args(["agent", "status", "--format", "json", "--agent-socket"]);
        let ran = run(command.arg(self.socket()), b"");
        serde_json::from_str(&ran.out).unwrap_or_default()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
        skep::daemon::dev::unmount_below(&self.root());
    }
}

/// Three managers, some agents, and a desk from which an operator looks.
#[derive(Debug)]
pub struct Site {
    /// The agents: `node-1`, …
    pub agents: Vec<Member>,
    /// The managers: `manager-1`, …
    pub managers: Vec<Member>,
    /// Where the operator sits.
    pub desk: Host,
    /// The switch between all of them.
    pub net: Net,
    folder: TempDir,
}

impl Site {
    /// Three managers and `agents` agents, all in touch.
    ///
    /// # Panics
    /// Where anything of it fails.
    #[must_use]
    pub fn start(agents: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("skep-site-").tempdir().expect("a folder");
        let mut net = Net::new();
        let desk = net.host();
        let mut site = Self { agents: Vec::new(), managers: Vec::new(), desk, net, folder };
        for number in 1..=3 {
            site.join_manager(&format!("manager-{number}"));
        }
        for number in 1..=agents {
            site.join_agent(&format!("node-{number}"));
        }
        site
    }

    /// The folder of all.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn join_manager(&mut self, name: &str) {
        let first = self.managers.first().map(Member::address);
        let token =
            first.is_some().then(|| self.ok(&["join-token", "manager", "-q", "--uses", "7"]));
        let mut manager = Member::new(self.folder.path(), name, self.net.host());
        let address = manager.address();
        manager.start(&[], &["manager", "run", "--listen", &address, "--advertise", &address]);
        if let (Some(first), Some(token)) = (first, token) {
            let words = ["join", "--name", name, &first];
            let _ = manager.skep(&words, token.as_bytes()).ok();
            until("a follower", || (manager.state() == "follower").then_some(()));
        } else {
            let (identity, key) = (self.path("admin.skepid"), self.path("unlock-key"));
            let words =
                ["init", "--name", "site", "--identity-out", &identity, "--unlock-key-out", &key];
            let _ = manager.skep(&words, b"").ok();
        }
        self.managers.push(manager);
    }

    fn join_agent(&mut self, name: &str) {
        let token = self.ok(&["join-token", "worker", "-q"]);
        std::fs::write(self.path("token"), token).expect("a token");
        let agent = Member::new(self.folder.path(), name, self.net.host());
        self.agents.push(agent);
        let number = self.agents.len() - 1;
        self.start_agent(number, &[]);
        let agent = self.agents.get(number).expect("an agent");
        until("a session", || (agent.agent()["state"] == "connected").then_some(()));
    }

    /// Starts an agent, by a command that runs the command behind it.
    fn start_agent(&mut self, number: usize, before: &[&str]) {
        let file = self.path("token");
        let manager = self.managers.first().expect("a manager").address();
        let agent = self.agents.get_mut(number).expect("an agent");
        let (name, root) = (agent.name.clone(), agent.root().display().to_string());
        let words = ["agent", "run", "--name", &name, "--manager", &manager, "--root", &root];
        agent.start(before, &[&words[..], &["--token-file", &file]].concat());
    }

    /// Kills an agent, and starts it again by a command that runs the command behind it.
    pub fn agent_again(&mut self, number: usize, before: &[&str]) {
        let agent = self.agents.get_mut(number).expect("an agent");
        agent.kill();
        drop(std::fs::remove_file(agent.socket()));
        self.start_agent(number, before);
    }

    /// The CLI as the admin, on a host, to these managers.
    pub fn skep_on(&self, host: &Host, to: &[&Member], words: &[&str], input: &[u8]) -> Ran {
        run(&mut self.command_on(host, to, words), input)
    }

    fn command_on(&self, host: &Host, to: &[&Member], words: &[&str]) -> Command {
        let hosts: Vec<String> = to.iter().map(|manager| manager.address()).collect();
        let mut command = host.command(binary());
        command.args(words).env("SKEP_IDENTITY", self.path("admin.skepid"));
        command.env("SKEP_HOST", hosts.join(","));
        command
    }

    /// The CLI as the admin, at the desk, to all managers.
    pub fn skep(&self, words: &[&str], input: &[u8]) -> Ran {
        let all: Vec<&Member> = self.managers.iter().collect();
        self.skep_on(&self.desk, &all, words, input)
    }

    /// The same; it must succeed.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> String {
        self.skep(words, b"").ok()
    }

    /// Waits until one of these managers leads, and answers its place in `managers`.
    #[must_use]
    pub fn leader_of(&self, among: &[usize]) -> usize {
        until("a leader", || {
            among.iter().copied().find(|number| self.managers[*number].state() == "leader")
        })
    }

    /// Starts a manager that was killed and unlocks it.
    pub fn bring_back(&mut self, number: usize) {
        let key = self.path("unlock-key");
        let manager = self.managers.get_mut(number).expect("a manager");
        drop(std::fs::remove_file(manager.socket()));
        let address = manager.address();
        manager.start(&[], &["manager", "run", "--listen", &address, "--advertise", &address]);
        until("an unlocked manager", || {
            (manager.skep(&["unlock", "--key-file", &key], b"").status == 0).then_some(())
        });
    }
}
