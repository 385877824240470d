//! Records that servers of a registry keep by themselves: how far they reach is on the cluster's
//! record, and what is cut or written anew is found by comparing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cluster_tests::rpc::runtime;
use cluster_tests::{Cluster, Ran, Served, binary, run, until};
use serde_json::Value;
use skep_client::put::{NotPut, RecordReach, anchor};
use skep_registry::rules::record::{Chain, Event};

const SERVICE: &str = "web.auth";
/// Says to the test below that it floods, and where the agent listens.
const FLOODS: &str = "SKEP_TEST_FLOODS";
const FLOOD: usize = 200;

/// A node on which a token server's service runs.
fn cluster() -> Cluster {
    let cluster = Cluster::start_with(1, 1);
    cluster.secret("auth.toml", b"version = 1\n");
    let _ = cluster.ok(&["service", "create", SERVICE, "--node", "node-1"]);
    let _ = cluster.ok(&["service", "grant", SERVICE, "auth.toml"]);
    cluster
}

/// What the cluster knows of records: `NAME LINES HEAD` each.
fn anchors(cluster: &Cluster) -> Vec<String> {
    let out = cluster.ok(&["audit", "ls", "--all", "--format", "json", "--name", SERVICE]);
    let read = |line: &str| serde_json::from_str::<Value>(line).expect("a line");
    let all = out.lines().map(read);
    let own = all.filter(|line| line["acts"][0]["act"] == "record.anchor");
    own.map(|line| {
        assert_eq!((&line["who"]["kind"], &line["outcome"]), (&"node".into(), &"done".into()));
        let deed = &line["acts"][0];
        assert_eq!((&deed["node"], &deed["service"]), (&"node-1".into(), &SERVICE.into()));
        deed["detail"].as_str().expect("a detail").to_owned()
    })
    .collect()
}

fn serve(cluster: &Cluster, record: &Path) -> Served {
    let record = record.display().to_string();
    let socket = cluster.agents[0].socket().display().to_string();
    let words = ["auth", "web", "--listen", "127.0.0.1:0", "--audit", &record];
    Served::start(cluster, 0, SERVICE, &[&words[..], &["--agent-socket", &socket]].concat())
}

fn verify(anchors: &Path, record: &Path) -> Ran {
    let mut command = Command::new(binary().with_file_name("skep-registry"));
    command.args(["audit", "verify", "--anchors"]).arg(anchors).arg(record);
    run(&mut command, b"")
}

#[test]
fn p10_a_record_that_is_cut_or_written_anew_is_found_by_what_the_cluster_knows() {
    let cluster = cluster();
    let record = cluster.folder().join("record");
    for lines in 2..=4 {
        let mut server = serve(&cluster, &record);
        until("it is anchored", || {
            let wanted = format!("record {lines} ");
            anchors(&cluster).iter().any(|of| of.starts_with(&wanted)).then_some(())
        });
        server.kill();
    }
    let exported = cluster.folder().join("audit.jsonl");
    let _ = cluster.ok(&["audit", "export", &exported.display().to_string()]);
    let whole = verify(&exported, &record).ok();
    assert!(whole.contains("all 3 that the cluster knows are there"), "{whole}");
    let _ = cluster.ok(&["audit", "verify", &exported.display().to_string()]);

    let text = fs::read_to_string(&record).expect("a record");
    let changed = |name: &str, text: &str| -> PathBuf {
        let folder = cluster.folder().join(name);
        fs::create_dir(&folder).expect("a folder");
        let path = folder.join("record");
        fs::write(&path, text).expect("written");
        path
    };
    // Its end is cut off: by itself it is whole.
    let shorter = text.split_inclusive('\n').take(3).collect::<String>();
    let cut = changed("cut", &shorter);
    let refused = verify(&exported, &cut).status(20);
    assert!(refused.err.contains("the end of "), "{}", refused.err);
    assert!(refused.err.contains("is missing after line 3: the cluster knows line 4"));
    let mut alone = Command::new(binary().with_file_name("skep-registry"));
    let _ = run(alone.args(["audit", "verify"]).arg(&cut), b"").ok();
    // Lines are written anew, by somebody who knows how.
    let at = "2026-11-30T00:00:00.000Z";
    let mut forged: String = text.split_inclusive('\n').take(2).collect();
    let mut chain = Chain::after(forged.lines().last().expect("a line").as_bytes()).expect("one");
    for _ in 0..3 {
        forged.push_str(&chain.add(at, Event::Start { name: "web".into(), torn: 0 }));
    }
    let refused = verify(&exported, &changed("forged", &forged)).status(20);
    assert!(refused.err.contains("what follows line 2 of "), "{}", refused.err);
    // A line is edited: its own chain shows that.
    let edited = text.replacen("\"web\"", "\"wep\"", 1);
    let refused = verify(&exported, &changed("edited", &edited)).status(20);
    assert!(refused.err.contains("does not follow the line before it"), "{}", refused.err);
    // A record begun from nothing.
    let (mut chain, mut anew) = Chain::begin([0; 32], at);
    anew.push_str(&chain.add(at, Event::Start { name: "web".into(), torn: 0 }));
    let refused = verify(&exported, &changed("anew", &anew)).status(20);
    assert!(refused.err.contains("another from its first line on"), "{}", refused.err);
}

