//! How managers are locked, end and go.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use cluster_tests::{Cluster, until};

/// Less than the time that streams are given to end by themselves.
const PROMPTLY: Duration = Duration::from_secs(4);

#[test]
fn a_manager_with_connected_agents_is_locked_and_ends_at_once() {
    let mut cluster = Cluster::start(2);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("db"), "one");
    let start = Instant::now();
    let _ = cluster.manager.skep(&["lock"]).ok();
    assert!(start.elapsed() < PROMPTLY, "lock took {:?}", start.elapsed());
    assert_eq!(cluster.manager.state(), "locked");
    assert!(start.elapsed() < PROMPTLY, "locked after {:?}", start.elapsed());
    let _ = cluster.unlock().ok();
    for agent in &cluster.agents {
        agent.connected();
    }
    let start = Instant::now();
    assert_eq!(cluster.manager.stop(), 0);
    assert!(start.elapsed() < PROMPTLY, "it ended after {:?}", start.elapsed());
}

/// Which of the managers has this name in the cluster.
fn number_of(name: &str) -> usize {
    name.strip_prefix("manager-").and_then(|n| n.parse::<usize>().ok()).map_or(0, |n| n - 1)
}

#[test]
fn a_manager_that_removes_itself_says_so_and_ends() {
    let mut cluster = Cluster::start_with(3, 0);
    for standing in ["leader", "follower"] {
        let name = until("one that is it", || cluster.managers_as(standing).pop());
        let manager = cluster.manager_mut(number_of(&name));
        let ran = manager.skep(&["node", "rm", &name]);
        assert_eq!(ran.status, 0, "{standing}: {} {}", ran.out, ran.err);
        assert_eq!(manager.ended(), 24);
        let listed = cluster.ok(&["node", "ls", "--format", "{{.Name}}"]);
        assert!(!listed.lines().any(|listed| listed == name), "{listed}");
    }
}

#[test]
fn from_afar_a_locked_manager_is_told_from_a_dead_one() {
    let mut cluster = Cluster::start(1);
    let host = cluster.manager.address();
    let words = ["secret", "ls", "--host", &host, "--timeout", "5s"];
    let _ = cluster.manager.skep(&["lock"]).ok();
    let ran = cluster.skep(&words).status(3);
    assert!(
        ran.err.contains(&format!("{host}: says that it is locked (not proven)")),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("hint: `skep unlock` on its machine"), "{}", ran.err);
    // Whoever only waits there keeps nobody from hearing it, nor the manager from its port.
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(&host)).collect();
    until("it to be told again", || {
        cluster.skep(&words).err.contains("says that it is locked").then_some(())
    });
    let _ = cluster.unlock().ok();
    drop(silent);
    let _ = cluster.skep(&words).ok();
    cluster.agents[0].connected();
    cluster.manager.kill();
    let ran = cluster.skep(&words).status(3);
    assert!(!ran.err.contains("locked"), "{}", ran.err);
}

#[test]
fn a_command_that_is_repeated_says_so_and_what_answers_meanwhile() {
    let mut cluster = Cluster::start_with(2, 0);
    let host = cluster.manager.address();
    let asked = cluster.skep(&["secret", "ls", "--host", &host]);
    assert!(!asked.err.contains("still trying"), "{}", asked.err);
    cluster.manager_mut(1).kill();
    let words = ["secret", "ls", "--host", &host, "--timeout", "6s"];
    let ran = until("it to lose its majority", || {
        let ran = cluster.skep(&words);
        (ran.status == 3).then_some(ran)
    });
    assert!(ran.err.contains("still trying, for 6s in all: "), "{}", ran.err);
    let hint = "hint: commands that show things answer without a leader with --stale";
    assert!(ran.err.contains(hint), "{}", ran.err);
    let _ = cluster.skep(&["secret", "ls", "--host", &host, "--stale"]).ok();
}
