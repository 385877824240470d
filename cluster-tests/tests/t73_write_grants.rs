//! What a workload writes by itself: which process of which service on which node, over which
//! version, and until when.

use cluster_tests::{Canary, Cluster, Exec, binary, until};

/// Writes a value from within a workload; the first line that it says, with the status.
fn put(shell: &mut Exec, cluster: &Cluster, agent: usize, words: &str, value: &str) -> String {
    let (skep, socket) = (binary(), cluster.agents[agent].socket());
    // What is typed into the shell is no argument of any process.
    shell.line(&format!("value='{value}'; echo"));
    shell.line(&format!(
        "said=$(printf %s \"$value\" | {} agent put {words} --agent-socket {} 2>&1); \
         echo \"$? $said\" | head -1",
        skep.display(),
        socket.display()
    ))
}

/// The service `web` may write `db` and read `tls`, on all nodes.
fn world(agents: usize, mount: &str) -> Cluster {
    let cluster = Cluster::start_with(1, agents);
    for name in ["db", "tls"] {
        cluster.secret(name, b"first");
    }
    let _ = cluster.ok(&["service", "create", "--everywhere", "--mount", mount, "web"]);
    let _ = cluster.ok(&["service", "grant", "--write", "web", "db"]);
    let _ = cluster.ok(&["service", "grant", "web", "tls"]);
    cluster
}

fn a_workload_writes(mount: &str) {
    let cluster = world(2, mount);
    let (mut one, mut two) = (cluster.shell(0, "web"), cluster.shell(1, "web"));
    assert_eq!((one.read("db"), two.read("db")), ("first".into(), "first".into()));
    let value = Canary::draw();
    assert_eq!(put(&mut one, &cluster, 0, "web db -", value.value()), "0 db 2");
    for shell in [&mut one, &mut two] {
        until("the value on each node", || (shell.read("db") == value.value()).then_some(()));
    }
    let by = ["secret", "versions", "db", "--format", "{{.Version}} {{.WrittenBy}}"];
    let said = cluster.ok(&by);
    assert_eq!(said.lines().next(), Some("2 web on node-1"), "{said}");
    let grants = cluster.ok(&["service", "inspect", "web"]);
    assert!(grants.contains("\"write\": true"), "{grants}");
    let writers = ["secret", "inspect", "db", "--format", "{{.Writers}}"];
    assert!(cluster.ok(&writers).contains("web"));
    let held = cluster.ok(&["secret", "holders", "db", "--format", "{{.Node}} {{.Writes}}"]);
    assert!(held.lines().any(|line| line == "node-1 yes"), "{held}");

    // Nobody writes over what it has not seen.
    let seen = one.line("readlink /run/secrets/..data");
    cluster.update("db", b"an operator's");
    until("the operator's", || (one.read("db") == "an operator's").then_some(()));
    let late = put(&mut one, &cluster, 0, &format!("--expect {seen} web db -"), "late");
    assert_eq!(late, "1 error: another set of files is in place than the one that was read");
    let seen = one.line("readlink /run/secrets/..data");
    let done = put(&mut one, &cluster, 0, &format!("--expect {seen} web db -"), "third");
    assert_eq!(done, "0 db 4");

    // What it only reads it does not write, and of two values neither.
    let refused = "1 error: service web may read secret tls and not write it";
    assert_eq!(put(&mut one, &cluster, 0, "web tls -", "x"), refused);
    one.line("printf x > $PWD/value-file; echo");
    let both = put(&mut one, &cluster, 0, "web db=- tls=$PWD/value-file", "both");
    one.line("rm $PWD/value-file; echo");
    assert_eq!(both, refused);
    let unknown = put(&mut one, &cluster, 0, "web other -", "x");
    assert_eq!(unknown, "1 error: service web has no file other on this node");

    // In no file, no log, no word of any process.
    assert_eq!(value.in_files(cluster.folder()), [""; 0]);
    for agent in &cluster.agents {
        assert!(value.in_bytes(&std::fs::read(agent.log()).expect("a log")).is_none());
    }
    let revoked = ["service", "revoke", "web", "db"];
    let _ = cluster.ok(&revoked);
    let gone = put(&mut one, &cluster, 0, "web db -", "after");
    assert_eq!(gone, "1 error: service web has no file db on this node");
    let current = ["secret", "inspect", "db", "--format", "{{.Version}}"];
    assert_eq!(cluster.ok(&current), "4");
    assert_eq!((one.end(), two.end()), (0, 0));
}

