//! The audit log (P10): who did what, on every manager; and that nobody bends it unseen.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use cluster_tests::{Cluster, Ran, SmallDisk, run, until};
use serde_json::Value;

/// What a test writes into secrets: it stands in no line.
const VALUE: &str = "correct horse battery staple";

fn lines(cluster: &Cluster, words: &[&str]) -> Vec<Value> {
    let all = [&["audit", "ls", "--all", "--format", "json"][..], words].concat();
    let out = cluster.ok(&all);
    out.lines().map(|line| serde_json::from_str(line).expect("a line")).collect()
}

/// Whether a line has an act with these fields.
fn has(line: &Value, act: &str, fields: &[(&str, &str)]) -> bool {
    let deeds = line["acts"].as_array().expect("acts");
    deeds.iter().any(|deed| deed["act"] == act && fields.iter().all(|(of, is)| deed[*of] == *is))
}

#[track_caller]
fn one<'a>(lines: &'a [Value], act: &str, fields: &[(&str, &str)]) -> &'a Value {
    let found = lines.iter().find(|line| has(line, act, fields));
    found.unwrap_or_else(|| panic!("no line has {act} {fields:?}:\n{}", shown(lines)))
}

fn shown(lines: &[Value]) -> String {
    lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}

fn operator(cluster: &Cluster, name: &str, role: &str, flags: &[&str]) -> PathBuf {
    let path = cluster.folder().join(format!("{name}.skepid"));
    let out = path.display().to_string();
    let words = [&["operator", "create", name, "--role", role, "--out", &out][..], flags].concat();
    let _ = cluster.ok(&words);
    path
}

fn by(cluster: &Cluster, identity: &Path, words: &[&str]) -> Ran {
    run(cluster.command(words).env("SKEP_IDENTITY", identity), VALUE.as_bytes())
}

#[test]
fn p10_every_act_of_an_identity_has_a_line_granted_or_refused() {
    let cluster = Cluster::start_with(3, 1);
    let eve = operator(&cluster, "eve", "editor", &[]);
    let vic = operator(&cluster, "vic", "viewer", &[]);
    let _ = by(&cluster, &eve, &["secret", "create", "db", "-"]).ok();
    let _ =
        by(&cluster, &eve, &["service", "create", "web", "--node", "node-1", "--mount", "fuse"])
            .ok();
    let _ = by(&cluster, &eve, &["service", "grant", "web", "db"]).ok();
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("db"), VALUE);
    let _ = by(&cluster, &vic, &["secret", "create", "no", "-"]).status(1);
    let _ = by(&cluster, &vic, &["secret", "rm", "db"]).status(1);
    let _ = by(&cluster, &vic, &["audit", "ls"]).status(1);
    let _ = by(&cluster, &vic, &["secret", "ls"]).ok();
    let _ = by(&cluster, &eve, &["secret", "rm", "db"]).status(1);

    let all = until("the open is on record", || {
        let all = lines(&cluster, &[]);
        all.iter().any(|line| has(line, "secret.open", &[("secret", "db")])).then_some(all)
    });
    let founded = one(&all, "cluster.init", &[("node", "manager-1")]);
    assert_eq!(founded["who"]["name"], "uid 0 on manager-1");
    let created = one(&all, "secret.create", &[("secret", "db")]);
    assert_eq!((&created["who"]["name"], &created["from"]), (&"eve".into(), &"127.0.0.1".into()));
    assert_eq!(created["outcome"], "done");
    let granted = one(&all, "service.grant", &[("secret", "db"), ("service", "web")]);
    assert!(granted["revision"].as_u64() > created["revision"].as_u64());
    let _ = one(&all, "delivery.push", &[("secret", "db"), ("service", "web"), ("node", "node-1")]);
    let open = one(&all, "secret.open", &[("secret", "db"), ("node", "node-1")]);
    assert_eq!(open["who"]["kind"], "node");
    let read =
        all.iter().find(|line| has(line, "call.list-secrets", &[]) && line["who"]["name"] == "vic");
    assert_eq!(read.expect("a read")["outcome"], "done");
    for act in ["call.apply", "call.read-audit"] {
        let refused = all.iter().any(|line| {
            has(line, act, &[]) && line["who"]["name"] == "vic" && line["why"] == "not-allowed"
        });
        assert!(refused || act == "call.apply", "{act}: {}", shown(&all));
    }
    let refused = all.iter().find(|line| has(line, "secret.remove", &[("secret", "db")]));
    let refused = refused.expect("refused when it was applied");
    assert_eq!((&refused["outcome"], &refused["why"]), (&"refused".into(), &"in-use".into()));
    assert!(!shown(&all).contains(VALUE));

    // Chosen lines, a secret's past, and that all of it follows.
    let of_vic = lines(&cluster, &["--actor", "vic"]);
    assert!(!of_vic.is_empty() && of_vic.iter().all(|line| line["who"]["name"] == "vic"));
    let named = lines(&cluster, &["--name", "web"]);
    assert!(named.iter().all(|line| line.to_string().contains("web")), "{}", shown(&named));
    assert_eq!(lines(&cluster, &["-n", "2"]).len(), 2);
    assert!(lines(&cluster, &["--since", "2200-01-01"]).is_empty());
    let history = cluster.ok(&["secret", "history", "db"]);
    let at = |what: &str| history.find(what).unwrap_or_else(|| panic!("{what}: {history}"));
    assert!(at("secret.create db@1") < at("service.grant db"), "{history}");
    assert!(at("service.grant db") < at("delivery.push db@1"), "{history}");
    assert!(history.contains("secret.open db@1"), "{history}");
    let verified = cluster.ok(&["audit", "verify"]);
    assert_eq!(verified.lines().count(), 6, "two chains of three managers: {verified}");
}

