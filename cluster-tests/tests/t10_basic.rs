//! The main job, from outside, on the built binary.

use std::fs;
use std::time::{Duration, Instant};

use cluster_tests::{Cluster, until};

#[test]
fn a_secret_arrives_rotates_and_goes() {
    let cluster = Cluster::start(2);
    cluster.secret("password", b"first");
    cluster.service("web", "node-1", &["password"]);

    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("password"), "first");
    assert!(!cluster.agents[1].root().join("web").exists(), "the other node has something");

    cluster.update("password", b"second");
    assert_eq!(shell.read("password"), "second", "the same running process reads the new value");

    let revoked = cluster.skep(&["service", "revoke", "web", "password"]).status(0);
    assert!(revoked.err.contains("removed from 1/1"), "{}", revoked.err);
    assert_eq!(shell.read("password"), "gone");
    assert_eq!(shell.end(), 0);
}

#[test]
fn an_act_that_changes_nothing_is_delivered_at_once() {
    let cluster = Cluster::start(1);
    cluster.secret("db", b"value");
    let _ = cluster.ok(&["service", "create", "web", "--node", "node-1"]);
    let _ = cluster.ok(&["service", "grant", "web", "db"]);
    let mut shell = cluster.shell(0, "web");
    let done = |words: &[&str], said: &str| {
        let ran = cluster.skep(&[words, &["--timeout", "10s"]].concat()).status(0);
        assert!(ran.err.contains(said), "{words:?}: {}", ran.err);
    };
    done(&["service", "grant", "web", "db"], "delivered 1/1 nodes");
    assert_eq!(shell.read("db"), "value");
    done(&["service", "revoke", "web", "db"], "removed from 1/1 nodes");
    assert_eq!(shell.read("db"), "gone");
}

#[test]
fn p7_running_workloads_keep_their_secrets_while_the_manager_is_away() {
    let mut cluster = Cluster::start(1);
    cluster.secret("password", b"first");
    cluster.service("web", "node-1", &["password"]);
    let mut shell = cluster.shell(0, "web");

    cluster.manager.kill();
    assert_eq!(shell.read("password"), "first", "readable while managers are away");
    cluster.manager.start_again();
    assert_eq!(cluster.manager.state(), "locked");
    assert_eq!(cluster.manager.skep(&["secret", "ls"]).status, 4);
    let _ = cluster.unlock().ok();

    assert_eq!(cluster.ok(&["secret", "ls", "--format", "{{.Name}}"]), "password");
    cluster.update("password", b"second");
    assert_eq!(shell.read("password"), "second");
}

#[test]
fn p7_what_may_be_kept_for_a_while_goes_when_that_has_passed() {
    for mount in ["tmpfs", "fuse"] {
        let mut cluster = Cluster::start(1);
        cluster.secret("password", b"first");
        for (name, offline) in [("short", "max-age=2s"), ("long", "max-age=1h")] {
            let words = ["service", "create", name, "--node", "node-1", "--mount", mount];
            let _ = cluster.ok(&[&words[..], &["--offline", offline]].concat());
            let _ = cluster.ok(&["service", "grant", name, "password"]);
        }
        let (mut short, mut long) = (cluster.shell(0, "short"), cluster.shell(0, "long"));
        assert_eq!(
            (short.read("password"), long.read("password")),
            ("first".into(), "first".into())
        );

        cluster.manager.kill();
        let killed = Instant::now();
        until("the end of its time", || (short.read("password") == "gone").then_some(()));
        assert!(killed.elapsed() >= Duration::from_secs(2), "not before its time");
        assert_eq!(long.read("password"), "first", "another service's time is its own");

        cluster.manager.start_again();
        let _ = cluster.unlock().ok();
        until("its return", || (short.read("password") == "first").then_some(()));
        assert_eq!(long.read("password"), "first");
    }
}

#[test]
fn p7_an_agent_that_was_killed_adopts_what_it_mounted() {
    let mut cluster = Cluster::start(1);
    cluster.secret("password", b"first");
    cluster.service("web", "node-1", &["password"]);
    let mut shell = cluster.shell(0, "web");

    cluster.agents[0].kill();
    assert_eq!(shell.read("password"), "first", "a dead agent's tmpfs stays readable");
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    cluster.update("password", b"second");
    assert_eq!(shell.read("password"), "second", "the shell sees changes of the adopted mount");
}

