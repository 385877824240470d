//! Bad input to every command: one line, a hint, the right status, nothing lost.

use cluster_tests::Cluster;

/// Words, what is on stdin, the status, and a part of the line printed.
type Row<'a> = (&'a [&'a str], &'a [u8], i32, &'a str);

#[test]
fn every_command_answers_bad_input_with_one_line_and_its_status() {
    let cluster = Cluster::start(1);
    cluster.secret("taken", b"value");
    cluster.service("web", "node-1", &["taken"]);
    let long = "x".repeat(65);
    let big = vec![b'x'; 512_000];
    let rows: &[Row] = &[
        (&["secret", "create", "taken", "-"], b"v", 1, "secret taken already exists"),
        (&["secret", "create", "TAKEN", "-"], b"v", 1, "already exists"),
        (&["secret", "create", "a b", "-"], b"v", 2, "invalid name"),
        (&["secret", "create", &long, "-"], b"v", 2, "invalid name"),
        (
            &["secret", "create", "empty", "-"],
            b"",
            2,
            "secret data must be larger than 0 and less than 512000 bytes",
        ),
        (
            &["secret", "create", "big", "-"],
            &big,
            2,
            "secret data must be larger than 0 and less than 512000 bytes",
        ),
        (&["secret", "create", "s", "/no/such/file"], b"", 2, "/no/such/file"),
        (&["secret", "create", "s", "-", "--label", "novalue"], b"v", 2, "label"),
        (&["secret", "update", "missing", "-"], b"v", 1, "secret missing not found"),
        (&["secret", "update", "taken", "-", "--expect", "9"], b"v", 1, "expected 9"),
        (&["secret", "inspect", "missing"], b"", 1, "missing"),
        (&["secret", "versions", "missing"], b"", 1, "missing"),
        (&["secret", "holders", "missing"], b"", 1, "missing"),
        (&["secret", "rm", "missing"], b"", 1, "missing"),
        (
            &["secret", "rm", "taken"],
            b"",
            1,
            "secret 'taken' is in use by the following service: web",
        ),
        (&["service", "create", "web"], b"", 1, "service web already exists"),
        (&["service", "create", "a/b"], b"", 2, "invalid name"),
        (&["service", "create", "s", "--constraint", "node.hostname==x"], b"", 2, "constraint"),
        (&["service", "create", "s", "--mount", "floppy"], b"", 2, "floppy"),
        (&["service", "grant", "web", "missing"], b"", 1, "missing"),
        (&["service", "grant", "missing", "taken"], b"", 1, "missing"),
        (&["service", "grant", "web", "taken:../etc/passwd"], b"", 2, "invalid target"),
        (&["service", "grant", "web", "taken:..data"], b"", 2, "invalid target"),
        (&["service", "grant", "web", "taken:x", "--mode", "9999"], b"", 2, "mode"),
        (&["service", "grant", "web", "taken:x", "--pin", "7"], b"", 1, "version 7"),
        (&["service", "revoke", "web", "missing"], b"", 1, "missing"),
        (&["service", "rm", "missing"], b"", 1, "missing"),
        (&["service", "update", "missing", "--everywhere"], b"", 1, "missing"),
        (&["service", "inspect", "missing"], b"", 1, "missing"),
        (&["node", "inspect", "missing"], b"", 1, "missing"),
        (&["node", "rm", "missing"], b"", 1, "missing"),
        (&["node", "update", "node-1", "--availability", "lazy"], b"", 2, "lazy"),
        (&["join-token", "worker", "--ttl", "yesterday"], b"", 2, "ttl"),
        (&["join-token", "rm", "missing"], b"", 1, "missing"),
        (&["nonsense"], b"", 2, "nonsense"),
        (&["secret"], b"", 2, "Usage"),
        (&["init", "--socket", "/nonexistent/socket"], b"", 3, "/nonexistent/socket"),
        (
            &["unlock", "--socket", "/nonexistent/socket", "--key-file", "/dev/null"],
            b"",
            7,
            "unlock key",
        ),
        (&["status", "--socket", "/nonexistent/socket"], b"", 3, "/nonexistent/socket"),
        (&["lock", "--socket", "/nonexistent/socket"], b"", 3, "/nonexistent/socket"),
        (
            &["agent", "status", "--agent-socket", "/nonexistent/socket"],
            b"",
            3,
            "/nonexistent/socket",
        ),
        (
            &["agent", "leave", "--agent-socket", "/nonexistent/socket"],
            b"",
            3,
            "/nonexistent/socket",
        ),
        (&["agent", "run", "--data-dir", "/proc/nowhere"], b"", 23, "/proc/nowhere"),
        (&["manager", "run", "--listen", "nonsense"], b"", 23, "listen"),
        (&["unlock-key", "check", "--key-file", "/dev/null"], b"", 7, "unlock key"),
        (&["secret", "ls", "--filter", "nonsense"], b"", 2, "--filter"),
        (&["secret", "ls", "--format", "{{"], b"", 2, "template"),
        (
            &["exec", "--service", "web", "--agent-socket", "/nonexistent/socket", "--", "true"],
            b"",
            125,
            "/nonexistent/socket",
        ),
    ];
    let mut wrong = Vec::new();
    for (words, input, status, part) in rows {
        let ran = cluster.skep_with(words, input);
        let lines = ran.err.lines().count();
        let one_line = *status == 2 && ran.err.contains("Usage") || lines <= 2;
        if ran.status != *status || !ran.err.contains(part) || !ran.out.is_empty() || !one_line {
            wrong.push(format!(
                "{words:?}: wanted {status} and '{part}', got {} and\n{}",
                ran.status, ran.err
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(
        cluster.ok(&["secret", "ls", "--format", "{{.Name}}"]),
        "taken",
        "nothing was lost or added"
    );
}

#[test]
fn a_value_is_never_taken_from_an_argument() {
    let cluster = Cluster::start(0);
    let ran = cluster.skep(&["secret", "create", "password", "hunter2"]).status(2);
    assert!(ran.err.contains("hint:"), "{}", ran.err);
}

#[test]
fn an_identity_of_another_cluster_is_refused() {
    let (one, two) = (Cluster::start(0), Cluster::start(0));
    let mut command =
        one.command(&["secret", "ls", "--host", &two.manager.address(), "--timeout", "3s"]);
    let ran = cluster_tests::run(&mut command, b"").status(3);
    assert!(ran.err.contains("hint:"), "{}", ran.err);
}
