//! Scopes: what a team's identity sees, changes and hears of, and what lies outside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster_tests::rpc::{channel, identity, runtime, tls};
use cluster_tests::{Cluster, Ran, run, until};
use serde_json::Value;
use skep_client::transport::rpc::api::control_client::ControlClient;
use skep_core::wire::api;

/// Words that no text for whoever stays within `team-a.` may hold.
const OUTSIDE: [&str; 4] = ["team-b", "other-secret", "other-service", "node-2"];

/// A cluster in which two teams have secrets and services, and a team's editor.
struct Case {
    cluster: Cluster,
    bea: PathBuf,
}

impl Case {
    fn start() -> Self {
        let cluster = Cluster::start(2);
        let _ = cluster.ok(&["node", "update", "node-1", "--label-add", "team=a"]);
        for name in ["team-a.db", "team-a.api", "team-b.db", "other-secret"] {
            cluster.secret(name, b"one");
        }
        cluster.service("team-b.web", "node-2", &["team-b.db"]);
        cluster.service("other-service", "node-2", &["team-a.api", "other-secret"]);
        let bea = operator(
            &cluster,
            "bea",
            &["--scope", "team-a.", "--constraint", "node.labels.team==a"],
        );
        Self { cluster, bea }
    }

    /// The CLI as the team's editor. What it says names nothing from outside but what was typed.
    fn skep(&self, words: &[&str]) -> Ran {
        let ran = by(&self.cluster, &self.bea, words);
        for word in OUTSIDE {
            let typed = words.iter().any(|typed| typed.contains(word));
            let text = format!("{}{}", ran.out, ran.err);
            assert!(typed || !text.contains(word), "{words:?} says {word}: {text}");
        }
        ran
    }

