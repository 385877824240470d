//! A cluster: a manager, agents, and an operator's identity.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::node::{launcher, now};
use super::process::{Ran, binary, mortal, run, status_of};
use super::{Agent, Manager, until};
use skep::daemon::dev::{self, Launcher, Plan};

/// One manager, some agents, an admin.
#[derive(Debug)]
pub struct Cluster {
    /// The agents; they end before the folder goes.
    pub agents: Vec<Agent>,
    /// The manager that founded the cluster.
    pub manager: Manager,
    /// The managers that joined it: `manager-2`, `manager-3`, …
    pub others: Vec<Manager>,
    folder: TempDir,
}

impl Cluster {
    /// Starts a manager, initialises it, and lets `agents` machines join as `node-1`, `node-2`, …
    ///
    /// # Panics
    /// Where anything of it fails.
    #[must_use]
    pub fn start(agents: usize) -> Self {
        Self::start_with(1, agents)
    }

    /// The same with so many managers; the first of them is the leader at first.
    ///
    /// # Panics
    /// Where anything of it fails.
    #[must_use]
    pub fn start_with(managers: usize, agents: usize) -> Self {
        Self::start_by(&launcher(), managers, agents)
    }

    /// The same with daemons that this one starts.
    ///
    /// # Panics
    /// Where anything of it fails.
    #[must_use]
    pub fn start_by(launcher: &Launcher, managers: usize, agents: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("skep-test-").tempdir().expect("a folder");
        let ports = dev::free_ports(managers).expect("free ports");
        let path = folder.path().canonicalize().expect("the folder");
        let mut plan = Plan::named(&path, "node", &ports, agents).expect("a plan");
        "test".clone_into(&mut plan.cluster);
        plan.keep_mounts = true;
        let started = now(dev::start(&plan, launcher, false, &mut |_| {}));
        let managers = plan.managers.into_iter().zip(started.managers);
        let mut managers =
            managers.map(|(member, process)| Manager::of(member, launcher.clone(), process));
        let manager = managers.next().expect("a manager");
        let others = managers.collect();
        let agents = plan.agents.into_iter().zip(started.agents);
        let agents =
            agents.map(|(member, process)| Agent::of(member, launcher.clone(), process)).collect();
        Self { agents, manager, others, folder }
    }

    /// Lets one more manager join and waits until it votes.
    pub fn join_manager(&mut self, name: &str) -> &mut Manager {
        let token = self.ok(&["join-token", "manager", "-q"]);
        let manager = Manager::start(self.folder.path().join(name));
        let words = ["join", "--name", name, &self.manager.address()];
        let _ = manager.skep_with(&words, token.as_bytes()).ok();
        // A loaded machine may elect it meanwhile.
        until("a voter", || {
            let word = ["follower", "leader"].contains(&manager.state().as_str());
            let votes = || ["follower", "leader"].map(|word| self.managers_as(word)).concat();
            (word && votes().iter().any(|voter| voter == name)).then_some(())
        });
        self.others.push(manager);
        self.others.last_mut().expect("just pushed")
    }

    /// Lets one more manager join that never votes, and waits until it follows.
    pub fn join_learner(&mut self, name: &str) -> &mut Manager {
        let token = self.ok(&["join-token", "manager", "-q"]);
        let manager = Manager::start(self.folder.path().join(name));
        let words = ["join", "--learner", "--name", name, &self.manager.address()];
        let joined = manager.skep_with(&words, token.as_bytes());
        assert!(joined.err.contains("learner"), "{}", joined.err);
        let _ = joined.ok();
        until("a learner", || {
            self.managers_as("learner").iter().any(|one| one == name).then_some(())
        });
        self.others.push(manager);
        self.others.last_mut().expect("just pushed")
    }

    /// Starts a manager that has nothing and joins nobody yet.
    pub fn new_manager(&self, name: &str) -> Manager {
        Manager::start(self.folder.path().join(name))
    }

