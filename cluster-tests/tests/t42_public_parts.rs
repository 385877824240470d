//! What is public of a secret: the other half of a key that nobody sees.

use std::process::Command;

use cluster_tests::{Cluster, binary, run};

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
fn a_key_of_openpgp_is_drawn_by_the_program_beside() {
    let cluster = Cluster::start(1);
    let made = cluster.skep(&["secret", "create", "key", "--generate", "openpgp"]).status(0);
    let (_, public) = made.out.split_once('\n').expect("an id, and the public half");
    assert!(public.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----\n"), "{public}");
    assert!(!format!("{}{}", made.out, made.err).contains("PRIVATE"), "{}", made.err);
    cluster.service("web", "node-1", &["key"]);
    let has = || run(&mut cluster.agents[0].exec("web", &["cat", "/run/secrets/key"]), b"").ok();
    let before = has();
    assert!(before.starts_with("-----BEGIN PGP PRIVATE KEY BLOCK-----\n"));
    // GnuPG takes both, and they are one key's.
    let home = cluster.folder().join("gnupg").display().to_string();
    std::fs::create_dir(&home).expect("a folder");
    let shown = |text: &str| {
        let mut gpg = Command::new("gpg");
        gpg.args(["--homedir", &home, "--with-colons", "--show-keys"]);
        let told = run(&mut gpg, text.as_bytes()).out;
        let told = told.lines().find(|line| line.starts_with("fpr:")).expect("a fingerprint");
        told.to_owned()
    };
    assert_eq!(shown(&before), shown(public));
    let update = ["secret", "update", "key", "--generate", "openpgp"];
    assert!(cluster.ok(&update).starts_with("key 2\n-----BEGIN PGP PUBLIC KEY BLOCK-----\n"));
    assert_ne!(has(), before);
    // The program draws to a pipe alone, and where it is missing it is named.
    let mut beside = Command::new(binary().with_file_name("skep-registry"));
    let out = std::fs::File::create(cluster.folder().join("out")).expect("a file");
    beside.args(["draw-openpgp", "x"]).stdout(out);
    let refused = beside.output().expect("it runs");
    assert_eq!(refused.status.code(), Some(2));
    let alone = cluster.folder().join("skep");
    std::fs::copy(binary(), &alone).expect("a copy");
    let mut skep = Command::new(alone);
    skep.args(["secret", "create", "x", "--generate", "openpgp"]);
    skep.env("SKEP_IDENTITY", cluster.identity());
    let missing = run(&mut skep, b"").status(23);
    assert!(missing.err.contains("skep-registry is missing"), "{}", missing.err);
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
