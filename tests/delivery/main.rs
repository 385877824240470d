//! Delivery, from the command applied to the bytes on a node and back: a real
//! manager of one voter, real TLS, a fake agent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod agent;
mod fixture;

use agent::{Agent, open, problem};
use fixture::{Cluster, soon};
use tonic::Code;

use skep_client::ca::CertificateRole;
use skep_client::transport::rpc::api::delivery_client::DeliveryClient;
use skep_client::transport::{Expect, connect};
use skep_core::base::{Exit, ServiceId};
use skep_core::domain::{Availability, Change};
use skep_core::wire::api;

#[tokio::test]
async fn a_grant_a_rotation_and_a_revoke_reach_the_node() {
    let cluster = Cluster::start().await;
    let machine = cluster.join("db1").await;
    let (secret, web) = (cluster.secret("tls", b"one").await, cluster.service("web").await);
    let mut agent = Agent::default();
    let mut session = agent.connect(&cluster, &machine, &[web]).await.expect("welcome");
    assert_eq!(session.welcome.cluster_name, "prod");
    assert_eq!(session.welcome.addresses, std::slice::from_ref(&cluster.address));

    // The first push names what is placed; nothing is granted, nothing is recorded.
    let push = session.follow(&mut agent).await;
    assert!(push.placed_changed && push.placed.len() == 1 && push.sets.len() == 1);
    assert!(!cluster.exposed(machine.node, web));

    let granted = cluster.grant(web, secret, "key").await;
    let (push, values) = session.push().await.expect("a push");
    assert!(cluster.exposed(machine.node, web), "recorded before the first byte");
    assert!(push.placed_changed && push.placed[0].grants == 1, "all of it in one push");
    agent.apply(&push, values);
    let mut waiting = cluster.watch(granted, [web], []);
    let progress = soon(waiting.recv()).await.expect("progress");
    assert_eq!((progress.nodes, progress.delivered, progress.done), (1, 0, false));
    assert_eq!(progress.laggards[0].name, "db1");
    assert_eq!(progress.laggards[0].why, "its agent has not answered");
    session.ack(push.number, Vec::new()).await;
    let progress = cluster.delivered(granted, web).await;
    assert_eq!((progress.nodes, progress.delivered, progress.done), (1, 1, true));
    assert_eq!(agent.file(web, "key"), Some(&b"one"[..]));

    let rotated = cluster.update(secret, b"two").await;
    session.follow(&mut agent).await;
    assert!(cluster.delivered(rotated, web).await.done);
    assert_eq!(agent.file(web, "key"), Some(&b"two"[..]));
    assert_eq!(agent.values.len(), 1);

    let revoked = cluster.change(Change::Revoke { service: web, secret, target: None }).await;
    let (push, values) = session.push().await.expect("a push");
    agent.apply(&push, values);
    assert_eq!(cluster.dispatch.why_pending(machine.node, web), "its agent has not answered");
    session.ack(push.number, Vec::new()).await;
    let progress = cluster.delivered(revoked, web).await;
    assert_eq!((progress.nodes, progress.delivered, progress.done), (1, 1, true));
    assert!(agent.values.is_empty());
    assert!(!cluster.exposed(machine.node, web), "nothing is there, and that is recorded");
}

#[tokio::test]
async fn a_service_that_runs_no_more_is_wiped_and_may_come_back() {
    let cluster = Cluster::start().await;
    let machine = cluster.join("db1").await;
    let (secret, web) = (cluster.secret("tls", b"one").await, cluster.service("web").await);
    let granted = cluster.grant(web, secret, "key").await;
    let mut agent = Agent::default();
    let mut session = agent.connect(&cluster, &machine, &[]).await.expect("welcome");
    assert!(session.follow(&mut agent).await.sets.is_empty(), "it is placed and does not run");
    let progress = cluster.delivered(granted, web).await;
    assert_eq!((progress.nodes, progress.done), (0, true), "no node is concerned");

    for _ in 0..3 {
        session.runs(&[web]).await;
        let push = session.follow(&mut agent).await;
        assert_eq!(push.sets.len(), 1);
        assert_eq!(agent.file(web, "key"), Some(&b"one"[..]));
        assert_eq!(cluster.dispatch.seen(machine.node).running, [web].into());
        session.runs(&[]).await;
        let push = session.follow(&mut agent).await;
        assert_eq!(push.gone, [web.as_bytes().to_vec()]);
    }
    session.runs(&[ServiceId::from_bytes([1; 16])]).await;
    assert!(agent.sets.is_empty());
}

#[tokio::test]
async fn large_sets_travel_in_frames() {
    let cluster = Cluster::start().await;
    let machine = cluster.join("db1").await;
    let web = cluster.service("web").await;
    for number in 0..12_u8 {
        let secret = cluster.secret(&format!("s{number}"), &vec![number; 400_000]).await;
        cluster.grant(web, secret, &format!("f{number}")).await;
    }
    let mut agent = Agent::default();
    let mut session = agent.connect(&cluster, &machine, &[web]).await.expect("welcome");
    let push = session.follow(&mut agent).await;
    assert!(push.values.is_empty(), "they came ahead");
    assert_eq!(agent.file(web, "f11"), Some(vec![11; 400_000].as_slice()));
}

