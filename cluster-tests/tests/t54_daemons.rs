//! P11: daemons against what comes from elsewhere: text that would forge lines of a log, and
//! signals that mean nothing to them.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use cluster_tests::rpc::{ask, framed, identity, local_channel, runtime, tls};
use cluster_tests::{Agent, Cluster, Manager, binary, run, until};
use skep_client::transport::rpc::local::agent_client::AgentClient;
use skep_core::wire::local::ExecRequest;

/// A user that owns nothing.
const NOBODY: u32 = 65_534;
/// Bytes of a line: docs/operate/logs.md.
const LINE_BYTES: usize = 4 * 1024;
/// What a forged line would hold.
const FORGED: &str = "forged-by-nobody";
/// Steers a terminal, begins lines, turns the direction of writing round.
const HOSTILE: &[&str] = &[
    "\n2026-01-01T00:00:00.000Z ERROR forged-by-nobody",
    "\r\u{1b}[2K\u{1b}]0;x\u{7}forged-by-nobody",
    "\u{9b}31mforged-by-nobody\u{85}\u{2028}\u{2029}",
    "\",\"event\":\"forged-by-nobody\"}\n{\"event\":\"forged-by-nobody\"}",
    "\u{202e}\u{2066}\u{200f}forged-by-nobody\0\u{feff}",
];

/// The lines of a log, each of which must be one of ours.
fn lines(log: &Path, json: bool) -> Vec<String> {
    let bytes = fs::read(log).expect("a log");
    let text = String::from_utf8(bytes).expect("text");
    let hostile = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
    };
    assert!(!text.contains(hostile), "{text}");
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for line in &lines {
        assert!(line.len() <= LINE_BYTES, "{} bytes: {line}", line.len());
        let event = if json {
            let read: serde_json::Value = serde_json::from_str(line).expect(line);
            read["event"].as_str().expect(line).to_owned()
        } else {
            // TIME LEVEL EVENT fields
            let mut words = line.split_whitespace();
            let time = words.next().expect(line);
            assert!(time.len() > 19 && time.ends_with('Z') && time.starts_with("20"), "{line}");
            let level = words.next().expect(line);
            assert!(["ERROR", "WARN", "INFO"].contains(&level), "{line}");
            words.next().expect(line).to_owned()
        };
        assert!(!event.contains(FORGED), "{line}");
    }
    lines
}

/// Says it in the agent's and the managers' words that logs show.
fn say(cluster: &Cluster, text: &str) {
    let agent = &cluster.agents[0];
    // The user whom the kernel names is the one that the log names.
    let script = format!(
        "{} exec --agent-socket {} --service \"$1\" -- true",
        binary().display(),
        agent.socket().display()
    );
    let mut exec = Command::new("sh");
    exec.args(["-c", &script, "sh"]).arg(text.replace('\0', "")).uid(NOBODY).gid(NOBODY);
    assert_ne!(run(&mut exec, b"").status, 0);
    runtime().block_on(async {
        let channel = local_channel(&agent.socket()).await;
        let long = text.repeat(3_000_000 / text.len());
        for service in [text.to_owned(), long] {
            let request =
                ExecRequest { service, timeout_ms: 1_000, inside: false, on_change: String::new() };
            let mut client =
                AgentClient::new(channel.clone()).max_encoding_message_size(usize::MAX);
            client.exec(request).await.expect_err("no such service");
        }
        // A caller with a certificate and a stranger, as what they call and in what they send.
        let own = tls(&identity(&cluster.identity()));
        let named =
            framed(&[&[10, u8::try_from(text.len()).expect("short")], text.as_bytes()].concat());
        for path in [
            "/skep.api.v1.Control/GetSecret",
            "/skep.api.v1.Control/NodeInfo",
            "/skep.api.v1.Join/Join",
            "/skep.api.v1.%0A%1B%5B2Kforged-by-nobody/Forged",
        ] {
            let channel = cluster_tests::rpc::channel(&cluster.manager.address(), &own).await;
            let headers = [
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                ("user-agent", "forged-by-nobody%0A"),
            ];
            ask(&channel, path, &headers, named.clone()).await;
            let channel = local_channel(&cluster.manager.socket()).await;
            ask(&channel, path, &headers, named.clone()).await;
        }
    });
    // A program with that name, which is refused a file on FUSE: its name is logged.
    let program = cluster.folder().join(text.replace(['\0', '/'], ""));
    fs::copy("/bin/cat", &program).expect("a copy");
    let mut open = Command::new("unshare");
    open.arg("--mount").arg(&program).arg(agent.root().join("web/..live/a"));
    assert_ne!(run(&mut open, b"").status, 0);
    // A join that says it of its machine.
    let managers = cluster.manager.address();
    let data = cluster.folder().join("stranger");
    let mut join = Command::new(binary());
    join.args(["agent", "run", "--manager", &managers, "--data-dir"]).arg(&data);
    join.arg("--name")
        .arg(text.replace('\0', ""))
        .arg("--token-file")
        .arg(cluster.file("no", b"nothing"));
    join.arg("--socket").arg(data.join("socket")).arg("--root").arg(data.join("root"));
    assert_ne!(run(&mut join, b"").status, 0);
}