#[test]
fn an_export_is_whole_and_is_verified_without_a_manager() {
    let cluster = Cluster::start_with(3, 0);
    cluster.secret("db", VALUE.as_bytes());
    cluster.update("db", b"another");
    let file = cluster.folder().join("audit.jsonl").display().to_string();
    let _ = cluster.ok(&["audit", "export", &file]);
    let verified = cluster.ok(&["audit", "verify", &file]);
    assert!(verified.contains("commands: "), "{verified}");
    let text = fs::read_to_string(&file).expect("exported");
    // What stands there is what b3sum sees.
    let mut commands = text.lines().filter(|line| line.contains(r#""chain":"commands""#));
    let first = commands.next().expect("a line");
    let second: Value = serde_json::from_str(commands.next().expect("a line")).expect("JSON");
    assert_eq!(second["prev"], blake3::hash(first.as_bytes()).to_hex().as_str());
    let changed = text.replacen("secret.create", "secret.update", 1);
    let other = cluster.file("changed.jsonl", changed.as_bytes());
    let refused = cluster.skep(&["audit", "verify", &other]).status(20);
    assert!(refused.err.contains("does not follow"), "{}", refused.err);
    let again = cluster.skep(&["audit", "export", &file]).status(1);
    assert!(again.err.contains("hint: nothing is written over"), "{}", again.err);

    let socket = cluster.folder().join("log.sock");
    let daemon = std::os::unix::net::UnixDatagram::bind(&socket).expect("bound");
    let words = ["audit", "export", "--syslog", &socket.display().to_string(), "--name", "db"];
    let _ = cluster.ok(&words);
    let mut message = [0; 4096];
    let length = daemon.recv(&mut message).expect("a message");
    let message = String::from_utf8_lossy(&message[..length]);
    assert!(message.starts_with("<110>1 20"), "{message}");
    assert!(message.contains(r#""secret":"db""#), "{message}");
}

/// The first file of a chain of a manager.
fn file(cluster: &Cluster, manager: usize, chain: &str) -> PathBuf {
    let data = cluster.managers().nth(manager).expect("a manager").data();
    data.join("audit").join(chain).join("0000000000000001.aud")
}

#[test]
fn p10_a_line_that_is_edited_cut_or_swapped_on_a_disk_is_named() {
    let cluster = Cluster::start_with(3, 0);
    for n in 0..20 {
        cluster.secret(&format!("s{n}"), VALUE.as_bytes());
        let _ = cluster.ok(&["secret", "ls"]);
    }
    until("everything is written and anchored", || {
        let anchored =
            lines(&cluster, &[]).iter().filter(|line| has(line, "audit.anchor", &[])).count();
        (anchored >= 3).then_some(())
    });
    let _ = cluster.ok(&["audit", "verify"]);
    for chain in ["commands", "acts"] {
        let opened = fs::OpenOptions::new().read(true).write(true).open(file(&cluster, 1, chain));
        let file = opened.expect("opened");
        let mut before = [0; 3];
        file.read_exact_at(&mut before, 600).expect("read");
        file.write_all_at(&before.map(|byte| byte ^ 0xff), 600).expect("written");
        let refused = cluster.skep(&["audit", "verify"]).status(20);
        let named = format!("{chain} of manager-2: 0000000000000001.aud, record");
        assert!(refused.err.contains(&named), "{}", refused.err);
        file.write_all_at(&before, 600).expect("put back");
        let _ = cluster.ok(&["audit", "verify"]);
    }
    // Another manager's file in its place, and an end that is cut off.
    let other = fs::read(file(&cluster, 2, "acts")).expect("a file");
    fs::write(file(&cluster, 1, "acts"), other).expect("swapped");
    let refused = cluster.skep(&["audit", "verify"]).status(20);
    assert!(refused.err.contains("it belongs to another manager"), "{}", refused.err);
    let cut = fs::OpenOptions::new().write(true).open(file(&cluster, 2, "commands"));
    cut.expect("opened").set_len(700).expect("cut");
    let refused = cluster.skep(&["audit", "verify"]).status(20);
    assert!(refused.err.contains("commands of manager-3: "), "{}", refused.err);
    // The others' lines are listed all the same.
    let listed = cluster.skep(&["audit", "ls"]).ok();
    assert!(listed.contains("secret.create s19@1"), "{listed}");
}

#[test]
fn p10_a_file_that_was_put_back_while_its_manager_was_down_is_found() {
    let mut cluster = Cluster::start_with(3, 0);
    cluster.secret("before", VALUE.as_bytes());
    let follower = (0..3).find(|number| *number != cluster.leader()).expect("a follower");
    let name = format!("manager-{}", follower + 1);
    let older = fs::read(file(&cluster, follower, "acts")).expect("a file");
    let socket = cluster.managers().nth(follower).expect("a manager").socket();
    let socket = socket.display().to_string();
    for _ in 0..20 {
        let _ = cluster.ok(&["secret", "ls", "--socket", &socket]);
    }
    let own = |line: &Value| has(line, "audit.anchor", &[("node", &name)]);
    let before = lines(&cluster, &[]).iter().filter(|line| own(line)).count();
    until("its chain is anchored", || {
        let _ = cluster.ok(&["secret", "ls", "--socket", &socket]);
        (lines(&cluster, &[]).iter().filter(|line| own(line)).count() > before).then_some(())
    });
    cluster.manager_mut(follower).kill();
    fs::write(file(&cluster, follower, "acts"), older).expect("put back");
    fs::remove_file(file(&cluster, follower, "commands")).expect("removed");
    cluster.bring_back(follower);
    let refused = until("it is found", || {
        let ran = cluster.skep(&["audit", "verify"]);
        (ran.status == 20).then_some(ran)
    });
    assert!(refused.err.contains(&format!("acts of {name}")), "{}", refused.err);
    // What it had of the commands came again from its own log.
    assert!(!refused.err.contains(&format!("commands of {name}")), "{}", refused.err);
}

#[test]
fn p10_what_is_done_to_the_files_of_all_managers_alike_is_named_on_each() {
    let mut cluster = Cluster::start_with(3, 0);
    cluster.secret("before", VALUE.as_bytes());
    let socket = |cluster: &Cluster, of: usize| {
        cluster.managers().nth(of).expect("a manager").socket().display().to_string()
    };
    let ask_all = |cluster: &Cluster, count: usize| {
        for of in 0..3 {
            for _ in 0..count {
                let _ = cluster.ok(&["secret", "ls", "--socket", &socket(cluster, of)]);
            }
        }
    };
    let anchored = |cluster: &Cluster, of: usize| {
        let name = format!("manager-{}", of + 1);
        let all = lines(cluster, &[]);
        all.iter().filter(|line| has(line, "audit.anchor", &[("node", &name)])).count()
    };
    ask_all(&cluster, 10);
    until("all are anchored", || (0..3).all(|of| anchored(&cluster, of) > 0).then_some(()));
    let _ = cluster.ok(&["audit", "verify"]);
    // The same byte of each.
    for of in 0..3 {
        let opened =
            fs::OpenOptions::new().read(true).write(true).open(file(&cluster, of, "commands"));
        let (file, mut byte) = (opened.expect("opened"), [0]);
        file.read_exact_at(&mut byte, 600).expect("read");
        file.write_all_at(&[byte[0] ^ 0xff], 600).expect("written");
    }
    let named = |err: &str, chain: &str| {
        (1..=3).all(|number| err.contains(&format!("{chain} of manager-{number}: ")))
    };
    let refused = cluster.skep(&["audit", "verify"]).status(20);
    assert!(named(&refused.err, "commands"), "{}", refused.err);
    for of in 0..3 {
        let path = file(&cluster, of, "commands");
        let (mut byte, opened) =
            ([0], fs::OpenOptions::new().read(true).write(true).open(path).expect("opened"));
        opened.read_exact_at(&mut byte, 600).expect("read");
        opened.write_all_at(&[byte[0] ^ 0xff], 600).expect("put back");
    }
    let _ = cluster.ok(&["audit", "verify"]);

    // Each one's acts of before, while all of them are down.
    let older: Vec<_> =
        (0..3).map(|of| fs::read(file(&cluster, of, "acts")).expect("it")).collect();
    let before: Vec<_> = (0..3).map(|of| anchored(&cluster, of)).collect();
    ask_all(&cluster, 10);
    until("all are anchored again", || {
        (0..3).all(|of| anchored(&cluster, of) > before[of]).then_some(())
    });
    for of in 0..3 {
        cluster.manager_mut(of).kill();
    }
    for (of, older) in older.iter().enumerate() {
        fs::write(file(&cluster, of, "acts"), older).expect("put back");
        cluster.manager_mut(of).start_again();
    }
    for of in 0..3 {
        let manager = cluster.managers().nth(of).expect("a manager");
        cluster.unlock_here(manager);
    }
    let refused = until("it is found on each", || {
        let ran = cluster.skep(&["audit", "verify"]);
        (ran.status == 20 && named(&ran.err, "acts")).then_some(ran)
    });
    assert!(!refused.err.contains("commands of"), "{}", refused.err);
}

#[test]
fn a_locked_manager_seals_what_it_goes_through_and_tells_it_when_it_is_unlocked() {
    let mut cluster = Cluster::start_with(1, 0);
    cluster.manager_mut(0).kill();
    cluster.manager_mut(0).start_again();
    let wrong = cluster.file("wrong", b"SKEPKEY-1-nonsense");
    let socket = cluster.managers().next().expect("a manager").socket().display().to_string();
    let _ = cluster.skep(&["unlock", "--key-file", &wrong, "--socket", &socket]);
    let _ = cluster.skep(&["secret", "ls", "--socket", &socket]).status(4);
    let sealed = cluster.managers().next().expect("a manager").data().join("audit/locked.box");
    let bytes = until("it is sealed", || fs::read(&sealed).ok());
    assert!(!bytes.windows(4).any(|four| four == b"list"));
    let _ = cluster.unlock().ok();
    let all = lines(&cluster, &[]);
    let status = all
        .iter()
        .find(|line| has(line, "call.list-secrets", &[]) && line["who"]["kind"] == "local");
    assert_eq!(status.expect("from before")["from"], "socket");
    let unlocked = one(&all, "call.unlock", &[]);
    assert_eq!(unlocked["outcome"], "done");
    assert!(!sealed.exists());
    let _ = cluster.ok(&["audit", "verify"]);
}

#[test]
fn managers_that_are_not_reached_are_named_and_the_rest_is_listed() {
    let mut cluster = Cluster::start_with(3, 0);
    cluster.secret("db", VALUE.as_bytes());
    let follower = (0..3).find(|number| *number != cluster.leader()).expect("a follower");
    let name = format!("manager-{}", follower + 1);
    cluster.manager_mut(follower).kill();
    let listed = cluster.skep(&["audit", "ls", "--timeout", "5s"]).status(0);
    assert!(listed.out.contains("secret.create db@1"), "{}", listed.out);
    assert!(listed.err.contains(&format!("the acts of {name} are missing")), "{}", listed.err);
    let verified = cluster.skep(&["audit", "verify", "--timeout", "5s"]).status(3);
    assert!(verified.err.contains(&name), "{}", verified.err);
    // One that joins later has its lines from there on.
    cluster.bring_back(follower);
    let _ = cluster.join_manager("late");
    cluster.secret("later", VALUE.as_bytes());
    until("all is whole", || (cluster.skep(&["audit", "verify"]).status == 0).then_some(()));
}

#[test]
fn a_scope_shows_what_lies_within_it_alone() {
    let cluster = Cluster::start_with(1, 0);
    cluster.secret("team-a.db", VALUE.as_bytes());
    cluster.secret("team-b.db", VALUE.as_bytes());
    let ann = operator(&cluster, "ann", "auditor", &["--scope", "team-a."]);
    let ran = by(&cluster, &ann, &["audit", "ls", "--all", "--format", "json"]).status(0);
    assert!(ran.out.contains("team-a.db"), "{}", ran.out);
    for outside in ["team-b", "operator.create", "cluster.init", "\"node\""] {
        assert!(!ran.out.contains(outside), "{outside}: {}", ran.out);
    }
    let refused = by(&cluster, &ann, &["audit", "verify"]);
    assert!(refused.status != 0 && refused.err.contains("scope"), "{}", refused.err);
    let eve = operator(&cluster, "eve", "editor", &[]);
    let _ = by(&cluster, &eve, &["audit", "ls"]).status(1);
    let _ = by(&cluster, &eve, &["secret", "history", "team-a.db"]).status(1);
}

/// A manager whose audit log lies on a full disk, with these settings too.
fn full(cluster: &mut Cluster, settings: &str) -> SmallDisk {
    cluster.manager_mut(0).kill();
    let folder = cluster.managers().next().expect("a manager").data().join("audit");
    let disk = SmallDisk::below(&folder, 12);
    disk.leave(0);
    cluster.manager_mut(0).settings(|text| text + settings);
    cluster.manager_mut(0).start_again();
    let unlocked = cluster.unlock();
    assert_eq!(unlocked.status, 0, "{}", unlocked.err);
    disk
}

#[test]
fn where_nothing_can_be_recorded_nothing_is_done_until_there_is_room() {
    let mut cluster = Cluster::start_with(1, 0);
    cluster.secret("db", VALUE.as_bytes());
    let disk = full(&mut cluster, "");
    let refused = cluster.skep(&["secret", "ls", "--timeout", "3s"]).status(3);
    assert!(refused.err.contains("audit log of this manager can't be written"), "{}", refused.err);
    let refused = cluster.skep_with(&["secret", "create", "x", "-", "--timeout", "3s"], b"1");
    assert_eq!(refused.status, 3, "{}", refused.err);
    let status = cluster.skep(&["status"]).status(8);
    assert!(status.out.contains("audit-failing"), "{}", status.out);
    disk.empty();
    until("it goes on", || (cluster.skep(&["secret", "ls"]).status == 0).then_some(()));
    let _ = cluster.ok(&["audit", "verify"]);
    cluster.manager_mut(0).kill();
}

#[test]
fn a_manager_that_was_told_to_goes_on_and_counts_what_has_no_line() {
    let mut cluster = Cluster::start_with(1, 0);
    let disk = full(&mut cluster, "audit-on-failure = \"continue\"\n");
    let _ = cluster.ok(&["secret", "ls"]);
    cluster.secret("db", VALUE.as_bytes());
    let status = cluster.skep(&["status"]).status(8);
    assert!(status.out.contains("audit-lost"), "{}", status.out);
    disk.empty();
    let all = until("the log says what it lost", || {
        let all = lines(&cluster, &[]);
        all.iter().any(|line| has(line, "audit.lost", &[])).then_some(all)
    });
    // What was applied meanwhile is not lost.
    let _ = one(&all, "secret.create", &[("secret", "db")]);
    let _ = cluster.ok(&["audit", "verify"]);
    cluster.manager_mut(0).kill();
}
