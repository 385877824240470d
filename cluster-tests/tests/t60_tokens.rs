//! Join tokens: how they are handed out, and what whoever shows one is told.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use cluster_tests::{Agent, Cluster, rpc, until};
use skep_client::ca::{JoinToken, PrivateKey};
use skep_client::join::{Application, NotAdmitted};
use skep_client::machine::SystemClock;
use skep_client::transport::Problem;
use skep_core::base::Clock;
use skep_core::domain::NodeRole;

/// A machine that wants to join.
struct Machine {
    key: PrivateKey,
    role: NodeRole,
    name: &'static str,
}

impl Machine {
    fn new(role: NodeRole, name: &'static str) -> Self {
        Self { key: PrivateKey::generate().expect("a key"), role, name }
    }

    /// Shows a token once: what it is told, or nothing where it is admitted.
    fn shows(&self, cluster: &Cluster, token: &str) -> Option<Problem> {
        let token = JoinToken::parse(token.trim().as_bytes()).expect("a token");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let application = Application {
            token: &token,
            role: self.role,
            name: &self.name.parse().expect("a name"),
            key: &self.key,
            box_key: (self.role == NodeRole::Manager).then_some([9; 32]),
            learner: false,
            addresses: vec!["127.0.0.1:9".to_owned()],
        };
        let managers = [cluster.manager.address()];
        match rpc::runtime().block_on(application.ask_round(&managers, &clock)) {
            Ok(_) => None,
            Err(round) => match round.why {
                NotAdmitted::Refused(problem) | NotAdmitted::NotNow(problem) => Some(problem),
                other => panic!("not answered: {other}"),
            },
        }
    }
}

/// The same token with another secret part.
fn guessed(token: &str) -> String {
    let mut token = JoinToken::parse(token.trim().as_bytes()).expect("a token");
    token.secret.expose_mut()[0] ^= 1;
    String::from_utf8(token.text().expose().to_vec()).expect("text")
}

fn log(cluster: &Cluster) -> String {
    fs::read_to_string(cluster.manager.log()).expect("a log")
}

#[test]
fn every_refusal_reads_alike_to_whoever_asks_and_the_log_tells_them_apart() {
    let cluster = Cluster::start(0);
    let make = |words: &[&str]| cluster.ok(&[&["join-token"], words, &["-q"]].concat());
    let worker = |name| Machine::new(NodeRole::Worker, name);

    let once = make(&["worker", "--uses", "1"]);
    let first = worker("first");
    assert_eq!(first.shows(&cluster, &once), None, "admitted");
    let short = make(&["worker", "--ttl", "1s"]);
    let gone = make(&["worker"]);
    let id =
        |token: &str| JoinToken::parse(token.trim().as_bytes()).expect("a token").id.to_string();
    let _ = cluster.ok(&["join-token", "rm", &id(&gone)]);
    let any = make(&["worker"]);
    let some = make(&["worker", "--name", "web*"]);
    let manager = make(&["manager"]);
    until("the end of a token", || {
        (!cluster.ok(&["join-token", "ls", "-q"]).contains(&id(&short))).then_some(())
    });
    let ended = worker("late").shows(&cluster, &short).expect("refused");

    let rows = [
        ("not-known", worker("guess"), guessed(&any)),
        ("not-known", worker("removed"), gone),
        ("used-up", worker("second"), once.clone()),
        ("other-role", worker("as-worker"), manager.clone()),
        ("other-role", Machine::new(NodeRole::Manager, "as-manager"), any.clone()),
        ("other-name", worker("db1"), some),
    ];
    for (rule, machine, token) in &rows {
        let told = machine.shows(&cluster, token).expect("refused");
        assert_eq!(told, ended, "{rule}: {}", machine.name);
    }
    assert_eq!(ended.text, "the join token was not accepted");
    assert!(ended.hint.contains("skep join-token ls"), "{}", ended.hint);

    // Who didn't hear the answer is not refused.
    assert_eq!(first.shows(&cluster, &once), None, "asked again by the same machine");
    assert_eq!(worker("last").shows(&cluster, &any), None, "and a token that is good is");

    let log = log(&cluster);
    let line = |rule: &str, name: &str| {
        let named = format!("name=\"{name}\"");
        log.lines()
            .find(|line| line.contains("join_refused") && line.contains(&named))
            .filter(|line| line.contains(&format!("rule=\"{rule}\"")))
            .unwrap_or_else(|| panic!("no line about {name}, refused as {rule}:\n{log}"))
    };
    let mut all: Vec<_> =
        rows.iter().map(|(rule, machine, token)| (*rule, machine.name, token.clone())).collect();
    all.push(("ended", "late", short));
    for (rule, name, token) in all {
        let line = line(rule, name);
        assert!(line.contains(&id(&token)), "which token: {line}");
        assert!(line.contains("peer=\"127.0.0.1\""), "from where: {line}");
        let secret = token.trim().split('-').nth(4).expect("a secret part");
        assert!(!log.contains(secret), "the secret part of a token stands in the log");
    }
}

