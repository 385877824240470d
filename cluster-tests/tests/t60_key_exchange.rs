//! How the keys of connections are agreed on, and what becomes of those who can't.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use cluster_tests::{Cluster, Manager, run, until};
use serde_json::Value;
use skep::daemon::dev;

const HYBRID: &str = "X25519MLKEM768";

/// A process that ends with its test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn requiring(text: &str) -> String {
    format!("require-pq = true\n{text}")
}

/// What a client says that offers this group alone, for a handshake with a manager.
fn shakes(address: &str, group: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-tls1_3", "-alpn", "h2", "-groups", group, "-connect", address]);
    let ran = run(&mut command, b"");
    ran.out + &ran.err
}

#[test]
fn status_shows_how_keys_were_agreed_on() {
    let cluster = Cluster::start_with(3, 1);
    until("connections between all managers", || {
        let status = json(&cluster.skep(&["status", "--format", "json"]).out);
        assert_eq!(status["key_exchange"], HYBRID, "the command's own");
        let voters = status["voters"].as_array().expect("voters").clone();
        // It has none to itself.
        let known = voters.iter().filter(|voter| voter["key_exchange"] == HYBRID).count();
        (known == 2).then_some(())
    });
    let table = cluster.skep(&["status"]).out;
    let line = |head: &str, more: &str| {
        let fits = |line: &&str| line.trim_start().starts_with(head) && line.contains(more);
        assert!(table.lines().any(|line| fits(&line)), "{head} {more}: {table}");
    };
    line("connection", "keys by X25519MLKEM768");
    line("peers", "keys by X25519MLKEM768: manager-");
    let here = json(&cluster.manager.skep(&["status", "--format", "json"]).out);
    assert_eq!(here["key_exchange"], Value::Null, "a socket has none");
    let node = json(&cluster.ok(&["node", "inspect", "node-1", "--format", "json"]));
    let node = node.get(0).unwrap_or(&node);
    assert_eq!(node["key_exchange"], HYBRID, "{node}");
}

#[test]
fn a_manager_that_requires_it_refuses_whoever_has_x25519_alone() {
    let mut cluster = Cluster::start_with(3, 1);
    let address = cluster.manager.address();
    let before = shakes(&address, "X25519");
    assert!(before.contains("CN"), "a certificate is shown where nothing is required: {before}");

    // One after the other, so that those who require it and those who don't understand each other.
    cluster.secret("db", b"one");
    cluster.service("web", "node-1", &["db"]);
    for number in 0..3 {
        cluster.manager_mut(number).kill();
        cluster.manager_mut(number).settings(|text| requiring(&text));
        cluster.bring_back(number);
        let manager = cluster.managers().nth(number).expect("so many");
        until("a voter", || {
            ["follower", "leader"].contains(&manager.state().as_str()).then_some(())
        });
    }
    let settings = cluster.agents[0].data().with_file_name("agent.toml");
    let text = fs::read_to_string(&settings).expect("settings");
    fs::write(&settings, requiring(&text)).expect("settings");
    cluster.agents[0].kill();
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    let mut shell = cluster.shell(0, "web");
    cluster.update("db", b"two");
    until("the new value", || (shell.read("db") == "two").then_some(()));

    for address in cluster.managers().map(Manager::address) {
        let refused = shakes(&address, "X25519");
        assert!(refused.contains("handshake failure"), "{refused}");
        assert!(!refused.contains("BEGIN CERTIFICATE"), "{refused}");
    }
    let status = json(&cluster.skep(&["status", "--require-pq", "--format", "json"]).out);
    assert_eq!(status["key_exchange"], HYBRID);
}

#[test]
fn a_command_that_requires_it_speaks_to_no_server_without_it() {
    let cluster = Cluster::start(0);
    let folder = cluster.folder();
    let [key, chain] = ["key.pem", "chain.pem"].map(|name| folder.join(name));
    let mut made = Command::new("openssl");
    made.args(["req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=x", "-days", "1"]);
    assert_eq!(run(made.arg("-keyout").arg(&key).arg("-out").arg(&chain), b"").status, 0);
    let port = dev::free_ports(1).expect("a port")[0].to_string();
    let mut server = Command::new("openssl");
    server.args(["s_server", "-tls1_3", "-groups", "X25519", "-accept", &port]);
    server.arg("-key").arg(&key).arg("-cert").arg(&chain).stdout(Stdio::piped());
    let mut server = Ends(server.stdin(Stdio::piped()).spawn().expect("openssl"));
    let lines = BufReader::new(server.0.stdout.take().expect("its output")).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("ACCEPT")), "it listens");
    let host = format!("127.0.0.1:{port}");
    let refused = cluster.skep(&["secret", "ls", "--require-pq", "--host", &host]).status(3);
    assert!(refused.err.contains("requires X25519MLKEM768"), "{}", refused.err);
    let other = cluster.skep(&["secret", "ls", "--host", &host]);
    assert!(!other.err.contains("requires X25519MLKEM768"), "another reason: {}", other.err);
    // By the environment and the settings file as by the flag.
    let mut by_environment = cluster.command(&["secret", "ls", "--host", &host]);
    let ran = run(by_environment.env("SKEP_REQUIRE_PQ", "1"), b"");
    assert!(ran.err.contains("requires X25519MLKEM768"), "{}", ran.err);
    let config = cluster.file("cli.toml", b"require-pq = true\n");
    let ran = cluster.skep(&["secret", "ls", "--host", &host, "--config", &config]);
    assert!(ran.err.contains("requires X25519MLKEM768"), "{}", ran.err);
}
