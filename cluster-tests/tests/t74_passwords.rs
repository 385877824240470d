//! People change their own passwords at a token server: what that takes, what becomes of the
//! old one and its refresh tokens on every server, and where it is refused.

use std::net::TcpListener;
use std::process::Command;

use cluster_tests::terminal::{leading, type_in};
use cluster_tests::{Canary, Cluster, DockerRegistry, Ran, TokenServer, basic, binary, run, until};

const OLD: &str = "correct horse battery";
const RULES: &str = "version = 1\n[[rule]]\nmatch = {}\nactions = [\"pull\"]\n";
const SERVED: &str = "registry.example:5000";

/// `skep registry` as the admin.
fn registry(cluster: &Cluster, words: &[&str], input: &[u8]) -> Ran {
    let mut command = Command::new(binary().with_file_name("skep-registry"));
    command.args(words).env_clear().env("SKEP_IDENTITY", cluster.identity());
    run(&mut command, input)
}

/// A registry with a user, `alice`.
fn set_up(agents: usize, more: &[&str]) -> Cluster {
    let cluster = Cluster::start(agents);
    let out = cluster.folder().join("out").display().to_string();
    let words = ["setup", "web", "--realm", "https://auth.example/auth", "--out", &out];
    let words = [&words[..], &["--registry-service", SERVED], more].concat();
    let _ = registry(&cluster, &words, b"").ok();
    cluster.update("web.acl.toml", RULES.as_bytes());
    let _ = registry(&cluster, &["user", "add", "web", "alice"], OLD.as_bytes()).ok();
    cluster
}

/// Asks for another password: the status, and the body.
fn change(server: &TokenServer, name: &str, old: &str, new: &str, more: &str) -> (u16, String) {
    let form = format!("new_password={}", new.replace(' ', "+"));
    server.post("/password", &format!("{}{more}", basic(name, old)), &form)
}

/// A token server on this agent's node, whose set a manager has confirmed.
fn served(cluster: &Cluster, agent: usize) -> TokenServer {
    let server = TokenServer::start(cluster, agent);
    until("a login", || (login(&server, OLD) == 200).then_some(()));
    server
}

fn login(server: &TokenServer, password: &str) -> u16 {
    server.ask(&format!("service={SERVED}"), "alice", password).0
}

/// A refresh token of alice's.
fn refresh(server: &TokenServer, password: &str) -> String {
    let query = format!("service={SERVED}&offline_token=true&client_id=test");
    let (status, body) = server.ask(&query, "alice", password);
    assert_eq!(status, 200, "{body}");
    let told: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    told["refresh_token"].as_str().expect("a refresh token").to_owned()
}

/// Whether a refresh token is taken.
fn by_refresh(server: &TokenServer, token: &str) -> u16 {
    let form = format!("grant_type=refresh_token&service={SERVED}&refresh_token={token}");
    server.post("/token", "", &form).0
}

const SELF_SERVICE: [&str; 6] = ["--self-service", "0", "--node", "node-1", "--node", "node-2"];

#[test]
fn a_user_changes_the_own_password_on_every_server() {
    let cluster = set_up(2, &SELF_SERVICE);
    let servers = [0, 1].map(|agent| served(&cluster, agent));
    let token = refresh(&servers[0], OLD);
    for server in &servers {
        assert_eq!((login(server, OLD), by_refresh(server, &token)), (200, 200));
    }
    let new = Canary::draw();
    assert_eq!(change(&servers[0], "alice", OLD, new.value(), "").0, 204);
    // Both decide by it when one of them has answered.
    for server in &servers {
        assert_eq!((login(server, OLD), login(server, new.value())), (401, 200));
        assert_eq!(by_refresh(server, &token), 401, "refresh tokens end with the password");
    }
    let by = ["secret", "ls", "--filter", "label=account=alice", "--format", "{{.Name}}"];
    let names = cluster.ok(&by);
    let user = names.lines().find(|name| name.starts_with("web.user.")).expect("a verifier");
    let said = cluster.ok(&["secret", "versions", user, "--format", "{{.WrittenBy}}"]);
    assert_eq!(said.lines().next(), Some("web.auth on node-1"), "{said}");
    // Neither password is anywhere, nor an account's rights among what is written.
    assert_eq!(new.in_files(cluster.folder()), [""; 0]);
    let rights = names.lines().find(|name| name.starts_with("web.rights.")).expect("rights");
    let writers = |name| cluster.ok(&["secret", "inspect", name, "--format", "{{.Writers}}"]);
    assert_eq!(writers(rights), "");
    assert!(writers(user).contains("web.auth"), "{}", writers(user));
    // An operator's change counts as before, and the user goes on from there.
    let third = "an operator drew this";
    let _ = registry(&cluster, &["user", "passwd", "web", "alice"], third.as_bytes()).ok();
    assert_eq!(change(&servers[1], "alice", new.value(), "never taken", "").0, 401);
    assert_eq!(change(&servers[1], "alice", third, "the fourth one", "").0, 204);
    assert!(servers.iter().all(|server| login(server, "the fourth one") == 200));
}

