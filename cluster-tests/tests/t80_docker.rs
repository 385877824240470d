//! A real engine of Docker whose containers have services as volumes: what they see, what is
//! counted, what is refused and why, and what becomes of them when daemons end.

use std::time::{Duration, Instant};

use cluster_tests::{BUSYBOX, Cluster, DockerHost, until};

/// Bytes of a value that the tests look for.
const FIRST: &str = "first-value";

fn site(name: &str) -> (Cluster, DockerHost) {
    let cluster = Cluster::start(0);
    let host = DockerHost::start(&cluster, name, &[]);
    cluster.secret("password", FIRST.as_bytes());
    cluster.service("web", name, &["password"]);
    (cluster, host)
}

/// Who holds the secret, as the managers say.
fn holders(cluster: &Cluster) -> String {
    cluster.ok(&["secret", "holders", "password", "-q"])
}

#[test]
fn containers_share_a_set_see_it_rotate_and_the_last_unmount_wipes() {
    let (cluster, host) = site("d-share");
    host.goes_on("web", "one", &[]);
    assert_eq!(host.read("one", "password"), FIRST);
    host.goes_on("web", "two", &["--read-only", "--user", "33:33"]);
    assert_eq!(host.read("two", "password"), FIRST, "another user, and nothing to write to");
    host.counts("web", 2);
    let written = host.docker(&["exec", "one", "touch", "/run/secrets/mine"]);
    assert!(written.err.contains("Read-only file system"), "{}", written.err);

    // In both, without a restart; one that has the volume open is no other mount.
    cluster.update("password", b"second");
    for container in ["one", "two"] {
        assert_eq!(host.read(container, "password"), "second");
    }
    let _ = host.ok(&["cp", "one:/bin/sh", "-"]);
    host.counts("web", 2);

    let _ = host.ok(&["rm", "-f", "one"]);
    host.counts("web", 1);
    assert_eq!(host.read("two", "password"), "second");
    let _ = host.ok(&["rm", "-f", "two"]);
    host.counts("web", 0);
    until("no holder", || holders(&cluster).is_empty().then_some(()));

    // A volume that nobody made for this driver is not its own.
    let _ = host.ok(&["run", "--rm", "--network", "none", "-v", "other:/data", BUSYBOX, "ls"]);
    let drivers = host.ok(&["volume", "ls", "--format", "{{.Driver}} {{.Name}}"]);
    let mut drivers: Vec<&str> = drivers.lines().collect();
    drivers.sort_unstable();
    assert_eq!(drivers, ["local other", "skep web"]);
    let _ = host.ok(&["volume", "rm", "web"]);
}

