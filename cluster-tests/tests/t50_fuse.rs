//! Two ways of mounting, and what becomes of the files of each when the agent dies, stops or
//! is upgraded.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use cluster_tests::{Cluster, run, until};

/// A cluster of one agent with a service of this kind, granted `key`.
fn cluster(mount: &str) -> Cluster {
    let cluster = Cluster::start(1);
    cluster.secret("key", b"first");
    let _ = cluster.ok(&["service", "create", "web", "--node", "node-1", "--mount", mount]);
    let _ = cluster.ok(&["service", "grant", "web", "key"]);
    cluster
}

/// Runs a command of the machine's, which must end by itself.
#[track_caller]
fn ends(program: &str, words: &[&str]) -> Output {
    let output = Command::new("timeout").arg("30").arg(program).args(words).output();
    let output = output.expect("coreutils' timeout");
    assert_ne!(output.status.code(), Some(124), "{program} {words:?} hangs");
    output
}

fn mounted_below(folder: &Path) -> usize {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the kernel's list");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(folder)).count()
}

/// Waits until the host's file holds these bytes.
fn shows(path: &Path, wanted: &[u8]) {
    until("the file on the host", || (fs::read(path).ok()? == wanted).then_some(()));
}

fn deliver_rotate_revoke(mount: &str) {
    let cluster = cluster(mount);
    let agent = &cluster.agents[0];
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("key"), "first");
    assert_eq!(fs::read(agent.file("web", "key")).expect("a file"), b"first");
    let kind = cluster.ok(&["service", "inspect", "web", "--format", "{{.Mount}}"]);
    assert_eq!(kind, mount);

    let before = shell.line("exec 3</run/secrets/key; echo open");
    assert_eq!(before, "open");
    cluster.update("key", b"second");
    assert_eq!(shell.read("key"), "second");
    assert_eq!(shell.line("cat <&3; echo"), "first", "an old descriptor reads the old version");

    assert_eq!(shell.line("exec 4</run/secrets/key; echo open"), "open");
    let mut open = File::open(agent.file("web", "key")).expect("a file");
    let _ = cluster.ok(&["service", "revoke", "web", "key"]);
    assert_eq!(shell.read("key"), "gone");
    assert_eq!(shell.line("cat <&4; echo end"), "end", "an open descriptor reads end of file");
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).expect("a readable descriptor");
    assert_eq!(rest, b"");
    drop(open);

    assert_eq!(shell.end(), 0);
    until("nothing is mounted", || (mounted_below(&agent.root()) == 0).then_some(()));
    let names = |folder: &Path| -> Vec<_> {
        let left = fs::read_dir(folder).expect("a folder").filter_map(Result::ok);
        left.map(|entry| entry.file_name()).collect()
    };
    // The folders go after the mounts on them.
    until("an empty root", || {
        (names(&agent.root()) == [".mounts"]).then_some(())?;
        names(&agent.root().join(".mounts")).is_empty().then_some(())
    });
}

#[test]
fn delivered_rotated_revoked_and_gone_on_tmpfs() {
    deliver_rotate_revoke("tmpfs");
}

#[test]
fn delivered_rotated_revoked_and_gone_on_fuse() {
    deliver_rotate_revoke("fuse");
}

#[test]
fn a_stranger_is_refused_and_named_in_the_log() {
    let cluster = cluster("fuse");
    let agent = &cluster.agents[0];
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("key"), "first");
    let path = agent.root().join("web/..live/key").display().to_string();
    // Root, but in a mount namespace that is no workload's.
    let refused = ends("unshare", &["--mount", "cat", &path]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(refused.stdout, b"");
    let log = fs::read_to_string(agent.log()).expect("a log");
    assert!(log.contains("open_refused"), "{log}");
    // A child of the workload's in a namespace of its own is none.
    assert_eq!(shell.line("unshare --mount cat /run/secrets/key; echo"), "first");
    // The owner on the host, here root, reads as on a tmpfs.
    assert_eq!(fs::read(agent.file("web", "key")).expect("a file"), b"first");
}

