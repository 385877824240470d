//! What stolen keys are good for, and what not: the list of members decides, whatever a
//! certificate says.

use cluster_tests::rpc::{call, channel, runtime};
use cluster_tests::{Cluster, KeyFileOpened, StolenIssuer, until};
use skep_client::ca::CertificateRole;
use skep_client::transport::ClientTls;
use skep_client::transport::rpc::raft::raft_client::RaftClient;
use skep_core::base::{NodeId, OperatorId};
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
