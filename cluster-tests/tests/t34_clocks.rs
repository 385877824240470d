//! P11: a manager whose clock is wrong, for a moment or for long. Each manager of these
//! clusters reads its wall clock through libfaketime, which a file beside it sets; boot time
//! and all waiting go on as they are.

use cluster_tests::{Cluster, Manager, Ran, clocked, set_clock, until};

/// Forwards and into a time in which no certificate and no token is good.
const DECADE: &str = "+3650d";
/// Forwards, and certificates are still good.
const DAYS: &str = "+20d";

/// Sets a manager's clock, all at once.
fn set(manager: &Manager, offset: &str) {
    set_clock(&manager.data(), offset);
}

fn warnings(manager: &Manager) -> Vec<String> {
    manager.warnings()
}

fn warns(manager: &Manager, code: &str) -> bool {
    warnings(manager).iter().any(|one| one == code)
}

/// The newest time at which a secret was created, to the day.
fn newest_day(cluster: &Cluster) -> String {
    let created = cluster.ok(&["secret", "ls", "--format", "json"]);
    let day = |line: &str| {
        let secret: serde_json::Value = serde_json::from_str(line).expect("a secret");
        secret["created_at"].as_str().expect("a time")[..10].to_owned()
    };
    created.lines().map(day).max().expect("a secret")
}

fn today() -> String {
    cluster_tests::run(std::process::Command::new("date").args(["-u", "+%F"]), b"").ok()
}

fn create(manager: &Manager, name: &str, timeout: &str) -> Ran {
    manager.skep_with(&["secret", "create", name, "-", "--timeout", timeout], b"v")
}

#[test]
fn p11_a_leaders_clock_that_jumps_for_a_moment_poisons_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_by(&clocked(folder.path()), 3, 0);
    let token = cluster.ok(&["join-token", "worker", "-q"]);
    let leader = cluster.leader();
    let before = today();

    // Many creates are under way while the clock is ten years ahead.
    std::thread::scope(|scope| {
        let cluster = &cluster;
        let creating = |client: usize| {
            move || {
                for number in 0..4 {
                    cluster.secret(&format!("s{client}-{number}"), b"v");
                }
            }
        };
        let clients: Vec<_> = (0..3).map(|client| scope.spawn(creating(client))).collect();
        let stepped = cluster.managers().nth(leader).expect("the leader");
        set(stepped, DECADE);
        // Somebody else leads, and the creates go on there.
        until("another leader", || {
            let others = cluster.managers().enumerate().filter(|(number, _)| *number != leader);
            others.into_iter().any(|(_, manager)| manager.state() == "leader").then_some(())
        });
        assert!(warnings(stepped).iter().any(|code| code.starts_with("clock-")));
        set(stepped, "+0");
        for client in clients {
            client.join().expect("created");
        }
    });
    let day = newest_day(&cluster);
    assert!(before <= day && day <= today(), "{day}");
    for manager in cluster.managers() {
        until("a clock that is right again", || {
            warnings(manager).iter().all(|code| !code.starts_with("clock-")).then_some(())
        });
        assert!(!warns(manager, "time-ahead"), "{:?}", warnings(manager));
    }
    // It may lead again, and the token from before admits.
    until("it leads again", || {
        let name = format!("manager-{}", leader + 1);
        let moved = cluster.skep(&["manager", "step-down", "--to", &name]);
        (moved.status == 0 || cluster.managers_as("leader") == [name]).then_some(())
    });
    cluster.begin_join_by("late", &token).connected();
}

