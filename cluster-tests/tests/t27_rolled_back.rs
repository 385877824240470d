//! A manager whose disk was put back to an older state takes no part, and comes
//! home with everything that was acknowledged. A disk that was kept is never taken
//! for such a one.

use std::path::{Path, PathBuf};

use cluster_tests::{Cluster, until};

/// Copies a data folder as it stands.
fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.expect("cp").success());
}

/// Puts an older copy in the place of a manager's data.
fn put_back(cluster: &mut Cluster, number: usize, older: &Path) {
    let data = cluster.manager_mut(number).data();
    std::fs::remove_dir_all(&data).expect("the newer disk is gone");
    copy(older, &data);
}

fn stop_and_copy(cluster: &mut Cluster, number: usize) -> PathBuf {
    let older = cluster.folder().join(format!("older-{number}"));
    let manager = cluster.manager_mut(number);
    assert_eq!(manager.stop(), 0);
    copy(&manager.data(), &older);
    older
}

fn write(cluster: &Cluster, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let name = format!("s{number}");
        let _ = cluster.skep_with(&["secret", "create", &name, "-"], b"v").ok();
    }
}

fn holds(cluster: &Cluster, numbers: std::ops::Range<u32>) {
    let listed = cluster.ok(&["secret", "ls", "--format", "{{.Name}}"]);
    for number in numbers {
        let name = format!("s{number}");
        assert!(listed.lines().any(|line| line == name), "{name} is lost: {listed}");
    }
}

fn all_vote(cluster: &Cluster) {
    until("three managers that vote", || {
        let all = cluster.managers_as("follower").len() + cluster.managers_as("leader").len();
        (all == 3).then_some(())
    });
}

/// Starts and unlocks it; it must find out by itself.
fn comes_up_rolled_back(cluster: &mut Cluster, number: usize) {
    cluster.bring_back(number);
    let manager = cluster.manager_mut(number);
    until("the finding", || (manager.state() == "rolled-back").then_some(()));
    let status = manager.skep(&["status"]).status(8);
    assert!(status.out.contains("warning rolled-back"), "{}", status.out);
    assert!(status.out.contains("skep manager repair"), "{}", status.out);
    let refused = manager.skep(&["secret", "ls"]).status(1);
    assert!(refused.err.contains("skep manager repair"), "{}", refused.err);
}

#[test]
fn p6_p3_a_follower_put_back_takes_no_part_and_comes_home() {
    let mut cluster = Cluster::start_with(3, 0);
    write(&cluster, 0..3);
    let lost = (cluster.leader() + 1) % 3;
    let refused = cluster.manager_mut(lost).skep(&["manager", "repair", "--yes"]).status(1);
    assert!(refused.err.contains("nothing is to be repaired"), "{}", refused.err);
    let older = stop_and_copy(&mut cluster, lost);
    cluster.bring_back(lost);
    all_vote(&cluster);
    write(&cluster, 3..6);
    // It acknowledged these, perhaps with the leader alone.
    cluster.manager_mut(lost).kill();
    put_back(&mut cluster, lost, &older);
    comes_up_rolled_back(&mut cluster, lost);

    // Without one more manager there is no majority: it would be one if it voted.
    let leader = cluster.leader();
    let other = (0..3).find(|n| *n != lost && *n != leader).expect("a third");
    cluster.manager_mut(leader).kill();
    until("no quorum", || (cluster.manager_mut(other).state() == "no-quorum").then_some(()));
    let refused = cluster.skep_with(&["secret", "create", "never", "-", "--timeout", "3s"], b"v");
    assert_eq!(refused.status, 3, "{}", refused.err);
    let refused = cluster.manager_mut(lost).skep(&["manager", "repair", "--yes"]);
    assert_ne!(refused.status, 0, "a majority without it is missing: {}", refused.out);
    assert!(refused.err.contains("hint:"), "{}", refused.err);
    assert_eq!(cluster.manager_mut(lost).state(), "rolled-back", "nothing was erased");

    cluster.bring_back(leader);
    until("a leader", || cluster.managers().position(|manager| manager.state() == "leader"));
    // The attempt that was not answered may have gone on, and come through by now.
    let repaired = cluster.manager_mut(lost).skep(&["manager", "repair", "--yes"]);
    let through = repaired.status == 0 || repaired.err.contains("nothing is to be repaired");
    assert!(through, "{}", repaired.err);
    all_vote(&cluster);
    write(&cluster, 6..8);
    // It holds all: with it and one more there is a majority that knows everything.
    let leader = cluster.leader();
    let gone = if leader == lost { other } else { leader };
    cluster.manager_mut(gone).kill();
    holds(&cluster, 0..8);
    write(&cluster, 8..9);
    // And it starts again as any other.
    cluster.bring_back(gone);
    all_vote(&cluster);
    cluster.manager_mut(lost).kill();
    cluster.bring_back(lost);
    all_vote(&cluster);
    holds(&cluster, 0..9);
}

