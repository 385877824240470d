//! Managers go: by `node rm`, by `leave`, while they are away; the rest goes on.

use cluster_tests::{Cluster, until};

#[test]
fn a_follower_is_removed_and_ends() {
    let mut cluster = Cluster::start_with(3, 0);
    assert_eq!(cluster.ok(&["node", "rm", "manager-3"]), "manager-3");
    assert_eq!(cluster.manager_mut(2).ended(), 24, "a removed manager ends");
    let _ = cluster.skep_with(&["secret", "create", "two", "-"], b"v").ok();
    assert_eq!(cluster.ok(&["node", "rm", "manager-2"]), "manager-2");
    assert_eq!(cluster.manager_mut(1).ended(), 24, "a removed manager ends");
    let _ = cluster.skep_with(&["secret", "create", "alone", "-"], b"v").ok();
    let last = cluster.managers_as("leader").concat();
    let refused = cluster.skep(&["node", "rm", &last]).status(1);
    assert!(refused.err.contains("last manager"), "{}", refused.err);
    assert_eq!(cluster.ok(&["node", "ls", "--format", "{{.Name}}"]), last);
}

#[test]
fn a_leader_that_is_removed_hands_over_first() {
    let mut cluster = Cluster::start_with(3, 0);
    assert_eq!(cluster.leader(), 0);
    let leader = cluster.managers_as("leader").concat();
    assert_eq!(cluster.ok(&["node", "rm", &leader]), leader);
    assert_eq!(cluster.manager_mut(0).ended(), 24, "a removed manager ends");
    let _ = cluster.skep_with(&["secret", "create", "later", "-"], b"v").ok();
    assert_eq!(cluster.managers_as("follower").len(), 1);
    let leader = cluster.managers_as("leader").concat();
    assert_eq!(cluster.ok(&["node", "rm", &leader]), leader);
    let _ = cluster.skep_with(&["secret", "create", "alone", "-"], b"v").ok();
}

#[test]
fn a_dead_manager_is_removed_and_a_majority_must_stay() {
    let mut cluster = Cluster::start_with(3, 0);
    cluster.manager_mut(2).kill();
    until("the loss of manager-3 to be seen", || {
        (cluster.managers_as("unreachable") == ["manager-3"]).then_some(())
    });
    let (leader, other) =
        (cluster.managers_as("leader").concat(), cluster.managers_as("follower").concat());
    for name in [&leader, &other] {
        let refused = cluster.skep(&["node", "rm", name]).status(1);
        assert!(refused.err.contains("no majority"), "{}", refused.err);
        assert!(refused.err.contains("hint: skep node ls"), "{}", refused.err);
    }
    assert_eq!(cluster.managers_as("leader"), [leader], "a refusal costs no leadership");
    let _ = cluster.ok(&["node", "rm", "manager-3"]);
    assert_eq!(cluster.managers_as("follower"), [other]);
    let _ = cluster.ok(&["node", "rm", "manager-2"]);
    assert_eq!(cluster.manager_mut(1).ended(), 24, "a removed manager ends");
    let _ = cluster.skep_with(&["secret", "create", "alone", "-"], b"v").ok();
}
