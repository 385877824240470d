//! A machine with an agent and a real container engine that it serves, in namespaces of mounts
//! and processes of their own: what they find in `/run` is theirs alone, and everything that
//! they start or mount ends with the namespaces' first process.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::process::{Ran, binary, mortal, run, run_until, status_of};
use super::{Cluster, DEADLINE, Host, Manager, Net, Site, until};

/// The client of Debian's docker.io, whatever else a machine calls docker.
const DOCKER: &str = "/usr/bin/docker";
/// The first process: with an empty `/run` and, where there is one, an `/etc` of its own; it
/// takes in whose parents have gone.
const FIRST: &str = r#"
if [ -d "$1/etc" ]; then mount --bind "$1/etc" /etc; fi
mount -t tmpfs tmpfs /run
while :; do sleep 1; done
"#;
/// An `/etc` with a user to whose numbers those in containers are mapped.
const ETC: &str = r#"
cp -a /etc "$1/etc"
echo "remapped:x:4242:4242::/:/bin/false" >>"$1/etc/passwd"
echo "remapped:x:4242:" >>"$1/etc/group"
echo "remapped:700000:65536" | tee -a "$1/etc/subuid" >>"$1/etc/subgid"
chmod 0711 "$1" "$1/.."
"#;
/// An image of busybox alone, as root but for its `user` 33.
const IMAGE: &str = r#"
mkdir -p "$1/bin" "$1/run" "$1/tmp"
cp /bin/busybox "$1/bin/busybox"
for name in sh cat ls id sleep stat touch test; do ln -sf busybox "$1/bin/$name"; done
tar -C "$1" -c . > "$1.tar"
"#;
/// What the image is called.
pub const BUSYBOX: &str = "bb";

/// A daemon of the machine, and the process that entered the namespaces to start it.
#[derive(Debug)]
struct Inside(Child);

impl Inside {
    /// The daemon itself, as this machine counts.
    fn pid(&self) -> Option<Pid> {
        let id = self.0.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
    }

    fn send(&self, signal: Signal) {
        let sent = self.pid().is_some_and(|pid| kill_process(pid, signal).is_ok());
        assert!(sent, "a daemon that runs");
    }

    fn end(mut self) -> i32 {
        status_of(until("a daemon's end", || self.0.try_wait().expect("a child")))
    }
}

/// The machine.
#[derive(Debug)]
pub struct DockerHost {
    /// Its node name.
    pub name: String,
    folder: PathBuf,
    managers: Vec<String>,
    /// Its network, where that is its own.
    net: Option<Host>,
    first: Child,
    agent: Option<Inside>,
    engine: Option<Inside>,
    engine_words: Vec<String>,
}

impl DockerHost {
    /// A machine that joins this cluster, with an engine that is told these words more; its
    /// image is there.
    ///
    /// # Panics
    /// Where anything of it fails.
    #[must_use]
    pub fn start(cluster: &Cluster, name: &str, engine_words: &[&str]) -> Self {
        let token = cluster.ok(&["join-token", "worker", "-q"]);
        let managers = cluster.managers().map(Manager::address).collect();
        let folder = cluster.folder().join(name);
        Self::made(folder, (&token, managers), None, engine_words)
    }

    /// The same with users in containers that are others outside.
    ///
    /// # Panics
    /// Where anything of it fails.
    #[must_use]
    pub fn start_remapped(cluster: &Cluster, name: &str) -> Self {
        let folder = cluster.folder().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let _ = run(Command::new("sh").args(["-euc", ETC, "sh"]).arg(&folder), b"").status(0);
        Self::start(cluster, name, &["--userns-remap", "remapped"])
    }

    /// The same with a network of its own, in which a swarm may be founded.
    ///
    /// # Panics
    /// Where anything of it fails.
    #[must_use]
    pub fn start_on(site: &mut Site, name: &str) -> Self {
        let token = site.ok(&["join-token", "worker", "-q"]);
        let managers = site.managers.iter().map(super::Member::address).collect();
        let (folder, net) = (site.folder().join(name), site.net.host());
        Self::made(folder, (&token, managers), Some(net), &[])
    }

    /// A machine of this network with an engine alone, for a swarm of several.
    ///
    /// # Panics
    /// Where anything of it fails.
    #[must_use]
    pub fn without_agent(net: &mut Net, folder: &Path, name: &str) -> Self {
        let mut host = Self::empty(folder.join(name), Vec::new(), Some(net.host()), &[]);
        host.start_engine();
        host.import_image();
        host
    }

    fn made(
        folder: PathBuf,
        (token, managers): (&str, Vec<String>),
        net: Option<Host>,
        engine_words: &[&str],
    ) -> Self {
        let mut host = Self::empty(folder, managers, net, engine_words);
        fs::write(host.folder.join("token"), token).expect("a token");
        host.start_agent();
        host.connected();
        host.start_engine();
        host.import_image();
        host
    }

