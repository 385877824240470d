//! How managers are locked, end and go.

use std::time::{Duration, Instant};

use cluster_tests::Cluster;

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
