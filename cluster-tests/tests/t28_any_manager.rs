//! Any manager will do: a follower's control socket asks the leader, and an
//! election amid a command is no more than a pause.

use std::process::{Child, Stdio};

use serde_json::Value;

use cluster_tests::{Cluster, Manager, binary, run, until};

/// A number of the manager that follows, of three.
fn follower(cluster: &Cluster) -> usize {
    (cluster.leader() + 1) % 3
}

/// The CLI against a manager's control socket, not waited for.
fn started(manager: &Manager, words: &[&str], input: &[u8]) -> Child {
    use std::io::Write as _;
    let mut command = std::process::Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(binary()).args(words);
    command.arg("--socket").arg(manager.socket());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a process");
    let mut stdin = child.stdin.take().expect("its input");
    drop(stdin.write_all(input));
    child
}

/// What it came to: status, stdout, stderr.
fn ended(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().expect("its output");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_typed_socket_goes_before_a_host_in_the_environment() {
    let cluster = Cluster::start(0);
    let ask = |words: &[&str]| {
        let mut command = std::process::Command::new(binary());
        // Nobody listens there.
        command.args(["status", "--format", "json"]).args(words).env("SKEP_HOST", "127.0.0.1:1");
        command.env("SKEP_IDENTITY", cluster.identity());
        run(&mut command, b"")
    };
    let socket = cluster.manager.socket().display().to_string();
    let _ = ask(&["--socket", &socket]).ok();
    let _ = ask(&[]).status(3);
    let both = ask(&["--socket", &socket, "--host", "127.0.0.1:2"]).status(2);
    assert!(both.err.starts_with("error: --host and --socket are two managers"), "{}", both.err);
}

#[test]
fn a_groups_role_opens_the_socket_to_it_and_to_nobody_else() {
    let mut cluster = Cluster::start(0);
    cluster.secret("db", b"value");
    let _ = cluster.manager.stop();
    let folder = cluster.manager.data().parent().expect("its folder").to_owned();
    let settings = folder.join("manager.toml");
    let text = std::fs::read_to_string(&settings).expect("settings");
    let roles = "socket-role = [\"4711=viewer\", \"4712=editor\"]\n";
    std::fs::write(&settings, format!("{roles}{text}")).expect("settings");
    for above in [cluster.folder(), &folder] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(above, mode).expect("a way to the socket");
    }
    cluster.manager.start_again();
    let _ = cluster.unlock().ok();
    let as_nobody = |groups: &str, words: &[&str]| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534"]).args(groups.split_whitespace());
        command.arg(binary()).args(words).arg("--socket").arg(cluster.manager.socket());
        run(&mut command, b"v")
    };
    let list = ["secret", "ls", "--format", "{{.Name}}"];
    assert_eq!(as_nobody("--groups 7,4711", &list).ok(), "db");
    let refused = as_nobody("--groups 4711", &["secret", "create", "new", "-"]).status(1);
    assert!(refused.err.contains("a viewer may not change secrets"), "{}", refused.err);
    let _ = as_nobody("--groups 4712", &["secret", "create", "new", "-"]).ok();
    let refused = as_nobody("--clear-groups", &list).status(1);
    assert!(refused.err.contains("uid 65534 may not use"), "{}", refused.err);
    assert_eq!(as_nobody("--groups 4711", &["status", "--format", "{{.State}}"]).ok(), "leader");
}

