//! What services that come and go leave in an agent.

use std::fs;

use cluster_tests::{Agent, Cluster, processes_of};

/// Services that are made, used and removed.
const SERVICES: usize = 12;
/// KiB that an agent may have more than before: less than one of the buffers in which
/// its threads take the kernel's questions.
const MORE: u64 = 12 * 1024;

/// Its pages that no file backs, in KiB.
fn own_memory(agent: &Agent) -> u64 {
    let data = agent.data();
    let processes = processes_of(data.parent().expect("its folder"));
    let (pid, _) = processes.iter().find(|(_, words)| words.contains("run")).expect("an agent");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Each time the last of them goes, the kernel mount goes with it.
#[test]
fn p11_services_that_came_and_went_leave_no_memory() {
    let cluster = Cluster::start(1);
    let agent = &cluster.agents[0];
    cluster.secret("key", b"value");
    let before = own_memory(agent);
    for round in 0..SERVICES {
        let name = format!("made-{round}");
        let words = ["service", "create", &name, "--node", "node-1", "--mount", "fuse"];
        let _ = cluster.ok(&words);
        let _ = cluster.ok(&["service", "grant", &name, "key"]);
        let read = agent.exec(&name, &["cat", "/run/secrets/key"]).output().expect("skep exec");
        assert_eq!(read.stdout, b"value");
        let _ = cluster.ok(&["service", "rm", &name]);
    }
    let after = own_memory(agent);
    assert!(after < before + MORE, "{before} KiB before, {after} KiB after");
}
