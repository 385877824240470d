//! One service with as many secrets as it may have.

use std::time::Duration;

use cluster_tests::{Cluster, until};
use skep_core::base::limits;

fn all_of_them(mount: &str) {
    let mut cluster = Cluster::start(1);
    let names: Vec<String> = (0..=limits::GRANTS).map(|n| format!("user.{n:04}")).collect();
    let mut client = cluster.client(Duration::from_secs(30));
    for name in &names {
        let _ = client.create(name, name.as_bytes()).ok();
    }
    let _ = cluster.ok(&["service", "create", "--node", "node-1", "--mount", mount, "auth"]);
    let (last, first) = names.split_last().expect("some");
    let mut words = vec!["service", "grant", "-d", "auth"];
    words.extend(first.iter().map(String::as_str));
    let _ = cluster.ok(&words);
    let refused = cluster.skep(&["service", "grant", "auth", last]).status(1);
    assert!(refused.err.contains("4096"), "{}", refused.err);

    let mut shell = cluster.shell(0, "auth");
    assert_eq!(shell.line("ls /run/secrets | wc -l"), "4096");
    assert_eq!(shell.read("user.4095"), "user.4095");
    for round in 0..3 {
        cluster.update("user.0007", format!("value {round}").as_bytes());
        assert_eq!(shell.read("user.0007"), format!("value {round}"));
    }
    let _ = cluster.ok(&["service", "revoke", "auth", "user.0008"]);
    assert_eq!(shell.line("ls /run/secrets | wc -l"), "4095");
    let shown = cluster.ok(&["service", "inspect", "auth"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("json");
    assert_eq!(shown[0]["grants"].as_array().map(Vec::len), Some(4095));
    let _ = cluster.ok(&["service", "grant", "auth", last]);
    assert_eq!(shell.read(last), *last);

    // A start reads it all from the disk, and the agent has nothing to do.
    cluster.manager.kill();
    cluster.bring_back(0);
    cluster.agents[0].connected();
    cluster.update("user.0007", b"after");
    until("the last value", || (shell.read("user.0007") == "after").then_some(()));
    assert_eq!(shell.end(), 0);
}

#[test]
fn on_tmpfs_a_service_has_4096_secrets() {
    all_of_them("tmpfs");
}

#[test]
fn on_fuse_a_service_has_4096_secrets() {
    all_of_them("fuse");
}
