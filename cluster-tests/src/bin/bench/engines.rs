//! How soon a running container has another value: beside a real swarm, which replaces the
//! container, on the same engine and in turns with it.

use std::fs;
use std::time::{Duration, Instant};

use cluster_tests::{BUSYBOX, DEADLINE, DockerHost, Site, until};

use super::row::Row;
use super::size::Size;

/// Ours and Swarm's.
pub(super) fn rows(size: &Size) -> Vec<Row> {
    let mut cluster = Site::start(0);
    let host = DockerHost::start_on(&mut cluster, "d-bench");
    let _ = cluster.skep(&["secret", "create", "ours", "-"], b"ours-0").ok();
    let _ = cluster.ok(&["service", "create", "web", "--node", "d-bench"]);
    let _ = cluster.ok(&["service", "grant", "web", "ours:value"]);
    host.goes_on("web", "ours", &[]);

    let _ = host.ok(&["swarm", "init", "--advertise-addr", &host.address()]);
    secret(&host, "theirs-0");
    let create = ["service", "create", "--detach", "--name", "theirs", "--network", "host"];
    // The container ends as soon as it is told to, and the next one starts at once.
    let kind = ["--stop-signal", "KILL", "--restart-delay", "0s", "--no-resolve-image"];
    let has = ["--secret", "source=theirs-0,target=value", BUSYBOX, "sleep", "1000000"];
    let _ = host.ok(&[&create[..], &kind, &has].concat());
    until("the swarm's first container", || has_value("theirs-0").then_some(()));

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=size.fail_overs * 3 {
        let value = format!("ours-{round}");
        let begun = Instant::now();
        let _ = cluster.skep(&["secret", "update", "ours", "-", "--detach"], value.as_bytes()).ok();
        ours.push(waited(&value, begun));

        let (before, value) = (format!("theirs-{}", round - 1), format!("theirs-{round}"));
        let add = format!("source={value},target=value");
        let begun = Instant::now();
        secret(&host, &value);
        let update = ["service", "update", "--detach", "--no-resolve-image"];
        let which = ["--secret-rm", &before, "--secret-add", &add, "theirs"];
        let _ = host.ok(&[&update[..], &which].concat());
        theirs.push(waited(&value, begun));
        let state = ["service", "inspect", "--format", "{{.UpdateStatus.State}}", "theirs"];
        until("the end of the update", || (host.ok(&state).trim() == "completed").then_some(()));
    }
    let _ = host.ok(&["service", "rm", "theirs"]);
    let ours = Row::of("new value -> read in a running container", ours);
    let theirs = Row::of("the same by Swarm: secret, service update", theirs);
    let ratio = theirs.at(50).unwrap_or(f64::NAN) / ours.at(50).unwrap_or(f64::NAN);
    vec![
        ours.note(format!("one command; Swarm takes {ratio:.0} times as long")),
        theirs.note("two commands; another container"),
    ]
}

fn secret(host: &DockerHost, value: &str) {
    let file = host.folder().join("value");
    fs::write(&file, value).expect("a file");
    let _ = host.ok(&["secret", "create", value, &file.display().to_string()]);
}

/// How long it was until some container had it.
fn waited(value: &str, begun: Instant) -> Duration {
    while !has_value(value) {
        assert!(begun.elapsed() < DEADLINE, "no container has {value}");
    }
    begun.elapsed()
}

/// Whether a process of this machine stands where the file shows it.
fn has_value(value: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("a list").flatten();
    let mut shown = processes.filter_map(|process| {
        fs::read_to_string(process.path().join("root/run/secrets/value")).ok()
    });
    shown.any(|shown| shown == value)
}
