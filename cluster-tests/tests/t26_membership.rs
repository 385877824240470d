//! Managers go: by `node rm`, by `leave`, while they are away; the rest goes on.

use cluster_tests::{Cluster, KeyFileOpened, until};

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
        assert!(refused.err.contains("hint: `skep node ls`"), "{}", refused.err);
    }
    assert_eq!(cluster.managers_as("leader"), [leader], "a refusal costs no leadership");
    let _ = cluster.ok(&["node", "rm", "manager-3"]);
    assert_eq!(cluster.managers_as("follower"), [other]);
    let _ = cluster.ok(&["node", "rm", "manager-2"]);
    assert_eq!(cluster.manager_mut(1).ended(), 24, "a removed manager ends");
    let _ = cluster.skep_with(&["secret", "create", "alone", "-"], b"v").ok();
}

/// Which of the managers has this name in the cluster.
fn number_of(name: &str) -> usize {
    name.strip_prefix("manager-").and_then(|n| n.parse::<usize>().ok()).map_or(0, |n| n - 1)
}

/// A number from `status`.
fn status(cluster: &Cluster, field: &str) -> u64 {
    until("a status", || {
        let shown = cluster.skep(&["status", "--format", "json"]).out;
        let json: serde_json::Value = serde_json::from_str(&shown).ok()?;
        json.get(field).and_then(serde_json::Value::as_u64).filter(|number| *number > 0)
    })
}

#[test]
fn one_that_was_removed_while_it_was_away_finds_out_and_disturbs_nobody() {
    let mut cluster = Cluster::start_with(3, 0);
    let away = cluster.managers_as("follower").pop().expect("a follower");
    let number = number_of(&away);
    cluster.manager_mut(number).kill();
    until("its loss to be seen", || {
        (cluster.managers_as("unreachable") == [away.as_str()]).then_some(())
    });
    let _ = cluster.ok(&["node", "rm", &away]);
    let (leader, term) = (cluster.managers_as("leader"), status(&cluster, "term"));
    let key = cluster.unlock_key().display().to_string();
    let manager = cluster.manager_mut(number);
    manager.start_again();
    // It may end before it has answered.
    let _ = manager.skep(&["unlock", "--key-file", &key]);
    assert_eq!(manager.ended(), 24, "it was told that it is removed");
    let log = std::fs::read_to_string(manager.log()).expect("its log");
    assert!(log.contains("this manager was removed from the cluster"), "{log}");
    assert_eq!(cluster.managers_as("leader"), leader);
    assert_eq!(status(&cluster, "term"), term, "no election");

    let manager = cluster.manager_mut(number);
    manager.start_again();
    // A key that lies on the machine opens it no more, and the hint can be followed.
    manager.settings(|text| format!("unlock-key-file = {key:?}\n{text}"));
    manager.kill();
    manager.start_again();
    assert_eq!(manager.state(), "removed");
    let refused = manager.skep(&["unlock", "--key-file", &key]).status(1);
    assert!(refused.err.contains("hint: `skep leave` erases what is here"), "{}", refused.err);
    let _ = manager.skep(&["leave"]).ok();
    assert_eq!(manager.ended(), 0);
    assert!(!manager.data().join("manager.key").exists(), "its data is erased");
    manager.start_again();
    assert_eq!(manager.state(), "new");
}

#[test]
fn managers_leave_where_the_others_can_go_on() {
    let mut cluster = Cluster::start_with(3, 0);
    let leader = cluster.managers_as("leader").concat();
    let number = number_of(&leader);
    let manager = cluster.manager_mut(number);
    let left = manager.skep(&["leave"]);
    assert!(left.err.contains("it left"), "{}", left.err);
    assert_eq!((left.status, manager.ended()), (0, 0), "a leader hands over and leaves");
    for name in ["manager.key", "log", "log.reached", "snapshots", "node"] {
        assert!(!manager.data().join(name).exists(), "{name} is erased");
    }
    manager.start_again();
    assert_eq!(manager.state(), "new");
    manager.kill();
    let listed = cluster.ok(&["node", "ls", "--format", "{{.Name}}"]);
    assert!(!listed.lines().any(|name| name == leader), "{listed}");
    assert_eq!(status(&cluster, "cluster_key_number"), 2);

    let other = until("a follower", || cluster.managers_as("follower").pop());
    let left = cluster.manager_mut(number_of(&other)).skep(&["leave"]);
    assert_eq!(left.status, 0, "{}", left.err);
    assert_eq!(cluster.manager_mut(number_of(&other)).ended(), 0);
    let last = cluster.managers_as("leader").concat();
    let refused = cluster.manager_mut(number_of(&last)).skep(&["leave"]).status(1);
    assert!(refused.err.contains("last manager"), "{}", refused.err);
    assert!(refused.err.contains("--force"), "{}", refused.err);
    let _ = cluster.skep_with(&["secret", "create", "alone", "-"], b"v").ok();
}