    /// Starts an agent on a copy of another one's data.
    pub fn copy_agent(&self, number: usize, name: &str) -> Agent {
        let managers = self.managers().map(Manager::address).collect();
        self.agents[number].copied(self.folder.path().join(name), managers)
    }

    /// Names of the managers with this status in `node ls`, as any that answers says.
    #[must_use]
    pub fn managers_as(&self, status: &str) -> Vec<String> {
        let listed = self.skep(&["node", "ls", "--format", "json"]);
        let nodes: Vec<serde_json::Value> =
            listed.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let fits = |node: &&serde_json::Value| {
            node.get("manager_status").and_then(serde_json::Value::as_str) == Some(status)
        };
        let name = |node: &serde_json::Value| node.get("name")?.as_str().map(str::to_owned);
        nodes.iter().filter(fits).filter_map(name).collect()
    }

    /// All managers, the founder first.
    pub fn managers(&self) -> impl Iterator<Item = &Manager> {
        std::iter::once(&self.manager).chain(&self.others)
    }

    /// One of the managers, counted from 0.
    ///
    /// # Panics
    /// Where there are fewer.
    pub fn manager_mut(&mut self, number: usize) -> &mut Manager {
        std::iter::once(&mut self.manager)
            .chain(&mut self.others)
            .nth(number)
            .expect("so many managers")
    }

    /// Waits until one of the managers says that it leads, and answers which.
    #[must_use]
    pub fn leader(&self) -> usize {
        until("a leader", || self.managers().position(|manager| manager.state() == "leader"))
    }

    /// Starts a manager that was killed, and unlocks it.
    pub fn bring_back(&mut self, number: usize) {
        self.manager_mut(number).start_again();
        let key = self.unlock_key().display().to_string();
        let manager = self.manager_mut(number);
        assert_eq!(manager.state(), "locked");
        let _ = manager.skep(&["unlock", "--key-file", &key]).ok();
    }

    /// Lets one more machine join and waits until it is connected.
    pub fn join(&mut self, name: &str, token_flags: &[&str]) -> &mut Agent {
        let agent = self.begin_join(name, token_flags);
        agent.connected();
        agent
    }

    /// Starts the agent of one more machine, which joins with a token of its own.
    pub fn begin_join(&mut self, name: &str, token_flags: &[&str]) -> &mut Agent {
        let words = [&["join-token", "worker", "-q"], token_flags].concat();
        let token = self.ok(&words);
        self.begin_join_by(name, &token)
    }

    /// Starts the agent of one more machine, which joins with this token.
    pub fn begin_join_by(&mut self, name: &str, token: &str) -> &mut Agent {
        let managers = self.managers().map(Manager::address).collect();
        self.agents.push(Agent::start(self.folder.path().join(name), managers, token));
        self.agents.last_mut().expect("just pushed")
    }

    /// The status with which the agent of a machine ends that is refused with this token.
    #[must_use]
    pub fn refused_join(&self, name: &str, token: &str) -> i32 {
        let managers = self.managers().map(Manager::address).collect();
        Agent::refused(self.folder.path().join(name), managers, token)
    }

