//! Agents renew their certificates: in time, after their end, and however they ended in between.
//! Clocks are libfaketime's: all daemons are stopped, their clocks are set, and they are started
//! again.

use std::fs;
use std::path::Path;
use std::process::Command;

use cluster_tests::{Agent, Cluster, run, until, with_clock};
use serde_json::Value;

/// Days from now to the end of a node's certificate, as the state says.
fn days(cluster: &Cluster, node: &str) -> Option<i64> {
    let shown = cluster.manager.skep(&["node", "inspect", node, "--format", "json"]);
    let shown: Value = serde_json::from_str(&shown.out).ok()?;
    let shown = shown.as_array().and_then(|all| all.first()).unwrap_or(&shown).clone();
    let said = run(
        Command::new("date").args(["-u", "-d", shown["certificate_ends"].as_str()?, "+%s"]),
        b"",
    );
    let ends: i64 = said.out.trim().parse().ok()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    Some((ends - i64::try_from(now.as_secs()).ok()?) / 86_400)
}

fn id(cluster: &Cluster, node: &str) -> String {
    let shown = cluster.manager.skep(&["node", "inspect", node, "--format", "{{.Id}}"]);
    shown.ok().trim().to_owned()
}

/// A cluster with clocks of its own.
struct Case {
    _folder: tempfile::TempDir,
    cluster: Cluster,
}

impl Case {
    fn start(agents: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = Cluster::start_clocked(folder.path(), agents);
        Self { _folder: folder, cluster }
    }

    /// Whether the files of a renewal are gone: the leader has seen the next key.
    fn settled(&self, agent: usize) {
        let data = self.cluster.agents[agent].data();
        until("the last step", || {
            (!data.join("previous").exists() && !data.join("renewing").exists()).then_some(())
        });
    }
}

fn reads(agent: &Agent, value: &[u8]) {
    let file = agent.file("web", "s");
    until("the file", || (fs::read(&file).ok()? == value).then_some(()));
}

#[test]
fn agents_come_back_alone_sixty_and_a_hundred_and_ten_days_later_also_all_at_once() {
    let mut case = Case::start(3);
    case.cluster.secret("s", b"one");
    let words = ["service", "create", "web", "--everywhere", "--activation", "placed"];
    let _ = case.cluster.ok(&words);
    let _ = case.cluster.ok(&["service", "grant", "web", "s"]);
    let ids: Vec<String> =
        (1..=3).map(|number| id(&case.cluster, &format!("node-{number}"))).collect();
    // From fresh certificates 60 days, then 110: those that were not due at 60 have ended then,
    // those that were have ended at 170.
    for ahead in [60, 110, 170] {
        case.cluster.ahead(ahead);
        for agent in &mut case.cluster.agents {
            agent.start_again();
        }
        for agent in &case.cluster.agents {
            agent.connected();
            reads(agent, b"one");
        }
        for (number, id_before) in (1..=3).zip(&ids) {
            let name = format!("node-{number}");
            assert_eq!(&id(&case.cluster, &name), id_before);
            // Whoever was past 80 % of its life has a new certificate.
            until("no certificate that is due", || {
                (days(&case.cluster, &name)? - ahead >= 18).then_some(())
            });
            case.settled(number - 1);
        }
    }
    let new = case.cluster.manager.skep_with(&["secret", "update", "s", "-"], b"two");
    let _ = new.ok();
    for agent in &case.cluster.agents {
        reads(agent, b"two");
    }
}

#[test]
fn one_that_comes_a_year_late_is_refused_and_readmitted_with_its_id_and_placements() {
    let mut case = Case::start(1);
    case.cluster.secret("s", b"one");
    let words = ["service", "create", "web", "--node", "node-1", "--activation", "placed"];
    let _ = case.cluster.ok(&words);
    let _ = case.cluster.ok(&["service", "grant", "web", "s"]);
    let before = id(&case.cluster, "node-1");
    case.cluster.ahead(400);
    let agent = &mut case.cluster.agents[0];
    assert_eq!(agent.start_refused(), 24);
    let log = fs::read_to_string(agent.log()).expect("a log");
    for words in ["refused: ", "ended more than 30 days ago", "skep node readmit node-1"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert!(agent.data().join("identity").exists());
    let warned = case.cluster.manager.skep(&["status", "--format", "json"]);
    assert!(warned.out.contains("the certificate of node node-1 has ended"), "{}", warned.out);

    let readmitted = case.cluster.manager.skep(&["node", "readmit", "node-1"]);
    assert!(readmitted.err.contains("within a day"), "{}", readmitted.err);
    assert_eq!(readmitted.ok().trim(), "node-1");
    let agent = &mut case.cluster.agents[0];
    agent.start_again();
    agent.connected();
    reads(agent, b"one");
    assert_eq!(id(&case.cluster, "node-1"), before);
    case.settled(0);
    assert!(days(&case.cluster, "node-1").expect("a time") - 400 > 85);
}

#[test]
fn all_whose_certificates_have_ended_are_readmitted_by_one_command_and_no_others() {
    let mut case = Case::start(2);
    let _ = case.cluster.ok(&["node", "update", "--label-add", "tier=db", "node-2"]);
    let none = case.cluster.manager.skep(&["node", "readmit", "--all"]);
    assert!(none.err.contains("no such node whose certificate has ended"), "{}", none.err);
    assert_eq!(none.ok(), "");
    case.cluster.ahead(400);
    let socket = case.cluster.manager.socket();
    let readmit = |flags: &[&str]| {
        let mut command = std::process::Command::new(cluster_tests::binary());
        command.args(["node", "readmit"]).args(flags).arg("--socket").arg(&socket);
        with_clock(&mut command, "+400d");
        run(&mut command, b"").ok()
    };
    assert_eq!(readmit(&["--label", "tier=db"]).trim(), "node-2");
    assert_eq!(case.cluster.agents[0].start_refused(), 24);
    case.cluster.agents[1].start_again();
    case.cluster.agents[1].connected();
    case.settled(1);
    assert_eq!(readmit(&["--all"]).trim(), "node-1");
    case.cluster.agents[0].start_again();
    case.cluster.agents[0].connected();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let _bytes = fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

#[test]
fn whatever_a_crash_left_of_a_renewal_the_agent_comes_back_alone() {
    let mut case = Case::start(1);
    let kept = tempfile::tempdir().expect("a folder");
    let data = case.cluster.agents[0].data();
    let renewed = |case: &Case, before: Vec<u8>| {
        until("another certificate", || {
            (fs::read(data.join("identity")).ok()? != before).then_some(())
        });
        case.settled(0);
    };
    // Before it was asked, the key is there; what it was asked for last has ended by then.
    let before = fs::read(data.join("identity")).expect("an identity");
    case.cluster.agents[0].kill();
    copy(&data, kept.path());
    case.cluster.ahead(100);
    case.cluster.agents[0].start_again();
    case.cluster.agents[0].connected();
    renewed(&case, before.clone());

    // After the answer, and before the leader has seen the next key: all files are there.
    case.cluster.agents[0].kill();
    let after = fs::read(data.join("identity")).expect("an identity");
    fs::copy(kept.path().join("identity"), data.join("previous")).expect("copied");
    case.cluster.agents[0].start_again();
    case.cluster.agents[0].connected();
    case.settled(0);
    assert_eq!(fs::read(data.join("identity")).expect("an identity"), after);

    // The key before the last is listed no more: whoever has it is refused for good.
    case.cluster.agents[0].kill();
    fs::copy(kept.path().join("identity"), data.join("identity")).expect("copied");
    assert_eq!(case.cluster.agents[0].start_refused(), 24);
}
