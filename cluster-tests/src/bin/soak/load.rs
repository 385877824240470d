//! What keeps the cluster busy: a thread for each kind of work, each as fast as it is meant
//! to be and no faster, and each leaving nothing behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cluster_tests::{
    Agent, Client, Cluster, DEADLINE, Manager, Ran, launcher, run_until, secret_id,
};

/// The services that stay, named for how they are mounted, and the places of the agents that
/// have them. The second one has FUSE services that come and go, and its mount with them.
const STAY: [(&str, usize); 3] = [("tmpfs", 0), ("tmpfs", 1), ("fuse", 0)];
/// How services that come and go are mounted.
const MOUNTS: [&str; 2] = ["tmpfs", "fuse"];
/// How long a long command runs.
const LONG: Duration = Duration::from_secs(20);
/// Bytes of a value.
const VALUE: usize = 2_000;
/// How long an act waits for its delivery: what a restart holds up is left, and counted.
const PATIENCE: &str = "10s";

/// The kinds of work, and how long a round takes at least.
const KINDS: [(&str, Duration); 7] = [
    ("short commands", Duration::from_secs(1)),
    ("long commands", Duration::from_secs(5)),
    ("opens on tmpfs", Duration::from_millis(200)),
    ("opens on FUSE", Duration::from_millis(200)),
    ("rotations", Duration::from_secs(1)),
    ("grants and revokes", Duration::from_secs(2)),
    ("services made and removed", Duration::from_secs(2)),
];

/// What one kind did.
#[derive(Debug, Default)]
struct Count {
    done: AtomicU64,
    failed: AtomicU64,
    /// Milliseconds from the begin to the last round done.
    last: AtomicU64,
    /// Why the last one failed that did.
    why: Mutex<String>,
}

/// What all kinds did, in the order of [`KINDS`].
#[derive(Debug, Default)]
pub(crate) struct Counts {
    kinds: [Count; KINDS.len()],
    opens: AtomicU64,
    restarts: AtomicU64,
}

/// Rounds done and failed of each kind, and restarts.
pub(crate) type Now = ([(u64, u64); KINDS.len()], u64);

impl Counts {
    pub(crate) fn now(&self) -> Now {
        let of = |count: &Count| {
            (count.done.load(Ordering::Relaxed), count.failed.load(Ordering::Relaxed))
        };
        (self.kinds.each_ref().map(of), self.restarts.load(Ordering::Relaxed))
    }

    /// Opens of FUSE files so far.
    pub(crate) fn opens(&self) -> u64 {
        self.opens.load(Ordering::Relaxed)
    }
}

/// What was done between two looks, as a line.
pub(crate) fn did(before: &Now, now: &Now) -> String {
    let mut words = Vec::new();
    for (((name, _), before), now) in KINDS.iter().zip(&before.0).zip(&now.0) {
        let failed = now.1 - before.1;
        let failed = if failed > 0 { format!(" ({failed} failed)") } else { String::new() };
        words.push(format!("{} {name}{failed}", now.0 - before.0));
    }
    words.push(format!("{} restarts", now.1 - before.1));
    format!("load: {}", words.join(", "))
}

/// Makes what stays during the whole time.
pub(crate) fn furnish(cluster: &Cluster) {
    for name in ["key", "common", "guest"] {
        cluster.secret(name, &[b'x'; VALUE]);
    }
    for (service, nodes) in [("tmpfs", &["node-1", "node-2"][..]), ("fuse", &["node-1"])] {
        let mut words = vec!["service", "create", service, "--mount", service];
        words.extend(nodes.iter().flat_map(|node| ["--node", node]));
        let _ = cluster.ok(&words);
        let _ = cluster.ok(&["service", "grant", service, "key", "common"]);
    }
}

/// Threads at work.
#[derive(Debug)]
pub(crate) struct Load {
    desk: Desk,
    threads: Vec<JoinHandle<()>>,
    /// A command of each service on each node, which runs during the whole time.
    staying: Vec<Child>,
}

