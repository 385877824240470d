//! The majority of the managers is lost for good, and one of those that are left goes on alone.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cluster_tests::{Cluster, Manager, Ran, binary, run, until};

/// `skep cluster recover` on a data folder.
fn recover(cluster: &Cluster, data: &Path, more: &[&str]) -> Ran {
    let mut command = Command::new(binary());
    command.args(["cluster", "recover", "--from"]).arg(data);
    command.arg("--key-file").arg(cluster.unlock_key()).args(more);
    run(&mut command, b"")
}

/// Stops one, recovers it, starts and unlocks it, and waits until it leads.
fn goes_on_alone(cluster: &mut Cluster, number: usize, more: &[&str]) -> Ran {
    let data = cluster.manager_mut(number).data();
    if cluster.manager_mut(number).is_started() {
        assert_eq!(cluster.manager_mut(number).stop(), 0);
    }
    let ran = recover(cluster, &data, &[&["--yes"], more].concat()).status(0);
    cluster.bring_back(number);
    until("its lead", || (cluster.manager_mut(number).state() == "leader").then_some(()));
    ran
}

fn json(manager: &Manager, pointer: &str) -> serde_json::Value {
    let status = manager.skep(&["status", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&status.out).unwrap_or_default();
    json.pointer(pointer).cloned().unwrap_or_default()
}

fn copy(from: &Path, to: &Path) {
    let _absent = std::fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.expect("cp").success());
}

/// Old managers that were lost and came back end by themselves, and stay `removed`.
fn end(cluster: &mut Cluster, numbers: &[usize]) {
    for number in numbers {
        let manager = cluster.manager_mut(*number);
        assert_eq!(manager.ended(), 24);
        let log = std::fs::read_to_string(manager.log()).expect("a log");
        assert!(log.contains("as epoch 2"), "{log}");
        assert!(log.contains("skep leave --force"), "{log}");
        manager.start_again();
        assert_eq!(manager.state(), "removed");
        let status = manager.skep(&["status"]).status(8);
        assert!(status.out.contains("skep leave"), "{}", status.out);
    }
}

#[test]
fn stale_reads_say_how_old_they_are() {
    let mut cluster = Cluster::start_with(3, 1);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    let told = cluster.skep(&["secret", "ls", "--stale"]).status(0);
    assert!(told.err.contains("as of revision "), "{}", told.err);
    assert!(!told.err.contains("no leader"), "{}", told.err);
    let plain = cluster.skep(&["secret", "ls"]).status(0);
    assert!(!plain.err.contains("as of"), "{}", plain.err);
    let left = (cluster.leader() + 1) % 3;
    for lost in (0..3).filter(|number| *number != left) {
        cluster.manager_mut(lost).kill();
    }
    let lost = Instant::now();
    let manager = cluster.manager_mut(left);
    until("no quorum", || (manager.state() == "no-quorum").then_some(()));
    let reads: [&[&str]; 7] = [
        &["secret", "ls"],
        &["secret", "inspect", "db"],
        &["secret", "versions", "db"],
        &["secret", "holders", "db"],
        &["secret", "reads", "db"],
        &["service", "inspect", "web"],
        &["node", "ls"],
    ];
    for words in reads {
        let told = manager.skep(&[words, &["--stale"]].concat()).status(0);
        assert!(told.err.contains("as of revision "), "{words:?}: {}", told.err);
        assert!(told.err.contains("old: no leader"), "{words:?}: {}", told.err);
        assert!(!told.out.contains("as of"), "{words:?}: {}", told.out);
    }
    // Nobody writes, and it grows older all the same.
    let age = |manager: &Manager| json(manager, "/as_of/age_ms").as_u64().unwrap_or_default();
    let first = age(manager);
    until("an older one", || (age(manager) > first).then_some(()));
    assert!(u128::from(age(manager)) <= lost.elapsed().as_millis() + 1_000);
    assert_eq!(json(manager, "/as_of/led"), false);
    let status = manager.skep(&["status"]).status(3);
    assert!(status.out.contains("old: no leader"), "{}", status.out);
    // A start later it is not known any more, and that is said.
    assert_eq!(manager.stop(), 0);
    cluster.bring_back(left);
    let told = cluster.manager_mut(left).skep(&["secret", "ls", "--stale"]).status(0);
    assert!(told.err.contains("at least "), "{}", told.err);
    assert!(told.err.contains("since this manager started"), "{}", told.err);
}

