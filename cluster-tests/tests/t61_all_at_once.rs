//! A cluster left alone: all of it stops, is off for months, and comes back at once, with
//! managers that must first be unlocked. And a manager that finds nobody who knows it. Clocks are
//! libfaketime's: each daemon is stopped, its clock is set, and it is started again.

use std::fs;

use cluster_tests::{Cluster, clocked, set_clock, until};

/// Stops all of it and sets the clocks so many days ahead.
fn off_until(cluster: &mut Cluster, managers: usize, days: u64) {
    for agent in &mut cluster.agents {
        agent.kill();
        set_clock(&agent.data(), &format!("+{days}d"));
    }
    for number in 0..managers {
        let manager = cluster.manager_mut(number);
        let _ = manager.stop();
        set_clock(&manager.data(), &format!("+{days}d"));
    }
}

fn unlock_all(cluster: &Cluster) {
    let key = cluster.unlock_key().display().to_string();
    for manager in cluster.managers() {
        let _ = manager.skep(&["unlock", "--key-file", &key]).ok();
    }
    for manager in cluster.managers() {
        until("it takes part", || {
            ["leader", "follower"].contains(&manager.state().as_str()).then_some(())
        });
    }
}

#[test]
fn p7_all_of_it_comes_back_at_once_also_where_managers_must_be_unlocked() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_by(&clocked(folder.path()), 3, 2);
    cluster.secret("s", b"one");
    let words = ["service", "create", "web", "--everywhere", "--activation", "placed"];
    let _ = cluster.ok(&words);
    let _ = cluster.ok(&["service", "grant", "web", "s"]);
    // From fresh certificates: those that were not due after 60 days have ended after 110, and
    // the others after 170.
    let values = ["one", "two", "three", "four"];
    for (number, ahead) in [60, 110, 170].into_iter().enumerate() {
        let (before, value) = (values[number], values[number + 1]);
        off_until(&mut cluster, 3, ahead);
        // Agents first: they meet managers that are not there, and then locked ones.
        for agent in &mut cluster.agents {
            agent.start_again();
        }
        for number in 0..3 {
            cluster.manager_mut(number).start_again();
        }
        for manager in cluster.managers() {
            assert_eq!(manager.state(), "locked");
        }
        // What was there is there, whatever certificates are good for.
        for agent in &cluster.agents {
            let kept = fs::read(agent.file("web", "s")).expect("a file");
            assert_eq!(kept, before.as_bytes());
        }
        unlock_all(&cluster);
        for agent in &cluster.agents {
            agent.connected();
            until("its renewal to have come to its end", || {
                let left = ["previous", "renewing"].map(|name| agent.data().join(name).exists());
                (left == [false, false]).then_some(())
            });
        }
        let manager = cluster.managers().next().expect("one");
        let updated = manager.skep_with(&["secret", "update", "s", "-"], value.as_bytes());
        let _ = updated.ok();
        for agent in &cluster.agents {
            let file = agent.file("web", "s");
            until("the new value", || (fs::read(&file).ok()? == value.as_bytes()).then_some(()));
        }
    }
}

#[test]
fn managers_that_are_on_for_a_moment_every_thirty_days_go_on_for_half_a_year() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_by(&clocked(folder.path()), 3, 0);
    for days in (30..=180).step_by(30) {
        off_until(&mut cluster, 3, days);
        for number in 0..3 {
            cluster.manager_mut(number).start_again();
        }
        unlock_all(&cluster);
        let name = format!("after{days}");
        let manager = cluster.managers().next().expect("one");
        until("a write", || {
            let words = ["secret", "create", &name, "-", "--timeout", "5s"];
            let created = manager.skep_with(&words, b"v");
            (created.status == 0 || created.err.contains("exists")).then_some(())
        });
    }
}

#[test]
fn a_manager_that_nobody_knows_any_more_is_expired_and_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_by(&clocked(folder.path()), 3, 0);
    let key = cluster.unlock_key().display().to_string();
    off_until(&mut cluster, 3, 400);
    // Its own state doesn't list it: there is none.
    let manager = cluster.manager_mut(2);
    for folder in ["log", "snapshots"] {
        fs::remove_dir_all(manager.data().join(folder)).expect("emptied");
    }
    fs::remove_file(manager.data().join("log.reached")).expect("and no trace of it left");
    manager.start_again();
    for _ in 0..2 {
        let refused = manager.skep(&["unlock", "--key-file", &key]).status(24);
        assert!(refused.err.contains("has ended and can't be renewed"), "{}", refused.err);
        assert!(refused.err.contains("skep node readmit"), "{}", refused.err);
        assert_eq!(manager.state(), "expired");
        assert_eq!(manager.warnings(), ["certificate-ended"]);
    }
    for number in 0..2 {
        let manager = cluster.manager_mut(number);
        manager.start_again();
        let _ = manager.skep(&["unlock", "--key-file", &key]).ok();
    }
    until("two of three that lead and follow", || {
        (cluster.manager_mut(0).skep(&["node", "readmit", "manager-3"]).status == 0).then_some(())
    });
    // It knows no address of theirs, so that doesn't help it; the other way of the hint does.
    let key = ["unlock", "--key-file", &key];
    let refused = cluster.manager_mut(2).skep(&key).status(24);
    assert!(refused.err.contains("skep leave --force"), "{}", refused.err);
    assert!(refused.err.contains("skep node rm NAME"), "{}", refused.err);
    let _ = cluster.manager_mut(2).skep(&["leave", "--force", "--yes"]).ok();
    assert_eq!(cluster.manager_mut(2).ended(), 0);
    let _ = cluster.manager_mut(0).skep(&["node", "rm", "--force", "--yes", "manager-3"]).ok();
    let at = cluster.manager_mut(0).address();
    let token = cluster.manager_mut(0).skep(&["join-token", "manager", "-q"]).ok();
    cluster.manager_mut(2).start_again();
    let joins = ["join", "--name", "again", &at];
    let _ = cluster.manager_mut(2).skep_with(&joins, token.as_bytes()).ok();
    until("three that take part", || {
        let shown = ["node", "ls", "--format", "{{.ManagerStatus}}"];
        let shown = cluster.manager_mut(0).skep(&shown).ok();
        let states = ["leader", "follower"].map(|word| shown.matches(word).count());
        (states == [1, 2]).then_some(())
    });
}
