//! The built binary on bad input: one line, one hint, the right status, no value.

#![allow(clippy::expect_used, reason = "helpers of tests, outside of #[test] functions")]

use assert_cmd::Command;

struct Ran {
    status: i32,
    out: String,
    err: String,
}

fn skep(words: &[&str], input: &[u8]) -> Ran {
    let mut command = Command::cargo_bin("skep").expect("the binary");
    for name in ["SKEP_HOST", "SKEP_IDENTITY", "SKEP_SOCKET", "SKEP_AGENT", "SKEP_CONFIG"] {
        command.env_remove(name);
    }
    let output = command.args(words).write_stdin(input).output().expect("it ran");
    Ran {
        status: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn bad_input_is_one_line_a_hint_and_its_status() {
    const NOWHERE: [&str; 2] = ["--socket", "/nonexistent/socket"];
    let rows: &[(&[&str], &[u8], i32, &str)] = &[
        (&["nonsense"], b"", 2, "nonsense"),
        (&["secret", "create"], b"", 2, "not provided"),
        (&["secret", "create", "a b", "-"], b"v", 2, "invalid name, only 64"),
        (&["secret", "create", "a", "-"], b"", 2, "larger than 0 and less than 512000"),
        (&["secret", "create", "a", "/no/such/file"], b"", 2, "/no/such/file"),
        (&["secret", "create", "a", "-", "-l", "x"], b"v", 2, "invalid label"),
        (&["secret", "create", "a", "hunter2"], b"", 2, "does not exist"),
        (&["secret", "create", "a", "-", "hunter2"], b"", 2, "unexpected argument"),
        (&["secret", "update", "a=hunter2"], b"", 3, "/nonexistent/socket"),
        (&["secret", "update", "a=f", "a=g"], b"", 2, "twice"),
        (&["secret", "ls", "--format", "{{.Name"], b"", 2, "template"),
        (&["secret", "ls", "--filter", "driver=x"], b"", 2, "--filter"),
        (&["secret", "ls", "--timeout", "never"], b"", 2, "--timeout"),
        (&["secret", "ls", "--host", "m1"], b"", 2, "identity"),
        (&["secret", "ls", "--identity", "/nonexistent/id", "--host", "m1"], b"", 2, "identity"),
        (&["secret", "ls", "--host", "m1", "--socket", "s"], b"", 2, "two managers"),
        (&["secret", "ls"], b"", 3, "/nonexistent/socket"),
        (&["service", "create", "s", "--constraint", "node.os==x"], b"", 2, "constraint"),
        (&["service", "create", "s", "--mount", "floppy"], b"", 2, "floppy"),
        (&["service", "grant", "s", "a:../x"], b"", 2, "invalid target"),
        (&["service", "grant", "s", "a", "--mode", "9999"], b"", 2, "mode"),
        (&["node", "update", "n"], b"", 2, "nothing to change"),
        (&["join-token", "worker", "--ttl", "0s"], b"", 2, "ttl"),
        (&["unlock"], b"", 7, "unlock key"),
        (&["unlock"], b"SKEPKEY-1-x", 7, "unlock key"),
        (&["init", "--identity-out", "/nonexistent/id"], b"", 1, "/nonexistent/id"),
        (&["status"], b"", 3, "/nonexistent/socket"),
    ];
    for (words, input, status, part) in rows {
        let nowhere: &[&str] = if words.contains(&"--host") { &[] } else { &NOWHERE };
        let words = [*words, nowhere].concat();
        let ran = skep(&words, input);
        assert_eq!(ran.status, *status, "{words:?}: {}", ran.err);
        assert!(ran.err.contains(part), "{words:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{words:?}");
        let lines: Vec<_> = ran.err.lines().collect();
        assert_eq!(lines.len(), 2, "{words:?}: {}", ran.err);
        assert!(lines[0].starts_with("error: ") && lines[1].starts_with("hint: "), "{}", ran.err);
        assert!(!ran.err.contains("hunter2"), "{words:?} repeats what may be a value");
    }
}

#[test]
fn nothing_typed_is_help_and_status_2() {
    for words in [&[][..], &["secret"], &["service"], &["node"], &["agent", "service"]] {
        let ran = skep(words, b"");
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{words:?}");
        assert!(ran.err.contains("Usage: skep"), "{words:?}: {}", ran.err);
    }
    assert_eq!(skep(&["--help"], b"").status, 0);
    assert_eq!(skep(&["version"], b"").out, concat!("skep ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(skep(&["completion", "bash"], b"").out.contains("_skep"));
}

#[test]
fn bad_settings_are_status_23_and_name_the_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.toml");
    std::io::Write::write_all(
        &mut std::fs::File::create(&file).expect("a file"),
        b"socket = '/s'\nlissten = '1.2.3.4:5'\n",
    )
    .expect("written");
    let file = file.display().to_string();
    for words in [
        &["manager", "run", "--config", &file][..],
        &["agent", "run", "--config", &file],
        &["status", "--config", &file],
        &["agent", "status", "--config", &file],
    ] {
        let ran = skep(words, b"");
        assert_eq!(ran.status, 23, "{words:?}: {}", ran.err);
        assert!(ran.err.contains("line 2") && ran.err.contains("lissten"), "{}", ran.err);
    }
    let ran = skep(&["manager", "run", "--listen", "nowhere"], b"");
    assert_eq!(ran.status, 23, "{}", ran.err);
}

#[test]
fn a_key_is_not_written_over_and_a_failed_init_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (identity, key, socket) = (path("id"), path("key"), path("socket"));
    let words =
        ["init", "--identity-out", &identity, "--unlock-key-out", &key, "--socket", &socket];
    assert_eq!(skep(&words, b"").status, 3);
    assert!(!folder.path().join("id").exists() && !folder.path().join("key").exists());
    drop(std::fs::File::create(folder.path().join("key")).expect("a file"));
    let ran = skep(&words, b"");
    assert_eq!(ran.status, 1, "{}", ran.err);
    assert!(ran.err.contains("exists") && ran.err.contains("hint: "), "{}", ran.err);
    assert!(!folder.path().join("id").exists());
}

#[test]
fn exec_without_an_agent_is_status_125() {
    let words = ["exec", "--service", "web", "--agent-socket", "/nonexistent/s", "--", "true"];
    let ran = skep(&words, b"");
    assert_eq!(ran.status, 125);
    assert!(ran.err.contains("/nonexistent/s") && ran.err.contains("hint: "), "{}", ran.err);
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display().to_string();
    let ran = skep(&["man", &path], b"");
    assert_eq!(ran.status, 0, "{}", ran.err);
    for name in ["skep.1", "skep-secret-create.1", "skep-service-grant.1", "skep-exec.1"] {
        let page = std::fs::read_to_string(folder.path().join(name)).expect("a page");
        assert!(page.contains(".TH"), "{name}");
        assert!(name == "skep.1" || page.contains("Examples:"), "{name}");
    }
    let ran = skep(&["man", "/nonexistent/folder"], b"");
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("/nonexistent/folder") && ran.err.contains("hint: "), "{}", ran.err);
}