#[test]
fn p11_a_time_that_all_managers_share_is_taken_and_set_back_once_they_agree() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_by(&clocked(folder.path()), 3, 0);
    let token = cluster.ok(&["join-token", "worker", "-q"]);
    for manager in cluster.managers() {
        set(manager, DAYS);
    }
    // A majority shares it, so that it counts.
    let ahead = |cluster: &Cluster| newest_day(cluster) > today();
    let mut number = 0;
    until("a create in the false time", || {
        number += 1;
        let _ = cluster.skep_with(&["secret", "create", &format!("s{number}"), "-"], b"v").ok();
        ahead(&cluster).then_some(())
    });
    for manager in cluster.managers() {
        set(manager, "+0");
    }
    for manager in cluster.managers() {
        until("a warning of it", || warns(manager, "time-ahead").then_some(()));
    }
    // A token made before has ended, as far as the cluster knows; one made now is good.
    assert_eq!(cluster.refused_join("refused", &token), 24);
    cluster.join("amid", &[]).connected();

    // While the managers don't agree it stays as it is.
    let leader = cluster.leader();
    for (number, manager) in cluster.managers().enumerate() {
        if number != leader {
            set(manager, "+3m");
        }
    }
    until("a refusal", || {
        let refused = cluster.skep(&["cluster", "reset-time", "--timeout", "5s"]);
        (refused.status == 1 && refused.err.contains("do not agree")).then_some(())
    });
    for manager in cluster.managers() {
        set(manager, "+0");
    }
    until("the time to be set back", || {
        let reset = cluster.skep(&["cluster", "reset-time", "--timeout", "5s"]);
        (reset.status == 0 && reset.err.contains("was set back to")).then_some(())
    });
    let again = cluster.skep(&["cluster", "reset-time"]).status(0);
    assert!(again.err.contains("nothing was changed"), "{}", again.err);
    for manager in cluster.managers() {
        until("no warning any more", || (!warns(manager, "time-ahead")).then_some(()));
    }
    assert!(!ahead(&cluster), "what was made in the false time was made now");
    cluster.begin_join_by("late", &token).connected();
}

#[test]
fn p11_a_manager_alone_proposes_nothing_while_its_clock_has_just_been_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_by(&clocked(folder.path()), 1, 0);
    cluster.secret("first", b"v");
    let token = cluster.ok(&["join-token", "worker", "-q"]);
    for (offset, way) in [(DECADE, "3650 days forwards"), ("-1d", "24 hours backwards")] {
        set(&cluster.manager, offset);
        let refused = create(&cluster.manager, "no", "2s").status(3);
        assert!(refused.err.contains("the clock of this manager stepped by"), "{}", refused.err);
        assert!(refused.err.contains(way), "{}", refused.err);
        assert!(refused.err.contains("hint: ") && refused.err.contains("time synchronisation"));
        assert!(warns(&cluster.manager, "clock-stepped"));
        set(&cluster.manager, "+0");
        let _ = create(&cluster.manager, &format!("after{}", way.replace(' ', "-")), "30s").ok();
    }
    assert!(newest_day(&cluster) <= today());

    // One that starts with a wrong clock can't know it, unless it is too far ahead: then it
    // waits as after a step.
    for (offset, taken) in [("+40d", false), (DAYS, true)] {
        cluster.manager.kill();
        set(&cluster.manager, offset);
        cluster.manager.start_again();
        let _ = cluster.unlock().ok();
        let created = create(&cluster.manager, "wrong", "3s");
        assert_eq!(created.status, if taken { 0 } else { 3 }, "{}", created.err);
        let ahead = created.err.contains("ahead of the cluster's time when it started");
        assert_eq!(ahead, !taken, "{}", created.err);
    }
    cluster.manager.kill();
    set(&cluster.manager, "+0");
    cluster.manager.start_again();
    let _ = cluster.unlock().ok();
    until("a warning of it", || warns(&cluster.manager, "time-ahead").then_some(()));
    assert_eq!(cluster.refused_join("refused", &token), 24);
    cluster.join("amid", &[]).connected();
    let reset = cluster.manager.skep(&["cluster", "reset-time"]).status(0);
    assert!(reset.err.contains("was set back to"), "{}", reset.err);
    assert!(!warns(&cluster.manager, "time-ahead"));
    assert!(newest_day(&cluster) <= today());
    cluster.begin_join_by("late", &token).connected();
}
