//! Values that nobody thinks of: drawn by the command, shown to nobody, and on the nodes whole. Labels
//! beside them. Older values that come back, and those that never do.

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

#[test]
fn labels_change_with_a_value_or_without() {
    let cluster = Cluster::start(0);
    let _ = cluster.skep_with(&["secret", "create", "-l", "old=1", "db", "-"], b"one").status(0);
    let shown = |what: &str| cluster.ok(&["secret", "inspect", "db", "--format", what]);
    // Nothing is read, though standard input is a pipe.
    let words = ["secret", "update", "db", "--label-add", "team=db", "--label-rm", "old"];
    let _ = cluster.skep_with(&words, b"two").status(0);
    assert_eq!((shown("{{.Version}}"), shown("{{.Labels.team}}")), ("1".into(), "db".into()));
    assert!(!shown("{{.Labels}}").contains("old"));
    let words = ["secret", "update", "db", "-", "--expect", "1", "--label-add", "team=web"];
    let _ = cluster.skep_with(&words, b"two").status(0);
    assert_eq!((shown("{{.Version}}"), shown("{{.Labels.team}}")), ("2".into(), "web".into()));
    // One act: where the value is refused, the label stays as it was.
    let words = ["secret", "update", "db", "-", "--expect", "1", "--label-add", "team=x"];
    let _ = cluster.skep_with(&words, b"three").status(1);
    assert_eq!(shown("{{.Labels.team}}"), "web");
    let words = ["secret", "update", "db", "--generate", "hex", "--label-rm", "team"];
    let _ = cluster.skep(&words).status(0);
    assert_eq!((shown("{{.Version}}"), shown("{{.Labels}}").contains("team")), ("3".into(), false));
    for words in [
        &["db", "--label-add", "nothing"][..],
        &["db", "--label-rm", "x", "--expect", "1"],
        &["db=f", "db2=f", "--label-rm", "x"],
    ] {
        let _ = cluster.skep(&[&["secret", "update"], words].concat()).status(2);
    }
    let _ = cluster.skep(&["secret", "update", "none", "--label-rm", "x"]).status(1);
}

#[test]
fn an_older_value_comes_back_without_anybody_knowing_it() {
    let cluster = Cluster::start(1);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    for value in [b"two".as_slice(), b"three"] {
        cluster.update("db", value);
    }
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("db"), "three");
    // It is there when the command returns, and as one more version.
    let ran = cluster.skep(&["secret", "rollback", "db"]).status(0);
    assert_eq!(ran.out.trim_end(), "db 4");
    assert!(ran.err.contains("delivered 1/1 nodes"), "{}", ran.err);
    assert_eq!(shell.read("db"), "two");
    assert_eq!(cluster.ok(&["secret", "rollback", "db", "--to", "1"]), "db 5");
    assert_eq!(shell.read("db"), "one");
    let format = ["--format", "{{.Version}} {{.Current}} {{json .Repeats}}"];
    let versions = cluster.ok(&[&["secret", "versions", "db"], &format[..]].concat());
    assert_eq!(versions, "5 true 1\n4 false 2\n3 false null\n2 false null\n1 false null");
    // Nothing to do is no new version, and nothing is done over what somebody else wrote.
    assert_eq!(cluster.ok(&["secret", "rollback", "db", "--to", "1"]), "db 5");
    let newer = cluster.skep(&["secret", "rollback", "db", "--to", "3", "--expect", "4"]);
    assert!(newer.status(1).err.contains("secret db has changed: expected 4, found 5"));
    assert_eq!(shell.read("db"), "one");
    // A pin stays where it is.
    let _ = cluster.ok(&["service", "grant", "--pin", "3", "web", "db:pinned"]);
    let _ = cluster.ok(&["secret", "rollback", "db", "--to", "2"]);
    assert_eq!((shell.read("pinned"), shell.read("db")), ("three".into(), "two".into()));
}

#[test]
fn what_is_forward_only_never_goes_back() {
    let cluster = Cluster::start(1);
    let create = ["secret", "create", "--forward-only", "verifier", "-"];
    let _ = cluster.skep_with(&create, b"one").status(0);
    cluster.secret("other", b"other");
    cluster.service("web", "node-1", &["verifier"]);
    cluster.update("verifier", b"two");
    let mut shell = cluster.shell(0, "web");
    let shown = |words: &[&str]| cluster.ok(&[&["secret"], words].concat());
    let field = ["--format", "{{.ForwardOnly}}"];
    assert_eq!(shown(&["inspect", "verifier", field[0], field[1]]), "true");
    assert_eq!(shown(&["inspect", "other", field[0], field[1]]), "false");
    assert!(shown(&["ls", "--format", "json"]).contains("\"forward_only\":true"));
    let stood = shown(&["inspect", "verifier"]);
    for words in [
        &["secret", "rollback", "verifier"][..],
        &["secret", "rollback", "verifier", "--to", "1"],
        &["service", "grant", "--pin", "1", "web", "verifier"],
        &["service", "grant", "--pin", "2", "web", "verifier:x"],
    ] {
        let ran = cluster.skep(words).status(1);
        let lines: Vec<&str> = ran.err.lines().collect();
        let wanted = "error: secret verifier is forward-only: it can't be rolled back, nor a \
                      grant of it be pinned";
        assert_eq!((lines.len(), lines[0]), (2, wanted), "{words:?}");
        assert!(lines[1].contains("`skep secret update verifier FILE`"), "{}", lines[1]);
    }
    assert_eq!((shown(&["inspect", "verifier"]), shell.read("verifier")), (stood, "two".into()));
    // It is so for good, whatever is changed.
    let _ = cluster.ok(&["secret", "update", "verifier", "--label-add", "a=b"]);
    cluster.update("verifier", b"three");
    let _ = cluster.skep(&["secret", "rollback", "verifier"]).status(1);
    assert_eq!(shell.read("verifier"), "three");
}
