//! Who opened what: `skep secret reads`, for services that are mounted by FUSE.

use std::fs::{self, File};
use std::process::Command;

use serde_json::Value;
use tonic::Request;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use cluster_tests::rpc::{channel, identity, runtime, tls};
use cluster_tests::{Cluster, DEADLINE, until};
use skep_core::wire::api::{Opened, ReportOpenedReply, ReportOpenedRequest};

/// Three managers and an agent with a service by FUSE, granted `key`.
fn cluster() -> Cluster {
    let cluster = Cluster::start_with(3, 1);
    cluster.secret("key", b"first");
    cluster.secret("other", b"else");
    let _ = cluster.ok(&["service", "create", "web", "--node", "node-1", "--mount", "fuse"]);
    let _ = cluster.ok(&["service", "grant", "web", "key", "other"]);
    cluster
}

/// The records, once there are so many.
fn reads(cluster: &Cluster, wanted: usize) -> Vec<Value> {
    until("the records of the opens", || {
        let listed = cluster.ok(&["secret", "reads", "key", "--format", "json"]);
        let reads: Vec<Value> =
            listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(reads.len() <= wanted, "{} records of {wanted} opens", reads.len());
        (reads.len() == wanted).then_some(reads)
    })
}

#[test]
fn each_open_is_on_record_once_whoever_leads() {
    const OPENS: usize = 10_000;
    let mut cluster = cluster();
    let mut shell = cluster.shell(0, "web");
    let path = cluster.agents[0].file("web", "key");
    let leader = cluster.leader();
    for number in 0..OPENS {
        drop(File::open(&path).expect("the host's file"));
        if number == OPENS / 2 {
            cluster.manager_mut(leader).kill();
        }
    }
    // Nobody asks for what others opened.
    drop(File::open(cluster.agents[0].file("web", "other")).expect("the host's file"));
    let all = reads(&cluster, OPENS);
    let own = std::env::current_exe().expect("a path").display().to_string();
    for read in &all {
        assert_eq!(read["node"], "node-1");
        assert_eq!(read["service"], "web");
        assert_eq!((read["version"].as_u64(), read["uid"].as_u64()), (Some(1), Some(0)));
        assert_eq!(
            (read["reader"].as_str(), read["executable"].as_str()),
            (Some("host"), Some(&*own))
        );
    }
    let times: Vec<_> = all.iter().map(|read| read["at"].as_str().expect("a time")).collect();
    assert!(times.is_sorted(), "oldest first");

    // The manager that was away learns them too.
    cluster.bring_back(leader);
    let host = cluster.manager_mut(leader).address();
    until("the lost manager's records", || {
        let words = ["secret", "reads", "key", "--stale", "--host", &host, "--format", "{{.At}}"];
        (cluster.skep(&words).ok().lines().count() == OPENS).then_some(())
    });

    cluster.update("key", b"second");
    assert_eq!(shell.read("key"), "second");
    let all = reads(&cluster, OPENS + 1);
    let last = all.last().expect("a record");
    let reader = last["reader"].as_str().expect("a word");
    assert!(reader.starts_with("workload "), "{reader}");
    assert_eq!(last["version"], 2);
    let last = cluster.ok(&["secret", "reads", "key", "-n", "2", "--format", "{{.Version}}"]);
    assert_eq!(last, "1\n2");
}

#[test]
fn refused_opens_and_the_last_ones_before_the_agents_end_are_on_record() {
    let mut cluster = cluster();
    let shell = cluster.shell(0, "web");
    let path = cluster.agents[0].root().join("web/..live/key");
    let refused = Command::new("unshare").args(["--mount", "cat"]).arg(&path).output();
    assert_eq!(refused.expect("util-linux' unshare").stdout, b"");
    let read = reads(&cluster, 1).remove(0);
    assert_eq!((read["reader"].as_str(), read["uid"].as_u64()), (Some("refused"), Some(0)));

    // They are handed in before the agent ends, however soon that is.
    for _ in 0..5 {
        assert_eq!(fs::read(cluster.agents[0].file("web", "key")).expect("a file"), b"first");
    }
    assert_eq!(cluster.agents[0].stop(), 0);
    assert_eq!(reads(&cluster, 6).len(), 6);
    drop(shell);
}