#[test]
fn a_workload_writes_what_its_service_may_write_on_tmpfs() {
    a_workload_writes("tmpfs");
}

#[test]
fn a_workload_writes_what_its_service_may_write_on_fuse() {
    a_workload_writes("fuse");
}

#[test]
fn only_processes_of_the_service_write() {
    let cluster = world(1, "tmpfs");
    let _ = cluster.ok(&["service", "create", "--everywhere", "other"]);
    let _ = cluster.ok(&["service", "grant", "other", "tls"]);
    let (mut web, mut other) = (cluster.shell(0, "web"), cluster.shell(0, "other"));
    let no = "1 error: this process of user 0 may not write for service web";
    assert_eq!(put(&mut other, &cluster, 0, "web db -", "x"), no, "another service's workload");
    let socket = cluster.agents[0].socket().display().to_string();
    let words = ["agent", "put", "web", "db", "-", "--agent-socket", &socket];
    let host = cluster.skep_with(&words, b"x").status(1);
    assert!(host.err.contains("this process of user 0 may not write"), "{}", host.err);
    // Another user in the same workload.
    let skep = binary();
    let line = format!(
        "said=$(printf x | setpriv --reuid 4711 --clear-groups -- {} agent put web db - \
         --agent-socket {socket} 2>&1); echo \"$? $said\" | head -1",
        skep.display()
    );
    let stranger = "1 error: this process of user 4711 may not write for service web";
    assert_eq!(web.line(&line), stranger);
    let _ = cluster.ok(&["service", "update", "--owner", "4711:4711", "web"]);
    until("the owner is told", || web.line(&line).starts_with("0 db 2").then_some(()));
    assert_eq!((web.end(), other.end()), (0, 0));
}

#[test]
fn a_write_outlives_the_leader() {
    let mut cluster = Cluster::start_with(3, 1);
    cluster.secret("db", b"first");
    let _ = cluster.ok(&["service", "create", "--everywhere", "web"]);
    let _ = cluster.ok(&["service", "grant", "--write", "web", "db"]);
    let mut web = cluster.shell(0, "web");
    assert_eq!(web.read("db"), "first");
    let leader = cluster.leader();
    cluster.manager_mut(leader).kill();
    assert_eq!(put(&mut web, &cluster, 0, "web db -", "second"), "0 db 2");
    until("the value", || (web.read("db") == "second").then_some(()));
    assert_eq!(web.end(), 0);
}

#[test]
fn without_a_manager_nothing_is_written_and_that_is_said() {
    let mut cluster = world(1, "tmpfs");
    let mut web = cluster.shell(0, "web");
    assert_eq!(web.read("db"), "first");
    cluster.manager.kill();
    let said = put(&mut web, &cluster, 0, "web db -", "second");
    assert_eq!(said, "3 error: no manager was reached in time");
    assert_eq!(web.read("db"), "first");
    assert_eq!(web.end(), 0);
}

#[test]
fn too_many_writes_are_put_off() {
    let cluster = world(1, "tmpfs");
    let mut web = cluster.shell(0, "web");
    let mut said = String::new();
    until("the limit", || {
        said = put(&mut web, &cluster, 0, "web db -", "x");
        (!said.starts_with("0 ")).then_some(())
    });
    assert_eq!(said, "3 error: the service's processes on this node write too often");
    until("room again", || {
        put(&mut web, &cluster, 0, "web db -", "y").starts_with("0 ").then_some(())
    });
    assert_eq!(web.end(), 0);
}