    /// Nothing runs on it yet.
    fn empty(
        folder: PathBuf,
        managers: Vec<String>,
        net: Option<Host>,
        engine_words: &[&str],
    ) -> Self {
        fs::create_dir_all(&folder).expect("a folder");
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let engine_words = engine_words.iter().map(|word| (*word).to_owned()).collect();
        let first = first(&folder);
        Self { name, folder, managers, net, first, agent: None, engine: None, engine_words }
    }

    fn import_image(&self) {
        let root = self.folder.join("image");
        let _ = run(Command::new("sh").args(["-euc", IMAGE, "sh"]).arg(&root), b"").status(0);
        let tar = root.with_extension("tar").display().to_string();
        let _ = self.ok(&["import", &tar, BUSYBOX]);
    }

    fn at(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// A program on this machine.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let id = self.first.id();
        let children = format!("/proc/{id}/task/{id}/children");
        let inner = until("the machine's first process", || {
            let children = fs::read_to_string(&children).ok()?;
            let inner: u32 = children.split_whitespace().next()?.parse().ok()?;
            // It has mounted what is its own.
            let mounts = fs::read_to_string(format!("/proc/{inner}/mounts")).ok()?;
            mounts.contains("tmpfs /run tmpfs").then_some(inner)
        });
        let nsenter = Path::new("nsenter");
        let mut command =
            self.net.as_ref().map_or_else(|| mortal(nsenter), |net| net.command(nsenter));
        command.arg(format!("--mount=/proc/{inner}/ns/mnt"));
        command.arg(format!("--pid=/proc/{inner}/ns/pid")).arg("--").arg(program.as_ref());
        command
    }

    fn daemon(&self, mut command: Command, log: &str) -> Inside {
        let mut options = OpenOptions::new();
        let log = options.create(true).append(true).open(self.folder.join(log)).expect("a log");
        let also: File = log.try_clone().expect("the log again");
        command.stdin(Stdio::null()).stdout(log).stderr(also);
        Inside(command.spawn().expect("a daemon"))
    }

    /// Starts its agent on what it left, and waits for its socket.
    ///
    /// # Panics
    /// Where it doesn't start.
    pub fn start_agent(&mut self) {
        let mut command = self.command(binary());
        command.args(["agent", "run", "--name", &self.name, "--docker"]);
        for manager in &self.managers {
            command.arg("--manager").arg(manager);
        }
        command.arg("--docker-engine").arg(self.docker_socket());
        command.arg("--token-file").arg(self.folder.join("token"));
        command.arg("--data-dir").arg(self.folder.join("agent")).arg("--socket").arg(self.socket());
        self.agent = Some(self.daemon(command, "agent.log"));
        until("an agent", || (self.status()["state"].is_string()).then_some(()));
    }

    /// Starts its engine on what it left, and waits until it answers.
    ///
    /// # Panics
    /// Where it doesn't.
    pub fn start_engine(&mut self) {
        let mut command = self.command("dockerd");
        command.arg("--host").arg(format!("unix://{}", self.docker_socket().display()));
        for (word, name) in [("data-root", "data"), ("exec-root", "state"), ("pidfile", "pid")] {
            command.arg(format!("--{word}")).arg(self.folder.join(name));
        }
        command.args(["--iptables=false", "--bridge=none"]).args(&self.engine_words);
        self.engine = Some(self.daemon(command, "docker.log"));
        until("an engine", || (self.docker(&["version"]).status == 0).then_some(()));
    }

