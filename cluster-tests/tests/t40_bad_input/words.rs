//! What no row of a table holds: words that are no text, words that steer terminals,
//! nobody to read what is printed.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use cluster_tests::{Cluster, commands, run};

use super::table::{Row, Wrong, check, typed};

const NAME: &str = "error: invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the \
                    start and end character must be [a-zA-Z0-9]";
const NO_UTF8: &str = "error: invalid UTF-8 was detected in one or more arguments";

/// Escape sequences that clear a screen, set a title, go back; a line end; C1.
const STEERING: &[Row] = &[
    ("secret create", &["a\x1b[2Jb", "-"], b"v", 2, NAME),
    ("secret create", &["a\nb", "-"], b"v", 2, NAME),
    ("secret create", &["s", "./\x1b[2J"], b"", 2, "error: ./\u{fffd}[2J: there is no such file"),
    ("secret inspect", &["a\x1b[2Jb"], b"", 1, "error: secret a\u{fffd}[2Jb not found"),
    (
        "secret inspect",
        &["a\r\nb\u{9b}2J"],
        b"",
        1,
        "error: secret a\u{fffd} b\u{fffd}2J not found",
    ),
    ("service grant", &["web", "taken:\x1b]0;x\x07"], b"", 2, "error: invalid target: 1 to 255…"),
    ("node inspect", &["\x08\x08x"], b"", 1, "error: node \u{fffd}\u{fffd}x not found"),
    ("secret ls", &["--identity", "a\x1b[2J"], b"", 2, "error: identity a\u{fffd}[2J: …"),
    ("secret ls", &["--config", "a\x1b[2J"], b"", 23, "error: a\u{fffd}[2J: No such file…"),
    ("secret ls", &["--format", "{{.\x1b[2J}}"], b"", 2, "error: template: …"),
    ("agent service up", &["a\x1b[2J"], b"", 2, "error: the service: invalid name…"),
    ("man", &["/none\x1b[2J"], b"", 1, "error: /none\u{fffd}[2J/skep.1: …"),
    ("version", &["a\x1b[2J"], b"", 2, "error: unexpected argument 'a…"),
];

#[test]
fn nothing_typed_steers_the_terminal() {
    let cluster = Cluster::start(1);
    cluster.secret("taken", b"value");
    cluster.service("web", "node-1", &["taken"]);
    check(&cluster, STEERING);
}

/// Where the word that is no text stands is `{}`.
const NO_TEXT: &[(&[&str], i32, &str)] = &[
    (&["{}"], 2, "error: unrecognized subcommand '\u{fffd}a'"),
    (&["secret", "create", "{}", "-"], 2, NO_UTF8),
    (&["secret", "create", "s", "{}"], 2, "error: the file to read the value from does not exist"),
    (&["secret", "create", "s", "-", "--label", "{}"], 2, NO_UTF8),
    (&["secret", "update", "{}"], 2, NAME),
    (&["secret", "inspect", "{}"], 2, NO_UTF8),
    (&["service", "grant", "web", "{}"], 2, NO_UTF8),
    (&["node", "rm", "{}"], 2, NO_UTF8),
    (&["join-token", "rm", "{}"], 2, NO_UTF8),
    (&["agent", "service", "up", "{}"], 2, NO_UTF8),
    (&["exec", "--service", "{}", "--", "true"], 125, NO_UTF8),
    (&["secret", "ls", "--identity", "{}"], 2, "error: identity \u{fffd}a: No such file…"),
    (&["unlock-key", "check", "--key-file", "{}"], 2, "error: \u{fffd}a: No such file…"),
    (&["join", "--token-file", "{}", "m1"], 2, "error: \u{fffd}a: No such file…"),
    (&["manager", "run", "--config", "{}"], 23, "error: \u{fffd}a: No such file…"),
    (&["agent", "run", "--config", "{}"], 23, "error: \u{fffd}a: No such file…"),
    (&["man", "{}"], 1, "error: \u{fffd}a/skep.1: …"),
];