fn in_json(file: &Path) {
    let text = fs::read_to_string(file).expect("its settings");
    fs::write(file, format!("log-format = \"json\"\n{text}")).expect("its settings");
}

fn folder(data: &Path) -> PathBuf {
    data.parent().expect("its folder").to_owned()
}

#[test]
fn p11_nothing_that_is_sent_forges_a_line_of_a_log() {
    let mut cluster = Cluster::start(1);
    cluster.secret("a", b"1");
    let words = ["service", "create", "web", "--node", "node-1", "--mount", "fuse"];
    let _ = cluster.ok(&words);
    let _ = cluster.ok(&["service", "grant", "web", "a"]);
    let shell = cluster.shell(0, "web");
    for text in HOSTILE {
        say(&cluster, text);
    }
    let logs = [cluster.manager.log(), cluster.agents[0].log()];
    assert!(lines(&logs[1], false).iter().any(|line| line.contains(FORGED)), "none was logged");
    assert_eq!(shell.end(), 0);
    let before = logs.each_ref().map(|log| lines(log, false).len());
    assert!(before.iter().all(|count| *count > 2), "{before:?}");
    let size = fs::metadata(&logs[1]).expect("a log").len();
    assert!(size < 200_000, "{size} bytes of what a user said");

    // The same in JSON, from its first line on.
    in_json(&folder(&cluster.agents[0].data()).join("agent.toml"));
    in_json(&folder(&cluster.manager.data()).join("manager.toml"));
    assert_eq!(cluster.agents[0].stop(), 0);
    assert_eq!(cluster.manager.stop(), 0);
    for log in &logs {
        fs::write(log, b"").expect("an empty log");
    }
    cluster.manager.start_again();
    let _ = cluster.unlock().ok();
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    let shell = cluster.shell(0, "web");
    for text in HOSTILE {
        say(&cluster, text);
    }
    assert_eq!(shell.end(), 0);
    for log in &logs {
        assert!(lines(log, true).len() > 1);
    }
    assert!(lines(&logs[1], true).iter().any(|line| line.contains(FORGED)), "none was logged");
}

/// The process of a daemon.
fn pid(folder: &Path) -> String {
    fs::read_to_string(folder.join("pid")).expect("a pid file").trim().to_owned()
}

fn noted(log: &Path) -> usize {
    fs::read_to_string(log).expect("a log").matches("signal_ignored").count()
}

#[test]
fn p11_signals_that_mean_nothing_end_no_daemon() {
    const SIGNALS: &[&str] = &[
        "HUP", "USR1", "USR2", "ALRM", "VTALRM", "PROF", "PIPE", "IO", "WINCH", "CONT", "XFSZ",
        "34", "64",
    ];
    let mut cluster = Cluster::start(1);
    let value = |cluster: &Cluster| fs::read(cluster.agents[0].file("web", "a")).ok();
    cluster.secret("a", b"1");
    cluster.service("web", "node-1", &["a"]);
    let _ = cluster.agents[0].skep(&["agent", "service", "up", "web"]).ok();
    let members = |manager: &Manager, agent: &Agent| {
        [(folder(&manager.data()), manager.log()), (folder(&agent.data()), agent.log())]
    };
    let before = members(&cluster.manager, &cluster.agents[0]).map(|(folder, _)| pid(&folder));
    for (folder, log) in members(&cluster.manager, &cluster.agents[0]) {
        for signal in SIGNALS {
            let _ =
                run(Command::new("kill").args([&format!("-{signal}"), &pid(&folder)]), b"").ok();
        }
        until("a line of it", || (noted(&log) >= 3).then_some(()));
    }
    // The same processes go on, unlocked.
    assert_eq!(cluster.manager.state(), "leader");
    cluster.update("a", b"2");
    assert_eq!(value(&cluster).expect("a file"), b"2");
    let after = members(&cluster.manager, &cluster.agents[0]).map(|(folder, _)| pid(&folder));
    assert_eq!(before, after);
    assert_eq!(cluster.agents[0].stop(), 0);
    assert_eq!(cluster.manager.stop(), 0);
}
