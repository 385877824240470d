//! `skep registry token`, `catalog`, `tags` and `verify` against registries that a test makes up: what
//! they ask, and what they make of anything that comes back.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of a test fail it by panicking"
)]

mod asked;
mod fake;
mod hostile;
mod killed;
mod password;
mod sign;
mod slow;
mod tls;
mod verify;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use fake::{Fake, answer};
use tempfile::TempDir;

/// A word that stands for a password.
const PASSWORD: &str = "correct horse battery";

/// What a command came to.
struct Told {
    status: i32,
    out: String,
    err: String,
}

/// `skep registry` without anything of this machine.
fn registry(words: &[&str], input: &[u8]) -> Told {
    run(command(words), input)
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep-registry"));
    command.args(words).env_clear().env("SKEP_CREDENTIALS", "/no/such/folder");
    command
}

fn run(mut command: Command, input: &[u8]) -> Told {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that reads no password may have ended already.
    drop(child.stdin.take().unwrap().write_all(input));
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Told { status: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

/// A registry with a token server beside it, as both answer somebody with that password.
fn lists(request: &fake::Request, host: &str) -> Vec<u8> {
    let challenge = format!(
        "www-authenticate: Bearer realm=\"http://{host}/auth\",service=\"reg.example\"\r\n"
    );
    let basic = data_encoding::BASE64.encode(format!("alice:{PASSWORD}").as_bytes());
    let is_alice = request.header("authorization") == Some(format!("Basic {basic}"));
    let token = request.header("authorization");
    let granted = |scope: &str| token.as_deref() == Some(&format!("Bearer token-of-{scope}"));
    match request.path.as_str() {
        "/v2/" => answer(401, &challenge, "{}"),
        "/auth?service=reg.example&scope=registry%3Acatalog%3A%2A" if is_alice => {
            answer(200, "", r#"{"token":"token-of-catalog"}"#)
        }
        "/auth?service=reg.example&scope=repository%3Aweb%2Fapp%3Apull" if is_alice => {
            answer(200, "", r#"{"access_token":"token-of-app"}"#)
        }
        path if path.starts_with("/auth") => {
            answer(401, "", r#"{"errors":[{"code":"UNAUTHORIZED","message":"no such user"}]}"#)
        }
        "/v2/_catalog?n=500" if granted("catalog") => {
            let link = "link: </v2/_catalog?last=web%2Fapp&n=500>; rel=\"next\"\r\n";
            answer(200, link, r#"{"repositories":["base","web/app"]}"#)
        }
        "/v2/_catalog?last=web%2Fapp&n=500" if granted("catalog") => {
            answer(200, "", r#"{"repositories":["web/site"]}"#)
        }
        "/v2/web/app/tags/list?n=500" if granted("app") => {
            answer(200, "", r#"{"name":"web/app","tags":["1","2.0"]}"#)
        }
        _ => answer(401, &challenge, r#"{"errors":[{"message":"authentication required"}]}"#),
    }
}

#[test]
fn lists_are_read_page_by_page() {
    let fake = Fake::start(lists);
    let host = fake.host();
    let as_alice = ["--plain-http", "-u", "alice", &host];
    let ask = |words: &[&str]| registry(&[words, &as_alice].concat(), PASSWORD.as_bytes());
    let table = ask(&["catalog"]);
    assert_eq!((table.status, table.err.as_str()), (0, ""));
    assert_eq!(table.out, "REPOSITORY\nbase\nweb/app\nweb/site\n");
    assert_eq!(ask(&["catalog", "-q"]).out, "base\nweb/app\nweb/site\n");
    let json = ask(&["catalog", "--format", "json"]).out;
    assert_eq!(json.lines().next(), Some(r#"{"repository":"base"}"#));
    assert_eq!(json.lines().count(), 3);
    // All of it over one connection and by one token.
    let asked = fake.asked();
    assert_eq!(asked.iter().filter(|path| path.starts_with("/auth")).count(), 3, "{asked:?}");
    assert_eq!(fake.connections(), 3, "{asked:?}");

    let words = ["tags", "--plain-http", "-u", "alice", &host, "web/app"];
    assert_eq!(registry(&words, format!("{PASSWORD}\n").as_bytes()).out, "TAG\n1\n2.0\n");
    let words = [&words[..], &["--format", "json"]].concat();
    let json = registry(&words, PASSWORD.as_bytes()).out;
    assert_eq!(json.lines().last(), Some(r#"{"repository":"web/app","tag":"2.0"}"#));
}

#[test]
fn a_token_is_printed_alone() {
    let fake = Fake::start(lists);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("password");
    std::fs::File::create(&file).unwrap().write_all(PASSWORD.as_bytes()).unwrap();
    let (host, file) = (fake.host(), file.display().to_string());
    let words = ["token", "--plain-http", "--user", "alice", "--password-file", &file, &host];
    let told = registry(&[&words[..], &["--scope", "registry:catalog:*"]].concat(), b"");
    assert_eq!((told.status, told.out.as_str(), told.err.as_str()), (0, "token-of-catalog\n", ""));
    // A refusal is the token server's own words, and no part of what was shown.
    let words = ["token", "--plain-http", "--user", "alice", &host];
    let told = registry(&words, b"another horse");
    assert_eq!((told.status, told.out.as_str()), (1, ""));
    assert!(told.err.contains("no such user") && told.err.contains("\nhint: "), "{}", told.err);
    assert!(!told.err.contains("horse"), "{}", told.err);
    // Without a name it says so, and asks all the same.
    let told = registry(&["token", "--plain-http", &host], b"");
    assert_eq!(told.status, 1);
    assert!(told.err.starts_with("this machine has no robot for "), "{}", told.err);
}

#[test]
fn a_machines_own_robot_asks() {
    let fake = Fake::start(|request, host| match request.header("authorization") {
        // docker's own order: name, colon, password.
        Some(basic) if basic == "Basic Y2k6c2tyMV94" => answer(200, "", r#"{"token":"t"}"#),
        _ => lists(request, host),
    });
    let (folder, host) = (TempDir::new().unwrap(), fake.host());
    let set = folder.path().join("..1");
    std::fs::create_dir(&set).unwrap();
    std::os::unix::fs::symlink("..1", folder.path().join("..data")).unwrap();
    let write = |text: &str| {
        let mut file = std::fs::File::create(set.join("robot.json")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let ask = || {
        let mut command = command(&["token", "--plain-http", &host]);
        command.env("SKEP_CREDENTIALS", folder.path());
        run(command, b"")
    };
    write(&format!(r#"{{"version":1,"hosts":["{host}"],"account":"ci","password":"skr1_x"}}"#));
    let told = ask();
    assert_eq!((told.status, told.out.as_str(), told.err.as_str()), (0, "t\n", ""));
    // Another registry's robot is shown to nobody else.
    write(r#"{"version":1,"hosts":["other.example"],"account":"ci","password":"skr1_x"}"#);
    let told = ask();
    assert!(told.status == 1 && told.err.starts_with("this machine has no robot"), "{}", told.err);
    // What doesn't read may have been the one.
    write("{");
    let told = ask();
    assert!(told.status == 1 && told.err.contains("robot.json"), "{}", told.err);
    assert!(!fake.asked().is_empty() && fake.asked().len() < 12, "{:?}", fake.asked());
}

#[test]
fn bad_words_ask_nobody() {
    let fake = Fake::start(lists);
    let host = fake.host();
    let (long, folder) = ("x".repeat(300), TempDir::new().unwrap());
    let empty = folder.path().join("empty");
    let _made = std::fs::File::create(&empty).unwrap();
    let empty = empty.display().to_string();
    let rows: &[(&[&str], &[u8], i32, &str)] = &[
        (&["token"], b"", 2, "REGISTRY"),
        (&["token", ""], b"", 2, "HOST"),
        (&["token", "a b.example"], b"", 2, "HOST"),
        (&["token", "https://r.example/"], b"", 2, "HOST"),
        (&["token", "r.example:0"], b"", 2, "HOST"),
        (&["token", "a-name-that-is-too-long"], b"", 2, "at most 16"),
        (&["token", &host, "--scope", "all"], b"", 2, "scope"),
        (&["token", &host, "--user", "alice", "secret"], b"", 2, "unexpected"),
        (&["token", &host, "--password-file", "x"], b"", 2, "--user"),
        (&["token", &host, "-u", "alice", "--password-file", "/no/such"], b"", 2, "/no/such"),
        (&["token", &host, "-u", "alice"], b"", 2, "1 to 4096"),
        (&["token", &host, "-u", "alice"], b"a\nb", 2, "control"),
        (&["token", &host, "-u", "alice"], b"\xff\xfe", 2, "UTF-8"),
        (&["token", &host, "-u", "alice"], &[b'x'; 5_000], 2, "too long"),
        (&["token", &host, "-u", "a:b"], b"x", 2, "colon"),
        (&["token", &host, "-u", &long], b"x", 2, "255"),
        (&["token", &host, "--ca", "/no/such"], b"", 2, "not exist"),
        (&["token", &host, "--ca", &empty], b"", 2, "no certificates"),
        (&["token", &host, "--ca", &empty, "--plain-http"], b"", 2, "cannot be used"),
        (&["catalog", &host, "--format", "xml"], b"", 2, "xml"),
        (&["tags", &host], b"", 2, "REPOSITORY"),
        (&["tags", &host, "../x"], b"", 2, "no repository"),
        (&["tags", &host, "Web/App"], b"", 2, "no repository"),
        (&["tags", &host, "a?b=c"], b"", 2, "no repository"),
        (&["tags", &host, &long], b"", 2, "no repository"),
    ];
    for (words, input, status, wanted) in rows {
        let told = registry(words, input);
        assert_eq!(told.status, *status, "{words:?}: {:.300}", told.err);
        assert!(told.err.contains(wanted), "{words:?}: {:.300}", told.err);
        assert!(told.err.contains("\nhint: "), "{words:?}: {:.300}", told.err);
        assert!(told.err.lines().count() <= 2 && told.out.is_empty(), "{words:?}: {}", told.err);
    }
    assert_eq!(fake.connections(), 0);
    // Nothing of it is sent without TLS to another machine, whatever its name.
    let told = registry(&["token", "--plain-http", "192.0.2.1:5000"], b"");
    assert!(told.status == 3 && told.err.contains("not this machine"), "{}", told.err);
}