#[test]
fn what_is_not_to_be_mounted_is_refused_with_the_reason() {
    let (cluster, host) = site("d-refused");
    let _ = cluster.ok(&["service", "create", "elsewhere"]);
    for (service, why) in [
        ("elsewhere", "service elsewhere is not placed on this node"),
        ("nothing", "service nothing is not placed on this node"),
    ] {
        let begun = Instant::now();
        let ran = host.run(service, &["--rm"], &["ls"]);
        assert_eq!(ran.status, 125, "{}", ran.err);
        assert!(ran.err.contains(why), "{}", ran.err);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
    let sized = host.docker(&["volume", "create", "-d", "skep", "-o", "size=1m", "web"]);
    assert!(sized.err.contains("unknown option \"size\""), "{}", sized.err);
    let named = host.docker(&["volume", "create", "-d", "skep", "a_"]);
    assert!(named.err.contains("called as the service that it shows"), "{}", named.err);

    // One that was revoked is empty, and says nothing of what was there.
    host.goes_on("web", "one", &[]);
    let _ = cluster.ok(&["service", "revoke", "web", "password"]);
    assert_eq!(host.read("one", "password"), "");
    let _ = cluster.ok(&["service", "grant", "web", "password"]);
    assert_eq!(host.read("one", "password"), FIRST, "the same container sees it come back");
}

#[test]
fn an_agent_that_was_killed_or_stopped_knows_its_containers_again() {
    let (cluster, mut host) = site("d-killed");
    host.goes_on("web", "one", &[]);
    for is_killed in [true, false] {
        if is_killed {
            host.kill_agent();
        } else {
            assert_eq!(host.stop_agent(), 0);
        }
        assert_eq!(host.read("one", "password"), FIRST, "while no agent is there");
        host.start_agent();
        host.connected();
        host.counts("web", 1);
        assert_eq!(host.read("one", "password"), FIRST);
    }
    cluster.update("password", b"second");
    assert_eq!(host.read("one", "password"), "second");
    host.goes_on("web", "two", &[]);
    let _ = host.ok(&["rm", "-f", "one", "two"]);
    host.counts("web", 0);
    until("no holder", || holders(&cluster).is_empty().then_some(()));
}

#[test]
fn after_a_power_cut_refused_containers_are_started_once_their_secrets_arrive() {
    let (mut cluster, mut host) = site("d-cut");
    host.goes_on("web", "always", &["--restart", "always"]);
    host.goes_on("web", "never", &[]);
    host.power_cut();
    cluster.manager.kill();
    cluster.manager.start_again();
    assert_eq!(cluster.manager.state(), "locked");
    host.start_agent();
    let begun = Instant::now();
    host.start_engine();
    assert!(begun.elapsed() < Duration::from_secs(20), "it serves again: {:?}", begun.elapsed());
    until("a container that waits", || {
        let status = host.status();
        let waiting = status["containers"].as_array().cloned().unwrap_or_default();
        let one = waiting.iter().find(|one| one["name"] == "always")?;
        assert_eq!((waiting.len(), &one["volume"]), (1, &"web".into()), "{waiting:?}");
        let why = one["why"].as_str().unwrap_or_default();
        assert!(why.contains("no manager was reached"), "{why}");
        Some(())
    });
    let shown = cluster_tests::run(
        host.command(cluster_tests::binary())
            .args(["agent", "status", "--agent-socket"])
            .arg(host.socket()),
        b"",
    );
    assert!(shown.out.contains("CONTAINER") && shown.out.contains("always"), "{}", shown.out);
    let _ = cluster.unlock().ok();
    host.is("always", "running");
    host.reads("always", "password", FIRST);
    until("nothing that waits", || {
        (host.status()["containers"].as_array()?.is_empty()).then_some(())
    });
    host.is("never", "exited");
}

#[test]
fn an_engine_that_starts_anew_has_its_containers_while_managers_are_away() {
    let (mut cluster, mut host) = site("d-away");
    host.goes_on("web", "one", &["--restart", "always"]);
    cluster.manager.kill();
    host.stop_engine();
    host.start_engine();
    host.is("one", "running");
    host.reads("one", "password", FIRST);
    host.kill_engine();
    host.start_engine();
    host.is("one", "running");
    host.reads("one", "password", FIRST);
    cluster.manager.start_again();
    let _ = cluster.unlock().ok();
    host.connected();
    cluster.update("password", b"second");
    host.reads("one", "password", "second");
    let _ = host.ok(&["rm", "-f", "one"]);
    host.counts("web", 0);
}

/// A container whose main process writes down what it reads at its start and at each HUP.
fn listens(host: &DockerHost, service: &str, name: &str) {
    let text = "trap 'echo hup $(cat /run/secrets/password)' HUP
        echo up $(cat /run/secrets/password)
        while :; do sleep 0.1; done";
    let flags = ["-d", "--name", name, "--init=false", "--stop-timeout", "0"];
    let _ = host.run(service, &flags, &["sh", "-c", text]).ok();
}

fn logs(host: &DockerHost, container: &str, all: &str) {
    until(all, || (host.docker(&["logs", container]).out == all).then_some(()));
}

#[test]
fn hooks_signal_and_restart_the_containers_of_a_service_once_for_each_change() {
    let (cluster, mut host) = site("d-hooks");
    cluster.service("other", "d-hooks", &["password"]);
    let _ = cluster.ok(&["service", "update", "web", "--on-change", "signal:HUP"]);
    for name in ["one", "two"] {
        listens(&host, "web", name);
        logs(&host, name, "up first-value\n");
    }
    listens(&host, "other", "beside");
    logs(&host, "beside", "up first-value\n");
    cluster.update("password", b"second");
    for name in ["one", "two"] {
        logs(&host, name, "up first-value\nhup second\n");
    }
    // The same value shows nothing new, and an agent that starts tells nothing.
    cluster.update("password", b"second");
    host.kill_agent();
    host.start_agent();
    host.connected();
    host.counts("web", 2);

    let _ = cluster.ok(&["service", "update", "web", "--on-change", "restart"]);
    let _ = host.ok(&["rm", "-f", "two"]);
    cluster.update("password", b"third");
    // The engine took the last mount away and brought it again: that is no change.
    logs(&host, "one", "up first-value\nhup second\nup third\n");
    cluster.update("password", b"fourth");
    let all = "up first-value\nhup second\nup third\nup fourth\n";
    logs(&host, "one", all);
    host.is("one", "running");
    assert_eq!(host.read("one", "password"), "fourth");
    logs(&host, "beside", "up first-value\n");

    // What fails is named, with the files there all the same. One that stands still stays so.
    let why = ["secret", "holders", "password", "--format", "{{.Service}} {{.Why}}"];
    let fails = |text: &str| {
        until(text, || {
            cluster.ok(&why).contains(&format!("web its hook failed: {text}")).then_some(())
        });
    };
    let _ = cluster.ok(&["service", "update", "web", "--on-change", "signal:HUP"]);
    let _ = host.ok(&["pause", "one"]);
    cluster.update("password", b"fifth");
    fails("container one: it is paused");
    let _ = host.ok(&["unpause", "one"]);
    assert_eq!(host.read("one", "password"), "fifth");
    logs(&host, "one", all);
    host.kill_engine();
    cluster.update("password", b"sixth");
    fails("the container engine: ");
}
