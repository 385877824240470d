//! Where managers are reached: everybody hears of it when that changes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::process::{Child, Command, Stdio};

use cluster_tests::{Cluster, Manager, run, until};

/// Warnings of a manager's own status, and where it says that the managers are.
fn status(cluster: &Cluster, number: usize) -> serde_json::Value {
    let manager = cluster.managers().nth(number).expect("so many managers");
    let status = manager.skep(&["status", "--format", "json"]);
    serde_json::from_str(&status.out).unwrap_or_default()
}

fn all_vote(cluster: &Cluster) {
    until("three managers that vote", || {
        let votes = cluster.managers_as("follower").len() + cluster.managers_as("leader").len();
        (votes == 3).then_some(())
    });
}

#[test]
fn an_agent_that_joined_by_the_first_manager_outlives_it() {
    let mut cluster = Cluster::start(1);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("db"), "one");
    for name in ["manager-2", "manager-3"] {
        let _ = cluster.join_manager(name);
    }
    let third = cluster.others[1].address();
    until("the agent to have them written down", || {
        let kept = std::fs::read_to_string(cluster.agents[0].data().join("state.toml")).ok()?;
        kept.contains(&third).then_some(())
    });
    // They are known after a start too.
    cluster.agents[0].kill();
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    cluster.manager_mut(0).kill();
    cluster.update("db", b"two");
    until("the new value under a new leader", || (shell.read("db") == "two").then_some(()));
}

/// The admin's command, which knows of the managers by the identity file alone.
fn by_identity(cluster: &Cluster, words: &[&str]) -> Command {
    let mut command = cluster.command(words);
    command.env_remove("SKEP_HOST");
    command
}

#[test]
fn an_identity_of_the_first_manager_outlives_it() {
    let mut cluster = Cluster::start(0);
    for name in ["manager-2", "manager-3"] {
        let _ = cluster.join_manager(name);
    }
    let (real, names) = (cluster.folder().join("real.skepid"), ["secret", "ls"]);
    fs::rename(cluster.identity(), &real).expect("moved");
    symlink("real.skepid", cluster.identity()).expect("a link");
    let addresses: Vec<String> = cluster.managers().map(Manager::address).collect();
    let knows_all = || {
        let text = fs::read_to_string(&real).expect("an identity");
        addresses.iter().all(|address| text.contains(address))
    };
    let before = fs::read(&real).expect("an identity");

    // What its owner may not write stays as it is, and is good.
    fs::set_permissions(&real, fs::Permissions::from_mode(0o400)).expect("read-only");
    let _ = run(&mut by_identity(&cluster, &names), b"").ok();
    assert_eq!(fs::read(&real).expect("an identity"), before);
    fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).expect("to be written");
    chown(&real, Some(1234), Some(1234)).expect("somebody's own");

    // Whoever reads it meanwhile, and however many commands there are, it is whole.
    let commands: Vec<Child> = (0..12)
        .map(|_| {
            let mut command = by_identity(&cluster, &names);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a command")
        })
        .collect();
    for command in commands {
        let ran = command.wait_with_output().expect("its end");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    assert!(knows_all(), "the managers are in the identity file");
    let meta = fs::metadata(&real).expect("an identity");
    assert_eq!((meta.mode() & 0o777, meta.uid(), meta.gid()), (0o600, 1234, 1234));
    assert!(fs::symlink_metadata(cluster.identity()).expect("a link").is_symlink());
    let names: Vec<_> = fs::read_dir(cluster.folder()).expect("a folder").flatten().collect();
    assert!(!names.iter().any(|entry| entry.file_name().to_string_lossy().ends_with(".new")));

    cluster.manager_mut(0).kill();
    let _ = run(&mut by_identity(&cluster, &["secret", "ls"]), b"").ok();
}

#[test]
fn every_host_that_was_given_is_asked_whatever_one_of_them_has_on_record() {
    // The founder is on record where nobody listens.
    let mut cluster = Cluster::start(0);
    let listens = cluster.manager.address();
    let _ = cluster.join_manager("manager-2");
    let follower = cluster.others[0].address();
    cluster.manager.kill();
    cluster.manager.settings(|text| {
        text.replace(&format!("advertise = [\"{listens}\"]"), "advertise = [\"127.0.0.1:9\"]")
    });
    cluster.bring_back(0);
    until("the wrong address on record", || {
        let leads = cluster.leader() == 0;
        if !leads {
            let _ = cluster.others[0].skep(&["manager", "step-down", "--to", "manager-1"]);
        }
        let named = cluster.others[0].skep(&["join-token", "worker"]).out;
        (leads && !named.is_empty()).then_some(())
    });
    for hosts in [format!("{follower},{listens}"), format!("{listens},{follower}")] {
        let mut command = cluster.command(&["secret", "ls", "--host", &hosts]);
        let ran = run(&mut command, b"");
        assert_eq!(ran.status, 0, "{hosts}: {}", ran.err);
    }
}

#[test]
fn a_manager_that_moved_is_reached_at_its_new_address() {
    let mut cluster = Cluster::start_with(3, 1);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    let mut shell = cluster.shell(0, "web");
    // One after the other, whoever leads first.
    for _ in 0..3 {
        let leader = cluster.leader();
        cluster.manager_mut(leader).moves();
        cluster.bring_back(leader);
        all_vote(&cluster);
    }
    let moved: Vec<String> = cluster.managers().map(Manager::address).collect();
    for number in 0..3 {
        until("no warning", || {
            let warnings = status(&cluster, number)["warnings"].to_string();
            (!warnings.contains("address-not-on-record")).then_some(())
        });
    }
    until("the agent to know where they are", || {
        let kept = std::fs::read_to_string(cluster.agents[0].data().join("state.toml")).ok()?;
        moved.iter().all(|address| kept.contains(address)).then_some(())
    });
    cluster.update("db", b"two");
    until("the new value", || (shell.read("db") == "two").then_some(()));
}

#[test]
fn a_manager_that_can_tell_nobody_where_it_is_says_so_itself() {
    let mut cluster = Cluster::start_with(3, 0);
    for number in 0..3 {
        cluster.manager_mut(number).moves();
    }
    for number in 0..3 {
        cluster.bring_back(number);
    }
    until("a warning", || {
        let warnings = status(&cluster, 0)["warnings"].to_string();
        warnings.contains("address-not-on-record").then_some(())
    });
}