#[test]
fn p7_the_last_of_three_goes_on_and_delivers_once_it_is_resumed() {
    let mut cluster = Cluster::start_with(3, 1);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    let token = cluster.ok(&["join-token", "worker", "-q"]);
    let id = cluster.ok(&["join-token", "ls", "-q"]);
    let id = id.lines().next().expect("a token").to_owned();
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("db"), "one");
    let survivor = cluster.leader();
    let lost: Vec<usize> = (0..3).filter(|number| *number != survivor).collect();
    for number in &lost {
        cluster.manager_mut(*number).kill();
    }
    assert_eq!(shell.read("db"), "one", "agents keep serving");

    let data = cluster.manager_mut(survivor).data();
    let refused = recover(&cluster, &data, &["--yes"]).status(22);
    assert!(refused.err.contains("in use"), "{}", refused.err);
    assert_eq!(cluster.manager_mut(survivor).stop(), 0);
    let other = Cluster::start(0);
    let refused = recover(&other, &data, &["--yes"]).status(7);
    assert!(refused.err.contains("hint:"), "{}", refused.err);
    drop(other);
    let refused = recover(&cluster, &data, &[]).status(2);
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    let nowhere = cluster.folder().join("nowhere");
    let _ = recover(&cluster, &nowhere, &["--yes"]).status(1);
    assert!(!nowhere.exists(), "nothing is made");
    let ran = goes_on_alone(&mut cluster, survivor, &[]);
    let names: Vec<String> = lost.iter().map(|number| format!("manager-{}", number + 1)).collect();
    for dropped in names.iter().chain([&id, &"admin".to_owned()]) {
        assert!(ran.err.contains(dropped), "{dropped}: {}", ran.err);
    }
    assert!(ran.err.contains("skep cluster resume"), "{}", ran.err);

    // It is a cluster of one, which holds back what is due.
    cluster.agents[0].connected();
    let status = cluster.manager_mut(survivor).skep(&["status"]).status(8);
    assert!(status.out.contains("warning recovered"), "{}", status.out);
    assert!(status.out.contains("epoch 2"), "{}", status.out);
    assert_eq!(json(cluster.manager_mut(survivor), "/recovered/managers/0"), names[0].as_str());
    assert_eq!(cluster.manager_mut(survivor).skep(&["join-token", "ls", "-q"]).ok(), "");
    let refused = cluster.skep(&["secret", "ls"]).status(1);
    assert!(refused.err.contains("until it is resumed"), "{}", refused.err);
    assert!(refused.err.contains("skep cluster resume"), "{}", refused.err);
    assert_ne!(cluster.refused_join("node-2", &token), 0);
    let words = ["secret", "update", "db", "-", "--timeout", "2s"];
    let held = cluster.manager_mut(survivor).skep_with(&words, b"two").status(5);
    assert!(held.err.contains("held back"), "{}", held.err);
    let revoked = ["service", "revoke", "web", "db", "--timeout", "2s"];
    let held = cluster.manager_mut(survivor).skep(&revoked).status(5);
    assert!(held.err.contains("held back"), "{}", held.err);
    assert_eq!(shell.read("db"), "one", "neither delivered nor taken away");
    let _ = cluster.manager_mut(survivor).skep(&["service", "grant", "web", "db", "-d"]).ok();
    // Neither a start of the agent changes that nor one of the manager.
    cluster.agents[0].kill();
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    cluster.manager_mut(survivor).kill();
    cluster.bring_back(survivor);
    cluster.agents[0].connected();
    assert_eq!(shell.read("db"), "one");

    let refused = cluster.manager_mut(survivor).skep(&["cluster", "resume"]).status(2);
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    let resumed = cluster.manager_mut(survivor).skep(&["cluster", "resume", "--yes"]).status(0);
    assert!(resumed.err.contains(&names[1]), "{}", resumed.err);
    assert!(resumed.err.contains("may live again"), "{}", resumed.err);
    until("the new value", || (shell.read("db") == "two").then_some(()));
    let again = cluster.manager_mut(survivor).skep(&["cluster", "resume", "--yes"]).status(0);
    assert!(again.err.contains("nothing is held back"), "{}", again.err);
    let _ = cluster.ok(&["secret", "ls"]);
    cluster.update("db", b"three");
    assert_eq!(shell.read("db"), "three");

    // One that was lost comes back alone, and grows to three again as a new one.
    cluster.bring_back(lost[0]);
    end(&mut cluster, &lost[..1]);
    let left = cluster.manager_mut(lost[0]);
    let _ = left.skep(&["leave", "--force", "--yes"]).ok();
    assert_eq!(left.ended(), 0);
    left.start_again();
    let token = cluster.manager_mut(survivor).skep(&["join-token", "manager", "-q"]).ok();
    let at = cluster.manager_mut(survivor).address();
    let left = cluster.manager_mut(lost[0]);
    let _ = left.skep_with(&["join", "--name", "again", &at], token.as_bytes()).ok();
    let _ = cluster.join_manager("fourth");
    until("three that vote", || (cluster.managers_as("follower").len() == 2).then_some(()));
    cluster.update("db", b"four");
    assert_eq!(shell.read("db"), "four");
    assert_eq!(shell.end(), 0);
}

