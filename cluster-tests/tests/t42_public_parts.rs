//! What is public of a secret: the other half of a key that nobody sees.

use std::process::Command;

use cluster_tests::{Cluster, run};

#[test]
fn a_signing_keys_public_half_is_shown_and_the_other_only_delivered() {
    let cluster = Cluster::start(1);
    let shown = |format: &str| cluster.ok(&["secret", "inspect", "key", "--format", format]);
    let made = cluster.skep(&["secret", "create", "key", "--generate", "cosign"]).status(0);
    let (id, public) = made.out.split_once('\n').expect("an id, and the public half");
    assert_eq!(id, shown("{{.ID}}"));
    assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{public}");
    assert_eq!(shown("{{.Public}}"), public.trim_end());
    assert!(!format!("{}{}", made.out, made.err).contains("PRIVATE"), "{}", made.err);

    // It belongs to what the node has.
    cluster.service("web", "node-1", &["key"]);
    let half = ["openssl", "pkey", "-in", "/run/secrets/key", "-pubout"];
    let has = || run(&mut cluster.agents[0].exec("web", &half), b"").ok();
    assert_eq!(has(), public.trim_end());

    // Another key has another half; a value without one has none, and the older keeps its own.
    let update = ["secret", "update", "key", "--generate", "cosign"];
    let said = cluster.ok(&update);
    let (line, second) = said.split_once('\n').expect("a version, and its half");
    assert_eq!((line, second), ("key 2", &*shown("{{.Public}}")));
    assert_ne!(second, public.trim_end());
    assert_eq!(has(), second);
    cluster.update("key", b"a value");
    assert_eq!(shown("{{.Public}}"), "");
    let versions = cluster.ok(&["secret", "versions", "key", "--format", "{{json .Public}}"]);
    let lines: Vec<&str> = versions.lines().collect();
    assert_eq!((lines[0], lines[1].contains("PUBLIC KEY")), ("null", true), "{versions}");
}

#[test]
fn a_file_says_what_is_public() {
    let cluster = Cluster::start(0);
    let shown = || cluster.ok(&["secret", "inspect", "tls", "--format", "{{.Public}}"]);
    let chain = cluster.file("chain.pem", b"-----BEGIN CERTIFICATE-----\nMII\n");
    let words = ["secret", "create", "tls", "-", "--public", &chain];
    let _ = cluster.skep_with(&words, b"a key").ok();
    assert!(shown().starts_with("-----BEGIN CERTIFICATE-----"), "{}", shown());
    // The wrong one of two files is not shown to everybody.
    let key = cluster.folder().join("key.pem").display().to_string();
    let mut openssl = Command::new("openssl");
    openssl.args(["genpkey", "-algorithm", "ed25519", "-out", &key]);
    let _ = run(&mut openssl, b"").status(0);
    let words = ["secret", "update", "tls", "-", "--public", &key];
    let refused = cluster.skep_with(&words, b"another").status(2);
    assert!(refused.err.contains("holds a private key"), "{}", refused.err);
    assert!(shown().starts_with("-----BEGIN CERTIFICATE-----"), "{}", shown());
}
