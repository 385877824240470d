//! What stolen keys are good for, and what not: the list of members decides, whatever a
//! certificate says.

use std::path::Path;
use std::time::Duration;

use cluster_tests::rpc::{self, call, channel, runtime};
use cluster_tests::{Agent, Cluster, DEADLINE, KeyFileOpened, Manager, StolenIssuer, run, until};
use skep_client::ca::CertificateRole;
use skep_client::transport::ClientTls;
use skep_client::transport::rpc::raft::raft_client::RaftClient;
use skep_core::base::{NodeId, OperatorId, ServiceId};
use skep_core::wire::raft;
use tonic::Code;

/// The id that a command shows of it.
fn id(cluster: &Cluster, name: &str) -> NodeId {
    let all = cluster.ok(&["node", "ls", "--format", "{{.ID}} {{.Name}}"]);
    let line = all.lines().find(|line| line.ends_with(&format!(" {name}")));
    line.and_then(|line| line.split(' ').next()?.parse().ok()).expect("a listed node")
}

fn term(cluster: &Cluster) -> u64 {
    until("a term", || {
        let shown = cluster.skep(&["status", "--format", "json"]).out;
        let json: serde_json::Value = serde_json::from_str(&shown).ok()?;
        json.get("term").and_then(serde_json::Value::as_u64).filter(|number| *number > 0)
    })
}

/// How a manager at this address answers a request for a vote: `InvalidArgument` where it
/// listens, for the request holds nothing.
fn vote(address: &str, tls: &ClientTls) -> Code {
    runtime().block_on(async {
        let mut peer = RaftClient::new(channel(address, tls).await);
        peer.vote(raft::VoteRequest::default()).await.expect_err("no vote").code()
    })
}

/// Every call that a manager might make of another.
const AS_MANAGER: &[&str] = &[
    "/skep.raft.v1.Raft/Append",
    "/skep.raft.v1.Raft/Vote",
    "/skep.raft.v1.Raft/TransferLeader",
    "/skep.raft.v1.Raft/Snapshot",
    "/skep.raft.v1.Raft/Remember",
    "/skep.raft.v1.Raft/Release",
    "/skep.raft.v1.Raft/Vouch",
    "/skep.api.v1.Control/Move",
    "/skep.api.v1.Control/Status",
    "/skep.api.v1.Control/Intake",
    "/skep.api.v1.Control/ListSecrets",
];

#[test]
fn p8_what_a_stolen_issuing_key_signs_is_good_for_nothing() {
    let mut cluster = Cluster::start_with(4, 1);
    cluster.secret("canary", b"value");
    cluster.service("web", "node-1", &["canary"]);
    let unlock = cluster.unlock_key();
    let copy = cluster.folder().join("copied");
    let stolen = StolenIssuer::of(&cluster.manager, &unlock, &copy);
    let second = KeyFileOpened::of(cluster.managers().nth(1).expect("a manager"), &unlock);
    let (gone, worker) = (id(&cluster, "manager-4"), id(&cluster, "node-1"));
    let _ = cluster.ok(&["node", "rm", "manager-4"]);
    assert_eq!(cluster.manager_mut(3).ended(), 24);
    let _ = cluster.leader();
    let before = term(&cluster);
    let (manager, of_worker) = (CertificateRole::Manager, CertificateRole::Worker);
    let addresses: Vec<String> =
        cluster.managers().take(3).map(cluster_tests::Manager::address).collect();

    // The same key makes it the listed manager, so what is minted here is right in all else.
    let same = stolen.tls(manager(second.node), "manager-2", Some(&second.body.tls_key));
    assert_eq!(vote(&addresses[0], &same), Code::InvalidArgument, "it is listened to");

    let unknown = NodeId::from_bytes([0x5a; 16]);
    let minted = [
        ("a listed manager with another key", stolen.tls(manager(second.node), "manager-2", None)),
        ("a removed manager", stolen.tls(manager(gone), "manager-4", None)),
        ("a manager that never was", stolen.tls(manager(unknown), "manager-9", None)),
        ("a worker as a manager", stolen.tls(manager(worker), "node-1", None)),
    ];
    let refused = |minted: &[(&str, ClientTls)], calls: &[&str]| {
        for (who, tls) in minted {
            for address in &addresses {
                let channel = runtime().block_on(channel(address, tls));
                drop(channel);
                runtime().block_on(async {
                    let channel = cluster_tests::rpc::channel(address, tls).await;
                    for path in calls {
                        let code = call(&channel, path).await;
                        assert!(
                            matches!(code, Code::PermissionDenied | Code::Unavailable),
                            "{who} {path} at {address}: {code:?}"
                        );
                    }
                });
            }
            let leader = &addresses[0];
            until("a word of the leader", || {
                (vote(leader, tls) == Code::PermissionDenied).then_some(())
            });
        }
    };
    refused(&minted, AS_MANAGER);
    let nobody = OperatorId::from_bytes([0x5a; 16]);
    let others = [
        ("a listed worker with another key", stolen.tls(of_worker(worker), "node-1", None)),
        ("a worker that never was", stolen.tls(of_worker(unknown), "node-9", None)),
        ("a manager as a worker", stolen.tls(of_worker(second.node), "manager-2", None)),
        ("an operator", stolen.tls(CertificateRole::Operator(nobody), "admin", None)),
    ];
    let mut all = AS_MANAGER.to_vec();
    all.extend(["/skep.api.v1.Delivery/ReportOpened", "/skep.api.v1.Control/Apply"]);
    refused(&others, &all);

    // Also where one of the three is away: the two that are there are a majority.
    let leader = cluster.leader();
    let away = (0..3).rev().find(|number| *number != leader).expect("a follower");
    cluster.manager_mut(away).kill();
    for address in addresses.iter().enumerate().filter(|(n, _)| *n != away).map(|(_, a)| a) {
        let code = vote(address, &minted[2].1);
        assert_eq!(code, Code::PermissionDenied, "a manager that never was, at {address}");
    }
    cluster.bring_back(away);
    assert_eq!(term(&cluster), before, "it caused an election");
    assert_eq!(cluster.ok(&["secret", "ls", "--format", "{{.Name}}"]), "canary");
}