#[test]
fn a_followers_socket_does_what_the_leaders_does() {
    let mut cluster = Cluster::start_with(3, 1);
    let asked = follower(&cluster);
    let follower = cluster.manager_mut(asked);
    let ok = |words: &[&str]| follower.skep(words).ok();
    let _ = follower.skep_with(&["secret", "create", "db", "-"], b"one").ok();
    assert_eq!(ok(&["secret", "ls", "--format", "{{.Name}}"]), "db");
    assert_eq!(ok(&["secret", "ls", "--stale", "--format", "{{.Name}}"]), "db");
    let _ = ok(&["service", "create", "web", "--node", "node-1"]);
    let granted = follower.skep(&["service", "grant", "web", "db"]).status(0);
    assert!(granted.err.contains("no node holds or runs it now"), "{}", granted.err);
    assert!(ok(&["join-token", "worker", "-q"]).starts_with("SKEPJOIN-1-"));
    assert!(ok(&["join-token", "ls"]).contains("worker"));

    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("db"), "one");
    let follower = cluster.manager_mut(asked);
    // The leader alone knows who is connected and what runs.
    let nodes = follower.skep(&["node", "ls"]).ok();
    assert!(nodes.contains("ready"), "{nodes}");
    let agent = nodes.lines().find(|line| line.contains("node-1")).expect("the agent");
    assert!(agent.contains("127.0.0.1:"), "where it calls from: {nodes}");
    assert!(follower.skep(&["secret", "holders", "db"]).ok().contains("node-1"));
    let waited = follower.skep_with(&["secret", "update", "db", "-"], b"two").status(0);
    assert!(waited.err.contains("delivered 1/1"), "{}", waited.err);
    assert_eq!(shell.read("db"), "two", "delivered when the command returns");
    let follower = cluster.manager_mut(asked);
    let revoked = follower.skep(&["service", "revoke", "web", "db"]).status(0);
    assert!(revoked.err.contains("removed from 1/1"), "{}", revoked.err);
    assert_eq!(shell.read("db"), "gone");

    // The leader's refusals arrive as they are.
    let follower = cluster.manager_mut(asked);
    let twice = follower.skep_with(&["secret", "create", "DB", "-"], b"x").status(1);
    assert!(twice.err.contains("hint: a new value: `skep secret update"), "{}", twice.err);
    let leader = cluster.leader();
    let _ = cluster.manager_mut(asked).skep(&["manager", "step-down"]).ok();
    assert_ne!(cluster.leader(), leader);
    assert_eq!(shell.end(), 0);
}

#[test]
fn without_a_majority_a_socket_still_reads_what_it_has() {
    let mut cluster = Cluster::start_with(3, 0);
    cluster.secret("db", b"one");
    let asked = follower(&cluster);
    let known = cluster.manager_mut(asked).skep(&["secret", "ls", "--stale", "-q"]).ok();
    for number in (0..3).filter(|number| *number != asked) {
        cluster.manager_mut(number).kill();
    }
    let left = cluster.manager_mut(asked);
    for words in [
        &["secret", "ls", "--timeout", "2s"][..],
        &["secret", "rm", "db", "--timeout", "2s"],
        &["join-token", "worker", "--timeout", "2s"],
        &["manager", "step-down", "--timeout", "2s"],
    ] {
        let refused = left.skep(words).status(3);
        assert!(refused.err.contains("hint: "), "{}", refused.err);
    }
    assert_eq!(left.skep(&["secret", "ls", "--stale", "-q"]).ok(), known);
    until("no quorum", || {
        let (exit, json) = status(left);
        (exit == 3 && state(&json) == "no-quorum" && json["leader"].is_null()).then_some(())
    });
}

/// The status of a manager as JSON, and the command's own status.
fn status(manager: &Manager) -> (i32, Value) {
    let ran = manager.skep(&["status", "--format", "json"]);
    let json =
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out));
    (ran.status, json)
}

fn codes(status: &Value) -> Vec<&str> {
    let warnings = status["warnings"].as_array().expect("warnings");
    warnings.iter().map(|warning| warning["code"].as_str().expect("a code")).collect()
}

fn state(status: &Value) -> &str {
    status["state"].as_str().expect("a state")
}

