//! Who reads the audit log, and who would fill it: every reading has a line as it begins, and one
//! identity has its share of lines.

use std::path::PathBuf;

use cluster_tests::rpc::{call, channel, identity, runtime, tls};
use cluster_tests::{Cluster, until};
use serde_json::Value;
use skep_client::transport::rpc::api::control_client::ControlClient;
use skep_core::wire::api::{AuditChain, AuditCursor, ReadAuditRequest};
use tonic::Code;

/// Lines of the log by somebody, about one act.
fn lines(cluster: &Cluster, who: &str, act: &str) -> Vec<Value> {
    let words = ["audit", "ls", "--all", "--format", "json", "--actor", who];
    let all = cluster.ok(&words);
    let read = |line: &str| serde_json::from_str::<Value>(line).expect("a line");
    all.lines().map(read).filter(|line| line["acts"][0]["act"] == act).collect()
}

fn operator(cluster: &Cluster, name: &str, role: &str) -> PathBuf {
    let path = cluster.folder().join(format!("{name}.skepid"));
    let out = path.display().to_string();
    let _ = cluster.ok(&["operator", "create", name, "--role", role, "--out", &out]);
    path
}

#[test]
fn p10_whoever_begins_to_read_the_log_has_a_line_wherever_that_is() {
    let mut cluster = Cluster::start_with(1, 0);
    cluster.secret("db", b"value");
    let people = ["ann", "bob"].map(|name| operator(&cluster, name, "auditor"));
    let address = cluster.manager_mut(0).address();
    let runtime = runtime();
    let read = |who: usize, after: Option<AuditCursor>, actor: &str| {
        runtime.block_on(async {
            let tls = tls(&identity(&people[who]));
            let mut control = ControlClient::new(channel(&address, &tls).await);
            let request = ReadAuditRequest {
                chain: AuditChain::Acts.into(),
                after,
                actor: actor.to_owned(),
                ..ReadAuditRequest::default()
            };
            let reply = control.read_audit(request).await.expect("a page").into_inner();
            reply.next.expect("where to go on")
        })
    };
    let count = |who: &str| lines(&cluster, who, "call.read-audit").len();
    let next = read(0, None, "");
    assert_eq!(count("ann"), 1, "it begins");
    let later = read(0, Some(next.clone()), "");
    assert_eq!(read(0, Some(later), "").file, next.file);
    assert_eq!(count("ann"), 1, "it goes on");

    // Made up: anywhere in a file, without a mark, with another place's, from elsewhere.
    let unmarked = AuditCursor { mark: Vec::new(), ..next.clone() };
    let moved = AuditCursor { record: 2, ..next.clone() };
    let earlier = AuditCursor { began: next.began.saturating_sub(1), ..next.clone() };
    for (number, made_up) in [unmarked, moved, earlier].into_iter().enumerate() {
        let _ = read(0, Some(made_up), "");
        assert_eq!(count("ann"), 2 + number);
    }
    let _ = read(0, Some(next.clone()), "eve");
    assert_eq!(count("ann"), 5, "another question");
    let _ = read(1, Some(next.clone()), "");
    assert_eq!(count("bob"), 1, "somebody else");
    // A manager that was started again knows no place.
    cluster.manager_mut(0).kill();
    cluster.manager_mut(0).start_again();
    assert_eq!(cluster.unlock().status, 0);
    let _ = read(0, Some(next), "");
    assert_eq!(lines(&cluster, "ann", "call.read-audit").len(), 6, "after a start");
}

#[test]
fn p10_p11_one_identity_fills_no_log_and_nothing_of_it_is_silent() {
    const CALLS: u64 = 400;
    let mut cluster = Cluster::start_with(1, 0);
    let vic = operator(&cluster, "vic", "viewer");
    let address = cluster.manager_mut(0).address();
    runtime().block_on(async {
        let tls = tls(&identity(&vic));
        // One connection has only so many calls refused.
        for _ in 0..CALLS / 20 {
            let channel = channel(&address, &tls).await;
            for _ in 0..20 {
                let path = "/skep.api.v1.Control/CreateToken";
                assert_eq!(call(&channel, path).await, Code::PermissionDenied);
            }
        }
    });
    let mine = until("all of them are told", || {
        let mine = lines(&cluster, "vic", "call.create-token");
        let told: u64 = mine.iter().map(|line| line["times"].as_u64().unwrap_or(1)).sum();
        assert!(told <= CALLS, "{told}");
        (told == CALLS).then_some(mine)
    });
    assert!(mine.len() < 100, "{} lines", mine.len());
    let summed = mine.iter().find(|line| line["times"].as_u64() > Some(1)).expect("a sum");
    assert_eq!((&summed["outcome"], &summed["why"]), (&"refused".into(), &"not-allowed".into()));
    assert_eq!(summed["from"], "127.0.0.1");
    // What somebody else does has lines of its own all the while.
    let eve = operator(&cluster, "eve", "viewer");
    runtime().block_on(async {
        let channel = channel(&address, &tls(&identity(&eve))).await;
        assert_eq!(call(&channel, "/skep.api.v1.Control/Lock").await, Code::PermissionDenied);
    });
    let of_eve = lines(&cluster, "eve", "call.lock");
    assert!(of_eve.len() == 1 && of_eve[0]["times"].is_null());
    let shown = cluster.ok(&["audit", "ls", "--actor", "vic"]);
    assert!(shown.contains(" times"), "{shown}");
    let _ = cluster.ok(&["audit", "verify"]);
}