impl Load {
    /// Begins.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let agents = cluster.agents.iter().map(|agent: &Agent| (agent.socket(), agent.root()));
        let desk = Desk {
            identity: cluster.identity(),
            hosts: cluster.managers().map(Manager::address).collect(),
            agents: agents.collect(),
            value: cluster.file("value", &[b'y'; VALUE]),
            counts: Arc::default(),
            over: Arc::default(),
            began: Instant::now(),
        };
        let staying = STAY.map(|(service, agent)| desk.looking(agent, service)).into();
        let client = cluster.client(DEADLINE);
        let threads = vec![
            desk.work(0, short),
            desk.work(1, long()),
            desk.work(2, |desk, round| open(desk, round, "tmpfs")),
            desk.work(3, |desk, round| open(desk, round, "fuse")),
            desk.work(4, rotate(client)),
            desk.work(5, grant),
            desk.work(6, make()),
        ];
        Self { desk, threads, staying }
    }

    /// What was done so far.
    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.desk.counts
    }

    /// A process was restarted.
    pub(crate) fn restarted(&self) {
        self.desk.counts.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends it, and answers what is wrong with what was done.
    pub(crate) fn end(mut self) -> Vec<String> {
        self.desk.over.store(true, Ordering::Relaxed);
        let lasted = self.desk.began.elapsed();
        for thread in self.threads {
            thread.join().expect("a load's end");
        }
        println!("\nthe whole load, in {} s:", lasted.as_secs());
        println!("{}", did(&([(0, 0); KINDS.len()], 0), &self.desk.counts.now()));
        let mut troubles = Vec::new();
        for ((name, _), count) in KINDS.iter().zip(&self.desk.counts.kinds) {
            let (done, failed) =
                (count.done.load(Ordering::Relaxed), count.failed.load(Ordering::Relaxed));
            let why = count.why.lock().expect("a reason").clone();
            if failed > 0 {
                println!("the last of {failed} failed {name}: {why}");
            }
            let last = Duration::from_millis(count.last.load(Ordering::Relaxed));
            if failed > done || lasted.saturating_sub(last) > lasted / 3 {
                troubles.push(format!("{name} got stuck: {done} done, {failed} failed; {why}"));
            }
        }
        for child in &mut self.staying {
            if let Ok(Some(status)) = child.try_wait() {
                troubles.push(format!("a command that was to stay ended: {status}"));
            }
            end(child);
        }
        troubles
    }
}

