//! What one caller can make managers keep, and data of another format.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tonic::{Code, Streaming};

use cluster_tests::rpc::{channel, identity, runtime, tls};
use cluster_tests::{Cluster, DEADLINE, run, secret_id, until};
use skep_client::transport::rpc::api::control_client::ControlClient;
use skep_core::base::{ServiceId, limits};
use skep_core::domain::{Change, GrantAsked};
use skep_core::wire::api;

/// Acts of one caller, and by how many connections of it.
const ACTS: u64 = 2_000;
const CONNECTIONS: u64 = 10;
/// Bytes that an act may leave which changed nothing, whatever it asked for.
const ACT_BYTES: u64 = 400;
/// More calls than one caller may wait by at once.
const WATCHES: usize = 80;

fn state_bytes(cluster: &Cluster) -> u64 {
    let status = cluster.manager.status_here();
    status.get("state_bytes").and_then(serde_json::Value::as_u64).expect("what the state counts")
}

#[test]
fn acts_that_change_nothing_leave_little_and_count() {
    let cluster = Cluster::start(0);
    cluster.secret("s", b"v");
    let _ = cluster.ok(&["service", "create", "web", "--everywhere"]);
    let _ = cluster.ok(&["service", "grant", "web", "s"]);
    let mut client = cluster.client(DEADLINE);
    let secret = secret_id(&client.secret("s").ok().id);
    let service = client.service("web").ok();
    let service = ServiceId::try_from(service.id.as_slice()).expect("an id");
    let before = state_bytes(&cluster);
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            let mut operator = cluster.client(DEADLINE).into_operator();
            tasks.spawn(async move {
                let (target, replace) = ("s".parse().expect("a target"), false);
                let (uid, gid, mode, pin, write) = (None, None, None, None, None);
                let grant = GrantAsked { secret, target, uid, gid, mode, pin, write, replace };
                let grant = || Change::Grant { service, grant: grant.clone() };
                let grants: Vec<_> = (0..limits::CHANGES).map(|_| grant()).collect();
                for _ in 0..ACTS / CONNECTIONS {
                    operator.apply(&grants).await.expect("what is granted may be granted again");
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("a client");
        }
    });
    let after = state_bytes(&cluster);
    let grown = after.saturating_sub(before);
    assert!(grown <= ACTS * ACT_BYTES, "{grown} bytes for {ACTS} acts that changed nothing");
    assert!(grown > 0, "the answers count");
    // Within a minute they are gone; what comes then finds the room.
    let _ = cluster.ok(&["service", "revoke", "web", "s"]);
}