#[test]
fn leaving_is_refused_where_quorum_would_go_unless_forced() {
    let mut cluster = Cluster::start_with(3, 0);
    let mut followers = cluster.managers_as("follower");
    let (lost, stays) = (followers.remove(0), followers.remove(0));
    cluster.manager_mut(number_of(&lost)).kill();
    until("its loss to be seen", || {
        (cluster.managers_as("unreachable") == [lost.as_str()]).then_some(())
    });
    let manager = cluster.manager_mut(number_of(&stays));
    let refused = manager.skep(&["leave"]).status(1);
    assert!(refused.err.contains("no majority"), "{}", refused.err);
    assert_eq!(manager.state(), "follower", "nothing was done");
    let forced = manager.skep(&["leave", "--force", "--yes"]);
    assert_eq!(forced.status, 0, "{}", forced.err);
    assert!(forced.err.contains("goes on listing"), "{}", forced.err);
    assert_eq!(manager.ended(), 0);
    assert!(!manager.data().join("manager.key").exists());
}

#[test]
fn secrets_of_before_and_after_are_delivered_under_each_leader() {
    let mut cluster = Cluster::start_with(3, 1);
    cluster.secret("old", b"of before");
    let number = status(&cluster, "cluster_key_number");
    if cluster.managers_as("leader") != ["manager-2"] {
        let _ = cluster.ok(&["manager", "step-down", "--to", "manager-2"]);
    }
    let _ = cluster.ok(&["node", "rm", "manager-2"]);
    assert_eq!(cluster.manager_mut(1).ended(), 24);
    assert_eq!(status(&cluster, "cluster_key_number"), number + 1);
    cluster.secret("new", b"of after");
    cluster.service("first", "node-1", &["old", "new"]);
    let mut shell = cluster.shell(0, "first");
    assert_eq!((shell.read("old"), shell.read("new")), ("of before".into(), "of after".into()));

    let _ = cluster.ok(&["manager", "step-down"]);
    cluster.service("second", "node-1", &["old", "new"]);
    let mut other = cluster.shell(0, "second");
    assert_eq!((other.read("old"), other.read("new")), ("of before".into(), "of after".into()));

    // A manager that joins now opens the whole chain.
    let _ = cluster.join_manager("manager-4");
    let _ = cluster.ok(&["manager", "step-down", "--to", "manager-4"]);
    cluster.service("third", "node-1", &["old", "new"]);
    let mut third = cluster.shell(0, "third");
    assert_eq!((third.read("old"), third.read("new")), ("of before".into(), "of after".into()));
    cluster.update("old", b"newer");
    until("the new value", || (third.read("old") == "newer").then_some(()));
}

#[test]
fn p8_the_certificate_of_a_removed_manager_is_refused_by_all() {
    use skep_client::transport::rpc::api::control_client::ControlClient;
    use skep_client::transport::rpc::raft::raft_client::RaftClient;
    use skep_client::transport::{Expect, connect};
    use skep_core::wire::{api, raft};

    let mut cluster = Cluster::start_with(3, 0);
    let gone = cluster.managers_as("follower").pop().expect("a follower");
    let manager = cluster.managers().nth(number_of(&gone)).expect("so many managers");
    let tls = KeyFileOpened::of(manager, &cluster.unlock_key()).tls();
    let staying: Vec<String> = cluster
        .managers()
        .enumerate()
        .filter(|(number, _)| *number != number_of(&gone))
        .map(|(_, manager)| manager.address())
        .collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let seconds = std::time::Duration::from_secs(10);
    let open = |address: &String| {
        runtime.block_on(connect(address, &tls, Expect::AnyManager, seconds)).expect("connects").0
    };
    let vote = |channel| {
        let mut peer = RaftClient::new(channel);
        let asked = peer.vote(raft::VoteRequest::default());
        format!("{:?}", runtime.block_on(asked).expect_err("no vote").code())
    };
    let before: Vec<_> = staying.iter().map(open).collect();
    for channel in &before {
        assert_eq!(vote(channel.clone()), "InvalidArgument", "it is listened to");
    }
    let _ = cluster.ok(&["node", "rm", &gone]);
    assert_eq!(cluster.manager_mut(number_of(&gone)).ended(), 24);
    for channel in before {
        until("its connection to be cut", || {
            (vote(channel.clone()) != "InvalidArgument").then_some(())
        });
        until("an end of it", || (vote(channel.clone()) != "PermissionDenied").then_some(()));
    }
    for address in &staying {
        until("a refusal", || (vote(open(address)) == "PermissionDenied").then_some(()));
        let mut control = ControlClient::new(open(address));
        let intake = runtime.block_on(control.intake(api::IntakeRequest {}));
        assert!(intake.is_err(), "{address}");
        let answer = runtime.block_on(control.belonging(api::BelongingRequest {}));
        assert!(answer.expect("told so").into_inner().removed, "{address}");
    }
}
