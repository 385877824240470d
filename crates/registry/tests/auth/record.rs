//! The record: written before the answer, whole after a kill, and what a full disk does.

use std::fs;
use std::path::Path;

use serde_json::Value;
use skep_registry::rules::record::Chain;
use tempfile::TempDir;

use crate::client::{basic, get, post};
use crate::server::{Server, command, ended, until};
use crate::site::{SETTINGS, Site};

/// The lines of a record, which must be whole.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let mut chain = Chain::default();
    let read = text.lines().map(|line| {
        let _ = chain.follow(line.as_bytes()).unwrap_or_else(|bad| panic!("{line}: {bad}"));
        serde_json::from_str(line).unwrap()
    });
    read.collect()
}

#[test]
fn each_authenticated_decision_is_one_line() {
    let mut site = Site::new();
    site.person("alice", "hunter2", 4);
    let robot = site.robot("ci", r#","scopes":["repository:web/*:pull"]"#);
    site.flip();
    let folder = TempDir::new().unwrap();
    let (file, second) = (folder.path().join("a"), folder.path().join("b"));
    let (one, two) = (file.to_str().unwrap(), second.to_str().unwrap());
    let server = Server::start(&site, &["--audit", one, "--audit", two]);
    let own = basic("ci", &robot.password);
    let query =
        "service=registry&client_id=docker&scope=repository:web/a:pull,push+repository:x:pull";
    let told = get(server.address, query, &own).status(200);
    let line = lines(&file).pop().unwrap();
    for (key, value) in [
        ("kind", "decision"),
        ("account", "ci"),
        ("address", "127.0.0.1"),
        ("client", "docker"),
        ("service", "registry"),
        ("by", "password"),
        ("outcome", "partly"),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!(line["jti"], told.claims()["jti"]);
    assert_eq!(line["cred"], told.claims()["cred"]);
    assert_eq!(line["granted"].to_string(), r#"["repository:web/a:pull"]"#);
    assert_eq!(
        line["requested"].to_string(),
        r#"["repository:web/a:pull,push","repository:x:pull"]"#
    );
    assert_eq!(line["rules"].as_array().unwrap().len(), 2);
    let refresh = get(server.address, "offline_token=true", &basic("alice", "hunter2"));
    let token = refresh.status(200).text("refresh_token");
    let form = format!("grant_type=refresh_token&refresh_token={token}");
    let renewed = post(server.address, &form, "").status(200);
    assert_eq!(lines(&file).pop().unwrap()["by"], "refresh");
    let before = lines(&file).len();
    for _ in 0..3 {
        let _ = get(server.address, "", &basic("alice", "wrong")).status(401);
    }
    let _ = get(server.address, "scope=x", &own).status(400);
    assert_eq!((lines(&file).len(), lines(&second).len()), (before, before));
    assert_eq!(server.stop(), 0);
    let counts = fs::read_to_string(folder.path().join("a.counts")).unwrap();
    // Of two minutes, if one has ended meanwhile.
    let counted = |outcome: &str| -> u64 {
        let lines = counts.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let own = lines.filter(|line| line["outcome"] == outcome && line["address"] == "127.0.0.1");
        own.map(|line| line["count"].as_u64().unwrap()).sum()
    };
    assert_eq!((counted("unauthorized"), counted("invalid")), (3, 1), "{counts}");
    let all = fs::read_to_string(&file).unwrap() + &counts;
    let tokens = [told.text("token"), renewed.text("token"), token];
    for secret in tokens.iter().map(String::as_str).chain(["hunter2", &robot.password, "$2b$"]) {
        assert!(!all.contains(secret));
    }
}

#[test]
fn a_torn_line_is_cut_and_noted() {
    let mut site = Site::new();
    let robot = site.robot("ci", "");
    site.flip();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a");
    let audit = ["--audit", file.to_str().unwrap()];
    let server = Server::start(&site, &audit);
    let own = basic("ci", &robot.password);
    let _ = get(server.address, "", &own).status(200);
    let out = ended(&mut command(&site, &[&["--listen", "127.0.0.1:0"], &audit[..]].concat()));
    assert_eq!(out.status.code(), Some(22), "another process has it");
    drop(server); // It is killed.
    let whole = lines(&file).len();
    let mut text = fs::read(&file).unwrap();
    text.extend(br#"{"n":3,"at":"20"#);
    put(&file, &text);
    let server = Server::start(&site, &audit);
    let _ = get(server.address, "", &own).status(200);
    let after = lines(&file);
    assert_eq!(after.len(), whole + 2);
    assert_eq!((&after[whole]["kind"], &after[whole]["torn"]), (&"start".into(), &15.into()));
    drop(server);
    put(&file, b"something else\n");
    let out = ended(&mut command(&site, &[&["--listen", "127.0.0.1:0"], &audit[..]].concat()));
    assert_eq!(out.status.code(), Some(20), "no record");
}

fn put(path: &Path, bytes: &[u8]) {
    std::io::Write::write_all(&mut fs::File::create(path).unwrap(), bytes).unwrap();
}

/// A server whose record lies on a disk of its own, of 64 KiB, which nobody else sees.
fn on_a_small_disk(site: &Site, disk: &Path) -> Server {
    let inner = command(site, &["--listen", "127.0.0.1:0", "--audit"]);
    let mut command = std::process::Command::new("unshare");
    let script = "mount -t tmpfs -o size=64k tmpfs \"$1\" && shift && exec \"$@\"";
    command.args(["--mount", "--propagation", "private", "--", "sh", "-c", script, "sh"]);
    command.arg(disk).arg(inner.get_program()).args(inner.get_args()).arg(disk.join("a"));
    Server::start_as(command)
}

#[test]
fn a_full_disk_halts_or_goes_on_as_configured() {
    let mut site = Site::new();
    let robot = site.robot("ci", "");
    site.flip();
    let disk = TempDir::new().unwrap();
    let server = on_a_small_disk(&site, disk.path());
    let pid = server.pid().as_raw_nonzero();
    let inside = Path::new("/proc").join(pid.to_string()).join("root");
    let inside = inside.join(disk.path().strip_prefix("/").unwrap());
    let own = basic("ci", &robot.password);
    let ask = || get(server.address, "", &own);
    let mut refused = None;
    until("a full disk", || {
        let told = ask();
        assert!([200, 503].contains(&told.status), "{}", told.body);
        (told.status == 503).then(|| refused = Some(told))
    });
    let said = refused.unwrap().text("error_description");
    assert!(said.contains("record"), "{said}");
    let granted = lines(&inside.join("a")).len();
    assert_eq!(ask().status, 503);
    site.set("auth.toml", &format!("{SETTINGS}record = \"go-on\"\n"));
    site.flip();
    for _ in 0..3 {
        let _ = ask().status(200);
    }
    assert_eq!(lines(&inside.join("a")).len(), granted, "nothing of them is there");
    let more = std::process::Command::new("nsenter")
        .args([&format!("--mount=/proc/{pid}/ns/mnt"), "mount", "-o", "remount,size=1m"])
        .arg(disk.path())
        .status();
    assert!(more.unwrap().success());
    let _ = ask().status(200);
    let after = lines(&inside.join("a"));
    let lost = &after[granted];
    assert_eq!((&lost["kind"], &lost["count"]), (&"lost".into(), &3.into()));
    assert_eq!(after.len(), granted + 2);
}

/// What `skep registry audit` says.
fn audit(args: &[&str]) -> (i32, String, String) {
    let out = ended(std::process::Command::new(crate::server::BIN).arg("audit").args(args));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap(), text(&out.stdout), text(&out.stderr))
}

#[test]
fn a_record_is_read_again() {
    let mut site = Site::new();
    let (ci, cd) = (site.robot("ci", ""), site.robot("cd", ""));
    site.flip();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a");
    let path = file.to_str().unwrap();
    let server = Server::start(&site, &["--audit", path]);
    for robot in [&ci, &cd, &ci] {
        let query = "scope=repository:web/a:pull";
        let _ = get(server.address, query, &basic(&robot.name, &robot.password)).status(200);
    }
    let (status, said, _) = audit(&["ls", path]);
    assert!(status == 0 && said.lines().count() == 3, "{said}");
    assert!(said.contains("127.0.0.1  ci  granted  repository:web/a:pull"), "{said}");
    let (_, said, _) = audit(&["ls", "--account", "cd", path]);
    assert_eq!(said.lines().count(), 1);
    let (status, said, _) = audit(&["last-used", path]);
    assert!(status == 0 && said.lines().count() == 2, "{said}");
    let (status, said, _) = audit(&["verify", path]);
    assert!(status == 0 && said.contains("5 lines, head "), "{said}");
    assert_eq!(server.stop(), 0);
    let text = fs::read_to_string(&file).unwrap();
    let other = folder.path().join("b");
    let verify = |text: &str| {
        put(&other, text.as_bytes());
        audit(&["verify", other.to_str().unwrap()])
    };
    let (status, _, said) = verify(&text.replacen("127.0.0.1", "127.0.0.2", 1));
    assert!(status == 20 && said.contains("line 3") && said.contains("hint: "), "{said}");
    let without: Vec<&str> =
        text.lines().enumerate().filter(|(n, _)| *n != 2).map(|(_, l)| l).collect();
    assert_eq!(verify(&(without.join("\n") + "\n")).0, 20);
    assert_eq!(verify("").0, 20);
    assert_eq!(verify(&text[..text.len() - 5]).0, 0, "a line that is being written");
    assert_eq!(verify("\u{1b}[31m\n").0, 20);
    assert_eq!(audit(&["verify", "/no/such/file"]).0, 2);
    let (status, _, said) = audit(&["ls", other.to_str().unwrap()]);
    assert!(status == 20 && !said.contains('\u{1b}'), "{said}");
}