    /// The temporary folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The admin's identity file.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.folder.path().join("admin.skepid")
    }

    /// The unlock key's file.
    #[must_use]
    pub fn unlock_key(&self) -> PathBuf {
        self.folder.path().join("unlock-key")
    }

    /// A file with this content in the temporary folder.
    ///
    /// # Panics
    /// Where it can't be written.
    #[must_use]
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.display().to_string()
    }

    /// The CLI as the admin, over mTLS.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = mortal(&binary());
        command.args(words).env("SKEP_IDENTITY", self.identity());
        command.env("XDG_CONFIG_HOME", self.folder.path().join("config"));
        if !self.others.is_empty() {
            let hosts: Vec<String> = self.managers().map(Manager::address).collect();
            command.env("SKEP_HOST", hosts.join(","));
        }
        command
    }

    /// Runs the CLI as the admin, over mTLS.
    pub fn skep(&self, words: &[&str]) -> Ran {
        run(&mut self.command(words), b"")
    }

    /// Runs the CLI with something on stdin.
    pub fn skep_with(&self, words: &[&str], input: &[u8]) -> Ran {
        run(&mut self.command(words), input)
    }

    /// Runs the CLI and answers stdout; the status must be 0.
    ///
    /// # Panics
    /// On another status.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> String {
        self.skep(words).ok()
    }

    /// Creates a secret.
    ///
    /// # Panics
    /// Where it is refused.
    #[track_caller]
    pub fn secret(&self, name: &str, value: &[u8]) {
        let _ = self.skep_with(&["secret", "create", name, "-"], value).ok();
    }

    /// Updates a secret and waits for its delivery.
    ///
    /// # Panics
    /// Where it is refused or not delivered.
    #[track_caller]
    pub fn update(&self, name: &str, value: &[u8]) {
        let _ = self.skep_with(&["secret", "update", name, "-"], value).ok();
    }

    /// Creates a service on `node`, granted `secrets`.
    ///
    /// # Panics
    /// Where it is refused.
    #[track_caller]
    pub fn service(&self, name: &str, node: &str, secrets: &[&str]) {
        let _ = self.ok(&["service", "create", name, "--node", node]);
        if !secrets.is_empty() {
            let _ = self.ok(&[&["service", "grant", name], secrets].concat());
        }
    }

    /// Unlocks the manager with the key of `init`.
    pub fn unlock(&self) -> Ran {
        let key = self.unlock_key().display().to_string();
        self.manager.skep(&["unlock", "--key-file", &key])
    }

    /// `kill -9` of the manager, a new start, and unlock.
    ///
    /// # Panics
    /// Where it doesn't come back.
    pub fn crash_manager(&mut self) {
        self.manager.kill();
        self.manager.start_again();
        assert_eq!(self.manager.state(), "locked");
        let _ = self.unlock().ok();
        until("a leader", || (self.manager.state() == "leader").then_some(()));
    }

    /// Starts a shell under `skep exec` that runs a line at a time.
    ///
    /// # Panics
    /// Where it can't be started.
    #[must_use]
    pub fn shell(&self, agent: usize, service: &str) -> Exec {
        Exec::start(&mut self.agents.get(agent).expect("an agent").exec(service, &["sh"]))
    }
}

/// A shell under `skep exec`: one process that goes on running.
#[derive(Debug)]
pub struct Exec {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Exec {
    fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("skep exec");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let mut exec = Self { child, input, output };
        assert_eq!(exec.line("echo up"), "up", "skep exec did not start the shell");
        exec
    }

    /// Runs a line in the shell and answers the first line that it prints.
    ///
    /// # Panics
    /// Where the shell is gone.
    pub fn line(&mut self, line: &str) -> String {
        let input = self.input.as_mut().expect("an open shell");
        writeln!(input, "{line}").and_then(|()| input.flush()).expect("a line written");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("a line read");
        answer.trim_end().to_owned()
    }

    /// Content of a file below `/run/secrets`, or `gone`.
    pub fn read(&mut self, target: &str) -> String {
        self.line(&format!("cat /run/secrets/{target} 2>/dev/null && echo || echo gone"))
    }

    /// Its process id, which is that of the shell.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9` of the shell.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Ends the shell and answers its status.
    ///
    /// # Panics
    /// Where it doesn't end.
    pub fn end(mut self) -> i32 {
        drop(self.input.take());
        status_of(until("the shell's end", || self.child.try_wait().expect("a child")))
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Some(pid), Ok(None)) = (pid, self.child.try_wait()) {
            let _gone_already = kill_process(pid, Signal::KILL);
        }
        drop(self.child.wait());
    }
}