#[test]
fn p7_a_killed_agents_tmpfs_stays_and_is_taken_over() {
    let mut cluster = cluster("tmpfs");
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("key"), "first");
    cluster.agents[0].kill();
    assert_eq!(shell.read("key"), "first");
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    cluster.update("key", b"second");
    assert_eq!(shell.read("key"), "second");
}

#[test]
fn a_killed_agents_fuse_mount_is_dead_not_hanging_and_comes_back() {
    let mut cluster = cluster("fuse");
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("key"), "first");
    let (root, path) = (cluster.agents[0].root(), cluster.agents[0].file("web", "key"));
    cluster.agents[0].kill();
    let dead = fs::read(&path).expect_err("nobody answers");
    assert_eq!(dead.raw_os_error(), Some(107), "{dead}");
    assert_eq!(shell.read("key"), "gone");
    ends("ls", &["-l", "/"]);
    ends("ls", &["-lR", &root.display().to_string()]);
    ends("df", &[]);

    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    // The shell still runs, so its service gets its files again, at the same path of the host.
    shows(&path, b"first");
    let mut next = cluster.shell(0, "web");
    assert_eq!(next.read("key"), "first");
    cluster.update("key", b"second");
    assert_eq!(next.read("key"), "second");
    drop((shell, next));
    until("nothing is mounted", || (mounted_below(&root) == 0).then_some(()));
}

/// The agent changes its files through its own mount: killed in the midst of that it must die
/// all the same, and let everybody go.
#[test]
fn an_agent_killed_amid_changes_dies_at_once() {
    let mut cluster = cluster("fuse");
    let _ = cluster.agents[0].skep(&["agent", "service", "up", "web"]).ok();
    let path = cluster.agents[0].file("web", "key");
    for round in 0..5 {
        let values: Vec<_> = (0..4)
            .map(|n| cluster.file(&format!("value-{n}"), format!("{round} {n}").as_bytes()))
            .collect();
        let updates: Vec<_> = values
            .iter()
            .map(|value| {
                let words = ["secret", "update", "--detach", "key", value];
                cluster.command(&words).stdout(Stdio::null()).spawn().expect("skep")
            })
            .collect();
        let seen = fs::read(&path).ok();
        until("a change", || (fs::read(&path).ok() != seen).then_some(()));
        cluster.agents[0].kill();
        for mut update in updates {
            update.wait().expect("an update's end");
        }
        cluster.agents[0].start_again();
        cluster.agents[0].connected();
        let last = format!("{round} last");
        cluster.update("key", last.as_bytes());
        shows(&path, last.as_bytes());
    }
}

#[test]
fn a_stopped_agents_tmpfs_is_read_and_its_fuse_mount_hangs_nobody() {
    let cluster = cluster("fuse");
    cluster.secret("other", b"other");
    cluster.service("plain", "node-1", &["other"]);
    let agent = &cluster.agents[0];
    let _ = agent.skep(&["agent", "service", "up", "web"]).ok();
    let _ = agent.skep(&["agent", "service", "up", "plain"]).ok();
    let (served, plain) = (agent.file("web", "key"), agent.file("plain", "other"));
    shows(&served, b"first");
    agent.freeze();
    assert_eq!(fs::read(&plain).expect("a file"), b"other");
    ends("ls", &["-l", "/"]);
    ends("ls", &["-l", &agent.root().display().to_string()]);
    ends("df", &[]);
    ends("cat", &[&served.display().to_string()]);
    let elsewhere = cluster.folder().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder");
    let elsewhere = elsewhere.display().to_string();
    assert!(ends("mount", &["-t", "tmpfs", "test", &elsewhere]).status.success());
    assert!(ends("umount", &[&elsewhere]).status.success());
    agent.resume();
    agent.connected();
    shows(&served, b"first");
    cluster.update("key", b"second");
    assert_eq!(fs::read(&served).expect("a file"), b"second");
}