/// Kills a command, and waits for its end.
fn end(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

/// What the threads need to know of the cluster.
#[derive(Clone, Debug)]
struct Desk {
    identity: PathBuf,
    hosts: Vec<String>,
    /// Socket and root of each.
    agents: Vec<(PathBuf, PathBuf)>,
    /// A file with a value.
    value: String,
    counts: Arc<Counts>,
    over: Arc<AtomicBool>,
    began: Instant,
}

impl Desk {
    /// A thread that does one kind of work, round after round.
    fn work(
        &self,
        kind: usize,
        mut round: impl FnMut(&Self, usize) -> Result<(), String> + Send + 'static,
    ) -> JoinHandle<()> {
        let desk = self.clone();
        std::thread::spawn(move || {
            let count = &desk.counts.kinds[kind];
            for number in 0.. {
                if desk.over.load(Ordering::Relaxed) {
                    break;
                }
                let start = Instant::now();
                match round(&desk, number) {
                    Ok(()) => {
                        count.done.fetch_add(1, Ordering::Relaxed);
                        let now = u64::try_from(desk.began.elapsed().as_millis());
                        count.last.store(now.unwrap_or(u64::MAX), Ordering::Relaxed);
                    }
                    Err(why) => {
                        count.failed.fetch_add(1, Ordering::Relaxed);
                        *count.why.lock().expect("a reason") = why;
                    }
                }
                std::thread::sleep(KINDS[kind].1.saturating_sub(start.elapsed()));
            }
        })
    }

    /// The CLI as the admin. It is killed with the calling thread.
    fn skep(&self, words: &[&str]) -> Ran {
        let mut command = launcher().command(words);
        command.env("SKEP_IDENTITY", &self.identity).env("SKEP_HOST", self.hosts.join(","));
        run_until(&mut command, b"", DEADLINE)
    }

    fn ok(&self, words: &[&str]) -> Result<(), String> {
        told(&self.skep(words), words)
    }

    /// A `skep exec` on one of the nodes.
    fn exec(&self, agent: usize, service: &str, line: &str) -> Command {
        let (socket, _) = &self.agents[agent];
        let mut command = launcher().command(["exec", "--agent-socket"]);
        command.arg(socket).args(["--timeout", PATIENCE, "--service", service]);
        command.args(["--", "sh", "-c", line]);
        command
    }

    /// A command that goes on, and reads its files all the time.
    fn looking(&self, agent: usize, service: &str) -> Child {
        let line = "while :; do cat /run/secrets/* >/dev/null 2>&1; sleep 5; done";
        let mut command = self.exec(agent, service, line);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("skep exec")
    }
}

fn told(ran: &Ran, words: &[&str]) -> Result<(), String> {
    let last = ran.err.lines().last().unwrap_or_default();
    if ran.status == 0 { Ok(()) } else { Err(format!("{words:?}: {}: {last}", ran.status)) }
}

/// A command that reads its files and ends.
fn short(desk: &Desk, round: usize) -> Result<(), String> {
    let (service, agent) = STAY[round % STAY.len()];
    let mut command = desk.exec(agent, service, "cat /run/secrets/key /run/secrets/common | wc -c");
    let ran = run_until(&mut command, b"", DEADLINE);
    desk.counts.opens.fetch_add(if service == "fuse" { 2 } else { 0 }, Ordering::Relaxed);
    told(&ran, &["exec"])?;
    let read = ran.out.trim();
    if read == (2 * VALUE).to_string() { Ok(()) } else { Err(format!("{read} bytes were read")) }
}

/// Commands that go on for a while: some at a time, the oldest of which ends. One that
/// met a restart of its agent before it ran ends by itself.
fn long() -> impl FnMut(&Desk, usize) -> Result<(), String> + Send {
    let mut running: Vec<(Child, Instant)> = Vec::new();
    move |desk, round| {
        let before = running.len();
        running.retain_mut(|(child, _)| matches!(child.try_wait(), Ok(None)));
        let early = before - running.len();
        for (mut child, _) in running.extract_if(.., |(_, began)| began.elapsed() > LONG) {
            end(&mut child);
        }
        let (service, agent) = STAY[round % STAY.len()];
        running.push((desk.looking(agent, service), Instant::now()));
        if early == 0 { Ok(()) } else { Err("a long command ended by itself".to_owned()) }
    }
}

/// One open on the host. During a restart a FUSE file is not there.
fn open(desk: &Desk, round: usize, service: &str) -> Result<(), String> {
    let places: Vec<usize> =
        STAY.iter().filter(|(of, _)| *of == service).map(|(_, agent)| *agent).collect();
    let (_, root) = &desk.agents[places[round % places.len()]];
    let path = root.join(service).join("key");
    if service == "fuse" {
        desk.counts.opens.fetch_add(1, Ordering::Relaxed);
    }
    read(&path)
}

fn read(path: &Path) -> Result<(), String> {
    match fs::read(path) {
        Ok(value) if value.len() == VALUE => Ok(()),
        Ok(value) => Err(format!("{}: {} bytes", path.display(), value.len())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// A new version, over one connection that is kept.
fn rotate(mut client: Client) -> impl FnMut(&Desk, usize) -> Result<(), String> + Send {
    let key = secret_id(&client.secret("key").ok().id);
    move |_, round| {
        let value = [if round % 2 == 0 { b'a' } else { b'b' }; VALUE];
        match client.update(&[(key, &value)]) {
            cluster_tests::Outcome::Acknowledged(_) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }
}

/// A grant and its revoke, both waited for.
fn grant(desk: &Desk, round: usize) -> Result<(), String> {
    let words = |act| ["service", act, "--timeout", PATIENCE, MOUNTS[round % 2], "guest"];
    let granted = desk.ok(&words("grant"));
    // Also of what may have been granted.
    let revoked = desk.ok(&words("revoke"));
    granted.and(revoked)
}

/// A secret and a service, made, used and removed. What a restart kept from being removed
/// is removed later.
fn make() -> impl FnMut(&Desk, usize) -> Result<(), String> + Send {
    let mut left: Vec<String> = Vec::new();
    move |desk, round| {
        left.retain(|name| !gone(desk, name));
        let name = format!("made-{round}");
        left.push(name.clone());
        let node = format!("node-{}", round % desk.agents.len() + 1);
        let mount = MOUNTS[round / 2 % 2];
        desk.ok(&["secret", "create", &name, &desk.value])?;
        desk.ok(&["service", "create", &name, "--node", &node, "--mount", mount])?;
        desk.ok(&["service", "grant", "--timeout", PATIENCE, &name, &name])?;
        let line = format!("cat /run/secrets/{name} >/dev/null");
        let ran = run_until(&mut desk.exec(round % desk.agents.len(), &name, &line), b"", DEADLINE);
        desk.counts.opens.fetch_add(u64::from(mount == "fuse"), Ordering::Relaxed);
        let removed = gone(desk, &name);
        left.retain(|other| *other != name || !removed);
        told(&ran, &["exec", "of a made service"])?;
        if removed { Ok(()) } else { Err(format!("{name} was not removed")) }
    }
}

/// Removes a made service and its secret, unless they are gone.
fn gone(desk: &Desk, name: &str) -> bool {
    let absent = |words: &[&str]| {
        let ran = desk.skep(words);
        ran.status == 0 || ran.err.contains("not found")
    };
    absent(&["service", "rm", "--timeout", PATIENCE, name])
        && absent(&["secret", "rm", "--timeout", PATIENCE, name])
}