#[test]
fn an_old_majority_with_newer_entries_is_followed_by_nobody() {
    let mut cluster = Cluster::start_with(3, 1);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    let survivor = (cluster.leader() + 1) % 3;
    let lost: Vec<usize> = (0..3).filter(|number| *number != survivor).collect();
    assert_eq!(cluster.manager_mut(survivor).stop(), 0);
    for round in 0..20 {
        cluster.update("db", format!("newer-{round}").as_bytes());
    }
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("db"), "newer-19");
    for number in &lost {
        cluster.manager_mut(*number).kill();
    }
    let identity = cluster.identity().display().to_string();
    let _ = goes_on_alone(&mut cluster, survivor, &["--identity", &identity]);
    // The agent has taken more than the survivor knows, and follows it nevertheless.
    cluster.agents[0].connected();
    assert_eq!(shell.read("db"), "newer-19", "it keeps what it has");
    let _ = cluster.ok(&["secret", "ls"]);
    // An old majority that has found together goes on for itself until the recovery is
    // resumed, and says what it has seen.
    cluster.manager_mut(survivor).freeze();
    for number in &lost {
        cluster.bring_back(*number);
    }
    for number in &lost {
        let manager = cluster.manager_mut(*number);
        until("an old majority", || {
            ["leader", "follower"].contains(&manager.state().as_str()).then_some(())
        });
    }
    cluster.manager_mut(survivor).resume();
    for number in &lost {
        let manager = cluster.manager_mut(*number);
        // One that loses touch with the other for a moment ends at once.
        until("the warning", || {
            let status = manager.skep(&["status"]);
            let ended = status.err.contains("no manager reached");
            (ended || status.out.contains("warning other-history")).then_some(())
        });
    }
    // The agent, which has seen the later history, doesn't go back to the old one.
    cluster.agents[0].kill();
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    let status = cluster.manager_mut(survivor).skep(&["node", "ls"]).ok();
    assert!(status.contains("node-1"), "{status}");
    let _ = cluster.manager_mut(survivor).skep(&["cluster", "resume", "--yes"]).ok();
    end(&mut cluster, &lost);
    until("the value that was kept", || (shell.read("db") == "one").then_some(()));
    cluster.update("db", b"last");
    assert_eq!(shell.read("db"), "last");
    assert_eq!(shell.end(), 0);
}

#[test]
fn two_of_five_are_left_and_one_of_them_goes_on() {
    let mut cluster = Cluster::start_with(5, 1);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    let mut shell = cluster.shell(0, "web");
    for lost in 0..3 {
        cluster.manager_mut(lost).kill();
    }
    until("no quorum", || (cluster.manager_mut(3).state() == "no-quorum").then_some(()));
    // The other survivor is locked meanwhile, and ends once it is unlocked.
    let _ = cluster.manager_mut(3).skep(&["lock"]).ok();
    let _ = goes_on_alone(&mut cluster, 4, &[]);
    let _ = cluster.manager_mut(4).skep(&["cluster", "resume", "--yes"]).ok();
    let key = cluster.unlock_key().display().to_string();
    let _ = cluster.manager_mut(3).skep(&["unlock", "--key-file", &key]);
    assert_eq!(cluster.manager_mut(3).ended(), 24);
    cluster.agents[0].connected();
    let words = ["secret", "update", "db", "-"];
    let _ = cluster.manager_mut(4).skep_with(&words, b"two").ok();
    assert_eq!(shell.read("db"), "two");
    assert_eq!(shell.end(), 0);
}

