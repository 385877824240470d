//! Values that nobody thinks of: drawn by the command, shown to nobody, and on the nodes whole.

use std::process::{Command, Stdio};

use cluster_tests::{Cluster, run};

fn value(cluster: &Cluster, file: &str) -> String {
    let path = cluster.agents[0].file("web", file);
    std::fs::read_to_string(path).expect("a file")
}

#[test]
fn drawn_values_reach_the_nodes_and_no_screen() {
    let cluster = Cluster::start(1);
    let placed = ["service", "create", "web", "--node", "node-1", "--activation", "placed"];
    let _ = cluster.ok(&placed);
    let kinds = ["password", "password:12", "hex", "hex:16", "p256", "ed25519"];
    let mut said = String::new();
    for (name, kind) in ["a", "b", "c", "d", "e", "f"].into_iter().zip(kinds) {
        let ran = cluster.skep(&["secret", "create", name, "--generate", kind]).status(0);
        said.extend([ran.out, ran.err]);
        let _ = cluster.ok(&["service", "grant", "web", name]);
    }
    let lengths = ["a", "b", "c", "d"].map(|file| value(&cluster, file).len());
    assert_eq!(lengths, [32, 12, 64, 32]);
    assert!(value(&cluster, "a").bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert!(value(&cluster, "c").bytes().all(|byte| byte.is_ascii_hexdigit()));
    for (file, algorithm) in [("e", "id-ecPublicKey"), ("f", "ED25519")] {
        let key = value(&cluster, file);
        let mut read = Command::new("openssl");
        read.args(["pkey", "-noout", "-text_pub"]).stdin(Stdio::piped());
        let shown = run(&mut read, key.as_bytes()).status(0);
        let fits = shown.out.contains("P-256") == (algorithm == "id-ecPublicKey");
        assert!(fits, "{file}: {}", shown.out);
        assert!(shown.out.contains("ED25519") == (algorithm == "ED25519"), "{}", shown.out);
    }

    // A rotation draws another one.
    let before = value(&cluster, "a");
    let ran = cluster.skep(&["secret", "update", "a", "--generate", "password"]).status(0);
    assert!(ran.err.contains("delivered 1/1 nodes"), "{}", ran.err);
    said.extend([ran.out, ran.err]);
    assert_ne!(value(&cluster, "a"), before);
    for file in ["a", "b", "c", "d", "e", "f"] {
        let value = value(&cluster, file);
        assert!(value.lines().all(|line| !said.contains(line)), "{file} was shown");
    }
    assert!(!said.contains(&before), "the first one was shown");
}

#[test]
fn what_cannot_be_drawn_is_refused_and_nothing_is_made() {
    let cluster = Cluster::start(0);
    let refused: [&[&str]; 8] = [
        &["create", "x", "--generate", "rsa"],
        &["create", "x", "--generate", "password:11"],
        &["create", "x", "--generate", "hex:1000000"],
        &["create", "x", "--generate", "p256:32"],
        &["create", "x", "--generate", ""],
        &["create", "x", "file", "--generate", "hex"],
        &["create", "x", "--strip-newline", "--generate", "hex"],
        &["update", "x=file", "--generate", "hex"],
    ];
    for words in refused {
        let ran = cluster.skep(&[&["secret"], words].concat()).status(2);
        assert!(!ran.err.is_empty() && ran.out.is_empty(), "{words:?}: {}", ran.err);
    }
    let _ = cluster.skep(&["secret", "update", "x", "y", "--generate", "hex"]).status(2);
    let _ = cluster.skep(&["secret", "update", "x", "--generate", "hex"]).status(1);
    assert_eq!(cluster.ok(&["secret", "ls", "-q"]), "");
}