#[test]
fn without_fuse_nothing_is_on_record_and_it_says_so() {
    let cluster = Cluster::start(1);
    cluster.secret("key", b"first");
    cluster.service("web", "node-1", &["key"]);
    let shown = cluster.skep(&["secret", "reads", "key"]);
    assert!(shown.err.contains("--mount fuse"), "{}", shown.err);
    let _ = shown.ok();
    let wrong = cluster.skep(&["secret", "reads", "nothing"]).status(1);
    assert!(wrong.err.contains("secret nothing not found"), "{}", wrong.err);
    let _ = cluster.skep(&["secret", "reads", "key", "--last", "0"]).status(2);
}

/// What a node says was opened, by its own identity: each a list of its own.
fn report(cluster: &Cluster, agent: usize, list: Vec<Opened>) {
    let worker = tls(&identity(&cluster.agents[agent].data().join("identity")));
    let list = ReportOpenedRequest { origin: vec![66; 16], first: 0, dropped: 0, list };
    runtime().block_on(async {
        let mut grpc = Grpc::new(channel(&cluster.manager.address(), &worker).await);
        grpc.ready().await.expect("a live connection");
        let path = "/skep.api.v1.Delivery/ReportOpened".parse().expect("a path");
        let codec = ProstCodec::<ReportOpenedRequest, ReportOpenedReply>::default();
        grpc.unary(Request::new(list), path, codec).await.expect("an answer");
    });
}

#[test]
fn a_node_writes_no_reads_of_what_it_was_never_given() {
    let cluster = Cluster::start(2);
    for (name, node) in [("own", "node-1"), ("foreign", "node-2")] {
        cluster.secret(name, b"value");
        let words = ["service", "create", name, "--node", node, "--mount", "fuse"];
        let _ = cluster.ok(&words);
        let _ = cluster.ok(&["service", "grant", name, name]);
    }
    let _shells = [cluster.shell(0, "own"), cluster.shell(1, "foreign")];
    let mut client = cluster.client(DEADLINE);
    let secrets = ["own", "foreign"].map(|name| client.secret(name).ok());
    let services = ["own", "foreign"].map(|name| client.service(name).ok().id);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    let now = u64::try_from(now.as_millis()).expect("a time");
    let open = |service: usize, secret: usize| Opened {
        at: now,
        service: services[service].clone(),
        secret: secrets[secret].id.clone(),
        version: secrets[secret].versions[0].id.clone(),
        number: 1,
        reader: 2,
        uid: 4_242,
        pid: 1,
        executable: "/bin/forged".to_owned(),
        ..Opened::default()
    };
    let day = 24 * 3_600_000;
    let forged = [
        open(1, 1),
        open(0, 1),
        open(1, 0),
        Opened { service: vec![9; 16], ..open(1, 1) },
        Opened { at: now + day, ..open(0, 0) },
        Opened { at: now - day, ..open(0, 0) },
        Opened { at: u64::MAX, ..open(0, 0) },
        Opened { executable: "/bin/\u{1b}]0;x\u{7}".to_owned(), ..open(0, 0) },
        Opened { executable: "/bin/\u{202e}tac".to_owned(), ..open(0, 0) },
        Opened { executable: "x".repeat(100_000), ..open(0, 0) },
        Opened { number: 2, ..open(0, 0) },
    ];
    let count = forged.len();
    report(&cluster, 0, [forged.to_vec(), vec![open(0, 0)]].concat());

    let listed = cluster.skep(&["secret", "reads", "foreign", "--format", "json"]);
    assert!(!listed.out.contains("forged") && !listed.out.contains("4242"), "{}", listed.out);
    let told = format!("node-1 handed in {count} records that were refused");
    assert!(listed.err.contains(&told), "{}", listed.err);
    let listed = cluster.skep(&["secret", "reads", "own", "--format", "json"]).ok();
    let forged: Vec<&str> = listed.lines().filter(|line| line.contains("4242")).collect();
    assert_eq!(forged.len(), 1, "what it has it may say was opened: {listed}");
    let shown = cluster.ok(&["node", "inspect", "node-1", "--format", "{{.RefusedReads}}"]);
    assert_eq!(shown, count.to_string());
    assert_eq!(cluster.ok(&["node", "inspect", "node-2", "--format", "{{.RefusedReads}}"]), "0");
}