#[test]
fn a_server_without_an_agent_says_so_once_and_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let (record, log) = (folder.path().join("record"), folder.path().join("log"));
    let mut command = Command::new(binary().with_file_name("skep-registry"));
    command.args(["auth", "web", "--listen", "127.0.0.1:0", "--agent-socket", "/none/agent.sock"]);
    command.arg("--secrets").arg(folder.path()).arg("--audit").arg(&record);
    let file = fs::File::create(&log).expect("a log");
    let mut child = command.stdin(Stdio::null()).stderr(file).spawn().expect("a server");
    let said = until("it says so", || {
        let said = fs::read_to_string(&log).expect("a log");
        said.contains("record_not_anchored").then_some(said)
    });
    assert!(said.contains("no agent reached: /none/agent.sock"), "{said}");
    let ended = Command::new("kill").arg(child.id().to_string()).status();
    assert!(ended.expect("kill").success());
    assert!(child.wait().expect("ended").success());
    let said = fs::read_to_string(&log).expect("a log");
    assert_eq!(said.matches("record_not_anchored").count(), 1, "{said}");
}

/// Not a test of its own: what runs as a workload in the next one.
#[test]
fn a_workload_that_floods() {
    let Some(socket) = std::env::var_os(FLOODS) else { return };
    let service = SERVICE.parse().expect("a name");
    let (mut done, mut soon) = (0, 0);
    runtime().block_on(async {
        for number in 0..FLOOD {
            let record = format!("r{number}").parse().expect("a name");
            let reach = RecordReach { record, lines: 1, head: [7; 32] };
            let within = Duration::from_secs(10);
            match anchor(Path::new(&socket), &service, &reach, within).await {
                Ok(()) => done += 1,
                Err(NotPut::TooOften(_)) => soon += 1,
                Err(error) => panic!("{error}"),
            }
        }
    });
    println!("flooded: {done} done, {soon} too soon");
}

#[test]
fn p11_a_workload_that_floods_the_call_fills_no_log() {
    let cluster = cluster();
    let own = std::env::current_exe().expect("a path").display().to_string();
    let words = [&own, "--exact", "a_workload_that_floods", "--nocapture"];
    let mut command = cluster.agents[0].exec(SERVICE, &words);
    let ran = run(command.env(FLOODS, cluster.agents[0].socket()), b"").ok();
    let told = ran.lines().find(|line| line.contains("flooded: ")).expect("what came of it");
    let number = |before: &str| -> usize {
        let word = told.split(before).nth(1).and_then(|rest| rest.split(' ').next());
        word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{told}"))
    };
    let (done, soon) = (number("flooded: "), number("done, "));
    assert_eq!(done + soon, FLOOD, "{told}");
    assert!((8..60).contains(&done), "{told}");
    assert_eq!(anchors(&cluster).len(), done);
    let log = fs::read_to_string(cluster.agents[0].log()).expect("a log");
    assert!(log.matches("record_anchored_too_often").count() <= 2, "{log}");
    // Whoever is no workload of the service is not let in.
    let reach = RecordReach { record: "x".parse().expect("a name"), lines: 1, head: [7; 32] };
    let (socket, service) = (cluster.agents[0].socket(), SERVICE.parse().expect("a name"));
    let refused = runtime().block_on(anchor(&socket, &service, &reach, Duration::from_secs(10)));
    assert!(matches!(refused, Err(NotPut::Failed(_))), "{refused:?}");
    let _ = cluster.ok(&["audit", "verify"]);
}
