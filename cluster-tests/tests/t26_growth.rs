//! Managers come and go under writes, are replaced, and are killed while they join.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster_tests::{Client, Cluster, DEADLINE, Manager, Outcome, until};

/// Writes until it is told to stop: the names of all secrets that were acknowledged.
fn writing(mut client: Client, stop: &AtomicBool) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("s{number}");
        // What was refused, or may have been, is not counted.
        if let Outcome::Acknowledged(_) = client.create(&name, b"v") {
            acknowledged.push(name);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    acknowledged
}

#[test]
fn p3_managers_come_and_go_under_writes_and_nothing_is_lost() {
    let mut cluster = Cluster::start(0);
    let (stop, client) = (AtomicBool::new(false), cluster.client(DEADLINE));
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| writing(client, &stop));
        for number in 2..=5 {
            let _ = cluster.join_manager(&format!("manager-{number}"));
        }
        until("five that vote", || (cluster.managers_as("follower").len() == 4).then_some(()));
        for number in (2..=5).rev() {
            // A loaded machine may be between two leaders.
            until("a removal", || {
                let name = format!("manager-{number}");
                (cluster.skep(&["node", "rm", &name]).status == 0).then_some(())
            });
            assert_eq!(cluster.manager_mut(number - 1).ended(), 24);
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("a writer")
    });
    assert_eq!(cluster.ok(&["node", "ls", "--format", "{{.Name}}"]), "manager-1");
    assert!(written.len() > 20, "only {} writes", written.len());
    let there = cluster.ok(&["secret", "ls", "--format", "{{.Name}}"]);
    let there: std::collections::BTreeSet<&str> = there.lines().collect();
    let lost: Vec<_> = written.iter().filter(|name| !there.contains(name.as_str())).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn a_dead_manager_is_replaced_in_two_commands() {
    let mut cluster = Cluster::start_with(3, 0);
    let leader = cluster.leader();
    let dead = (0..3).rev().find(|number| *number != leader).expect("a follower");
    cluster.manager_mut(dead).kill();
    let name = format!("manager-{}", dead + 1);
    until("its loss to be seen", || {
        (cluster.managers_as("unreachable") == [name.as_str()]).then_some(())
    });
    let token = cluster.ok(&["join-token", "manager", "-q"]);
    let new = cluster.new_manager("replacement");
    let address = cluster.managers().nth(leader).expect("the leader").address();
    let _ = cluster.ok(&["node", "rm", &name, "--force", "--yes"]);
    let _ = new.skep_with(&["join", "--name", &name, &address], token.as_bytes()).ok();
    until("a third vote under the same name", || {
        let followers = cluster.managers_as("follower");
        (followers.len() == 2 && followers.contains(&name)).then_some(())
    });
    let status = cluster.managers().nth(leader).expect("the leader").status_here();
    assert_eq!(status["tolerates_losses"].as_i64(), Some(1), "{status}");
}

/// Whether a manager that was killed amid its join is whole: it comes back as one, or is new.
fn settles(cluster: &Cluster, new: &mut Manager, name: &str) {
    let key = cluster.unlock_key().display().to_string();
    new.start_again();
    if new.state() == "locked" {
        let _ = new.skep(&["unlock", "--key-file", &key]).ok();
    } else {
        assert_eq!(new.state(), "new");
        // Listed or not: nothing of it votes, and its name is free again after one command.
        if cluster.ok(&["node", "ls", "--format", "{{.Name}}"]).lines().any(|one| one == name) {
            let _ = cluster.ok(&["node", "rm", name]);
        }
        let token = cluster.ok(&["join-token", "manager", "-q"]);
        let words = ["join", "--name", name, &cluster.manager.address()];
        let _ = new.skep_with(&words, token.as_bytes()).ok();
    }
    until("a vote", || {
        let word = ["follower", "leader"].contains(&new.state().as_str());
        let votes = ["follower", "leader"].map(|word| cluster.managers_as(word)).concat();
        (word && votes.iter().any(|one| one == name)).then_some(())
    });
}

#[test]
fn a_manager_killed_at_any_moment_of_its_join_leaves_nothing_in_the_way() {
    let mut cluster = Cluster::start(0);
    for (round, millis) in [0, 10, 20, 35, 50, 80, 120, 200].into_iter().enumerate() {
        let name = format!("joins-{round}");
        let mut new = cluster.new_manager(&name);
        let token = cluster.file("token", cluster.ok(&["join-token", "manager", "-q"]).as_bytes());
        let socket = new.socket().display().to_string();
        let address = cluster.manager.address();
        let words = ["join", "--socket", &socket, "--name", &name, "--token-file", &token];
        let mut command = std::process::Command::new(cluster_tests::binary());
        let mut join = command.args(words).arg(&address).spawn().expect("a command");
        std::thread::sleep(Duration::from_millis(millis));
        new.kill();
        drop(join.wait());
        settles(&cluster, &mut new, &name);
        cluster.secret(&format!("after-{round}"), b"v");
        let _ = cluster.ok(&["node", "rm", &name]);
        assert_eq!(new.ended(), 24);
        assert_eq!(cluster.ok(&["node", "ls", "--format", "{{.Name}}"]), "manager-1");
        cluster.secret(&format!("alone-{round}"), b"v");
    }
    assert_eq!(cluster.manager_mut(0).state(), "leader");
}

#[test]
fn p8_a_removed_manager_with_its_old_disk_disturbs_nobody() {
    let mut cluster = Cluster::start_with(3, 0);
    let leader = cluster.leader();
    let gone = (0..3).rev().find(|number| *number != leader).expect("a follower");
    let name = format!("manager-{}", gone + 1);
    cluster.manager_mut(gone).kill();
    let (data, kept) = (cluster.manager_mut(gone).data(), cluster.folder().join("kept"));
    let copied = std::process::Command::new("cp").arg("-a").arg(&data).arg(&kept).status();
    assert!(copied.expect("cp").success());
    cluster.bring_back(gone);
    until("its return", || (cluster.manager_mut(gone).state() == "follower").then_some(()));
    let _ = cluster.ok(&["node", "rm", &name]);
    assert_eq!(cluster.manager_mut(gone).ended(), 24);
    let term = cluster.managers().nth(leader).expect("the leader").status_here()["term"].clone();

    std::fs::remove_dir_all(&data).expect("its data removed");
    std::fs::rename(&kept, &data).expect("its old data put back");
    cluster.manager_mut(gone).start_again();
    let key = cluster.unlock_key().display().to_string();
    // It may end before it has answered.
    let _ = cluster.manager_mut(gone).skep(&["unlock", "--key-file", &key]);
    assert_eq!(cluster.manager_mut(gone).ended(), 24, "it was told that it is removed");
    cluster.secret("after", b"v");
    let status = cluster.managers().nth(leader).expect("the leader").status_here();
    assert_eq!((&status["term"], status["state"].as_str()), (&term, Some("leader")), "{status}");
}
