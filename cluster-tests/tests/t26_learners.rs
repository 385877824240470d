//! Managers that follow and never vote.

use std::time::Duration;

use cluster_tests::{Cluster, until};

fn json(cluster: &Cluster, words: &[&str]) -> serde_json::Value {
    serde_json::from_str(&cluster.skep(words).out).expect("json")
}

#[test]
fn a_learner_follows_reads_and_never_votes_or_counts() {
    let mut cluster = Cluster::start(0);
    cluster.secret("before", b"v");
    let _ = cluster.join_learner("far");
    cluster.secret("after", b"v");
    assert_eq!(cluster.managers_as("learner"), ["far"]);
    let far = cluster.managers().nth(1).expect("the learner");
    assert_eq!(far.state_here(), "learner");
    let names = ["secret", "ls", "--stale", "--format", "{{.Name}}"];
    until("a stale read of what came after", || {
        (far.here(&names).ok() == "after\nbefore").then_some(())
    });
    // All else it sends on to the leader.
    assert_eq!(far.here(&["secret", "ls", "-q"]).ok().lines().count(), 2);
    let _ = far.skep_with(&["secret", "create", "through", "-"], b"v").ok();
    let status = far.status_here();
    assert_eq!(status["tolerates_losses"].as_i64(), Some(0), "{status}");
    let warned = status["warnings"].to_string();
    assert!(!warned.contains("no-loss-to-spare"), "it is one voter by choice: {warned}");
    let refused = cluster.skep(&["manager", "step-down", "--to", "far"]).status(1);
    assert!(refused.err.contains("no such manager"), "{}", refused.err);
    let refused = cluster.skep(&["node", "rm", "manager-1"]).status(1);
    assert!(refused.err.contains("last manager"), "nobody would vote: {}", refused.err);

    // It is killed and comes back locked, as any manager.
    cluster.manager_mut(1).kill();
    cluster.secret("meanwhile", b"v");
    cluster.bring_back(1);
    let far = cluster.managers().nth(1).expect("the learner");
    until("its return", || (far.state_here() == "learner").then_some(()));
    until("what it missed", || far.here(&names).ok().contains("meanwhile").then_some(()));

    // Whoever votes is gone: it never leads, and still reads.
    cluster.manager.kill();
    let far = cluster.managers().nth(1).expect("the learner");
    until("the loss to be seen", || (far.state_here() == "no-quorum").then_some(()));
    assert_eq!(far.here(&names).ok().lines().count(), 4);
    let until_when = std::time::Instant::now() + Duration::from_secs(3);
    while std::time::Instant::now() < until_when {
        assert_eq!(far.state_here(), "no-quorum", "it stands for no election");
    }
    cluster.bring_back(0);
    until("the leader's return", || (cluster.manager.state_here() == "leader").then_some(()));
    let far = cluster.managers().nth(1).expect("the learner");
    until("its return", || (far.state_here() == "learner").then_some(()));
}

#[test]
fn a_learner_is_removed_and_joins_again_to_vote() {
    let mut cluster = Cluster::start_with(3, 0);
    let _ = cluster.join_learner("far");
    let status = json(&cluster, &["status", "--format", "json"]);
    assert_eq!(status["tolerates_losses"].as_i64(), Some(1), "{status}");
    assert!(!status.to_string().contains("even-voters"), "three vote: {status}");
    // Its loss costs nothing.
    cluster.manager_mut(3).kill();
    until("its loss to be seen", || (cluster.managers_as("unreachable") == ["far"]).then_some(()));
    let status = json(&cluster, &["status", "--format", "json"]);
    assert_eq!(status["tolerates_losses"].as_i64(), Some(1), "{status}");
    let _ = cluster.ok(&["node", "rm", "far"]);
    cluster.manager_mut(3).start_again();
    let key = cluster.unlock_key().display().to_string();
    // It may end before it has answered.
    let _ = cluster.manager_mut(3).skep(&["unlock", "--key-file", &key]);
    assert_eq!(cluster.manager_mut(3).ended(), 24, "it was told that it is removed");
    cluster.manager_mut(3).start_again();
    let _ = cluster.manager_mut(3).skep(&["leave"]).ok();
    assert_eq!(cluster.manager_mut(3).ended(), 0);
    cluster.manager_mut(3).start_again();
    let token = cluster.ok(&["join-token", "manager", "-q"]);
    let address = cluster.manager.address();
    let _ = cluster
        .manager_mut(3)
        .skep_with(&["join", "--name", "far", &address], token.as_bytes())
        .ok();
    until("a vote", || cluster.managers_as("follower").contains(&"far".to_owned()).then_some(()));
    let status = json(&cluster, &["status", "--format", "json"]);
    assert_eq!(status["tolerates_losses"].as_i64(), Some(1), "{status}");
    assert!(status["warnings"].to_string().contains("even-voters"), "four vote: {status}");
    assert_eq!(cluster.skep(&["status"]).status, 8);
    let _ = cluster.ok(&["node", "rm", "far"]);
    until("three", || {
        let status = json(&cluster, &["status", "--format", "json"]);
        (!status["warnings"].to_string().contains("even-voters")).then_some(())
    });
}