#[test]
fn guessing_is_limited_by_source_and_who_holds_a_token_joins_meanwhile() {
    let cluster = Cluster::start(0);
    let good = cluster.ok(&["join-token", "worker", "-q"]);
    let bad = guessed(&good);
    let limited = until("a limit to guesses", || {
        let told = Machine::new(NodeRole::Worker, "guess").shows(&cluster, &bad).expect("refused");
        told.text.contains("too many join tokens").then_some(told)
    });
    assert_eq!(limited.exit.code(), 3, "{limited}");
    // Another reason is not told from this one by not being counted.
    let manager = cluster.ok(&["join-token", "manager", "-q"]);
    let told = until("a limit to other refusals", || {
        let told = Machine::new(NodeRole::Worker, "guess").shows(&cluster, &bad).expect("refused");
        let other = Machine::new(NodeRole::Worker, "x").shows(&cluster, &manager).expect("refused");
        (told == limited).then_some(other)
    });
    assert_eq!(told, limited);
    let machine = Machine::new(NodeRole::Worker, "holder");
    assert_eq!(machine.shows(&cluster, &good), None, "a good token is never counted");
}

#[test]
fn a_token_is_written_to_a_new_private_file_and_the_next_command_names_it() {
    let mut cluster = Cluster::start(0);
    let path = cluster.folder().join("my token");
    let out = path.display().to_string();
    let made = cluster.skep(&["join-token", "worker", "--out", &out, "--name", "web1"]).status(0);
    assert_eq!(made.out, "");
    assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o7777, 0o600);
    let address = cluster.manager.address();
    let next = format!("\n  skep agent run --manager {address} --token-file '{out}' --name web1\n");
    assert!(made.err.contains(&next), "{}", made.err);
    let token = fs::read_to_string(&path).expect("the token");
    assert!(!made.err.contains(token.trim()), "{}", made.err);

    // Never over another file, and no token is made then.
    let count = |cluster: &Cluster| cluster.ok(&["join-token", "ls", "-q"]).lines().count();
    let before = count(&cluster);
    for there in [&path, Path::new("/dev/null"), Path::new("/nowhere/at/all")] {
        let there = there.display().to_string();
        let _ = cluster.skep(&["join-token", "worker", "--out", &there]).status(1);
    }
    assert_eq!(fs::read_to_string(&path).expect("the token"), token);
    assert_eq!(count(&cluster), before);

    let quiet = cluster.folder().join("quiet").display().to_string();
    let made = cluster.skep(&["join-token", "manager", "--out", &quiet, "-q"]).status(0);
    assert_eq!((made.out.as_str(), made.err.as_str()), ("", ""));
    let agent: &mut Agent = cluster.begin_join_by("web1", &token);
    agent.connected();
}