#[test]
fn p6_p3_a_former_leader_put_back_takes_no_part_and_comes_home() {
    let mut cluster = Cluster::start_with(3, 0);
    write(&cluster, 0..3);
    let lost = cluster.leader();
    let older = stop_and_copy(&mut cluster, lost);
    write(&cluster, 3..6);
    cluster.bring_back(lost);
    all_vote(&cluster);
    let status = cluster.manager_mut(lost).skep(&["status", "--format", "json"]).out;
    let status: serde_json::Value = serde_json::from_str(&status).expect("a status");
    let name = status.get("name").and_then(|name| name.as_str()).expect("a name").to_owned();
    until("the old leader leads again", || {
        let moved = cluster.skep(&["manager", "step-down", "--to", &name]);
        (moved.status == 0 || cluster.manager_mut(lost).state() == "leader").then_some(())
    });
    write(&cluster, 6..9);
    cluster.manager_mut(lost).kill();
    put_back(&mut cluster, lost, &older);
    comes_up_rolled_back(&mut cluster, lost);
    write(&cluster, 9..10);
    let _ = cluster.manager_mut(lost).skep(&["manager", "repair", "--yes"]).ok();
    all_vote(&cluster);
    holds(&cluster, 0..10);
}

#[test]
fn p6_a_log_that_was_emptied_is_no_new_manager() {
    let mut cluster = Cluster::start_with(3, 0);
    write(&cluster, 0..3);
    let lost = (cluster.leader() + 1) % 3;
    let manager = cluster.manager_mut(lost);
    manager.kill();
    for folder in ["log", "snapshots"] {
        std::fs::remove_dir_all(manager.data().join(folder)).expect("emptied");
    }
    std::fs::remove_file(manager.data().join("log.reached")).expect("and no trace of it left");
    // It knows nobody to ask: the leader tells it.
    comes_up_rolled_back(&mut cluster, lost);
    let leader = cluster.leader();
    let address = cluster.manager_mut(leader).address();
    let words = ["manager", "repair", "--yes", &address];
    let _ = cluster.manager_mut(lost).skep(&words).ok();
    all_vote(&cluster);
    holds(&cluster, 0..3);
}

#[test]
fn p6_two_managers_can_not_do_without_the_one_that_is_behind() {
    let mut cluster = Cluster::start_with(2, 0);
    write(&cluster, 0..2);
    let lost = (cluster.leader() + 1) % 2;
    let older = stop_and_copy(&mut cluster, lost);
    cluster.bring_back(lost);
    until("two managers", || {
        (cluster.managers_as("follower").len() + cluster.managers_as("leader").len() == 2)
            .then_some(())
    });
    write(&cluster, 2..4);
    let newer = stop_and_copy_as(&mut cluster, lost, "newer");
    put_back(&mut cluster, lost, &older);
    comes_up_rolled_back(&mut cluster, lost);
    let refused = cluster.manager_mut(lost).skep(&["manager", "repair", "--yes"]);
    assert_ne!(refused.status, 0, "{}", refused.out);
    assert!(refused.err.contains("hint:"), "{}", refused.err);
    // The newer disk makes it whole.
    assert_eq!(cluster.manager_mut(lost).stop(), 0);
    put_back(&mut cluster, lost, &newer);
    cluster.bring_back(lost);
    let _ = cluster.leader();
    holds(&cluster, 0..4);
}

fn stop_and_copy_as(cluster: &mut Cluster, number: usize, name: &str) -> PathBuf {
    let to = cluster.folder().join(name);
    let manager = cluster.manager_mut(number);
    assert_eq!(manager.stop(), 0);
    copy(&manager.data(), &to);
    to
}

#[test]
fn p3_managers_killed_and_unlocked_in_any_order_are_never_taken_for_rolled_back() {
    let mut cluster = Cluster::start_with(3, 0);
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let mut written = 0;
    for (round, order) in orders.into_iter().enumerate() {
        let now = u32::try_from(round).expect("few") * 2 + 2;
        write(&cluster, written..now);
        written = now;
        for number in order {
            if round % 2 == 0 {
                cluster.manager_mut(number).kill();
            } else {
                assert_eq!(cluster.manager_mut(number).stop(), 0);
            }
        }
        for number in order {
            cluster.bring_back(number);
        }
        all_vote(&cluster);
        for number in 0..3 {
            until("a manager that is led", || {
                let state = cluster.manager_mut(number).state();
                assert_ne!(state, "rolled-back", "{number} in round {round}");
                matches!(state.as_str(), "leader" | "follower").then_some(())
            });
        }
        holds(&cluster, 0..written);
    }
}

#[test]
fn p3_a_repair_that_is_killed_at_any_moment_is_repeated() {
    let mut cluster = Cluster::start_with(3, 0);
    write(&cluster, 0..2);
    let lost = (cluster.leader() + 1) % 3;
    let older = stop_and_copy(&mut cluster, lost);
    cluster.bring_back(lost);
    all_vote(&cluster);
    for (round, delay) in (1_u32..).zip([0, 5, 20, 60, 150, 400]) {
        write(&cluster, round * 2..round * 2 + 2);
        cluster.manager_mut(lost).kill();
        put_back(&mut cluster, lost, &older);
        comes_up_rolled_back(&mut cluster, lost);
        let manager = cluster.manager_mut(lost);
        std::thread::scope(|scope| {
            let repairing = scope.spawn(|| manager.skep(&["manager", "repair", "--yes"]));
            // Where it is killed differs from round to round; nothing waits for it.
            std::thread::park_timeout(std::time::Duration::from_millis(delay));
            manager.kill_amid_work();
            drop(repairing.join());
        });
        cluster.bring_back(lost);
        let manager = cluster.manager_mut(lost);
        let found = until("a finding", || {
            let state = manager.state();
            (!matches!(state.as_str(), "no-quorum" | "joining" | "")).then_some(state)
        });
        if found == "rolled-back" {
            let _ = manager.skep(&["manager", "repair", "--yes"]).ok();
        }
        all_vote(&cluster);
        holds(&cluster, 0..round * 2 + 2);
    }
}
