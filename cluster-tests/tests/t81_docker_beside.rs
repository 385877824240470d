//! What people run on top of an engine, with services as volumes: Compose, a swarm, and
//! containers whose users are others outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cluster_tests::{BUSYBOX, Cluster, DockerHost, Ran, Site, binary, run, until};

const FIRST: &str = "first-value";
const COMPOSE: &str = "
version: '2.4'
services:
  app:
    image: bb
    network_mode: none
    restart: always
    command: sleep 1000000
    volumes: ['secrets:/run/secrets:ro']
  other:
    image: bb
    network_mode: none
    read_only: true
    user: '33'
    command: sleep 1000000
    volumes:
      - type: volume
        source: secrets
        target: /run/secrets
        read_only: true
volumes:
  secrets: { name: web, driver: skep }
";

/// What Compose of today has, whose files name no version.
fn of_today() -> (PathBuf, String) {
    let binary = binary();
    let target = binary.ancestors().nth(2).expect("a target folder");
    (target.join("compose/docker-compose"), COMPOSE.replace("version: '2.4'\n", ""))
}

fn compose(host: &DockerHost, program: &Path, file: &Path, words: &[&str]) -> Ran {
    let mut command = Command::new(program);
    command.env("DOCKER_HOST", format!("unix://{}", host.docker_socket().display()));
    command.env("HOME", host.folder()).arg("--project-name").arg("shop").arg("--file").arg(file);
    run(command.args(words), b"")
}

#[test]
fn a_compose_file_of_old_has_its_volume() {
    has_its_volume("d-compose", Path::new("/usr/bin/docker-compose"), COMPOSE, '_');
}

#[test]
fn a_compose_file_of_today_has_its_volume() {
    let (program, file) = of_today();
    has_its_volume("d-compose2", &program, &file, '-');
}

/// Containers are called as their project, their service and a number, with this between.
fn has_its_volume(node: &str, program: &Path, text: &str, between: char) {
    let cluster = Cluster::start(0);
    let host = DockerHost::start(&cluster, node, &[]);
    let container = |service: &str| format!("shop{between}{service}{between}1");
    cluster.secret("password", FIRST.as_bytes());
    let file = host.folder().join("compose.yml");
    fs::write(&file, text).expect("a file");
    let compose = |words: &[&str]| compose(&host, program, &file, words);
    let up = compose(&["up", "-d"]);
    assert_ne!(up.status, 0, "{}", up.out);
    assert!(up.err.contains("service web is not placed on this node"), "{}", up.err);
    cluster.service("web", node, &["password"]);
    let _ = compose(&["up", "-d"]).ok();
    host.counts("web", 2);
    for service in ["app", "other"] {
        assert_eq!(host.read(&container(service), "password"), FIRST);
    }
    cluster.update("password", b"second");
    assert_eq!(host.read(&container("other"), "password"), "second");
    let _ = compose(&["restart", "-t", "0"]).ok();
    host.reads(&container("app"), "password", "second");
    let _ = compose(&["down", "-t", "0", "--volumes"]).ok();
    host.counts("web", 0);
    assert_eq!(host.ok(&["volume", "ls", "-q"]), "");
}

#[test]
fn users_of_a_container_may_be_others_outside() {
    let cluster = Cluster::start(0);
    let host = DockerHost::start_remapped(&cluster, "d-remap");
    cluster.secret("password", FIRST.as_bytes());
    cluster.secret("own", FIRST.as_bytes());
    cluster.service("web", "d-remap", &["password"]);
    // User 33 of the container.
    let _ = cluster.ok(&["service", "grant", "web", "own", "--uid", "700033", "--mode", "0400"]);
    host.goes_on("web", "one", &["--user", "33:33"]);
    host.goes_on("web", "two", &["--user", "34:34"]);
    let who = host.ok(&["exec", "one", "cat", "/proc/self/uid_map"]);
    assert!(who.split_whitespace().any(|number| number == "700000"), "{who}");
    assert_eq!(
        (host.read("one", "password"), host.read("one", "own")),
        (FIRST.into(), FIRST.into())
    );
    assert_eq!(
        (host.read("two", "password"), host.read("two", "own")),
        (FIRST.into(), String::new())
    );
    cluster.update("password", b"second");
    assert_eq!(host.read("one", "password"), "second");
    let _ = host.ok(&["rm", "-f", "one", "two"]);
    host.counts("web", 0);
}

#[test]
fn a_service_of_a_swarm_has_its_volume() {
    let mut site = Site::start(0);
    let host = DockerHost::start_on(&mut site, "d-swarm");
    let _ = site.skep(&["secret", "create", "password", "-"], FIRST.as_bytes()).ok();
    let _ = site.ok(&["service", "create", "web", "--node", "d-swarm"]);
    let _ = site.ok(&["service", "grant", "web", "password"]);
    // By the agent: a swarm gives nothing to a node whose engine doesn't know the driver.
    until("a driver that is known", || {
        let drivers = host.ok(&["info", "--format", "{{.Plugins.Volume}}"]);
        drivers.contains("skep").then_some(())
    });
    let _ = host.ok(&["swarm", "init", "--advertise-addr", &host.address()]);
    let mount = "type=volume,volume-driver=skep,src=web,dst=/run/secrets,readonly";
    let create =
        ["service", "create", "-d", "--name", "app", "--network", "host", "--replicas", "2"];
    let rest = ["--restart-delay", "1s", "--no-resolve-image", "--mount", mount, BUSYBOX];
    let _ = host.ok(&[&create[..], &rest, &["sleep", "1000000"]].concat());
    host.counts("web", 2);
    let containers = || -> Vec<String> {
        let listed = host.ok(&["ps", "-q", "--filter", "label=com.docker.swarm.service.name=app"]);
        listed.lines().map(str::to_owned).collect()
    };
    let running = until("two tasks", || Some(containers()).filter(|all| all.len() == 2));
    for container in &running {
        host.reads(container, "password", FIRST);
    }
    let _ = site.skep(&["secret", "update", "password", "-"], b"second").ok();
    for container in &running {
        assert_eq!(host.read(container, "password"), "second");
    }
    assert_eq!(containers(), running, "no task was replaced");
    let _ = host.ok(&["service", "rm", "app"]);
    host.counts("web", 0);
}