#[test]
fn status_says_in_each_state_how_it_stands() {
    let mut cluster = Cluster::start_with(3, 0);
    let leads = cluster.leader();
    let follows = (leads + 1) % 3;
    let settled = |number: usize| {
        until("a quiet status", || {
            let (exit, json) = status(cluster.managers().nth(number).expect("a manager"));
            let voters = json["voters"].as_array().cloned().unwrap_or_default();
            let known = voters.iter().all(|voter| voter["version"].is_string());
            (exit == 0 && known).then_some(json)
        })
    };
    // The leader and a follower tell the same of everybody.
    for json in [settled(leads), settled(follows)] {
        assert_eq!(json["tolerates_losses"], 1, "{json}");
        assert_eq!(json["clock_ahead_ms"].as_i64().map(|ahead| ahead.abs() < 5_000), Some(true));
        let voters = json["voters"].as_array().expect("voters");
        assert_eq!(voters.len(), 3);
        for voter in voters {
            assert!(voter["last_contact_ms"].is_u64(), "{json}");
            assert!(voter["records_behind"].is_u64(), "{json}");
            assert_eq!(voter["version"], env!("CARGO_PKG_VERSION"), "{json}");
        }
        assert_eq!(json["certificates"].as_array().map(Vec::len), Some(3));
    }
    let name = |number: usize| {
        let (_, json) = status(cluster.managers().nth(number).expect("a manager"));
        json["name"].as_str().expect("a name").to_owned()
    };
    let lost = (leads + 2) % 3;
    let (leader, lost_name) = (name(leads), name(lost));
    let text = cluster.manager_mut(follows).skep(&["status"]).ok();
    assert!(text.contains(&format!("follower of {leader}")), "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }

    // One is lost: degraded, and which one.
    cluster.manager_mut(lost).kill();
    for number in [leads, follows] {
        until("a degraded status", || {
            let (exit, json) = status(cluster.managers().nth(number).expect("a manager"));
            let both = ["manager-unreachable", "no-loss-to-spare"];
            let told = both.iter().all(|code| codes(&json).contains(code));
            let told = told && json["warnings"].to_string().contains(&lost_name);
            (exit == 8 && told && json["tolerates_losses"] == 0).then_some(())
        });
    }
    // It comes back and is locked.
    cluster.manager_mut(lost).start_again();
    let (exit, json) = status(cluster.manager_mut(lost));
    assert_eq!((exit, state(&json)), (4, "locked"));
    assert_eq!(json["name"], lost_name.as_str());
    assert!(json["key_generation"].is_u64(), "{json}");
    // Another is lost: who led leads nobody.
    cluster.manager_mut(follows).kill();
    until("no quorum", || {
        let (exit, json) = status(cluster.managers().nth(leads).expect("a manager"));
        let told = codes(&json).contains(&"no-quorum") && json["tolerates_losses"] == -1;
        (exit == 3 && state(&json) == "no-quorum" && told).then_some(())
    });
    let alone = Cluster::start(0);
    let (exit, json) = status(&alone.manager);
    assert_eq!((exit, state(&json)), (0, "leader"), "one manager alone is as it was meant: {json}");
}

/// The leader is killed while commands are under way at a follower's socket: each
/// of them ends with 0 within its time-out, and is done once.
#[test]
fn p3_commands_outlive_a_leader_that_is_killed_amid_them() {
    let mut cluster = Cluster::start_with(3, 1);
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &[]);
    for round in 0..6_usize {
        let leader = cluster.leader();
        let asked = (leader + 1) % 3;
        let name = format!("s{round}");
        let act = if round % 2 == 0 { "grant" } else { "revoke" };
        let words = [
            &["secret", "create", &name, "-"][..],
            &["secret", "ls", "-q"],
            &["service", act, "web", "db"],
        ];
        let asked = cluster.managers().nth(asked).expect("a follower");
        let mut children: Vec<Child> =
            words.iter().map(|words| started(asked, words, b"value")).collect();
        // At other places of the commands' way: none, one or two of them are through.
        until("the moment of the kill", || {
            let over = |child: &mut Child| child.try_wait().expect("a child").is_some();
            let through = children.iter_mut().map(over).filter(|over| *over).count();
            (through >= round % 3).then_some(())
        });
        cluster.managers().nth(leader).expect("the leader").kill_amid_work();
        for (words, child) in words.iter().zip(children) {
            let (status, _, err) = ended(child);
            assert_eq!(status, Some(0), "round {round}, {words:?}: {err}");
        }
        let names = cluster.ok(&["secret", "ls", "--format", "{{.Name}}"]);
        assert_eq!(names.lines().filter(|listed| *listed == name).count(), 1, "{names}");
        let service = cluster.ok(&["service", "inspect", "web"]);
        assert_eq!(service.contains("\"db\""), act == "grant", "{service}");
        cluster.bring_back(leader);
        until("three managers", || (cluster.managers_as("follower").len() == 2).then_some(()));
    }
}

/// The same for an operator who knows all addresses, with a leader that hangs
/// instead of ending: its connections stay open and say nothing.
#[test]
fn p3_a_leader_that_hangs_is_passed_over() {
    let cluster = Cluster::start_with(3, 0);
    cluster.secret("db", b"one");
    let leader = cluster.leader();
    cluster.managers().nth(leader).expect("the leader").freeze();
    let names = cluster.ok(&["secret", "ls", "--format", "{{.Name}}"]);
    assert_eq!(names, "db");
    let written = cluster.skep_with(&["secret", "create", "later", "-"], b"v");
    assert_eq!(written.status, 0, "{}", written.err);
    cluster.managers().nth(leader).expect("the leader").resume();
    until("all three", || (cluster.managers_as("follower").len() == 2).then_some(()));
    let names = cluster.ok(&["secret", "ls", "--format", "{{.Name}}"]);
    assert_eq!(names.lines().count(), 2, "{names}");
}
