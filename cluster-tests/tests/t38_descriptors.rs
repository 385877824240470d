//! P11: daemons that may have few descriptors. Whoever connects, and however often, a
//! manager goes on writing its log and an agent goes on delivering; too few are refused at
//! the start.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, UnixStream};

use cluster_tests::rpc::{identity, runtime, tls};
use cluster_tests::{
    Client, Cluster, DEADLINE, Manager, binary, crossing, processes_of, run_until, until,
};
use skep::daemon::dev::Launcher;
use skep_client::machine::SystemClock;
use skep_client::transport::{ClientTls, Expect, connect};

/// What a shell usually gives.
const USUAL: u32 = 1_024;
/// Connections of one kind to one daemon, held or tried again at any time.
const EACH: u32 = 220;
/// How long one is held before it is made anew.
const HELD: Duration = Duration::from_secs(4);
/// Bytes of a value: some thirty fill a segment of the log.
const VALUE: usize = 500_000;

/// A launcher whose daemons may have so many descriptors, also if they ask for more.
fn launcher(folder: &tempfile::TempDir, most: u32) -> Launcher {
    let script = folder.path().join("skep");
    let text = format!(
        "#!/bin/sh\n\
         case \"$1 $2\" in 'manager run'|'agent run') ulimit -n {most};; esac\n\
         exec {} \"$@\"\n",
        binary().display()
    );
    fs::write(&script, text).expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a mode");
    Launcher::strict(script)
}

/// The process of a daemon with this folder, and which runs these words.
fn pid(folder: &Path, words: &str) -> u32 {
    let processes = processes_of(folder);
    processes.into_iter().find(|(_, line)| line.contains(words)).expect("a daemon").0
}

fn manager_pid(manager: &Manager) -> u32 {
    pid(manager.data().parent().expect("its folder"), "manager")
}

fn descriptors(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |all| all.count() as u64)
}

fn limits(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).expect("its limits");
    let line = text.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    line.split_whitespace().skip(3).take(2).map(str::to_owned).collect()
}

/// The number of the newest segment of a manager's log.
fn segment(manager: &Manager) -> u64 {
    let names = fs::read_dir(manager.data().join("log")).expect("a log");
    let number = |name: String| name.strip_suffix(".seg")?.parse().ok();
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(number).max().expect("a segment")
}

/// Writes secrets that fill segments until `enough`.
fn fill(client: &mut Client, name: &str, enough: impl Fn() -> bool) {
    let value = vec![7; VALUE];
    let start = Instant::now();
    let mut number = 0;
    while !enough() {
        assert!(start.elapsed() < 4 * DEADLINE, "no new segment after {number} secrets");
        let _ = client.create(&format!("{name}-{number}"), &value).ok();
        number += 1;
    }
}

/// A connection to a port of this machine, from an address that is no other's.
async fn from(source: u8, to: SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((IpAddr::from(Ipv4Addr::new(127, 8, source, 1)), 0)))?;
    socket.connect(to).await
}

/// Holds a connection, makes another, and so on.
async fn again<F: Future<Output = Option<T>>, T>(mut connecting: impl FnMut() -> F) {
    loop {
        let held = connecting().await;
        let rest = if held.is_some() { HELD } else { HELD / 40 };
        tokio::time::sleep(rest).await;
        drop(held);
    }
}

/// Somebody who never says a word, on a port.
fn silent(to: SocketAddr) {
    for number in 0..EACH {
        let source = u8::try_from(number % 40).expect("few");
        tokio::spawn(again(move || async move { from(source, to).await.ok() }));
    }
}

/// Somebody with these credentials who asks for nothing.
async fn idle(to: SocketAddr, who: &ClientTls) {
    let mut doors = Vec::new();
    for source in 0..16 {
        doors.push(crossing(to, Ipv4Addr::new(127, 8, 100 + source, 1)).await.to_string());
    }
    for (_, door) in (0..EACH).zip(doors.iter().cycle()) {
        let (door, who) = (door.clone(), who.clone());
        tokio::spawn(again(move || {
            let (door, who) = (door.clone(), who.clone());
            async move { connect(&door, &who, Expect::AnyManager, DEADLINE).await.ok() }
        }));
    }
}

/// Somebody on this machine who never says a word.
fn local(socket: &Path) {
    for _ in 0..EACH {
        let socket = socket.to_owned();
        tokio::spawn(again(move || {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.ok() }
        }));
    }
}

/// Looks how many descriptors processes have, until it is told to end; answers the most.
fn watch(pids: &[u32], end: &AtomicBool, now: &AtomicU64) -> u64 {
    let mut most = 0;
    while !end.load(Ordering::Relaxed) {
        let least = pids.iter().map(|pid| descriptors(*pid)).inspect(|count| {
            most = most.max(*count);
        });
        now.store(least.min().unwrap_or(0), Ordering::Relaxed);
        std::thread::park_timeout(Duration::from_millis(20));
    }
    most
}

