//! Token servers under real agents: what a revoke takes away, also while an agent or every
//! manager is dead.

use std::path::Path;
use std::process::Command;

use cluster_tests::{Cluster, TokenServer, run, until};
use skep_client::machine::OsDice;
use skep_registry::rules::password::{draw_robot_password, robot_verifier};
use skep_registry::rules::slug::Account;

const SERVICE: &str = "web.auth";
const SETTINGS: &str = "version = 1\nissuer = \"skep\"\nservices = [\"registry\"]\n";
const RULES: &str = "version = 1\n[[rule]]\nmatch = {}\nactions = [\"*\"]\n";

/// A robot: its name, its password, and its secrets.
struct Robot {
    name: String,
    password: String,
    secrets: [String; 2],
}

impl Robot {
    fn create(cluster: &Cluster, name: &str) -> Self {
        let password = draw_robot_password(&mut OsDice).to_string();
        let slug = name.parse::<Account>().expect("a name").slug();
        let secrets = [format!("user.{slug}"), format!("rights.{slug}")];
        let hash = robot_verifier(password.as_bytes());
        let (id, generation) = ("0".repeat(32), &hash[..32]);
        let user = format!(
            r#"{{"version":1,"id":"{id}","gen":"{generation}","kind":"sha256","hash":"{hash}"}}"#
        );
        cluster.secret(&secrets[0], user.as_bytes());
        cluster.secret(&secrets[1], br#"{"version":1,"labels":{}}"#);
        let _ = cluster.ok(&["service", "grant", SERVICE, &secrets[0], &secrets[1]]);
        Self { name: name.to_owned(), password, secrets }
    }

    /// Its credential is taken away from the token servers.
    fn revoke<'w>(&'w self, more: &[&'w str]) -> Vec<&'w str> {
        [&["service", "revoke", SERVICE, &self.secrets[0]], more].concat()
    }

    /// What a token server says to it.
    fn ask(&self, server: &TokenServer) -> u16 {
        server.ask("service=registry", &self.name, &self.password).0
    }
}

/// A service of token servers on two nodes.
fn cluster(mount: &str) -> Cluster {
    let cluster = Cluster::start(2);
    let at = |name: &str| cluster.folder().join(name);
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-nodes", "-days", "30", "-subj", "/CN=signer", "-keyout"]);
    openssl.arg(at("signer.key")).arg("-out").arg(at("signer.crt"));
    let _ = run(&mut openssl, b"").ok();
    let read = |path: &Path| std::fs::read(path).expect("a file");
    cluster.secret("signer.key", &read(&at("signer.key")));
    cluster.secret("signer.crt", &read(&at("signer.crt")));
    cluster.secret("auth.toml", SETTINGS.as_bytes());
    cluster.secret("acl.toml", RULES.as_bytes());
    let _ = cluster.ok(&["secret", "create", "refresh.key", "--generate", "hex"]);
    let place = ["--node", "node-1", "--node", "node-2", "--mount", mount];
    let _ = cluster.ok(&[&["service", "create", SERVICE], &place[..]].concat());
    let all = ["auth.toml", "acl.toml", "signer.key", "signer.crt", "refresh.key"];
    let _ = cluster.ok(&[&["service", "grant", SERVICE], &all[..]].concat());
    cluster
}

fn revoked_while_an_agent_is_dead(mount: &str) {
    let mut cluster = cluster(mount);
    let robots = ["one", "two", "three"].map(|name| Robot::create(&cluster, name));
    let servers = [TokenServer::start(&cluster, 0), TokenServer::start(&cluster, 1)];
    for server in &servers {
        for robot in &robots {
            assert_eq!(robot.ask(server), 200);
        }
    }
    // It returned 0: no replica decides for it.
    let _ = cluster.ok(&robots[0].revoke(&[]));
    for server in &servers {
        assert_eq!(robots[0].ask(server), 401);
    }
    // An agent that is dead takes nothing away: the revoke says whose.
    cluster.agents[1].kill();
    let lagging = cluster.skep(&robots[1].revoke(&["--timeout", "2s"])).status(5);
    assert!(lagging.err.contains("node-2"), "{}", lagging.err);
    assert_eq!(robots[1].ask(&servers[0]), 401);
    let held = robots[1].ask(&servers[1]);
    assert!([200, 503].contains(&held), "{held}: its files are there, or unreadable");
    cluster.agents[1].start_again();
    cluster.agents[1].connected();
    until("what was missed", || (robots[1].ask(&servers[1]) == 401).then_some(()));
    until("the others", || (robots[2].ask(&servers[1]) == 200).then_some(()));
    // It stays so, whatever the generations are called.
    cluster.update("acl.toml", format!("{RULES}\n").as_bytes());
    for server in &servers {
        assert_eq!((robots[1].ask(server), robots[2].ask(server)), (401, 200));
    }
    // Without any manager tokens go on.
    cluster.manager.kill();
    for server in &servers {
        assert_eq!((robots[1].ask(server), robots[2].ask(server)), (401, 200));
    }
}

#[test]
fn revoked_while_an_agent_is_dead_on_tmpfs() {
    revoked_while_an_agent_is_dead("tmpfs");
}

#[test]
fn revoked_while_an_agent_is_dead_on_fuse() {
    revoked_while_an_agent_is_dead("fuse");
}

#[test]
fn a_signing_key_that_is_revoked_signs_nothing_more() {
    let cluster = cluster("tmpfs");
    let robot = Robot::create(&cluster, "one");
    let server = TokenServer::start(&cluster, 0);
    assert_eq!(robot.ask(&server), 200);
    let _ = cluster.ok(&["service", "revoke", SERVICE, "signer.key"]);
    assert_eq!(robot.ask(&server), 503);
    let _ = cluster.ok(&["service", "grant", SERVICE, "signer.key"]);
    assert_eq!(robot.ask(&server), 200);
}

#[test]
fn a_mount_that_hangs_holds_nobody_up_for_ever() {
    let cluster = cluster("fuse");
    let robot = Robot::create(&cluster, "one");
    let servers = [TokenServer::start(&cluster, 0), TokenServer::start(&cluster, 1)];
    assert_eq!(robot.ask(&servers[0]), 200);
    cluster.agents[0].freeze();
    // What the kernel remembers of the mount it answers; whatever hangs ends in a refusal.
    let frozen = robot.ask(&servers[0]);
    assert!([200, 503].contains(&frozen), "{frozen}");
    assert_eq!(robot.ask(&servers[1]), 200);
    cluster.agents[0].resume();
    until("it is back", || (robot.ask(&servers[1]) == 200).then_some(()));
}
