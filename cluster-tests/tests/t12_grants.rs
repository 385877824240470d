//! Grants: what a repeated one keeps, what is taken and replaced, and what is not there to take.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use cluster_tests::{Cluster, Ran, until};

/// A service on one node that has `key` as `a` and `b`, delivered without a workload.
fn cluster() -> Cluster {
    let cluster = Cluster::start(1);
    cluster.secret("key", b"value");
    cluster.secret("other", b"another");
    let placed = ["service", "create", "web", "--node", "node-1", "--activation", "placed"];
    let _ = cluster.ok(&placed);
    let _ = cluster.ok(&["service", "grant", "web", "key:a", "key:b"]);
    cluster
}

/// Owner, group and mode of a file.
fn shown(file: &Path) -> (u32, u32, u32) {
    let of = std::fs::metadata(file).expect("a file");
    (of.uid(), of.gid(), of.mode() & 0o7777)
}

fn read(file: &Path) -> Option<String> {
    std::fs::read_to_string(file).ok()
}

/// Refused with 1, and in these words.
#[track_caller]
fn refused(ran: Ran, text: &str) {
    let ran = ran.status(1);
    assert!(ran.err.contains(text) && ran.err.contains("hint: "), "{}", ran.err);
}

#[test]
fn a_repeated_grant_keeps_what_it_does_not_name() {
    let cluster = cluster();
    let [a, b] = ["a", "b"].map(|name| cluster.agents[0].file("web", name));
    let grant = |words: &[&str]| {
        let words = [&["service", "grant", "web"], words].concat();
        cluster.skep(&words).status(0)
    };
    let _ = grant(&["key:a", "--uid", "33", "--gid", "34", "--mode", "0400", "--pin", "1"]);
    assert_eq!(shown(&a), (33, 34, 0o400));
    assert_eq!(shown(&b), (0, 0, 0o444), "the other file is another grant");
    let _ = grant(&["key:a"]);
    assert_eq!(shown(&a), (33, 34, 0o400), "nothing was said");
    let _ = grant(&["key:a", "--mode", "0440"]);
    assert_eq!(shown(&a), (33, 34, 0o440));
    let _ = grant(&["key:a", "--gid", "0"]);
    assert_eq!(shown(&a), (33, 0, 0o440), "nothing is said by leaving it out, 0 is");
    cluster.update("key", b"second");
    assert_eq!((read(&a).as_deref(), read(&b).as_deref()), (Some("value"), Some("second")));
    let _ = grant(&["key:a", "--uid", "35"]);
    assert_eq!(read(&a).as_deref(), Some("value"), "it is pinned as it was");
    let _ = grant(&["key:a", "--pin", "current"]);
    assert_eq!((read(&a).as_deref(), shown(&a)), (Some("second"), (35, 0, 0o440)));
}

#[test]
fn a_secret_takes_the_file_of_another_in_one_act() {
    let cluster = cluster();
    let [a, b] = ["a", "b"].map(|name| cluster.agents[0].file("web", name));
    let words = ["service", "grant", "web", "key:a", "--uid", "33", "--mode", "0400"];
    let _ = cluster.ok(&words);
    refused(cluster.skep(&["service", "grant", "web", "other:a"]), "--replace");
    assert_eq!(read(&a).as_deref(), Some("value"));
    let _ = cluster.ok(&["service", "grant", "web", "other:a", "--replace"]);
    assert_eq!(read(&a).as_deref(), Some("another"));
    assert_eq!(shown(&a), (33, 0, 0o400), "whoever reads it is the same");
    assert_eq!(read(&b).as_deref(), Some("value"), "the other file stays");
    let _ = cluster.ok(&["service", "grant", "web", "other:b", "other:new", "--replace"]);
    assert_eq!(cluster.ok(&["secret", "holders", "key", "-q"]), "", "no node has it any more");
    let _ = cluster.ok(&["secret", "rm", "key"]);
}

#[test]
fn one_file_of_several_is_taken() {
    let cluster = cluster();
    let [a, b] = ["a", "b"].map(|name| cluster.agents[0].file("web", name));
    let _ = cluster.ok(&["service", "revoke", "web", "key:a"]);
    assert_eq!((read(&a), read(&b).as_deref()), (None, Some("value")));
    refused(
        cluster.skep(&["service", "revoke", "web", "key:a"]),
        "secret key is not granted to service web as a",
    );
    let _ = cluster.ok(&["service", "grant", "web", "other:a"]);
    refused(
        cluster.skep(&["service", "revoke", "web", "key:a"]),
        "secret key is not granted to service web as a",
    );
    let _ = cluster.ok(&["service", "revoke", "web", "key:b", "other:a", "key:b"]);
    assert_eq!((read(&a), read(&b)), (None, None), "what is named twice is taken once");
}