    #[track_caller]
    fn refused(&self, words: &[&str], why: &str) {
        let ran = self.skep(words);
        assert_eq!(ran.status, 1, "{words:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(why), "{words:?}: {}", ran.err);
    }

    fn id(&self, kind: &str, name: &str) -> String {
        let words = [kind, "inspect", name, "--format", "{{.ID}}"];
        self.cluster.ok(&words).trim().to_owned()
    }
}

fn operator(cluster: &Cluster, name: &str, flags: &[&str]) -> PathBuf {
    let path = cluster.folder().join(format!("{name}.skepid"));
    let out = path.display().to_string();
    let words = [&["operator", "create", name, "--role", "editor", "--out", &out][..], flags];
    let _ = cluster.ok(&words.concat());
    path
}

fn by(cluster: &Cluster, identity: &Path, words: &[&str]) -> Ran {
    run(cluster.command(words).env("SKEP_IDENTITY", identity), b"value")
}

#[test]
fn a_team_does_its_work_and_finds_nothing_else() {
    let case = Case::start();
    let _ = case.skep(&["secret", "create", "team-a.new", "-"]).ok();
    let _ = case.skep(&["service", "create", "team-a.web", "--node", "node-1"]).ok();
    let _ = case.skep(&["service", "grant", "team-a.web", "team-a.db", "team-a.new"]).ok();
    let mut shell = case.cluster.shell(0, "team-a.web");
    assert_eq!(shell.read("team-a.db"), "one");
    let updated = case.skep(&["secret", "update", "team-a.db", "-"]).status(0);
    assert!(updated.err.contains("delivered 1/1"), "{}", updated.err);
    assert_eq!(shell.read("team-a.db"), "value");
    let names = case.skep(&["secret", "ls", "--format", "{{.Name}}"]).ok();
    assert_eq!(names.lines().collect::<Vec<_>>(), ["team-a.api", "team-a.db", "team-a.new"]);
    assert_eq!(case.skep(&["service", "ls", "--format", "{{.Name}}"]).ok().trim(), "team-a.web");
    assert!(case.skep(&["secret", "holders", "team-a.db"]).ok().contains("node-1"));
    let status = case.skep(&["status", "--format", "json"]);
    assert!(status.out.contains("\"state\""), "{} {}", status.out, status.err);

    // What is outside is not found, by name, by id, or by the beginning of an id.
    let outside = [("secret", "team-b.db"), ("secret", "other-secret"), ("service", "team-b.web")];
    for (kind, name) in outside {
        let id = case.id(kind, name);
        for what in [name, &id, &id[..8]] {
            case.refused(&[kind, "inspect", what], "not found");
        }
    }
    let id = case.id("secret", "team-b.db");
    case.refused(&["secret", "holders", &id], "not found");
    case.refused(&["secret", "reads", &id], "not found");
    case.refused(&["secret", "rm", &id], "not found");
    case.refused(&["secret", "update", "team-b.db", "-"], "not found");
    case.refused(&["service", "grant", "team-a.web", "team-b.db"], "not found");
    case.refused(&["service", "grant", "team-b.web", "team-a.db"], "not found");
    case.refused(&["service", "revoke", "other-service", "team-a.api"], "not found");
    case.refused(&["service", "rm", "team-b.web"], "not found");
    case.refused(&["secret", "create", "team-b.new", "-"], "outside of this identity's scope");
    case.refused(&["secret", "create", "team-a", "-"], "outside of this identity's scope");
    case.refused(&["service", "create", "team-ab.web"], "outside of this identity's scope");
    // There is one such; whether it is there is not said.
    case.refused(&["secret", "create", "other-secret", "-"], "outside of this identity's scope");
    for words in [
        &["node", "ls"][..],
        &["join-token", "ls"],
        &["join-token", "worker"],
        &["operator", "ls"],
        &["operator", "rm", "bea"],
        &["ca", "show"],
        &["unlock-key", "ls"],
        &["manager", "step-down"],
    ] {
        let ran = case.skep(words);
        assert_ne!(ran.status, 0, "{words:?}: {}", ran.out);
        assert!(ran.err.contains("with a scope may not"), "{words:?}: {}", ran.err);
    }
}

#[test]
fn what_is_outside_is_counted_and_never_named() {
    let case = Case::start();
    // A service outside holds one of the team's secrets, and a service of the team one from
    // outside.
    let _ = case.skep(&["service", "create", "team-a.web", "--node", "node-1"]).ok();
    let _ = case.skep(&["service", "grant", "team-a.web", "team-a.db"]).ok();
    let _ =
        case.cluster.ok(&["service", "grant", "team-a.web", "other-secret:shared", "team-a.api"]);
    let shell = case.cluster.shell(1, "other-service");
    let json = |words: &[&str]| -> Value {
        let words = [words, &["--format", "json"]].concat();
        serde_json::from_str(&case.skep(&words).ok()).expect("JSON")
    };
    let secret = json(&["secret", "inspect", "team-a.api"]);
    let secret = secret.get(0).unwrap_or(&secret);
    assert_eq!(secret["services"], serde_json::json!(["team-a.web"]), "{secret}");
    assert_eq!(secret["services_outside"], 1, "{secret}");
    let service = json(&["service", "inspect", "team-a.web"]);
    let service = service.get(0).unwrap_or(&service);
    assert_eq!(service["grants_outside"], 1, "{service}");
    let held = case.skep(&["secret", "holders", "team-a.api"]).status(0);
    assert!(held.err.contains("1 more outside of this identity's scope"), "{}", held.err);
    let refused = case.skep(&["secret", "rm", "team-a.api"]).status(1);
    assert!(
        refused.err.contains("2 services") || refused.err.contains("and 1 more"),
        "{}",
        refused.err
    );
    case.refused(
        &["service", "grant", "team-a.web", "team-a.api:shared", "--replace"],
        "taken by a secret outside",
    );

    // A revoke outside is pending: the node is counted.
    case.cluster.agents[1].freeze();
    let _ = case.cluster.ok(&["service", "revoke", "-d", "other-service", "team-a.api"]);
    let _ = case.cluster.ok(&["service", "revoke", "-d", "team-a.web", "team-a.api"]);
    let gone = case.skep(&["secret", "rm", "team-a.api", "--timeout", "2s"]);
    assert_eq!(gone.status, 5, "{}", gone.err);
    assert!(gone.err.contains("a node outside of this identity's scope"), "{}", gone.err);
    let status = case.skep(&["status", "--format", "json"]);
    let status: Value = serde_json::from_str(&status.out).expect("JSON");
    assert_eq!(status["pending"], serde_json::json!([]), "{status}");
    case.cluster.agents[1].resume();
    drop(shell);
}

#[test]
fn a_service_that_has_a_secret_from_outside_stays_where_its_granter_saw_it() {
    let case = Case::start();
    let _ = case.skep(&["service", "create", "team-a.web", "--node", "node-1"]).ok();
    let _ = case.cluster.ok(&["service", "grant", "team-a.web", "other-secret:shared"]);
    for flags in [
        &["--node-rm", "node-1"][..],
        &["--owner", "7:7"],
        &["--activation", "placed"],
        &["--on-change", "signal:HUP"],
        &["--unit-add", "nginx.service"],
        &["--offline", "max-age=1h"],
    ] {
        let words = [&["service", "update", "team-a.web"][..], flags].concat();
        case.refused(&words, "granted secrets from outside of this identity's scope");
    }
    let _ = case.skep(&["service", "update", "team-a.web", "--label-add", "x=y"]).ok();
    case.refused(&["service", "revoke", "team-a.web", "other-secret"], "not found");
    // Gone and made again, it is another service: nothing from outside comes with it.
    let _ = case.skep(&["service", "rm", "team-a.web"]).ok();
    let _ = case.skep(&["service", "create", "team-a.web", "--node", "node-1"]).ok();
    let of = case.cluster.ok(&["service", "inspect", "team-a.web", "--format", "json"]);
    assert!(!of.contains("other-secret"), "{of}");
}

#[test]
fn a_team_places_only_where_its_own_constraints_hold() {
    let case = Case::start();
    let placed = |name: &str| {
        let of = case.cluster.ok(&["service", "inspect", name, "--format", "json"]);
        let of: Value = serde_json::from_str(&of).expect("JSON");
        of.get(0).unwrap_or(&of)["placed_on"].clone()
    };
    let _ = case.skep(&["service", "create", "team-a.all", "--everywhere"]).ok();
    assert_eq!(placed("team-a.all"), serde_json::json!(["node-1"]));
    // Of a node elsewhere it hears what it hears of none.
    let told = |node: &str| {
        let ran = case.skep(&["service", "create", "team-a.there", "--node", node]).status(1);
        ran.err.replace(node, "NODE")
    };
    assert_eq!(told("node-2"), told("node-9"));
    // A label of the node's goes, and with it the placement.
    let _ = case.cluster.ok(&["node", "update", "node-1", "--label-rm", "team"]);
    assert_eq!(placed("team-a.all"), serde_json::json!([]));

    let ann = operator(&case.cluster, "ann", &["--scope", "team-a."]);
    let refused = by(&case.cluster, &ann, &["service", "create", "team-a.x", "--everywhere"]);
    assert!(refused.err.contains("made without --constraint"), "{}", refused.err);
    assert_eq!(by(&case.cluster, &ann, &["service", "create", "team-a.x"]).status, 0);
}

#[test]
fn ids_of_what_is_outside_tell_a_watch_nothing() {
    let case = Case::start();
    let id = |kind: &str, name: &str| {
        let words = [kind, "inspect", name, "--format", "json"];
        let text = case.cluster.ok(&words);
        let of: Value = serde_json::from_str(&text).expect("JSON");
        let id = of.get(0).unwrap_or(&of)["id"].as_str().expect("an id").to_owned();
        id.parse::<skep_core::base::NodeId>().expect("an id").as_bytes().to_vec()
    };
    let (service, node) = (id("service", "team-b.web"), id("node", "node-2"));
    case.cluster.agents[1].freeze();
    case.cluster.secret("x", b"1");
    let tls = tls(&identity(&case.bea));
    let follow = |request: api::WatchDeliveryRequest| {
        runtime().block_on(async {
            let address = case.cluster.manager.address();
            let mut control = ControlClient::new(channel(&address, &tls).await);
            let mut progress = control.watch_delivery(request).await?.into_inner();
            let first = tokio::time::timeout(Duration::from_secs(5), progress.message());
            first.await.expect("in time").map(|first| first.expect("a message"))
        })
    };
    let of_service = api::WatchDeliveryRequest { services: vec![service], ..Default::default() };
    let progress = follow(of_service).expect("a watch");
    assert_eq!((progress.nodes, progress.leaving, progress.laggards.len()), (0, 0, 0));
    let of_node = api::WatchDeliveryRequest { nodes: vec![node], ..Default::default() };
    let refused = follow(of_node).expect_err("refused");
    assert!(refused.message().contains("with a scope may not"), "{}", refused.message());
    case.cluster.agents[1].resume();
    until("it answers again", || case.cluster.agents[1].is_connected().then_some(()));
}
