//! Rotation reaches the program: what a service's operators have done on its nodes once its set
//! has changed, and how a command under `skep exec` is told.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cluster_tests::{Cluster, run, until};

/// A cluster of one agent with a service that has this hook, granted `key`.
fn cluster(hook: &str) -> Cluster {
    let cluster = Cluster::start(1);
    cluster.secret("key", b"one");
    let _ = cluster.ok(&["service", "create", "web", "--node", "node-1", "--on-change", hook]);
    let _ = cluster.ok(&["service", "grant", "web", "key"]);
    cluster
}

/// A shell that writes down what signals it gets, each with what it read then.
fn listener(cluster: &Cluster, flags: &[&str], name: &str) -> (Child, PathBuf) {
    let out = cluster.folder().join(name);
    let text = format!(
        "for s in HUP USR1 USR2 TERM; do
           trap \"echo $s \\$(cat /run/secrets/key) >>{out}\" $s
         done
         echo up >>{out}; while :; do sleep 0.02; done",
        out = out.display()
    );
    let child = under(cluster, flags, &["bash", "-c", &text]);
    until("the listener", || reads(&out).contains("up\n").then_some(()));
    (child, out)
}

fn under(cluster: &Cluster, flags: &[&str], command: &[&str]) -> Child {
    let exec = cluster.agents[0].exec("web", command);
    let words: Vec<_> = exec.get_args().map(ToOwned::to_owned).collect();
    let mut with = Command::new(exec.get_program());
    with.args(&words[..1]).args(flags).args(&words[1..]);
    with.stdin(Stdio::null()).spawn().expect("skep exec")
}