#[test]
fn words_that_are_no_text_are_refused() {
    let cluster = Cluster::start(0);
    let mut wrong = Wrong::default();
    for (words, status, line) in NO_TEXT {
        let mut command = cluster.command(&[]);
        for word in *words {
            let bytes = if *word == "{}" { b"\xffa" } else { word.as_bytes() };
            command.arg(OsStr::from_bytes(bytes));
        }
        wrong.judge(&mut command, b"v", *status, line);
    }
    wrong.none();
}

#[test]
fn a_group_of_commands_alone_shows_what_there_is() {
    let cluster = Cluster::start(0);
    let all = commands();
    let groups =
        all.iter().filter(|path| all.iter().any(|other| other.starts_with(&format!("{path} "))));
    for group in groups.map(String::as_str).chain([""]) {
        let ran = run(cluster.command(&[]).args(group.split_whitespace()), b"").status(2);
        assert!(ran.out.is_empty() && ran.err.contains("Usage: skep"), "{group}: {}", ran.err);
    }
}

/// Commands that print data, of every kind that prints its own way. A token and an unlock key
/// must arrive: t59 has those.
const PRINTING: &[(&str, &[&str])] = &[
    ("--help", &[]),
    ("secret create --help", &[]),
    ("version", &[]),
    ("completion", &["bash"]),
    ("status", &[]),
    ("status", &["--format", "json"]),
    ("secret ls", &[]),
    ("secret ls", &["-q"]),
    ("secret inspect", &["taken"]),
    ("secret versions", &["taken"]),
    ("secret holders", &["taken"]),
    ("service ls", &["--format", "{{.Name}}"]),
    ("service inspect", &["web"]),
    ("node ls", &["--format", "json"]),
    ("join-token ls", &[]),
    ("unlock-key ls", &[]),
    ("agent status", &[]),
];