#[test]
fn p11_managers_with_1024_descriptors_go_on_whoever_connects() {
    let _ = skep::host::raise_open_files().expect("descriptors for the attackers");
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start_by(&launcher(&folder, USUAL), 3, 1);
    let pids: Vec<u32> = cluster.managers().map(manager_pid).collect();
    for pid in &pids {
        assert_eq!(limits(*pid), [USUAL.to_string(), USUAL.to_string()]);
    }
    let mut client = cluster.client(DEADLINE);
    let _ = client.create("first", b"v").ok();
    let admin = identity(&cluster.identity());
    let node = identity(&cluster.agents[0].data().join("identity"));
    let anonymous = ClientTls::anonymous(admin.fingerprint, Arc::new(SystemClock));
    let begun: Vec<u64> = cluster.managers().map(segment).collect();
    let (end, now) = (AtomicBool::new(false), AtomicU64::new(0));
    let most = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&pids, &end, &now));
        let runtime = runtime();
        for manager in cluster.managers() {
            let to: SocketAddr = manager.address().parse().expect("an address");
            let socket = manager.socket();
            let who = [anonymous.clone(), tls(&admin), tls(&node)];
            runtime.spawn(async move {
                local(&socket);
                silent(to);
                for who in &who {
                    idle(to, who).await;
                }
            });
        }
        // Each manager has many of every kind by now.
        until("a flood", || (now.load(Ordering::Relaxed) > 350).then_some(()));
        let all_rolled =
            || cluster.managers().zip(&begun).all(|(manager, begun)| segment(manager) >= begun + 2);
        fill(&mut client, "amid", all_rolled);
        runtime.shutdown_background();
        end.store(true, Ordering::Relaxed);
        watching.join().expect("who watches")
    });
    println!("{most} descriptors at most");
    assert!(most < u64::from(USUAL), "{most}");
    for manager in cluster.managers() {
        until("a control socket that answers again", || {
            ["leader", "follower"].contains(&manager.state().as_str()).then_some(())
        });
    }
    let now: Vec<u32> = cluster.managers().map(manager_pid).collect();
    assert_eq!(now, pids, "nobody was started anew");
    cluster.secret("last", b"v");
}

/// Sets the limit of a running process.
fn set_limit(pid: u32, most: u32) {
    let limit = format!("--nofile={most}:{USUAL}");
    let pid = format!("--pid={pid}");
    let _ = cluster_tests::run(Command::new("prlimit").args([pid, limit]), b"").ok();
}

#[test]
fn p11_a_segment_begins_although_no_descriptor_is_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start_by(&launcher(&folder, USUAL), 1, 0);
    let mut client = cluster.client(DEADLINE);
    let _ = client.create("first", b"v").ok();
    let pid = manager_pid(&cluster.manager);
    for round in 0..2 {
        // A small secret more, and the file of the next segment is there.
        let _ = client.create(&format!("small-{round}"), b"v").ok();
        let ahead = cluster.manager.data().join("log/next.tmp");
        until("the next segment", || ahead.exists().then_some(()));
        let begun = segment(&cluster.manager);
        // Below what it has open: it gets none, whatever it gives up.
        set_limit(pid, 3);
        fill(&mut client, &format!("round-{round}"), || segment(&cluster.manager) > begun);
        assert!(!ahead.exists(), "there was a descriptor for it");
        set_limit(pid, USUAL);
    }
    assert_eq!(manager_pid(&cluster.manager), pid);
    assert_eq!(cluster.manager.state(), "leader");
}

#[test]
fn p11_too_few_descriptors_are_refused_with_a_line_and_a_hint() {
    let cluster = Cluster::start(1);
    let (manager, agent) = (&cluster.manager, &cluster.agents[0]);
    for (command, folder) in [(manager.command(), manager.data()), (agent.command(), agent.data())]
    {
        let folder = folder.parent().expect("its folder").to_owned();
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -n 255; exec \"$0\" \"$@\""]).arg(binary()).args(words);
        let ran = run_until(&mut limited, b"", DEADLINE).status(26);
        let lines: Vec<&str> = ran.err.lines().collect();
        let said = format!("{}: {}", folder.display(), ran.err);
        assert!(lines.iter().any(|line| line.contains("the limit of open files is 255")), "{said}");
        assert!(
            lines.iter().any(|line| line.starts_with("hint: ") && line.contains("LimitNOFILE"))
        );
    }
}

/// The first service's file as the host sees it.
fn shown(file: &PathBuf) -> Option<Vec<u8>> {
    fs::read(file).ok()
}

#[test]
fn p11_an_agent_with_1024_descriptors_delivers_whoever_connects() {
    let _ = skep::host::raise_open_files().expect("descriptors for the attackers");
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start_by(&launcher(&folder, USUAL), 1, 1);
    let agent = &cluster.agents[0];
    let agent_pid = pid(agent.data().parent().expect("its folder"), "agent");
    assert_eq!(limits(agent_pid), [USUAL.to_string(), USUAL.to_string()]);
    cluster.secret("s", b"0");
    let placed = ["service", "create", "web", "--node", "node-1", "--activation", "placed"];
    let _ = cluster.ok(&placed);
    let _ = cluster.ok(&["service", "grant", "web", "s"]);
    let file = agent.file("web", "s");
    until("a file", || (shown(&file)? == b"0").then_some(()));
    let (end, now) = (AtomicBool::new(false), AtomicU64::new(0));
    let before = descriptors(agent_pid);
    let most = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&[agent_pid], &end, &now));
        let runtime = runtime();
        let socket = agent.socket();
        runtime.spawn(async move {
            for _ in 0..3 {
                local(&socket);
            }
        });
        until("a flood", || (now.load(Ordering::Relaxed) > before + 90).then_some(()));
        for number in 1..12 {
            let value = number.to_string();
            cluster.update("s", value.as_bytes());
            assert_eq!(shown(&file).expect("a file"), value.as_bytes());
        }
        let _ = cluster.ok(&["service", "revoke", "web", "s"]);
        assert_eq!(shown(&file), None);
        let _ = cluster.ok(&["service", "grant", "web", "s"]);
        until("a file again", || (shown(&file)? == b"11").then_some(()));
        runtime.shutdown_background();
        end.store(true, Ordering::Relaxed);
        watching.join().expect("who watches")
    });
    println!("{most} descriptors at most");
    assert!(most < u64::from(USUAL), "{most}");
    agent.connected();
    assert_eq!(pid(agent.data().parent().expect("its folder"), "agent"), agent_pid);
}