#[test]
fn each_command_ends_with_the_next_one_to_type() {
    let mut cluster = Cluster::start(0);
    let address = cluster.manager.address();
    let made = cluster.skep(&["join-token", "manager"]).status(0);
    for next in [
        "\n  skep manager run --advertise ADDRESS:4440\n".to_owned(),
        format!("\n  skep join --token-file FILE {address}\n"),
    ] {
        assert!(made.err.contains(&next), "{}", made.err);
    }
    assert!(JoinToken::parse(made.out.trim().as_bytes()).is_ok(), "data on standard output");
    let many = cluster.skep(&["join-token", "worker", "--name", "web*"]).status(0);
    assert!(many.err.contains("a name like web*"), "{}", many.err);
    assert!(!many.err.contains("--name"), "{}", many.err);
    cluster.join_manager("manager-2");
    let two = cluster.skep(&["join-token", "worker"]).status(0);
    let both = cluster.others.first().expect("the second").address();
    let either = [format!("--manager {address},{both} "), format!("--manager {both},{address} ")];
    assert!(either.iter().any(|both| two.err.contains(both)), "{}", two.err);
}

#[test]
fn tokens_are_listed_rotated_and_removed() {
    let cluster = Cluster::start(0);
    let make = |words: &[&str]| cluster.ok(&[&["join-token"], words, &["-q"]].concat());
    let ids = || -> Vec<String> {
        cluster.ok(&["join-token", "ls", "-q"]).lines().map(str::to_owned).collect()
    };
    for id in ids() {
        let _ = cluster.ok(&["join-token", "rm", &id]);
    }
    let worker = make(&["worker", "--uses", "2", "-l", "tier=web"]);
    let manager = make(&["manager"]);
    let listed = cluster.ok(&["join-token", "ls", "--format", "json"]);
    let listed: Vec<serde_json::Value> =
        listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |role: &str| listed.iter().find(|one| one["role"] == role).expect("listed").clone();
    let lasts = |one: &serde_json::Value| (one["uses_left"].clone(), one["labels"].clone());
    assert_eq!(lasts(&of("worker")), (2.into(), serde_json::json!({"tier": "web"})));
    assert_eq!(of("manager")["uses_left"], 1);
    for token in [&worker, &manager] {
        let secret = token.trim().split('-').nth(4).expect("a secret part");
        assert!(!format!("{listed:?}").contains(secret), "no list shows the secret part");
    }
    let next = make(&["worker", "--rotate"]);
    assert_eq!(ids().len(), 2, "one of each role");
    let joins = |name, token: &str| Machine::new(NodeRole::Worker, name).shows(&cluster, token);
    assert!(joins("a", &worker).is_some(), "the old one is gone");
    assert_eq!(joins("a", &next), None);
    for id in ids() {
        let _ = cluster.ok(&["join-token", "rm", &id]);
    }
    assert!(ids().is_empty());
    assert!(joins("b", &next).is_some(), "removed");
}

#[test]
fn no_token_for_many_names_gives_one_that_services_are_placed_by() {
    let mut cluster = Cluster::start(0);
    cluster.secret("key", b"value");
    let own = cluster.ok(&["join-token", "worker", "-q", "--name", "db1"]);
    let _ = cluster.ok(&["service", "create", "db", "--node", "db1", "--activation", "placed"]);
    let _ = cluster.ok(&["service", "grant", "-d", "db", "key"]);
    for pattern in ["db*", "d*1", "*"] {
        let many = cluster.ok(&["join-token", "worker", "-q", "--name", pattern]);
        let told = Machine::new(NodeRole::Worker, "DB1").shows(&cluster, &many).expect("refused");
        assert!(told.text.contains("is reserved"), "{told}");
    }
    cluster.begin_join_by("db1", &own).connected();
    // The machine is given up: what lies on its disk brings it back under no such name.
    let _ = cluster.skep(&["node", "rm", "--force", "--yes", "db1"]).status(0);
    let told = Machine::new(NodeRole::Worker, "db1").shows(&cluster, &own).expect("refused");
    assert_eq!(told.text, "the join token was not accepted");
}