#[test]
fn one_caller_waits_so_often_and_others_still_do() {
    let mut cluster = Cluster::start(1);
    cluster.secret("s", b"v");
    let placed = ["service", "create", "web", "--node", "node-1", "--activation", "placed"];
    let _ = cluster.ok(&placed);
    let _ = cluster.ok(&["service", "grant", "web", "s"]);
    cluster.agents[0].kill();
    let revoked = ["service", "revoke", "web", "s", "--timeout", "1s"];
    let _ = cluster.skep(&revoked).status(5);
    let admin = identity(&cluster.identity());
    let runtime = runtime();
    let (mut control, request, mut waiting) = runtime.block_on(async {
        let channel = channel(&cluster.manager.address(), &tls(&admin)).await;
        let mut control = ControlClient::new(channel);
        let what = api::ListRequest { what: "web".to_owned(), ..api::ListRequest::default() };
        let listed = control.list_services(what).await.expect("listed").into_inner();
        let services = vec![listed.services[0].id.clone()];
        let request =
            api::WatchDeliveryRequest { revision: listed.revision, services, ..Default::default() };
        let mut waiting: Vec<Streaming<api::DeliveryProgress>> = Vec::new();
        let refused = loop {
            assert!(waiting.len() < WATCHES, "one caller waits without end");
            match control.watch_delivery(request.clone()).await {
                Ok(stream) => waiting.push(stream.into_inner()),
                Err(status) => break status,
            }
        };
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(waiting.len() > 8, "{}", waiting.len());
        (control, request, waiting)
    });
    // The manager's own user is another caller.
    let told = cluster.manager.here(&["service", "rm", "web", "--timeout", "1s"]);
    assert_eq!(told.status, 5, "{}", told.err);
    assert!(!told.err.contains("refused"), "{}", told.err);
    drop(waiting.pop());
    runtime.block_on(async {
        let until = tokio::time::Instant::now() + DEADLINE;
        while let Err(status) = control.watch_delivery(request.clone()).await {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            assert!(tokio::time::Instant::now() < until, "a place is given back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

/// Runs a daemon until it ends by itself.
#[track_caller]
fn refuses(what: &str, mut command: Command, named: &str) {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("a daemon");
    let mut told = None;
    until("a daemon's end", || {
        told = child.try_wait().expect("a child");
        told
    });
    let said = child.wait_with_output().expect("its output");
    let said = [said.stdout, said.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(told.and_then(|status| status.code()), Some(23), "{what}: {said}");
    let wanted = "written by an unreleased build of skep (format 1)";
    let line = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(line.contains(wanted) && line.contains(named), "{what}: {said}");
    assert!(said.contains("hint: no release wrote this"), "{what}: {said}");
}

/// Changes a file, lets `act` look at it, and puts it back.
fn changed(path: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>, act: impl FnOnce()) {
    let before = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let after = change(before.clone());
    assert_ne!(before, after, "{}", path.display());
    fs::write(path, after).expect("written");
    act();
    fs::write(path, before).expect("put back");
}

/// The same text of the first format.
fn first(bytes: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(bytes).expect("text");
    let text = text.replacen("version = 11", "version = 1", 1);
    let text = text.replacen("skep-workloads 11", "skep-workloads 1", 1);
    text.replacen("skep agent mount 11", "skep agent mount 1", 1).into_bytes()
}

#[test]
fn data_of_the_first_format_ends_a_daemon() {
    let mut cluster = Cluster::start(1);
    cluster.secret("s", b"v");
    cluster.service("web", "node-1", &["s"]);
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("s"), "v");

    let identity = cluster.identity();
    changed(&identity, first, || {
        let refused = cluster.skep(&["secret", "ls"]).status(2);
        let wanted = "written by an unreleased build of skep (format 1)";
        assert!(refused.err.contains(wanted), "{}", refused.err);
    });

    cluster.agents[0].kill();
    let agent = &cluster.agents[0];
    for name in ["identity", "state.toml", "workloads"] {
        changed(&agent.data().join(name), first, || refuses(name, agent.command(), name));
    }
    let mounts = agent.root().join(".mounts");
    let mount = fs::read_dir(mounts).expect("mounts").filter_map(Result::ok);
    let manifest = mount.map(|entry| entry.path().join("manifest.json")).find(|path| path.exists());
    let manifest = manifest.expect("a manifest");
    changed(&manifest, first, || refuses("a mount", agent.command(), "the mount "));
    cluster.agents[0].start_again();
    cluster.agents[0].connected();
    assert_eq!(shell.read("s"), "v", "nothing was changed by that");

    assert_eq!(cluster.manager.stop(), 0);
    let data = cluster.manager.data();
    let older = |mut bytes: Vec<u8>| {
        bytes[7] = 1;
        bytes
    };
    let command = || cluster.manager.command();
    changed(&data.join("manager.key"), older, || refuses("key", command(), "manager.key"));
    changed(&data.join("node"), first, || refuses("node", command(), "/node"));
    // The first builds wrote none.
    let numberless = |bytes: Vec<u8>| {
        let end = bytes.iter().position(|byte| *byte == b'\n').expect("a line");
        bytes.into_iter().skip(end + 1).collect()
    };
    changed(&data.join("node"), numberless, || refuses("node", command(), "/node"));
    cluster.manager.start_again();
    let _ = cluster.unlock().ok();
    let _ = run(&mut cluster.command(&["secret", "ls"]), b"").ok();
}