/// What an agent knows of its link.
fn link(agent: &Agent) -> serde_json::Value {
    let shown = agent.skep(&["agent", "status", "--format", "json"]).out;
    serde_json::from_str(&shown).unwrap_or_default()
}

#[test]
fn the_second_agent_with_a_copied_identity_is_refused_shown_and_told_what_to_do() {
    let mut cluster = Cluster::start_with(3, 1);
    cluster.secret("password", b"value");
    cluster.service("web", "node-1", &["password"]);
    let mut shell = cluster.shell(0, "web");
    assert_eq!(shell.read("password"), "value");
    let mut copy = cluster.copy_agent(0, "copied");
    let told = until("a refusal", || {
        let told = link(&copy);
        (told["state"] == "refused").then_some(told)
    });
    assert!(told.to_string().contains("skep join-token worker"), "{told}");
    assert!(told.to_string().contains("remove its data directory"), "{told}");
    assert!(!copy.file("web", "password").exists(), "it got what is the other one's");

    // The first one keeps its session and its secrets, and everybody can see what goes on.
    assert!(cluster.agents[0].is_connected());
    cluster.update("password", b"rotated");
    until("the rotated value", || (shell.read("password") == "rotated").then_some(()));
    for manager in cluster.managers() {
        let status = manager.status_here();
        let warned = status["warnings"].to_string();
        assert!(warned.contains("identity-copied") && warned.contains("node-1"), "{warned}");
    }
    let node = cluster.ok(&["node", "inspect", "node-1"]);
    assert!(node.contains("refused from 127.0.0.1"), "{node}");
    let leader = cluster.leader();
    let log = std::fs::read_to_string(cluster.manager_mut(leader).log()).expect("its log");
    assert!(log.contains("identity_copied"), "{log}");

    // The agent itself may start anew on its own data, also when it was killed.
    cluster.agents[0].kill();
    cluster.agents[0].start_again();
    until("one of the two", || {
        (cluster.agents[0].is_connected() || copy.is_connected()).then_some(())
    });
    // What the copy is told to do gives it its own identity.
    copy.kill();
    until("its session", || cluster.agents[0].is_connected().then_some(()));
    std::fs::remove_dir_all(copy.data()).expect("its data removed");
    let token = cluster.ok(&["join-token", "worker", "-q"]);
    copy.join_anew(&token);
    copy.connected();
    assert!(cluster.agents[0].is_connected());
    assert!(cluster.ok(&["node", "ls", "--format", "{{.Name}}"]).contains("copied"));
}

/// Every call of an agent, and some that are none of its.
const AS_WORKER: &[&str] = &[
    "/skep.api.v1.Delivery/Session",
    "/skep.api.v1.Delivery/ReportOpened",
    "/skep.api.v1.Delivery/Leave",
    "/skep.api.v1.Control/Status",
    "/skep.api.v1.Control/ListSecrets",
    "/skep.api.v1.Control/ListNodes",
    "/skep.api.v1.Control/Intake",
    "/skep.api.v1.Control/Apply",
    "/skep.raft.v1.Raft/Append",
    "/skep.raft.v1.Raft/Vote",
];