#[test]
fn whoever_reads_no_more_is_no_failure_and_a_full_disk_is_one() {
    let cluster = Cluster::start(1);
    cluster.secret("taken", b"value");
    cluster.service("web", "node-1", &["taken"]);
    let said = |mut command: Command, out: Stdio| {
        let output = command.stdin(Stdio::null()).stdout(out).stderr(Stdio::piped()).output();
        let output = output.expect("a command");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    for (path, words) in PRINTING {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ended = said(typed(&cluster, path, words), writer.into());
        assert_eq!(ended, (Some(0), String::new()), "{path} {words:?} without a reader");

        let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let (status, err) = said(typed(&cluster, path, words), full.into());
        assert_eq!(status, Some(1), "{path} {words:?}: {err}");
        let why = "error: standard output: No space left on device (os error 28)\nhint: ";
        assert!(err.starts_with(why), "{path} {words:?}: {err}");
        assert_eq!(err.lines().count(), 2, "{path} {words:?}: {err}");

        // Nothing at all to write to, nor to complain.
        let line = format!(
            "exec {} {} {} >&- 2>&-",
            cluster_tests::binary().display(),
            path,
            words.join(" ")
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).env("SKEP_IDENTITY", cluster.identity());
        shell.env("SKEP_AGENT", cluster.agents[0].socket()).stdin(Stdio::null());
        assert_eq!(shell.status().expect("a shell").code(), Some(0), "{line}");
    }
    // A refusal has its status also where it can't be told.
    let full = || File::options().write(true).open("/dev/full").expect("/dev/full");
    let mut refused = typed(&cluster, "secret inspect", &["missing"]);
    let refused = refused.stdin(Stdio::null()).stdout(full()).stderr(full()).status();
    assert_eq!(refused.expect("a command").code(), Some(1));
}

#[test]
fn a_value_is_never_taken_from_an_argument() {
    let cluster = Cluster::start(0);
    let ran = cluster.skep(&["secret", "create", "password", "hunter2"]).status(2);
    assert!(ran.err.contains("hint: a value is never an argument"), "{}", ran.err);
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
}

#[test]
fn an_identity_of_another_cluster_is_refused() {
    let (one, two) = (Cluster::start(0), Cluster::start(0));
    let address = two.manager.address();
    let mut command = one.command(&["secret", "ls", "--host", &address, "--timeout", "3s"]);
    let mut wrong = Wrong::default();
    let line = format!("error: no manager reached: {address}: not the expected manager: …");
    wrong.judge(&mut command, b"", 3, &line);
    wrong.none();
}

#[test]
fn an_empty_variable_is_one_that_is_not_set_and_blanks_name_nobody() {
    let cluster = Cluster::start(0);
    let address = cluster.manager.address();
    let mut wrong = Wrong::default();
    let named = ["SKEP_HOST", "SKEP_SOCKET", "SKEP_TIMEOUT", "SKEP_CONFIG"];
    for variable in named {
        let mut command = cluster.command(&["secret", "ls", "-q"]);
        let ran = run(command.env(variable, ""), b"");
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{variable}");
    }
    let mut command = cluster.command(&["secret", "ls", "-q"]);
    command.env("SKEP_HOST", format!(" {address} , ,127.0.0.1:1"));
    let ran = run(&mut command, b"");
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    let mut command = cluster.command(&["secret", "ls"]);
    command.env("SKEP_IDENTITY", "").env("SKEP_HOST", &address);
    let line = "error: a manager elsewhere is only spoken to with an identity";
    wrong.judge(&mut command, b"", 2, line);
    let mut command = typed(&cluster, "manager run", &["--check", "--listen", "127.0.0.1:0"]);
    let advertised = command.env("SKEP_ADVERTISE", "").env("SKEP_LOG_LEVEL", "");
    let ran = run(advertised.env("SKEP_NAME", "").env("SKEP_UNLOCK_KEY_FILE", ""), b"");
    assert_eq!(ran.status, 0, "{}", ran.err);
    wrong.none();
}

#[test]
fn no_cluster_is_founded_whose_unlock_key_went_nowhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = cluster_tests::Manager::start(folder.path().join("m"));
    let identity = folder.path().join("admin.skepid");
    let line = |redirected: &str| {
        let (skep, socket) = (cluster_tests::binary(), manager.socket());
        let (skep, socket, identity) = (skep.display(), socket.display(), identity.display());
        format!("exec {skep} init --socket {socket} --identity-out {identity} {redirected}")
    };
    for (redirected, why) in [
        (">&-", "error: standard output leads nowhere: the unlock key would be lost\nhint: "),
        (
            ">/dev/null",
            "error: standard output leads nowhere: the unlock key would be lost\nhint: ",
        ),
        (">/dev/full", "error: standard output: No space left on device (os error 28)\nhint: "),
    ] {
        let ran = run(Command::new("sh").args(["-c", &line(redirected)]), b"");
        assert_eq!(ran.status, 1, "{redirected}: {}", ran.err);
        assert!(ran.err.starts_with(why), "{redirected}: {}", ran.err);
        assert!(!identity.exists(), "{redirected}: an identity of no cluster");
        assert_eq!(manager.state(), "new", "{redirected}");
    }
    let ran = run(Command::new("sh").args(["-c", &line("")]), b"");
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.out.starts_with("SKEPKEY-1-"), "{} bytes", ran.out.len());
    assert_eq!(manager.state(), "leader");
}

#[test]
fn a_value_that_looks_like_a_mistake_is_taken_with_a_warning() {
    let cluster = Cluster::start(0);
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n";
    let windows = pem.replace('\n', "\r\n");
    let warning = |name: &str, odd: &str| format!("warning: the value of {name} {odd}\n");
    let (white, crlf, open) = (
        "is white space alone",
        "is PEM with line ends of Windows, which some programs can't read",
        "is PEM without an end of the last line, which some programs can't read",
    );
    for (name, value, odd) in [
        ("a", " \n", vec![white]),
        ("b", windows.as_str(), vec![crlf]),
        ("c", pem.trim_end(), vec![open]),
        ("d", windows.trim_end(), vec![crlf, open]),
        ("e", pem, vec![]),
        ("f", "p4ss word\r\n", vec![]),
    ] {
        let ran = cluster.skep_with(&["secret", "create", name, "-"], value.as_bytes());
        let wanted: String = odd.iter().map(|odd| warning(name, odd)).collect();
        assert_eq!((ran.status, &ran.err), (0, &wanted), "{name}");
    }
    let ran = cluster.skep_with(&["secret", "update", "e", "-", "--detach"], b"\n");
    assert_eq!((ran.status, ran.err), (0, warning("e", white)));
}