#[test]
fn a_command_sees_its_files_again_after_its_agents_death() {
    let mut cluster = cluster("fuse");
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("key"), "first");
    cluster.agents[0].kill();
    assert_eq!(shell.read("key"), "gone", "nobody answers");
    cluster.agents[0].start_again();
    until("the files in the command's view", || (shell.read("key") == "first").then_some(()));
    cluster.update("key", b"second");
    assert_eq!(shell.read("key"), "second");
    assert_eq!(shell.line("touch /run/secrets/new 2>/dev/null || echo refused"), "refused");
    let mounts = shell.line("grep -c ' /run/secrets .* - fuse' /proc/self/mountinfo");
    assert_eq!(mounts, "1", "the dead view is not below the new one");
    let _ = cluster.ok(&["service", "revoke", "web", "key"]);
    assert_eq!(shell.read("key"), "gone");
    assert_eq!(shell.end(), 0);
}

#[test]
fn a_command_sees_its_files_again_after_its_agent_was_stopped() {
    let cluster = cluster("fuse");
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("key"), "first");
    cluster.agents[0].freeze();
    // The guard ends the connection; until then a reader waits.
    assert_eq!(shell.line("df /run/secrets >/dev/null 2>&1; echo answered"), "answered");
    cluster.agents[0].resume();
    until("the files in the command's view", || (shell.read("key") == "first").then_some(()));
}

#[test]
fn an_upgrade_in_place_keeps_tmpfs_and_brings_fuse_back() {
    let mut cluster = cluster("fuse");
    cluster.secret("other", b"other");
    cluster.service("plain", "node-1", &["other"]);
    let mut shell = cluster.shell(0, "plain");
    assert_eq!(shell.read("other"), "other");
    let _ = cluster.agents[0].skep(&["agent", "service", "up", "web"]).ok();
    let (root, served) = (cluster.agents[0].root(), cluster.agents[0].file("web", "key"));
    shows(&served, b"first");
    assert_eq!(cluster.agents[0].stop(), 0);
    assert_eq!(shell.read("other"), "other", "a tmpfs stays while no agent runs");
    assert!(!root.join("web").exists(), "a clean stop leaves no dead mount");
    assert_eq!(mounted_below(&root), 3, "the tmpfs and its two views");
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    shows(&served, b"first");
    cluster.update("other", b"changed");
    assert_eq!(shell.read("other"), "changed");
}

#[test]
fn the_guard_ends_with_its_agent() {
    let mut cluster = cluster("fuse");
    let _ = cluster.agents[0].skep(&["agent", "service", "up", "web"]).ok();
    let point = cluster.agents[0].root().join(".mounts/fuse").display().to_string();
    let guards = || {
        let listed = run(Command::new("ps").args(["-eo", "args"]), b"").ok();
        listed.lines().filter(|line| line.contains("agent guard") && line.ends_with(&point)).count()
    };
    assert_eq!(guards(), 1);
    cluster.agents[0].kill();
    until("the guard's end", || (guards() == 0).then_some(()));
}

#[test]
fn who_gets_the_number_of_an_ended_workloads_namespace_is_a_stranger() {
    let cluster = cluster("fuse");
    let agent = &cluster.agents[0];
    // As long as it runs, the one that ends below is not forgotten.
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("key"), "first");
    assert!(
        agent.exec("web", &["cat", "/run/secrets/key"]).output().expect("skep").status.success()
    );
    let path = agent.file("web", "key").display().to_string();
    let stranger = ends("unshare", &["--mount", "cat", &path]);
    assert!(!stranger.status.success(), "{}", String::from_utf8_lossy(&stranger.stdout));
    assert_eq!(shell.read("key"), "first");
}
