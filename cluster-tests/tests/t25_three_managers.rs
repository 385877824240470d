//! Three managers: what was acknowledged outlives the loss of any one of them,
//! and workloads don't notice.

use std::sync::atomic::{AtomicBool, Ordering};

use cluster_tests::{Cluster, until};

fn content(path: &std::path::Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[test]
fn managers_join_and_any_of_them_is_asked() {
    let mut cluster = Cluster::start_with(3, 0);
    assert_eq!(cluster.managers_as("leader").len(), 1);
    assert_eq!(cluster.managers_as("follower"), ["manager-2", "manager-3"]);
    let hosts: Vec<String> = cluster.managers().map(cluster_tests::Manager::address).collect();
    for (number, host) in hosts.iter().enumerate() {
        let name = format!("s{number}");
        let words = ["secret", "create", &name, "-", "--host", host];
        let _ = cluster.skep_with(&words, b"v").ok();
    }
    let listed = cluster.ok(&["secret", "ls", "--format", "{{.Name}}"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");

    // A follower's socket asks the leader by itself.
    let listed = cluster.manager_mut(1).skep(&["secret", "ls", "--format", "{{.Name}}"]).ok();
    assert_eq!(listed.lines().count(), 3, "{listed}");

    let leader = cluster.leader();
    let _ = cluster.ok(&["manager", "step-down"]);
    assert_ne!(cluster.leader(), leader);
    let _ = cluster.skep_with(&["secret", "create", "later", "-"], b"v").ok();
    let next = if cluster.leader() == 1 { 2 } else { 1 };
    let _ = cluster.ok(&["manager", "step-down", "--to", &format!("manager-{}", next + 1)]);
    assert_eq!(cluster.leader(), next);
    let refused = cluster.skep(&["manager", "step-down", "--to", "nobody"]).status(1);
    assert!(refused.err.contains("not found"), "{}", refused.err);
}

#[test]
fn p3_a_killed_leader_is_replaced_and_comes_back() {
    let mut cluster = Cluster::start_with(3, 1);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("db"), "one");
    let file = cluster.agents[0].file("web", "db");
    assert_eq!(content(&file).as_deref(), Some("one"));

    let over = AtomicBool::new(false);
    let leader = cluster.leader();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !over.load(Ordering::Relaxed) {
                let seen = content(&file);
                assert!(matches!(seen.as_deref(), Some("one" | "two")), "{seen:?}");
                reads += 1;
            }
            reads
        });
        cluster.manager_mut(leader).kill();
        let written = cluster.skep_with(&["secret", "update", "db", "-"], b"two");
        over.store(true, Ordering::Relaxed);
        let _ = written.ok();
        assert!(reader.join().expect("files never flicker") > 0);
    });
    assert_eq!(shell.read("db"), "two", "delivered when the command returns");

    cluster.bring_back(leader);
    until("the lost manager's return", || {
        (cluster.managers_as("follower").len() == 2).then_some(())
    });
    let manager = cluster.manager_mut(leader);
    assert_eq!(manager.state(), "follower");

    // It has caught up: with it and one more there is a majority that knows all.
    let next = cluster.leader();
    cluster.manager_mut(next).kill();
    let versions = cluster.ok(&["secret", "versions", "db", "--format", "json"]);
    assert!(versions.contains('2'), "{versions}");
    assert_eq!(shell.read("db"), "two");
    assert_eq!(shell.end(), 0);
}

#[test]
fn p4_a_revoke_stays_pending_under_the_next_leader() {
    let mut cluster = Cluster::start_with(3, 1);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("db"), "one");
    cluster.agents[0].freeze();
    let late = cluster.skep(&["service", "revoke", "web", "db", "--timeout", "2s"]);
    assert_eq!(late.status, 5, "{}", late.err);
    let leader = cluster.leader();
    cluster.manager_mut(leader).kill();
    until("the pending pair under another leader", || {
        let holders = cluster.skep(&["secret", "holders", "db"]);
        (holders.status == 0 && holders.out.contains("pending")).then_some(())
    });
    assert_eq!(shell.read("db"), "one", "a frozen agent can't take it away");
    cluster.agents[0].resume();
    until("the wipe", || (shell.read("db") == "gone").then_some(()));
    until("its confirmation", || {
        let holders = cluster.skep(&["secret", "holders", "db"]);
        (holders.status == 0 && !holders.out.contains("pending")).then_some(())
    });
}

#[test]
fn p3_p7_all_managers_killed_come_back_and_workloads_keep_their_files() {
    let mut cluster = Cluster::start_with(3, 1);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    let mut shell = cluster.shell(0, "web");
    for number in 0..3 {
        cluster.manager_mut(number).kill();
    }
    assert_eq!(shell.read("db"), "one");

    // One alone is no majority: nothing is done, and workloads go on.
    cluster.bring_back(2);
    let file = cluster.file("value", b"two");
    let refused = cluster.skep(&["secret", "update", "db", &file, "--timeout", "3s"]).status(3);
    assert!(!refused.err.is_empty());
    assert_eq!(shell.read("db"), "one");

    cluster.bring_back(0);
    cluster.update("db", b"two");
    until("the new value", || (shell.read("db") == "two").then_some(()));
    cluster.bring_back(1);
    until("three managers", || (cluster.managers_as("follower").len() == 2).then_some(()));
    assert_eq!(cluster.ok(&["secret", "ls", "--format", "{{.Name}}"]), "db");
    assert_eq!(shell.end(), 0);
}