fn reads(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn says(path: &Path, all: &str) {
    until(all, || (reads(path) == all).then_some(()));
}

/// A hook program, and what it writes.
fn script(cluster: &Cluster, text: &str) -> (String, PathBuf) {
    let (path, out) = (cluster.folder().join("hook"), cluster.folder().join("hook.out"));
    let text = text.replace("OUT", &out.display().to_string());
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    (path.display().to_string(), out)
}

/// The agent lets this be run from its next start on.
fn allow(cluster: &mut Cluster, path: &str) {
    cluster.agents[0].settings(|text| format!("allow-hook = [\"{path}\"]\n{text}"));
    assert_eq!(cluster.agents[0].stop(), 0);
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
}

fn holders(cluster: &Cluster) -> String {
    cluster.ok(&["secret", "holders", "key", "--format", "{{.State}} {{.Version}} {{.Why}}"])
}

fn end(mut child: Child) {
    drop(child.kill());
    drop(child.wait());
}

#[test]
fn a_signal_comes_once_for_each_change_after_it_and_not_for_an_agents_restart() {
    let mut cluster = cluster("signal:HUP");
    let (child, out) = listener(&cluster, &[], "a");
    let (other, told) = listener(&cluster, &["--signal-on-change", "USR2"], "b");
    cluster.update("key", b"two");
    says(&out, "up\nHUP two\n");
    says(&told, "up\nUSR2 two\n");
    // The same value shows nothing new.
    cluster.update("key", b"two");
    cluster.agents[0].kill();
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    cluster.update("key", b"three");
    // Nothing came in between, and whoever asked for another signal is still known.
    says(&out, "up\nHUP two\nHUP three\n");
    says(&told, "up\nUSR2 two\nUSR2 three\n");
    // A file more, and one less.
    cluster.secret("other", b"x");
    let _ = cluster.ok(&["service", "grant", "web", "other"]);
    says(&out, "up\nHUP two\nHUP three\nHUP three\n");
    let _ = cluster.ok(&["service", "revoke", "web", "other"]);
    says(&out, "up\nHUP two\nHUP three\nHUP three\nHUP three\n");
    let _ = cluster.ok(&["service", "update", "--on-change", "none", "web"]);
    cluster.update("key", b"four");
    says(&told, "up\nUSR2 two\nUSR2 three\nUSR2 three\nUSR2 three\nUSR2 four\n");
    assert_eq!(reads(&out), "up\nHUP two\nHUP three\nHUP three\nHUP three\n");
    end(child);
    end(other);
}

#[test]
fn a_program_runs_once_for_each_change_where_the_node_allows_it() {
    let mut cluster = cluster("none");
    let (path, out) = script(&cluster, "echo $SKEP_SERVICE $(cat $SKEP_PATH/key) >>OUT");
    let _ = cluster.ok(&["service", "update", "web", "--on-change", &format!("exec:{path}")]);
    let shell = cluster.shell(0, "web");
    cluster.update("key", b"two");
    let why = format!("held 2 its hook failed: {path} is not allowed on this node");
    until("the refusal", || holders(&cluster).starts_with(&why).then_some(()));
    let status = cluster.skep(&["status", "--format", "json"]).status(8);
    assert!(status.out.contains("hook-failed") && status.out.contains("not allowed"), "{status:?}");
    let agent = cluster.agents[0].skep(&["agent", "status"]).ok();
    assert!(agent.contains("its hook failed"), "{agent}");
    assert!(!out.exists(), "it ran");

    allow(&mut cluster, &path);
    assert!(!out.exists(), "an agent's start is no change");
    cluster.update("key", b"three");
    // A wait for the delivery is one for the hook.
    assert_eq!(reads(&out), "web three\n");
    assert_eq!(holders(&cluster).trim(), "held 3");
    let _ = cluster.skep(&["status"]).ok();
    cluster.update("key", b"four");
    assert_eq!(reads(&out), "web three\nweb four\n");
    cluster.agents[0].kill();
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    cluster.update("key", b"five");
    assert_eq!(reads(&out), "web three\nweb four\nweb five\n");
    assert_eq!(shell.end(), 0);
}

#[test]
fn a_program_that_fails_is_named_and_one_that_hangs_is_killed() {
    let mut cluster = cluster("none");
    let (path, out) = script(
        &cluster,
        "echo $$ >>OUT; case $(cat $SKEP_PATH/key) in\nbad*) cat $SKEP_PATH/key; exit 3;;\nhang*) sleep 1000 & echo $! >>OUT; wait;;\nesac",
    );
    let _ = cluster.ok(&["service", "update", "web", "--on-change", &format!("exec:{path}")]);
    allow(&mut cluster, &path);
    let shell = cluster.shell(0, "web");
    cluster.update("key", b"bad-value-of-the-key");
    let why = format!("held 2 its hook failed: {path} ended with status 3");
    until("the failure", || (holders(&cluster).trim() == why).then_some(()));
    let status = cluster.skep(&["status", "--format", "json"]).status(8).out;
    assert!(status.contains("ended with status 3") && !status.contains("bad-value"), "{status}");

    // Who waits hears that it runs; another change meanwhile waits for it alone.
    let waits = ["secret", "update", "key", "-", "--timeout", "2s"];
    let ran = cluster.skep_with(&waits, b"hangs").status(5);
    assert!(ran.err.contains("node-1 (hook still running)"), "{}", ran.err);
    let ran = cluster.skep_with(&["secret", "update", "key", "-", "--detach"], b"good");
    let _ = ran.ok();
    until("the next set", || {
        let file = cluster.agents[0].file("web", "key");
        (fs::read_to_string(file).ok()? == "good").then_some(())
    });
    assert_eq!(reads(&out).lines().count(), 3, "one at a time");
    // It is killed with what it started, and the newest set has its turn.
    until("the next one's run", || (reads(&out).lines().count() == 4).then_some(()));
    for pid in reads(&out).lines() {
        until("nobody is left", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    }
    until("its end", || (holders(&cluster).trim() == "held 4").then_some(()));
    assert_eq!(shell.end(), 0);
}

#[test]
fn a_command_is_started_again_with_the_new_set() {
    let mut cluster = cluster("none");
    let out = cluster.folder().join("out");
    let text = format!(
        "trap 'echo bye >>{out}; exit 0' TERM
         echo start $(cat /run/secrets/key) >>{out}; while :; do sleep 0.02; done",
        out = out.display()
    );
    let mut child = under(&cluster, &["--restart-on-change"], &["bash", "-c", &text]);
    says(&out, "start one\n");
    cluster.update("key", b"two");
    says(&out, "start one\nbye\nstart two\n");
    cluster.agents[0].kill();
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    cluster.update("key", b"three");
    says(&out, "start one\nbye\nstart two\nbye\nstart three\n");
    // Who ends it ends both.
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::TERM)
        .expect("sent");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    says(&out, "start one\nbye\nstart two\nbye\nstart three\nbye\n");

    // One that doesn't listen is killed; its own end and status are the end.
    let text = format!(
        "trap '' TERM; read v </run/secrets/key; echo $v >>{out}
         [ $v = five ] && exit 7; while :; do sleep 0.02; done",
        out = out.display()
    );
    fs::remove_file(&out).expect("removed");
    let mut child = under(&cluster, &["--restart-on-change"], &["bash", "-c", &text]);
    says(&out, "three\n");
    cluster.update("key", b"five");
    says(&out, "three\nfive\n");
    assert_eq!(child.wait().expect("an end").code(), Some(7));
    let mut absent = cluster.agents[0].exec("web", &["/none"]);
    let _ = run(absent.arg("x"), b"").status(127);
}
