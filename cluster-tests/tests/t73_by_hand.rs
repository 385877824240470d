//! What people ask a registry by hand: tokens, repositories and tags, of Debian's own registry.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use cluster_tests::{Cluster, DEADLINE, DockerRegistry, Ran, TokenServer, binary, run};

const PASSWORD: &str = "correct horse battery";
const RULES: &str = "version = 1\n\
    [[rule]]\nmatch = { account = \"bob\" }\nactions = []\n\
    [[rule]]\nmatch = { type = \"registry\", name = \"catalog\" }\nactions = [\"*\"]\n\
    [[rule]]\nmatch = { name = \"web/**\" }\nactions = [\"pull\"]\n";
/// More than two pages of them.
const REPOSITORIES: usize = 1_100;

/// `skep registry` as the admin, with the robots of this folder.
fn registry(cluster: &Cluster, robots: &Path, words: &[&str], input: &str) -> Ran {
    let mut command = Command::new(binary().with_file_name("skep-registry"));
    command.args(words).env_clear().env("SKEP_IDENTITY", cluster.identity());
    run(command.env("SKEP_CREDENTIALS", robots), input.as_bytes())
}

/// Repositories with two tags each, as the registry's disk has them.
fn repositories(images: &Path) {
    let all = images.join("docker/registry/v2/repositories/web");
    for number in 0..REPOSITORIES {
        let one = all.join(format!("app-{number:04}"));
        fs::create_dir_all(one.join("_layers")).expect("a folder");
        for tag in ["1.0", "latest"] {
            let tag = one.join("_manifests/tags").join(tag);
            fs::create_dir_all(tag.join("current")).expect("a folder");
        }
    }
}

/// The status of `/v2/` for whoever has this token.
fn status(address: &str, token: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a registry");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
    let head = format!(
        "GET /v2/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn people_and_machines_list_what_they_may() {
    let cluster = Cluster::start(1);
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("an address").to_string();
    drop(port);
    let none = cluster.folder().join("none");
    let ask = |words: &[&str], input: &str| registry(&cluster, &none, words, input);
    let out = cluster.folder().join("out").display().to_string();
    let words = ["setup", "web", "--realm", "https://auth.example/auth", "--out", &out];
    let more = ["--registry-service", &address, "--node", "node-1"];
    let _ = ask(&[&words[..], &more].concat(), "").ok();
    cluster.update("web.acl.toml", RULES.as_bytes());
    for name in ["alice", "bob"] {
        let _ = ask(&["user", "add", "web", name], PASSWORD).ok();
    }
    let server = TokenServer::start(&cluster, 0);
    repositories(&cluster.folder().join("images"));
    let _served = DockerRegistry::start(cluster.folder(), &address, &address, &server);

    // By the name that managers know it by, and by where it is.
    let alice = ["--plain-http", "-u", "alice"];
    for name in ["web", &address] {
        let words = [&["catalog", name, "-q"], &alice[..]].concat();
        let listed = ask(&words, PASSWORD).ok();
        let names: Vec<&str> = listed.lines().collect();
        assert_eq!(names.len(), REPOSITORIES, "{name}");
        assert_eq!((names[0], names[REPOSITORIES - 1]), ("web/app-0000", "web/app-1099"));
    }
    let words = [&["tags", "web", "web/app-0007"], &alice[..]].concat();
    // In the registry's own order, which is none.
    let listed = ask(&words, PASSWORD).ok();
    let mut tags: Vec<&str> = listed.lines().skip(1).collect();
    tags.sort_unstable();
    assert_eq!((listed.lines().next(), tags), (Some("TAG"), vec!["1.0", "latest"]));
    let absent = ask(&[&["tags", "web", "web/none"], &alice[..]].concat(), PASSWORD).status(1);
    assert!(absent.err.contains("known"), "{}", absent.err);

    // A token by hand is what the registry takes.
    let words = [&["token", "web", "--scope", "repository:web/app-0007:pull"], &alice[..]].concat();
    let token = ask(&words, PASSWORD).ok();
    assert_eq!(status(&address, &token), "200");
    assert_eq!(status(&address, &format!("{token}x")), "401");

    // Whoever may not is refused by the registry, a wrong password by the token server.
    let bob = ask(&["catalog", "web", "--plain-http", "-u", "bob"], PASSWORD).status(1);
    assert!(bob.err.contains("refuses") && bob.out.is_empty(), "{}", bob.err);
    let wrong = ask(&[&["catalog", "web"], &alice[..]].concat(), "wrong horse").status(1);
    assert!(wrong.err.contains("the name or the password is wrong"), "{}", wrong.err);
    let other = ask(&[&["tags", "web", "other/app"], &alice[..]].concat(), PASSWORD).status(1);
    assert!(other.err.contains("refuses"), "{}", other.err);
    let unknown = ask(&[&["catalog", "none"], &alice[..]].concat(), PASSWORD).status(1);
    assert!(unknown.err.contains("no registry none"), "{}", unknown.err);

    // The machine's own robot, until it is removed.
    let words = ["robot", "create", "web", "list", "--node", "node-1"];
    let _ = ask(&[&words[..], &["--scope", "registry:catalog:*"]].concat(), "").ok();
    let robots = cluster.agents[0].root().join("web.on.node-1");
    let own = |words: &[&str]| registry(&cluster, &robots, words, "");
    let listed = own(&["catalog", "web", "--plain-http", "--format", "json"]).ok();
    assert_eq!(listed.lines().next(), Some(r#"{"repository":"web/app-0000"}"#));
    // Its rights are cut: it may list, and see no tags.
    let _ = own(&["tags", "web", "web/app-0007", "--plain-http"]).status(1);
    let _ = ask(&["robot", "rm", "web", "list"], "").ok();
    let gone = own(&["catalog", "web", "--plain-http"]).status(1);
    assert!(gone.err.starts_with("this machine has no robot for "), "{}", gone.err);
}