#[test]
fn what_is_not_granted_is_not_revoked() {
    let cluster = cluster();
    let not = |secret: &str| format!("secret {secret} is not granted to service web");
    refused(cluster.skep(&["service", "revoke", "web", "other"]), &not("other"));
    refused(cluster.skep(&["service", "revoke", "web", "key", "other"]), &not("other"));
    assert!(read(&cluster.agents[0].file("web", "a")).is_some(), "all of it was refused");

    // As long as a node has not confirmed it, the same command waits for it.
    cluster.agents[0].freeze();
    let revoke = |time: &str, what: &str| {
        cluster.skep(&["service", "revoke", "web", what, "--timeout", time])
    };
    for what in ["key:a", "key:a", "key", "key", "key:b"] {
        let late = revoke("300ms", what).status(5);
        assert!(late.err.contains("node-1"), "{what}: {}", late.err);
    }
    refused(revoke("300ms", "other"), &not("other"));
    cluster.agents[0].resume();
    until("the revoke's end", || {
        let ran = revoke("30s", "key");
        let done = ran.status == 1 && ran.err.contains(&not("key"));
        assert!(done || ran.status == 0, "{}: {}", ran.status, ran.err);
        done.then_some(())
    });
    assert_eq!(read(&cluster.agents[0].file("web", "a")), None);
}

/// Words for so many names, `prefix` and `suffix` around each number.
fn names(count: usize, prefix: &str, suffix: &str) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}{suffix}")).collect()
}

#[test]
fn more_names_than_an_act_holds_are_done_in_several() {
    let cluster = Cluster::start(1);
    let count = 70;
    let file = cluster.file("value", b"v");
    for name in names(count, "s", "") {
        let _ = cluster.ok(&["secret", "create", &name, &file]);
        let _ = cluster.ok(&["service", "create", &format!("w{name}")]);
    }
    let placed = ["service", "create", "web", "--node", "node-1", "--activation", "placed"];
    let _ = cluster.ok(&placed);
    let with = |words: &[&str], names: &[String]| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        cluster.skep(&[words, &names[..]].concat())
    };
    let done = |ran: Ran| {
        let ran = ran.status(0);
        assert!(ran.err.contains("done in 2 acts of at most 64 names"), "{}", ran.err);
        ran.out
    };
    let (secrets, services) = (names(count, "s", ""), names(count, "ws", ""));
    let _ = done(with(&["service", "grant", "web"], &secrets));
    let updated = done(with(&["secret", "update"], &names(count, "s", &format!("={file}"))));
    assert_eq!(updated.lines().count(), count);
    assert!(read(&cluster.agents[0].file("web", "s69")).is_some());
    let _ = done(with(&["service", "revoke", "web"], &secrets));
    assert_eq!(read(&cluster.agents[0].file("web", "s69")), None);
    assert_eq!(done(with(&["service", "rm"], &services)).lines().count(), count);
    for _ in 0..count {
        let _ = cluster.ok(&["join-token", "worker", "-q"]);
    }
    let tokens = cluster.ok(&["join-token", "ls", "-q"]);
    let tokens: Vec<String> = tokens.lines().map(str::to_owned).collect();
    let _ = done(with(&["join-token", "rm"], &tokens));

    // Where the second act fails, the first one is done, and that is said.
    let _ = cluster.ok(&["service", "grant", "web", "s69"]);
    let ran = with(&["secret", "rm"], &secrets).status(1);
    assert!(ran.err.contains("done: 64 of 70 names"), "{}", ran.err);
    assert!(ran.err.contains("those from s64 on"), "{}", ran.err);
    assert!(ran.err.contains("secret 's69' is in use"), "{}", ran.err);
    assert_eq!(ran.out.lines().count(), 64, "what is done is named");
    assert_eq!(cluster.ok(&["secret", "ls", "-q"]).lines().count(), 6);
}

#[test]
fn values_of_more_bytes_than_an_act_holds_are_updated_in_several() {
    let cluster = Cluster::start(0);
    let file = cluster.file("value", &vec![b'v'; 511_999]);
    for name in names(9, "s", "") {
        let _ = cluster.ok(&["secret", "create", &name, &file]);
    }
    let sets = names(9, "s", &format!("={file}"));
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let ran = cluster.skep(&[&["secret", "update"], &sets[..]].concat()).status(0);
    assert!(ran.err.contains("done in 2 acts"), "{}", ran.err);
    assert!(ran.out.lines().all(|line| line.ends_with(" 2")), "{}", ran.out);
}