#[test]
fn who_has_not_got_it_yet_is_named() {
    let mut cluster = set_up(2, &SELF_SERVICE);
    let server = served(&cluster, 0);
    let other = served(&cluster, 1);
    cluster.agents[1].kill();
    // Its node has the old one as long as nobody tells it.
    let (status, body) = change(&server, "alice", OLD, "another one", "");
    assert_eq!((status, body.as_str()), (202, r#"{"waiting_for":["node-2"]}"#));
    assert_eq!((login(&server, OLD), login(&server, "another one")), (401, 200));
    assert_eq!(login(&other, OLD), 200);
}

#[test]
fn people_change_it_by_a_command() {
    let mut cluster = set_up(2, &SELF_SERVICE);
    let servers = [0, 1].map(|agent| served(&cluster, agent));
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("an address").to_string();
    drop(port);
    let served = DockerRegistry::start(cluster.folder(), &address, SERVED, &servers[0]);
    let words = ["passwd", &address, "--plain-http", "-u", "alice"];
    let piped = |cluster: &Cluster, old: &str, new: &str| {
        let words = [&words[..], &["--stdin"]].concat();
        registry(cluster, &words, format!("{old}\n{new}\n").as_bytes())
    };
    let [old, new] = [Canary::draw(), Canary::draw()];
    let done = piped(&cluster, OLD, old.value()).status(0);
    assert_eq!(
        (done.out.as_str(), done.err.as_str()),
        ("", "changed: every token server decides by it\n")
    );
    for server in &servers {
        assert_eq!((login(server, OLD), login(server, old.value())), (401, 200));
    }
    // On a terminal nothing of it is shown. Whoever types the same each time asks for no change.
    let mut command = Command::new(binary().with_file_name("skep-registry"));
    command.args(words).env("SKEP_IDENTITY", cluster.identity());
    let told = type_in(leading(&command), old.value()).status(1);
    for prompt in ["Old password: ", "New password: ", "The same again: "] {
        assert!(told.out.contains(prompt), "{}", told.out);
    }
    assert!(told.out.contains("the new password is the old one"), "{}", told.out);
    assert!(!told.out.contains(old.value()), "a password is shown");
    // What is no change says why, and what is left as it was.
    let wrong = piped(&cluster, OLD, new.value()).status(1);
    assert!(wrong.err.contains("the name or the password is wrong"), "{}", wrong.err);
    assert!(wrong.err.contains("\nhint: the password is as before"), "{}", wrong.err);
    let short = piped(&cluster, old.value(), "short").status(2);
    assert!(short.err.contains("8 to 256"), "{}", short.err);
    assert_eq!(login(&servers[0], old.value()), 200);
    // A node whose agent is dead has it later: it is named.
    cluster.agents[1].kill();
    let late = piped(&cluster, old.value(), new.value()).status(5);
    assert!(late.err.contains("not confirmed: not yet on node-2"), "{}", late.err);
    assert_eq!(login(&servers[0], new.value()), 200);
    drop(served);
    let gone = piped(&cluster, new.value(), "another one").status(3);
    assert!(gone.err.contains("cannot reach"), "{}", gone.err);
    for password in [old, new] {
        assert_eq!(password.in_files(cluster.folder()), [""; 0]);
    }
}

#[test]
fn what_is_no_change_of_the_own_password_is_refused() {
    let cluster = set_up(1, &["--self-service", "0", "--node", "node-1"]);
    let server = served(&cluster, 0);
    assert_eq!(change(&server, "alice", "wrong password", "another one", "").0, 401);
    assert_eq!(change(&server, "nobody", OLD, "another one", "").0, 401);
    assert_eq!(change(&server, "alice", OLD, "short", "").0, 400);
    assert_eq!(change(&server, "alice", OLD, OLD, "").0, 400);
    let page = "origin: https://evil.example\r\n";
    assert_eq!(change(&server, "alice", OLD, "another one", page).0, 400);
    let words = ["robot", "create", "web", "ci", "--show", "--form", "plain"];
    let robot = registry(&cluster, &words, b"").ok();
    let (status, body) = change(&server, "ci", &robot, "another one", "");
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("rotated"), "{body}");
    // After a revoke of that leave nothing is written, and nothing lost.
    let names = cluster.ok(&["secret", "ls", "--format", "{{.Name}}"]);
    let user = names.lines().filter(|name| name.starts_with("web.user."));
    for name in user {
        let target = name.trim_start_matches("web.");
        let words = format!("{name}:{target}");
        let _ = cluster.ok(&["service", "grant", "--write=false", "web.auth", &words]);
    }
    assert_eq!(change(&server, "alice", OLD, "another one", "").0, 503);
    assert_eq!(login(&server, OLD), 200);
}

#[test]
fn without_a_manager_it_is_said_that_nothing_was_changed() {
    let mut cluster = set_up(1, &["--self-service", "0", "--node", "node-1"]);
    let server = served(&cluster, 0);
    cluster.manager.kill();
    assert_eq!(change(&server, "alice", OLD, "another one", "").0, 503);
    assert_eq!(login(&server, OLD), 200);
}

#[test]
fn where_a_setup_does_not_say_so_there_is_no_such_door() {
    let cluster = set_up(1, &["--node", "node-1"]);
    let server = served(&cluster, 0);
    let (status, body) = change(&server, "alice", OLD, "another one", "");
    assert_eq!(status, 404, "{body}");
    let writers = cluster.ok(&["secret", "ls", "--format", "{{.Writers}}"]);
    // The token CA's service writes the signer's next key and certificate, and nobody anything else.
    assert_eq!(writers.matches("web.ca").count(), 2, "{writers}");
    assert!(writers.lines().all(|line| ["[]", "web.ca"].contains(&line)), "{writers}");
}