#[test]
fn p8_a_stolen_worker_certificate_gets_what_its_node_is_due_and_after_its_removal_nothing() {
    use skep_client::transport::rpc::api::delivery_client::DeliveryClient;
    use skep_core::seal::SessionHalf;
    use skep_core::wire::api;

    let mut cluster = Cluster::start_with(3, 2);
    cluster.secret("mine", b"value-of-mine");
    cluster.secret("others", b"value-of-others");
    cluster.service("placed-here", "node-1", &["mine"]);
    cluster.service("placed-there", "node-2", &["others"]);
    // Copied, for the agent itself removes it when it hears that it was removed.
    let file = cluster.folder().join("stolen");
    std::fs::copy(cluster.agents[0].data().join("identity"), &file).expect("a copy");
    let identity = rpc::identity(&file);
    cluster.agents[0].kill();
    let key = cluster.file("stolen-key", for_openssl(identity.key.expose()).as_bytes());
    let tls = rpc::tls(&identity);
    let leader = cluster.leader();
    let addresses: Vec<String> = cluster.managers().map(Manager::address).collect();

    // What openssl sees of each manager: a handshake, and names of nobody.
    for address in &addresses {
        let seen = by_openssl(&file, &key, address);
        assert!(seen.contains("TLSv1.3"), "{seen}");
        for word in ["mine", "others", "placed-here", "placed-there", "value-of"] {
            assert!(!seen.contains(word), "{word}: {seen}");
        }
    }

    // A session that says that everything runs is given what is placed there.
    let services = cluster.ok(&["service", "ls", "-q"]);
    let running = services.lines().map(|id| id.parse::<ServiceId>().expect("an id"));
    let running: Vec<Vec<u8>> = running.map(|id| id.as_bytes().to_vec()).collect();
    let half = SessionHalf::draw(skep_client::machine::os_dice().as_mut());
    let hello = api::Hello {
        session_public: half.public().to_vec(),
        boot_id: vec![7; 16],
        running,
        ..api::Hello::default()
    };
    let hello = api::FromAgent { of: Some(api::from_agent::Of::Hello(hello)) };
    let runtime = runtime();
    let mut session = runtime.block_on(async {
        let channel = channel(&addresses[leader], &tls).await;
        let (sender, messages) = tokio::sync::mpsc::channel(8);
        sender.send(hello).await.expect("said");
        let stream = tokio_stream::wrappers::ReceiverStream::new(messages);
        let mut client = DeliveryClient::new(channel);
        (client.session(stream).await.expect("a session").into_inner(), sender)
    });
    let mut heard = Vec::new();
    let mut next =
        |limit| runtime.block_on(async { tokio::time::timeout(limit, session.0.message()).await });
    while let Ok(said) = next(Duration::from_secs(2)) {
        heard.push(format!("{:?}", said.expect("a message").expect("it goes on")));
    }
    let heard = heard.concat();
    assert!(heard.contains("\"mine\"") && heard.contains("placed-here"), "{heard}");
    assert!(!heard.contains("others") && !heard.contains("placed-there"), "{heard}");

    // Removed: the stream that is open is cut within a second, and no call is answered.
    let removing = std::thread::spawn({
        let mut command = cluster.command(&["node", "rm", "node-1", "--force", "--yes"]);
        move || run(&mut command, b"").ok()
    });
    let end = loop {
        match next(DEADLINE).expect("an end of it") {
            Ok(Some(_)) => {}
            ended => break format!("{ended:?}"),
        }
    };
    let _ = removing.join().expect("removed");
    assert!(!end.contains("mine"), "{end}");
    for (number, address) in addresses.iter().enumerate() {
        until("a refusal by all", || {
            let codes: Vec<Code> = runtime.block_on(async {
                let channel = channel(address, &tls).await;
                let mut codes = Vec::new();
                for path in AS_WORKER {
                    codes.push(call(&channel, path).await);
                }
                codes
            });
            println!("{number}: {codes:?}");
            // Who doesn't lead is not sure, and sends it on to the leader, which is.
            let refused = |code: &Code| match code {
                Code::PermissionDenied => true,
                Code::Unavailable => number != leader,
                _ => false,
            };
            codes.iter().all(refused).then_some(())
        });
        let seen = by_openssl(&file, &key, address);
        assert!(!seen.contains("value-of"), "{seen}");
    }
}

/// The key of an identity as openssl takes it: PKCS#8 without the public half.
fn for_openssl(key: &[u8]) -> String {
    let inner = [0x04, 0x22, 0x04, 0x20];
    let at = key.windows(4).position(|four| four == inner).expect("an Ed25519 key") + 4;
    let head = [&[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03][..], &[0x2b, 0x65, 0x70]];
    let der = [&head.concat()[..], &inner, &key[at..at + 32]].concat();
    let body = data_encoding::BASE64.encode(&der);
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}

/// What `openssl s_client` shows of a manager to the holder of an agent's identity file.
fn by_openssl(identity: &Path, key: &str, address: &str) -> String {
    let mut openssl = std::process::Command::new("timeout");
    openssl.args(["3", "openssl", "s_client", "-connect", address, "-alpn", "h2", "-ign_eof"]);
    openssl.arg("-cert").arg(identity).args(["-key", key]);
    openssl.arg("-cert_chain").arg(identity).arg("-showcerts");
    // The beginning of a connection, and what is no call.
    let ran = run(&mut openssl, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    format!("{}{}", ran.out, ran.err)
}
