//! What a node can't do holds up nothing else: other files of the same service are rotated and
//! revoked, other services too, and whoever looks is told what failed, and why.

use std::process::{Child, Command, Stdio};

use cluster_tests::{Agent, Cluster, Ran, until};
use serde_json::Value;
use skep_core::base::{ServiceId, limits};
use skep_core::domain::{Change, NO_ONE, OfflinePolicy, Owner, Placement, ServiceSpec};

/// A user that no machine of a test has; this agent can't give it anything.
const USER: &str = "12345";

/// An agent that may not give files away, in place of the one that ran.
struct Bound(Child);

impl Bound {
    fn start(agent: &mut Agent) -> Self {
        agent.kill();
        let daemon = agent.command();
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-chown", "--"]).arg(daemon.get_program());
        command.args(daemon.get_args());
        for (name, value) in daemon.get_envs() {
            command.envs(value.map(|value| (name, value)));
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(agent.log());
        let log = log.expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let bound = Self(command.spawn().expect("setpriv"));
        agent.connected();
        bound
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn json(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn status(cluster: &Cluster) -> Value {
    json(&cluster.skep(&["status", "--format", "json"])).remove(0)
}

fn holders(cluster: &Cluster, secret: &str) -> Vec<Value> {
    json(&cluster.skep(&["secret", "holders", secret, "--format", "json"]).status(0))
}

fn codes(status: &Value) -> Vec<String> {
    let warnings = status["warnings"].as_array().expect("a list");
    warnings.iter().map(|one| one["code"].as_str().expect("a code").to_owned()).collect()
}

fn place(cluster: &Cluster, service: &str, flags: &[&str]) {
    let words = ["service", "create", service, "--node", "node-1", "--activation", "placed"];
    let _ = cluster.ok(&[&words, flags].concat());
}

fn content(agent: &Agent, service: &str, file: &str) -> String {
    std::fs::read_to_string(agent.file(service, file)).unwrap_or_else(|_| "gone".to_owned())
}

#[test]
fn p4_one_file_that_cannot_be_made_holds_up_no_rotation_and_no_revoke() {
    let mut cluster = Cluster::start(1);
    for name in ["a", "b", "c"] {
        cluster.secret(name, b"one");
    }
    let _bound = Bound::start(&mut cluster.agents[0]);
    let agent = &cluster.agents[0];
    place(&cluster, "web", &[]);
    place(&cluster, "other", &[]);
    let _ = cluster.ok(&["service", "grant", "web", "a", "c"]);
    let _ = cluster.ok(&["service", "grant", "other", "a"]);
    let given = ["service", "grant", "web", "b", "--uid", USER, "--timeout", "3s"];
    let refused = cluster.skep(&given).status(5);
    assert!(refused.err.contains("node-1 (b: cannot set the owner"), "{}", refused.err);
    assert_eq!(content(agent, "web", "a"), "one", "what can be shown is shown");
    assert_eq!(content(agent, "web", "b"), "gone");

    // A rotation of the others arrives, and says so.
    let updated = cluster.skep_with(&["secret", "update", "a", "-"], b"two").status(0);
    assert!(updated.err.contains("delivered 1/1 nodes"), "{}", updated.err);
    assert_eq!(content(agent, "web", "a"), "two");
    assert_eq!(content(agent, "other", "a"), "two");

    // So does a revoke.
    let revoked = cluster.skep(&["service", "revoke", "web", "c"]).status(0);
    assert!(revoked.err.contains("removed from 1/1 nodes"), "{}", revoked.err);
    assert!(!revoked.err.contains("delivered"), "{}", revoked.err);
    assert_eq!(content(agent, "web", "c"), "gone");
    assert_eq!(content(agent, "web", "a"), "two");

    // Whoever looks is told which file, where, and why.
    let shown = status(&cluster);
    assert_eq!(shown["pending"], serde_json::json!([]), "{shown}");
    let late = &shown["lagging"][0];
    assert_eq!((&late["node"], &late["service"]), (&"node-1".into(), &"web".into()), "{shown}");
    assert_eq!((&late["file"], &late["failed"]), (&"b".into(), &true.into()), "{shown}");
    assert!(late["why"].as_str().is_some_and(|why| why.contains("owner")), "{shown}");
    assert_eq!(shown["lagging"].as_array().map(Vec::len), Some(1), "{shown}");
    assert!(codes(&shown).contains(&"delivery-failed".to_owned()), "{shown}");
    let of_b = holders(&cluster, "b");
    assert_eq!((&of_b[0]["state"], &of_b[0]["file"]), (&"failed".into(), &"b".into()), "{of_b:?}");
    assert_eq!((&of_b[0]["version"], &of_b[0]["wanted"]), (&Value::Null, &1.into()), "{of_b:?}");
    for held in holders(&cluster, "a") {
        assert_eq!((&held["version"], &held["wanted"]), (&2.into(), &2.into()), "{held}");
        assert_eq!(held["state"], "held");
    }
    let log = std::fs::read_to_string(agent.log()).expect("a log");
    let told = log.lines().filter(|line| line.contains("set_not_in_place")).count();
    assert!((1..=3).contains(&told), "told {told} times");

    // What fails is tried again; a workload that watches sees nothing of it.
    let link = || std::fs::read_link(agent.file("web", "..live/..data")).expect("a generation");
    let touched = || {
        let folder = std::fs::metadata(agent.file("web", "..live")).expect("a folder");
        folder.modified().expect("a time")
    };
    let before = (link(), touched());
    until("another try", || (touched() != before.1).then_some(()));
    assert_eq!(link(), before.0);

    // With it gone the rest is whole.
    let revoked = cluster.skep(&["service", "revoke", "web", "b"]).status(0);
    assert!(revoked.err.contains("removed from 1/1 nodes"), "{}", revoked.err);
    until("all is well", || (status(&cluster)["lagging_deliveries"] == 0).then_some(()));
}

#[test]
fn a_name_or_an_owner_that_a_node_cannot_show_holds_up_no_file() {
    let mut cluster = Cluster::start(1);
    cluster.secret("a", b"one");
    cluster.secret("b", b"one");
    let _bound = Bound::start(&mut cluster.agents[0]);
    let agent = &cluster.agents[0];
    std::fs::create_dir(agent.root().join("other")).expect("a folder");
    std::fs::write(agent.root().join("other/theirs"), b"").expect("in the way");
    place(&cluster, "web", &["--owner", USER]);
    place(&cluster, "other", &[]);
    for service in ["web", "other"] {
        let grant = ["service", "grant", service, "a", "b", "--timeout", "3s"];
        let _ = cluster.skep(&grant).status(5);
    }
    let _ = cluster.skep(&["service", "revoke", "web", "b"]).status(0);
    let _ = cluster.skep(&["service", "revoke", "other", "b"]).status(0);
    let inside = |service: &str, file: &str| {
        let id = cluster.ok(&["service", "inspect", service, "--format", "{{.Id}}"]);
        let path = agent.root().join(".mounts").join(id).join("live").join(file);
        std::fs::read_to_string(path).unwrap_or_else(|_| "gone".to_owned())
    };
    let _ = cluster.skep_with(&["secret", "update", "a", "-", "--timeout", "3s"], b"two");
    for service in ["web", "other"] {
        until("the rotation inside", || (inside(service, "a") == "two").then_some(()));
        assert_eq!(inside(service, "b"), "gone");
    }
    let shown = status(&cluster);
    assert_eq!(shown["pending"], serde_json::json!([]), "{shown}");
    let why = shown["lagging"].to_string();
    assert!(why.contains("is in the way") && why.contains("cannot set the owner"), "{why}");
}

#[test]
fn p4_one_name_is_revoked_though_the_secret_stays_under_another() {
    let mut cluster = Cluster::start(1);
    cluster.secret("k", b"one");
    place(&cluster, "web", &[]);
    let _ = cluster.ok(&["service", "grant", "web", "k:a", "k:b", "--uid", USER]);
    let bound = Bound::start(&mut cluster.agents[0]);
    let agent = &cluster.agents[0];
    assert_eq!((content(agent, "web", "a"), content(agent, "web", "b")), both("one"));
    let mut open = std::fs::File::open(agent.file("web", "a")).expect("a file");

    let revoked = cluster.skep(&["service", "revoke", "web", "k:a"]).status(0);
    assert!(revoked.err.contains("removed from 1/1 nodes"), "{}", revoked.err);
    assert_eq!(content(agent, "web", "a"), "gone");
    assert_eq!(content(agent, "web", "b"), "one", "the other name stays");
    let mut left = Vec::new();
    let read = std::io::Read::read_to_end(&mut open, &mut left);
    assert!(read.is_err() || left.is_empty(), "an open file still reads");

    // The next agent takes over what is left of it, and no more.
    drop(bound);
    let _bound = Bound::start(&mut cluster.agents[0]);
    let agent = &cluster.agents[0];
    assert_eq!(content(agent, "web", "a"), "gone");
    let updated = ["secret", "update", "k", "-", "--timeout", "3s"];
    let failed = cluster.skep_with(&updated, b"two").status(5);
    assert!(failed.err.contains("node-1 (b: cannot set the owner"), "{}", failed.err);
    let revoked = cluster.skep(&["service", "revoke", "web", "k:b"]).status(0);
    assert!(revoked.err.contains("removed from 1/1 nodes"), "{}", revoked.err);
    assert_eq!(content(agent, "web", "b"), "gone");
}

fn both(value: &str) -> (String, String) {
    (value.to_owned(), value.to_owned())
}

#[test]
fn managers_refuse_what_no_node_can_give() {
    let cluster = Cluster::start(0);
    let mut client = cluster.client(std::time::Duration::from_secs(20));
    let spec = ServiceSpec {
        placement: Placement { everywhere: true, ..Placement::default() },
        ..ServiceSpec::default()
    };
    let no_one = ServiceSpec { owner: Owner { uid: NO_ONE, gid: 0 }, ..spec.clone() };
    let too_long = OfflinePolicy::MaxAge(limits::OFFLINE_S + 1);
    for spec in [no_one, ServiceSpec { offline: too_long, ..spec }] {
        let id = ServiceId::from_bytes([7; 16]);
        let name = "web".parse().expect("a name");
        let outcome = client.apply(&[Change::CreateService { id, name, spec }]);
        let said = format!("{outcome:?}");
        assert!(said.contains("no user or group") || said.contains("10 years"), "{said}");
    }
}