    /// `kill -9` of its agent.
    pub fn kill_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.send(Signal::KILL);
            let _killed = agent.end();
        }
    }

    /// Asks its agent to stop, and answers its status.
    ///
    /// # Panics
    /// Where it doesn't run.
    pub fn stop_agent(&mut self) -> i32 {
        let agent = self.agent.take().expect("an agent");
        agent.send(Signal::TERM);
        agent.end()
    }

    /// `kill -9` of its engine.
    pub fn kill_engine(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.send(Signal::KILL);
            let _killed = engine.end();
            drop(fs::remove_file(self.folder.join("pid")));
        }
    }

    /// Asks its engine to stop, and waits for that.
    pub fn stop_engine(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.send(Signal::TERM);
            let _status = engine.end();
        }
    }

    /// The machine stops at once and starts again without daemons: what was in memory is gone.
    ///
    /// # Panics
    /// Where it doesn't start.
    pub fn power_cut(&mut self) {
        end_first(&mut self.first);
        for daemon in [self.agent.take(), self.engine.take()].into_iter().flatten() {
            let _killed = daemon.end();
        }
        drop(fs::remove_file(self.folder.join("pid")));
        // Elsewhere this is below /run.
        drop(fs::remove_dir_all(self.folder.join("state")));
        self.first = first(&self.folder);
    }

    /// Its address, where it has a network of its own.
    ///
    /// # Panics
    /// Where it has none.
    #[must_use]
    pub fn address(&self) -> String {
        self.net.as_ref().expect("a network of its own").address()
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The agent's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    /// The engine's socket.
    #[must_use]
    pub fn docker_socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    /// The engine's process, as this machine counts.
    ///
    /// # Panics
    /// Where it doesn't run.
    #[must_use]
    pub fn engine_pid(&self) -> u32 {
        let pid = self.engine.as_ref().and_then(Inside::pid).expect("an engine that runs");
        u32::try_from(pid.as_raw_nonzero().get()).expect("a pid")
    }

    /// What its agent says of itself.
    #[must_use]
    pub fn status(&self) -> serde_json::Value {
        let mut command = mortal(&binary());
        command.args(["agent", "status", "--format", "json", "--agent-socket"]);
        let ran = run(command.arg(self.socket()), b"");
        serde_json::from_str(&ran.out).unwrap_or_default()
    }

    /// Waits until its agent has a session.
    pub fn connected(&self) {
        until("an agent's session", || (self.status()["state"] == "connected").then_some(()));
    }

    /// How many workloads its agent counts for a service.
    #[must_use]
    pub fn workloads(&self, service: &str) -> u64 {
        let status = self.status();
        let services = status["services"].as_array().cloned().unwrap_or_default();
        let of = services.iter().find(|one| one["name"] == service);
        of.and_then(|one| one["workloads"].as_u64()).unwrap_or_default()
    }

    /// Waits until its agent counts so many.
    pub fn counts(&self, service: &str, wanted: u64) {
        until("a number of workloads", || (self.workloads(service) == wanted).then_some(()));
    }

    /// Docker's own client.
    #[must_use]
    pub fn docker(&self, words: &[&str]) -> Ran {
        run_until(&mut self.docker_command(words), b"", DEADLINE)
    }

    /// The same, not started.
    #[must_use]
    pub fn docker_command(&self, words: &[&str]) -> Command {
        let mut command = mortal(Path::new(DOCKER));
        command.arg("--host").arg(format!("unix://{}", self.docker_socket().display()));
        command.arg("--config").arg(self.at("no-config")).args(words);
        command
    }

    /// The same; it must succeed.
    ///
    /// # Panics
    /// Where it doesn't.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> String {
        self.docker(words).ok()
    }

    /// `docker run` of a container with a service's secrets, without a network.
    #[must_use]
    pub fn run(&self, service: &str, flags: &[&str], words: &[&str]) -> Ran {
        let mount =
            format!("type=volume,volume-driver=skep,src={service},dst=/run/secrets,readonly");
        let first = ["run", "--network", "none", "--mount", &mount];
        self.docker(&[&first, flags, &[BUSYBOX], words].concat())
    }

    /// The same for one that goes on; its name.
    ///
    /// # Panics
    /// Where it isn't started.
    #[track_caller]
    pub fn goes_on(&self, service: &str, name: &str, flags: &[&str]) {
        let flags = [&["-d", "--name", name, "--init=false"], flags].concat();
        let _ = self.run(service, &flags, &["sleep", "1000000"]).ok();
    }

    /// A file as a container reads it; empty where it can't.
    #[must_use]
    pub fn read(&self, container: &str, target: &str) -> String {
        self.docker(&["exec", container, "cat", &format!("/run/secrets/{target}")]).out
    }

    /// Waits until a container reads this.
    pub fn reads(&self, container: &str, target: &str, wanted: &str) {
        until("what a container reads", || (self.read(container, target) == wanted).then_some(()));
    }

    /// Waits until a container is in this state.
    pub fn is(&self, container: &str, state: &str) {
        until("a container's state", || {
            let ran = self.docker(&["inspect", "--format", "{{.State.Status}}", container]);
            (ran.out.trim() == state).then_some(())
        });
    }
}

fn first(folder: &Path) -> Child {
    let mut command = mortal(Path::new("unshare"));
    command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"]);
    command.args(["--kill-child", "--", "sh", "-euc", FIRST, "sh"]).arg(folder);
    // It says there how its child was killed, too.
    let log = File::create(folder.join("first.log")).expect("a log");
    command.stdin(Stdio::null()).stderr(log).spawn().expect("namespaces")
}

/// The inner one goes before the one that waits for it, so that nothing of it stays.
fn end_first(first: &mut Child) {
    let id = first.id();
    let inner = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let inner = inner.ok().and_then(|ids| ids.trim().parse().ok()).and_then(Pid::from_raw);
    let is_sent = inner.is_some_and(|inner| kill_process(inner, Signal::KILL).is_ok());
    if !is_sent {
        drop(first.kill());
    }
    drop(first.wait());
}

impl Drop for DockerHost {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in ["agent.log", "docker.log"] {
                let said = fs::read_to_string(self.folder.join(log)).unwrap_or_default();
                let lines: Vec<&str> = said.lines().rev().take(40).collect();
                let lines: Vec<&str> = lines.into_iter().rev().collect();
                println!("---- {} {log}\n{}", self.name, lines.join("\n"));
            }
        }
        end_first(&mut self.first);
        for daemon in [self.agent.take(), self.engine.take()].into_iter().flatten() {
            let mut daemon = daemon;
            drop(daemon.0.kill());
            drop(daemon.0.wait());
        }
    }
}
