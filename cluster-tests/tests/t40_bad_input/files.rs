//! Files that a command or a daemon is pointed to, and that are something else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::table::{Row, Wrong, check, typed};
use cluster_tests::Cluster;

const SIZE: &str = "error: secret data must be larger than 0 and less than 512000 bytes";
const KEY: &str = "error: the unlock key is not of the expected form";

/// What is in the folder beside the cluster's own files.
fn furnish(cluster: &Cluster) {
    let put = |name: &str, bytes: &[u8]| drop(cluster.file(name, bytes));
    fs::create_dir(cluster.folder().join("dir")).expect("a folder");
    put("empty", b"");
    put("huge", &vec![b'x'; 3_000_000]);
    put("garbage", b"garbage\n");
    put("binary", &[0x80; 600]);
    put("typo.toml", b"# settings\nidentiti = 'x'\n");
    put("wrong.toml", b"timeout = 'soon'\n");
    put("number.toml", b"host = 3\nname = 4\nmanager = 5\nlisten = 6\n");
    let identity = fs::read_to_string(cluster.identity()).expect("the identity");
    put("open", identity.as_bytes());
    put("cut", identity.get(..identity.len() - 40).unwrap_or_default().as_bytes());
    put("broken", identity.replacen("MII", "MIx", 1).as_bytes());
    let key = fs::read_to_string(cluster.unlock_key()).expect("the unlock key");
    put("mistyped", swapped(key.trim()).as_bytes());
    put("half", key.get(..30).unwrap_or_default().as_bytes());
    let token = cluster.ok(&["join-token", "manager", "-q"]);
    put("token", token.as_bytes());
    put("mistyped-token", swapped(&token).as_bytes());
    let mode = |name: &str, mode| {
        let path = cluster.folder().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    for name in ["empty", "huge", "garbage", "binary", "cut", "broken", "mistyped", "half"] {
        mode(name, 0o600);
    }
    mode("open", 0o644);
}

/// The same with two characters near its end in each other's place.
fn swapped(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let two = (1..bytes.len()).rev().find(|at| {
        let pair = [bytes[at - 1], bytes[*at]];
        pair[0] != pair[1] && pair.iter().all(u8::is_ascii_alphanumeric)
    });
    let at = two.expect("two characters");
    bytes.swap(at - 1, at);
    String::from_utf8(bytes).expect("text")
}

#[rustfmt::skip] // a row is a line
const ROWS: &[Row] = &[
    // A value.
    ("secret create", &["s", "{}/dir"], b"", 2, "error: {}/dir: Is a directory…"),
    ("secret create", &["s", "{}/empty"], b"", 2, SIZE),
    ("secret create", &["s", "{}/huge"], b"", 2, SIZE),
    ("secret create", &["s", "{}/missing"], b"", 2, "error: {}/missing: there is no such file"),
    ("secret create", &["s", "/dev/zero"], b"", 2, SIZE),
    ("secret create", &["s", "/dev/mem-of-nobody"], b"", 2, "error: /dev/mem-of-nobody: there is no such file"),
    ("secret update", &["taken", "{}/dir"], b"", 2, "error: {}/dir: Is a directory…"),
    ("secret update", &["taken={}/huge"], b"", 2, SIZE),
    ("secret update", &["taken={}/missing", "other={}/garbage"], b"", 2, "error: {}/missing: there is no such file"),
    // An identity.
    ("secret ls", &["--identity", "{}/dir"], b"", 2, "error: identity {}/dir: Is a directory…"),
    ("secret ls", &["--identity", "{}/missing"], b"", 2, "error: identity {}/missing: No such file…"),
    ("secret ls", &["--identity", "{}/empty"], b"", 2, "error: {}/empty: is not an identity file: it has no head"),
    ("secret ls", &["--identity", "{}/huge"], b"", 2, "error: identity {}/huge: file too large"),
    ("secret ls", &["--identity", "/dev/zero"], b"", 2, "error: identity /dev/zero: file too large"),
    ("secret ls", &["--identity", "{}/garbage"], b"", 2, "error: {}/garbage: is not an identity file: it has no head"),
    ("secret ls", &["--identity", "{}/binary"], b"", 2, "error: {}/binary: is not an identity file: it is not text"),
    ("secret ls", &["--identity", "{}/cut"], b"", 2, "error: {}/cut: is not an identity file: …"),
    ("secret ls", &["--identity", "{}/broken"], b"", 2, "error: {}/broken: is not an identity file: its checksum does not fit: it was edited or damaged"),
    ("secret ls", &["--identity", "{}/unlock-key"], b"", 2, "error: {}/unlock-key: is not an identity file: it has no head"),
    // An unlock key.
    ("unlock-key check", &["--key-file", "{}/dir"], b"", 2, "error: {}/dir: Is a directory…"),
    ("unlock-key check", &["--key-file", "{}/missing"], b"", 2, "error: {}/missing: No such file…"),
    ("unlock-key check", &["--key-file", "{}/empty"], b"", 7, KEY),
    ("unlock-key check", &["--key-file", "{}/huge"], b"", 7, KEY),
    ("unlock-key check", &["--key-file", "{}/binary"], b"", 7, KEY),
    ("unlock-key check", &["--key-file", "{}/admin.skepid"], b"", 7, KEY),
    ("unlock-key check", &["--key-file", "{}/half"], b"", 7, "error: the unlock key is mistyped: its checksum does not fit"),
    ("unlock-key check", &["--key-file", "{}/mistyped"], b"", 7, "error: the unlock key is mistyped: its checksum does not fit"),
    ("unlock", &["--socket", "/none/socket", "--key-file", "{}/mistyped"], b"", 7, "error: the unlock key is mistyped: its checksum does not fit"),
    ("unlock", &["--socket", "/none/socket", "--key-file", "/dev/zero"], b"", 7, KEY),
    // A join token.
    ("join", &["--token-file", "{}/dir", "m1"], b"", 2, "error: {}/dir: Is a directory…"),
    ("join", &["--token-file", "{}/missing", "m1"], b"", 2, "error: {}/missing: No such file…"),
    ("join", &["--token-file", "/dev/zero", "m1"], b"", 2, "error: /dev/zero: file too large"),
    ("agent run", &["--manager", "127.0.0.1:1", "--token-file", "{}/dir"], b"", 23, "error: token file {}/dir: Is a directory…"),
    ("agent run", &["--manager", "127.0.0.1:1", "--token-file", "{}/missing"], b"", 23, "error: token file {}/missing: No such file…"),
    ("agent run", &["--manager", "127.0.0.1:1", "--token-file", "{}/empty"], b"", 23, "error: token file {}/empty: is not a join token"),
    ("agent run", &["--manager", "127.0.0.1:1", "--token-file", "{}/huge"], b"", 23, "error: token file {}/huge: file too large"),
    ("agent run", &["--manager", "127.0.0.1:1", "--token-file", "/dev/zero"], b"", 23, "error: token file /dev/zero: file too large"),
    ("agent run", &["--manager", "127.0.0.1:1", "--token-file", "{}/mistyped-token"], b"", 23, "error: token file {}/mistyped-token: …"),
    ("agent run", &["--manager", "127.0.0.1:1", "--token-file", "{}/unlock-key"], b"", 23, "error: token file {}/unlock-key: is not a join token"),
    // Settings.
    ("secret ls", &["--config", "{}/dir"], b"", 23, "error: {}/dir: Is a directory…"),
    ("secret ls", &["--config", "{}/missing"], b"", 23, "error: {}/missing: No such file…"),
    ("secret ls", &["--config", "{}/huge"], b"", 23, "error: {}/huge: is longer than 1048576 bytes"),
    ("secret ls", &["--config", "/dev/zero"], b"", 23, "error: /dev/zero: is longer than 1048576 bytes"),
    ("secret ls", &["--config", "{}/garbage"], b"", 23, "error: {}/garbage, line 1: …"),
    ("secret ls", &["--config", "{}/binary"], b"", 23, "error: {}/binary: …"),
    ("secret ls", &["--config", "{}/typo.toml"], b"", 23, "error: {}/typo.toml, line 2: unknown field `identiti`…"),
    ("secret ls", &["--config", "{}/wrong.toml"], b"", 23, "error: timeout: expected number at 0…"),
    ("secret ls", &["--config", "{}/number.toml"], b"", 23, "error: {}/number.toml, line 1: …"),
    ("exec", &["--config", "{}/typo.toml", "--service", "web", "--", "true"], b"", 125, "error: {}/typo.toml, line 2: …"),
    ("agent status", &["--config", "{}/dir"], b"", 23, "error: {}/dir: Is a directory…"),
    ("manager run", &["--config", "{}/dir"], b"", 23, "error: {}/dir: Is a directory…"),
    ("manager run", &["--config", "{}/typo.toml"], b"", 23, "error: {}/typo.toml, line 2: unknown field `identiti`…"),
    ("manager run", &["--config", "/dev/zero"], b"", 23, "error: /dev/zero: is longer than 1048576 bytes"),
    ("agent run", &["--config", "{}/missing"], b"", 23, "error: {}/missing: No such file…"),
    ("agent run", &["--config", "{}/number.toml"], b"", 23, "error: {}/number.toml, line 1: …"),
    // Places to write to.
    ("unlock-key generate", &["--out", "{}/dir"], b"", 1, "error: {}/dir exists; nothing is written over it"),
    ("unlock-key generate", &["--out", "{}/garbage"], b"", 1, "error: {}/garbage exists; nothing is written over it"),
    ("unlock-key generate", &["--out", "{}/garbage/key"], b"", 1, "error: {}/garbage/key: Not a directory…"),
    ("init", &["--socket", "/none/socket", "--identity-out", "{}/garbage"], b"", 1, "error: {}/garbage exists; nothing is written over it"),
    ("manager run", &["--listen", "127.0.0.1:0", "--data-dir", "{}/garbage"], b"", 23, "error: {}/garbage: File exists…"),
    ("agent run", &["--data-dir", "{}/garbage"], b"", 23, "error: data directory {}/garbage: File exists…"),
    ("agent run", &["--socket", "{}/garbage"], b"", 23, "error: socket {}/garbage: something stands there that is no socket"),
    ("manager run", &["--listen", "127.0.0.1:0", "--socket", "{}/garbage"], b"", 23, "error: socket {}/garbage: something stands there that is no socket"),
    ("dev", &["--dir", "{}/garbage"], b"", 23, "error: {}/garbage: File exists…"),
    ("dev", &["--dir", "{}"], b"", 23, "error: {}: holds other things"),
    ("man", &["{}/garbage"], b"", 1, "error: {}/garbage/skep.1: Not a directory…"),
];

#[test]
fn every_file_that_is_something_else_is_named() {
    let cluster = Cluster::start(1);
    cluster.secret("taken", b"value");
    cluster.secret("other", b"value");
    cluster.service("web", "node-1", &["taken"]);
    furnish(&cluster);
    check(&cluster, ROWS);
    let names = cluster.ok(&["secret", "ls", "--format", "{{.Name}}:{{.Version}}"]);
    assert_eq!(names, "other:1\ntaken:1", "nothing was lost or added");
    // Read by others, it is good; and whoever uses it is told.
    let open = cluster.folder().join("open").display().to_string();
    let ran = cluster.skep(&["secret", "ls", "-q", "--identity", &open]).status(0);
    assert_eq!(ran.err, format!("warning: {open}: others can read it; `chmod 600` it\n"));
}

/// A pipe is a file like any other where somebody writes into it: `<(command)`.
#[test]
fn a_pipe_is_read_to_its_end() {
    let cluster = Cluster::start(0);
    let pipe = |name: &str, bytes: Vec<u8>| {
        let path = cluster.folder().join(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        let writer = path.clone();
        // It ends once somebody has read, or turned away.
        std::thread::spawn(move || drop(fs::write(writer, bytes)));
        path.display().to_string()
    };
    let identity = fs::read(cluster.identity()).expect("the identity");
    let _ = cluster.ok(&["secret", "create", "s", &pipe("value", b"v".to_vec())]);
    let _ = cluster.ok(&["secret", "ls", "--identity", &pipe("identity", identity)]);
    let _ =
        cluster.ok(&["secret", "ls", "--config", &pipe("settings", b"timeout = '9s'".to_vec())]);
    let mut wrong = Wrong::default();
    let rows: [(&str, &[&str], i32, &str); 4] = [
        ("secret create", &["t", &pipe("none", Vec::new())], 2, SIZE),
        ("secret create", &["t", &pipe("much", vec![1; 9_000_000])], 2, SIZE),
        ("unlock-key check", &["--key-file", &pipe("key", vec![1; 9_000_000])], 7, KEY),
        (
            "secret ls",
            &["--config", &pipe("long", vec![b'\n'; 9_000_000])],
            23,
            "error: {}/long: is longer than 1048576 bytes",
        ),
    ];
    for (path, words, status, line) in rows {
        let line = line.replace("{}", &cluster.folder().display().to_string());
        wrong.judge(&mut typed(&cluster, path, words), b"", status, &line);
    }
    wrong.none();
}

/// Not as root, for whom everything is readable.
#[test]
fn a_file_that_may_not_be_read_is_named() {
    let cluster = Cluster::start(0);
    let secret = cluster.file("private", b"x");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("a mode");
    fs::set_permissions(cluster.folder(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let mut wrong = Wrong::default();
    let rows: [(&[&str], i32, &str); 6] = [
        (&["secret", "create", "s", &secret], 2, "error: {}: Permission denied…"),
        (&["secret", "ls", "--identity", &secret], 2, "error: identity {}: Permission denied…"),
        (&["unlock-key", "check", "--key-file", &secret], 2, "error: {}: Permission denied…"),
        (&["join", "--token-file", &secret, "m1"], 2, "error: {}: Permission denied…"),
        (&["secret", "ls", "--config", &secret], 23, "error: {}: Permission denied…"),
        (&["manager", "run", "--config", &secret], 23, "error: {}: Permission denied…"),
    ];
    let binary = cluster.folder().join("skep-for-all");
    copy_for_all(&binary);
    for (words, status, line) in rows {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
        command.arg(&binary).args(words);
        wrong.judge(&mut command, b"", status, &line.replace("{}", &secret));
    }
    wrong.none();
}

fn copy_for_all(to: &Path) {
    fs::copy(cluster_tests::binary(), to).expect("a copy");
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).expect("a mode");
}