#[tokio::test]
async fn an_agent_that_comes_back_gets_what_it_lacks() {
    let cluster = Cluster::start().await;
    let machine = cluster.join("db1").await;
    let (one, two) = (cluster.secret("one", b"1").await, cluster.secret("two", b"2").await);
    let (web, old) = (cluster.service("web").await, cluster.service("old").await);
    cluster.grant(web, one, "one").await;
    cluster.grant(web, two, "two").await;
    cluster.grant(old, two, "two").await;
    let mut agent = Agent::default();
    let mut session = agent.connect(&cluster, &machine, &[web, old]).await.expect("welcome");
    session.follow(&mut agent).await;
    drop(session);
    let seen = || cluster.dispatch.seen(machine.node);
    soon(async {
        while seen().connected {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let removed = cluster.change(Change::RemoveService { id: old }).await;
    let rotated = cluster.update(one, b"new").await;
    let mut waiting = cluster.watch(removed, [old], []);
    let progress = soon(waiting.recv()).await.expect("progress");
    assert!(progress.laggards[0].why.starts_with("down since "), "{:?}", progress.laggards);

    let mut session = agent.connect(&cluster, &machine, &[web]).await.expect("welcome");
    let (push, values) = session.push().await.expect("a push");
    assert_eq!(push.gone, [old.as_bytes().to_vec()]);
    assert_eq!(values.len(), 1, "the other value is there");
    agent.apply(&push, values);
    session.ack(push.number, Vec::new()).await;
    assert!(cluster.delivered(rotated, web).await.done);
    let mut last = progress;
    while let Some(progress) = soon(waiting.recv()).await {
        last = progress;
    }
    assert_eq!((last.leaving, last.left, last.done), (1, 1, true));
}

#[tokio::test]
async fn a_set_that_fails_for_good_ends_the_wait() {
    let cluster = Cluster::start().await;
    let machine = cluster.join("db1").await;
    let (secret, web) = (cluster.secret("tls", b"one").await, cluster.service("web").await);
    let granted = cluster.grant(web, secret, "key").await;
    let agent = Agent::default();
    let mut session = agent.connect(&cluster, &machine, &[web]).await.expect("welcome");
    let (push, _) = session.push().await.expect("a push");
    let why = "does not open".to_owned();
    let service = web.as_bytes().to_vec();
    let failed = api::Failed { service, why, r#final: true, ..api::Failed::default() };
    session.ack(push.number, vec![failed]).await;
    let progress = cluster.delivered(granted, web).await;
    assert!(progress.failed && !progress.done);
    assert_eq!(progress.laggards[0].why, "does not open");
    assert_eq!(cluster.dispatch.why_pending(machine.node, web), "does not open");
    let granted = cluster.update(secret, b"two").await;
    let (push, _) = session.push().await.expect("another set is due");
    session.ack(push.number, Vec::new()).await;
    assert!(cluster.delivered(granted, web).await.done);
}

#[tokio::test]
async fn a_drained_node_is_wiped_and_waited_for() {
    let cluster = Cluster::start().await;
    let machine = cluster.join("db1").await;
    let (secret, web) = (cluster.secret("tls", b"one").await, cluster.service("web").await);
    cluster.grant(web, secret, "key").await;
    let mut agent = Agent::default();
    let mut session = agent.connect(&cluster, &machine, &[web]).await.expect("welcome");
    session.follow(&mut agent).await;
    let availability = Some(Availability::Drain);
    let drain =
        Change::UpdateNode { id: machine.node, put: Vec::new(), gone: Vec::new(), availability };
    let drained = cluster.change(drain).await;
    let mut waiting = cluster.watch(drained, [], [machine.node]);
    let progress = soon(waiting.recv()).await.expect("progress");
    assert_eq!((progress.leaving, progress.done), (1, false));
    session.follow(&mut agent).await;
    let mut last = progress;
    while let Some(progress) = soon(waiting.recv()).await {
        last = progress;
    }
    assert_eq!((last.nodes, last.left, last.done), (0, 1, true));
    assert!(agent.sets.is_empty() && !cluster.exposed(machine.node, web));
}

#[tokio::test]
async fn one_session_a_node() {
    let cluster = Cluster::start().await;
    let machine = cluster.join("db1").await;
    let agent = Agent::default();
    let mut first = agent.connect(&cluster, &machine, &[]).await.expect("welcome");
    let rival = Agent { boot: 1, ..Agent::default() };
    let status = rival.connect(&cluster, &machine, &[]).await.err().expect("refused");
    assert_eq!(problem(&status).text, "another machine with this node's identity has a session");
    let seen = cluster.dispatch.seen(machine.node);
    assert!(seen.connected && seen.rival.is_some());
    assert_eq!(seen.hostname, "db1[31m", "nothing that a terminal would obey");
    // The same agent again: its old connection is not heard of any more.
    let _second = agent.connect(&cluster, &machine, &[]).await.expect("welcome");
    assert_eq!(first.end().await.exit, Exit::Refused);
    assert!(cluster.dispatch.seen(machine.node).connected);
}

#[tokio::test]
async fn a_removed_node_is_cut_and_refused() {
    let cluster = Cluster::start().await;
    let machine = cluster.join("db1").await;
    let agent = Agent::default();
    let mut session = agent.connect(&cluster, &machine, &[]).await.expect("welcome");
    cluster.change(Change::RemoveNode { id: machine.node, force: false }).await;
    assert_eq!(session.end().await.exit, Exit::IdentityEnded);
    let status = agent.connect(&cluster, &machine, &[]).await.err().expect("refused");
    assert_eq!(problem(&status).exit, Exit::IdentityEnded);
}

#[tokio::test]
async fn a_leaving_node_is_removed_with_what_it_held() {
    let cluster = Cluster::start().await;
    let machine = cluster.join("db1").await;
    let (secret, web) = (cluster.secret("tls", b"one").await, cluster.service("web").await);
    cluster.grant(web, secret, "key").await;
    let mut agent = Agent::default();
    let mut session = agent.connect(&cluster, &machine, &[web]).await.expect("welcome");
    session.follow(&mut agent).await;
    assert!(cluster.exposed(machine.node, web));
    let connected = connect(&cluster.address, &machine.tls, Expect::AnyManager, fixture::LONG);
    let mut client = DeliveryClient::new(connected.await.expect("connected").0);
    soon(client.leave(api::LeaveRequest {})).await.expect("left");
    assert!(!cluster.core.consensus.read(|state| state.nodes.contains_key(&machine.node)));
    assert!(!cluster.exposed(machine.node, web));
    assert_eq!(session.end().await.exit, Exit::IdentityEnded);
}

#[tokio::test]
async fn strangers_and_nonsense_are_refused() {
    let cluster = Cluster::start().await;
    let mut machine = cluster.join("db1").await;
    let running = api::from_agent::Of::Running(api::Running { services: Vec::new() });
    let (_to, mut from) = open(&cluster, &machine, running).await.expect("a stream");
    let status = soon(from.message()).await.expect_err("no hello");
    assert_eq!(problem(&status).exit, Exit::Usage);

    let agent = Agent::default();
    let mut bad = agent::hello(&agent, [0; 32], &[]);
    let (_to, mut from) =
        open(&cluster, &machine, api::from_agent::Of::Hello(bad.clone())).await.expect("a stream");
    let status = soon(from.message()).await.expect_err("a key of low order");
    assert_eq!(problem(&status).exit, Exit::Usage);
    bad.held = vec![api::Held { service: vec![1; 3], ..api::Held::default() }];
    let (_to, mut from) =
        open(&cluster, &machine, api::from_agent::Of::Hello(bad)).await.expect("a stream");
    let status = soon(from.message()).await.expect_err("a malformed id");
    assert_eq!(problem(&status).exit, Exit::Usage);

    let session = agent.connect(&cluster, &machine, &[]).await;
    let mut session = session.expect("nothing of it stays");
    session.ack(99, Vec::new()).await;
    assert_eq!(session.end().await.exit, Exit::Usage);

    // An operator that the state doesn't list, and another key under a node's name.
    let operator = CertificateRole::Operator(skep_core::base::OperatorId::from_bytes([5; 16]));
    machine.tls = cluster.client(&cluster.credentials(operator, "admin").0);
    let status = agent.connect(&cluster, &machine, &[]).await.err().expect("refused");
    // It is refused as on any port: an identity ends for nodes alone.
    assert_eq!((status.code(), problem(&status).exit), (Code::PermissionDenied, Exit::Refused));
    let worker = CertificateRole::Worker(machine.node);
    machine.tls = cluster.client(&cluster.credentials(worker, "db1").0);
    let status = agent.connect(&cluster, &machine, &[]).await.err().expect("refused");
    assert_eq!(problem(&status).exit, Exit::IdentityEnded);
}

#[tokio::test]
async fn a_manager_that_leads_no_more_cuts_its_sessions() {
    let cluster = Cluster::start().await;
    let machine = cluster.join("db1").await;
    let agent = Agent::default();
    let mut session = agent.connect(&cluster, &machine, &[]).await.expect("welcome");
    soon(cluster.core.consensus.shutdown()).await;
    assert_eq!(session.end().await.exit, Exit::Unreachable);
    assert!(!cluster.dispatch.seen(machine.node).connected);
    let status = agent.connect(&cluster, &machine, &[]).await.err().expect("refused");
    assert_eq!(problem(&status).exit, Exit::Unreachable);
}