#[test]
fn files_have_the_owner_and_mode_of_their_grant() {
    use std::os::unix::fs::MetadataExt as _;
    let cluster = Cluster::start(1);
    cluster.secret("key", b"k");
    let _ = cluster.ok(&["service", "create", "web", "--node", "node-1", "--activation", "placed"]);
    let _ = cluster.ok(&[
        "service",
        "grant",
        "web",
        "key:tls.key",
        "--uid",
        "33",
        "--gid",
        "34",
        "--mode",
        "0440",
    ]);
    let file = cluster.agents[0].file("web", "tls.key");
    let meta = until("the file", || fs::metadata(&file).ok());
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (33, 34, 0o440));
    assert!(fs::write(&file, b"x").is_err(), "read-only for root too");
    assert!(fs::remove_file(&file).is_err(), "read-only for root too");
}

#[test]
fn skep_exec_answers_the_command_s_status() {
    let cluster = Cluster::start(1);
    cluster.secret("a", b"1");
    cluster.service("web", "node-1", &["a"]);
    let _ = cluster.ok(&["service", "create", "elsewhere"]);
    let agent = &cluster.agents[0];
    let status = |service: &str, command: &[&str]| {
        cluster_tests::run(&mut agent.exec(service, command), b"").status
    };
    assert_eq!(status("web", &["sh", "-c", "exit 7"]), 7);
    assert_eq!(status("web", &["/nonexistent"]), 127);
    assert_eq!(status("web", &["/etc/passwd"]), 126);
    assert_eq!(status("elsewhere", &["true"]), 125);
    assert_eq!(status("web", &["sh", "-c", "kill -9 $$"]), 137);
    let refused = cluster_tests::run(&mut agent.exec("elsewhere", &["true"]), b"");
    assert!(refused.err.contains("hint:"), "{}", refused.err);
}

#[test]
fn what_is_no_longer_used_is_wiped() {
    let cluster = Cluster::start(1);
    cluster.secret("a", b"1");
    cluster.service("web", "node-1", &["a"]);
    let shell = cluster.shell(0, "web");
    let file = cluster.agents[0].file("web", "a");
    assert_eq!(fs::read(&file).expect("the host's view"), b"1");
    assert_eq!(shell.end(), 0);
    until("the wipe", || (!file.exists()).then_some(()));
    until("nobody holds it", || {
        let holders = cluster.ok(&["secret", "holders", "a", "--format", "{{.Node}}"]);
        holders.is_empty().then_some(())
    });
}

#[test]
fn lock_seals_the_manager_again() {
    let cluster = Cluster::start(1);
    cluster.secret("a", b"1");
    let _ = cluster.manager.skep(&["lock"]).ok();
    until("locked", || (cluster.manager.state() == "locked").then_some(()));
    assert_eq!(cluster.manager.skep(&["secret", "ls"]).status, 4);
    let _ = cluster.unlock().ok();
    until("the secret is there", || {
        (cluster.skep(&["secret", "ls", "-q"]).status == 0).then_some(())
    });
}

#[test]
fn a_wrong_or_mistyped_unlock_key_is_told_apart() {
    let mut cluster = Cluster::start(0);
    cluster.manager.kill();
    cluster.manager.start_again();
    let key = fs::read_to_string(cluster.unlock_key()).expect("the unlock key");
    let mistyped = cluster.file("mistyped", key.trim().replace("-1-", "-1-a").as_bytes());
    let ran = cluster.manager.skep(&["unlock", "--key-file", &mistyped]).status(7);
    assert!(ran.err.contains("mistyped"), "{}", ran.err);
    let ran =
        cluster.manager.skep(&["unlock", "--key-file", &cluster.file("junk", b"hello")]).status(7);
    assert!(!ran.err.contains("hello"), "{}", ran.err);
    let other = Cluster::start(0);
    let key = other.unlock_key().display().to_string();
    let ran = cluster.manager.skep(&["unlock", "--key-file", &key]).status(7);
    assert!(ran.err.contains("hint:"), "{}", ran.err);
    let _ = cluster.unlock().ok();
}
