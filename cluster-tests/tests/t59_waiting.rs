//! Whoever waits, or looks later, is told what is so: what lags and where, what was delivered
//! and what was removed, and that what was interrupted is committed.

use std::io::Write as _;
use std::process::Stdio;

use cluster_tests::{Cluster, Ran, run, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn json(ran: &Ran) -> Value {
    serde_json::from_str(ran.out.lines().next().expect("a line")).expect("JSON")
}

fn status(cluster: &Cluster) -> Value {
    json(&cluster.skep(&["status", "--format", "json"]))
}

fn has_warning(status: &Value, code: &str, text: &str) -> bool {
    let warnings = status["warnings"].as_array().expect("a list");
    warnings.iter().any(|one| {
        one["code"] == code && one["text"].as_str().is_some_and(|said| said.contains(text))
    })
}

/// `web` with `a` on the one agent, whether it runs there or not.
fn cluster() -> Cluster {
    let cluster = Cluster::start(1);
    cluster.secret("a", b"one");
    let create = ["service", "create", "web", "--node", "node-1", "--activation", "placed"];
    let _ = cluster.ok(&create);
    let granted = cluster.skep(&["service", "grant", "web", "a"]).status(0);
    assert!(granted.err.contains("delivered 1/1 nodes"), "{}", granted.err);
    cluster
}

fn update(cluster: &Cluster, value: &[u8], flags: &[&str]) -> Ran {
    cluster.skep_with(&[&["secret", "update", "a", "-"], flags].concat(), value)
}

#[test]
fn what_a_node_missed_is_shown_until_it_has_it() {
    let mut cluster = cluster();
    assert_eq!(status(&cluster)["lagging_deliveries"], 0);
    let table = cluster.ok(&["secret", "holders", "a"]);
    assert!(table.lines().next().is_some_and(|head| head.contains("VERSION  WANTED")), "{table}");
    cluster.agents[0].kill();
    let missed = update(&cluster, b"two", &["--timeout", "1s"]).status(5);
    assert!(missed.err.contains("delivered 0/1 nodes; waiting for node-1"), "{}", missed.err);

    let ran = cluster.skep(&["status", "--format", "json"]).status(8);
    let shown = json(&ran);
    let late = &shown["lagging"][0];
    assert_eq!((&late["node"], &late["file"]), (&"node-1".into(), &"a".into()), "{shown}");
    assert_eq!((&late["version"], &late["wanted"]), (&1.into(), &2.into()), "{shown}");
    assert!(has_warning(&shown, "delivery-lags", "node node-1 has version 1 of file a"), "{shown}");
    let text = cluster.skep(&["status"]).status(8).out;
    assert!(text.contains("LATE ON"), "{text}");
    let held = json(&cluster.skep(&["secret", "holders", "a", "--format", "json"]).status(0));
    assert_eq!((&held["version"], &held["wanted"]), (&1.into(), &2.into()), "{held}");
    assert!(held["why"].as_str().is_some_and(|why| why.starts_with("down since")), "{held}");
    until("a warning of the worker", || {
        has_warning(&status(&cluster), "worker-down", "node-1").then_some(())
    });

    cluster.agents[0].start_again();
    until("all is well", || (cluster.skep(&["status"]).status == 0).then_some(()));
    let held = json(&cluster.skep(&["secret", "holders", "a", "--format", "json"]).status(0));
    assert_eq!((&held["version"], &held["wanted"]), (&2.into(), &2.into()), "{held}");
    assert_eq!((&held["state"], &held["why"]), (&"held".into(), &"".into()), "{held}");

    // One that does not answer is late, too, while its connection stands.
    cluster.agents[0].freeze();
    let _ = update(&cluster, b"three", &["--detach"]).status(0);
    until("a late delivery", || (status(&cluster)["lagging"][0]["wanted"] == 3).then_some(()));
    cluster.agents[0].resume();
    until("all is well", || (status(&cluster)["lagging_deliveries"] == 0).then_some(()));
}

#[test]
fn p4_a_removal_is_done_when_no_file_lies_anywhere() {
    let mut cluster = cluster();
    cluster.agents[0].kill();
    let late = ["--timeout", "1s"];
    let revoke = [&["service", "revoke", "web", "a"][..], &late].concat();
    let revoked = cluster.skep(&revoke).status(5);
    assert!(revoked.err.contains("removed from 0/1 nodes; waiting for node-1"), "{}", revoked.err);
    assert!(!revoked.err.contains("delivered"), "{}", revoked.err);
    let remove = |words: &[&str]| cluster.skep(&[words, &late].concat()).status(5);
    let removed = remove(&["secret", "rm", "a"]);
    assert!(removed.err.contains("waiting for node-1 (down since"), "{}", removed.err);
    assert!(!removed.err.contains("delivered"), "{}", removed.err);
    let removed = remove(&["node", "rm", "node-1"]);
    assert!(
        removed.err.contains("not removed, for files still lie there: node-1"),
        "{}",
        removed.err
    );
    assert!(cluster.agents[0].file("web", "a").exists(), "that is so");
    assert_eq!(cluster.ok(&["node", "ls", "--format", "{{.Name}}"]).lines().count(), 2);

    // Its agent is back: whoever waits hears of it.
    cluster.agents[0].start_again();
    let _ = cluster.ok(&["node", "rm", "node-1"]);
    assert!(!cluster.agents[0].file("web", "a").exists());
    // Nobody held anything.
    cluster.secret("b", b"one");
    let removed = cluster.skep(&["secret", "rm", "b"]).status(0);
    assert!(!removed.err.contains("delivered"), "{}", removed.err);
}

#[test]
fn who_interrupts_a_wait_is_told_that_it_is_committed() {
    let mut cluster = cluster();
    cluster.agents[0].kill();
    let mut command = cluster.command(&["secret", "update", "a", "-", "--timeout", "60s"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("skep");
    child.stdin.take().expect("its input").write_all(b"two").expect("written");
    // It waits once it has taken hold of the signal: before the commit it has not.
    until("a wait", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        (caught & 2 != 0).then_some(())
    });
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a pid");
    // One that comes between the handler and whoever listens to it is heard by nobody: a
    // person presses again.
    until("its end", || {
        kill_process(pid, Signal::INT).expect("a signal");
        child.try_wait().expect("a child")
    });
    let ended = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("the change itself is committed"), "{said}");
    let inspect = cluster.command(&["secret", "inspect", "a", "--format", "{{.Version}}"]);
    assert_eq!(run(&mut { inspect }, b"").ok(), "2");
}