#[test]
fn a_learner_that_is_left_goes_on_and_votes() {
    let mut cluster = Cluster::start(0);
    cluster.secret("db", b"one");
    let _ = cluster.join_learner("far");
    let names = ["secret", "ls", "--stale", "-q"];
    until("what it follows", || {
        (cluster.manager_mut(1).here(&names).ok().lines().count() == 1).then_some(())
    });
    cluster.manager.kill();
    let ran = goes_on_alone(&mut cluster, 1, &[]);
    assert!(ran.err.contains("manager-1"), "{}", ran.err);
    let far = cluster.manager_mut(1);
    let _ = far.skep(&["cluster", "resume", "--yes"]).ok();
    let _ = far.skep_with(&["secret", "create", "after", "-"], b"v").ok();
    assert_eq!(far.skep(&["secret", "ls", "-q"]).ok().lines().count(), 2);
    // As a manager that votes it is started again.
    far.kill();
    cluster.bring_back(1);
    until("its lead", || (cluster.manager_mut(1).state() == "leader").then_some(()));
}

#[test]
fn p3_killed_at_any_moment_it_leaves_the_old_data_or_the_new() {
    let mut cluster = Cluster::start_with(3, 0);
    for number in 0..20 {
        cluster.secret(&format!("s{number}"), &vec![7; 20_000]);
    }
    for lost in 0..2 {
        cluster.manager_mut(lost).kill();
    }
    assert_eq!(cluster.manager_mut(2).stop(), 0);
    let (data, old) = (cluster.manager_mut(2).data(), cluster.folder().join("old"));
    copy(&data, &old);
    let start = Instant::now();
    let _ = recover(&cluster, &data, &["--yes"]).status(0);
    let whole = start.elapsed();
    let (mut kept, mut new) = (0, 0);
    for round in 1..=16_u32 {
        copy(&old, &data);
        let mut command = Command::new(binary());
        command.args(["cluster", "recover", "--yes", "--from"]).arg(&data);
        command.arg("--key-file").arg(cluster.unlock_key());
        let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it");
        let at = start_of(whole * round / 14);
        until("the moment", || (Instant::now() >= at).then_some(()));
        drop(child.kill());
        drop(child.wait());
        // Whatever it was, it is recovered now: of the old history or of the one that began.
        let again = recover(&cluster, &data, &["--yes"]).status(0);
        match again.out.trim().rsplit(' ').next() {
            Some("2") => kept += 1,
            Some("3") => new += 1,
            _ => panic!("{}", again.out),
        }
    }
    assert!(kept > 0, "none was killed in time: {whole:?}");
    assert_eq!(kept + new, 16);
    cluster.bring_back(2);
    until("its lead", || (cluster.manager_mut(2).state() == "leader").then_some(()));
    let listed = cluster.manager_mut(2).skep(&["secret", "ls", "-q"]).ok();
    assert_eq!(listed.lines().count(), 20, "{listed}");
    let names = std::fs::read_dir(&data).expect("a folder");
    let names: Vec<_> = names.map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("recovered")), "{names:?}");
}

/// When that time is over.
fn start_of(time: Duration) -> Instant {
    Instant::now() + time
}

#[test]
fn a_damaged_disk_is_refused_and_stays_as_it_is() {
    let mut cluster = Cluster::start(0);
    cluster.secret("db", b"one");
    assert_eq!(cluster.manager.stop(), 0);
    let data = cluster.manager.data();
    let log = data.join("log");
    let segment = std::fs::read_dir(&log).expect("a log");
    let mut segments: Vec<_> = segment.map(|entry| entry.expect("an entry").path()).collect();
    segments.sort();
    let first = segments.first().expect("a segment");
    let whole = std::fs::read(first).expect("a segment");
    let mut bytes = whole.clone();
    bytes[600] ^= 1;
    std::fs::write(first, &bytes).expect("written");
    let refused = recover(&cluster, &data, &["--yes"]).status(20);
    assert!(refused.err.contains("hint:"), "{}", refused.err);
    std::fs::write(first, &whole).expect("written");
    // One that is alone can be recovered too: it gets a new history, and keeps everything.
    let _ = goes_on_alone(&mut cluster, 0, &[]);
    let listed = cluster.manager.skep(&["secret", "ls", "--format", "{{.Name}}"]).ok();
    assert_eq!(listed, "db");
}
