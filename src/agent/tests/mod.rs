//! The whole agent but its process: a leader of the test's own over mutual TLS,
//! real mounts, real processes, the local socket. As root only.

mod fixture;

use std::fs::{self, File};
use std::io::{Read, Write};

use crate::agent::session::{Ending, LinkState, ServiceState};
use fixture::*;
use skep_client::transport::connect_local;
use skep_client::transport::rpc::local::agent_client::AgentClient;
use skep_core::wire::{api, local};

#[tokio::test(flavor = "multi_thread")]
async fn secrets_arrive_rotate_and_go() {
    let Some(case) = Case::new().await else { return };
    let agent = case.start(std::slice::from_ref(&case.address)).await;
    let mut leader = case.stream().await;
    assert!(leader.hello.held.is_empty() && leader.hello.running.is_empty());
    leader.push(placed(5)).await;

    let (up, ()) = tokio::join!(agent.up(DEADLINE), async {
        assert_eq!(leader.running().await, 1);
        let first = leader.set(1, b"first value", 6);
        assert!(leader.push(first).await.failed.is_empty());
    });
    let file = up.expect("in place").join("password");
    assert_eq!(fs::read(&file).expect("readable"), b"first value");
    let mut old = File::open(&file).expect("opens");

    let second = leader.set(2, b"second value", 7);
    assert!(leader.push(second).await.failed.is_empty());
    assert_eq!(fs::read(&file).expect("readable"), b"second value");

    // One that does not open: the set stays as it is, and the leader hears that it is no use.
    let mut bad = leader.set(3, b"third value", 8);
    bad.values[0].sealed_key[3] ^= 1;
    let ack = leader.push(bad).await;
    assert!(ack.failed[0].r#final, "{ack:?}");
    assert_eq!(fs::read(&file).expect("readable"), b"second value");

    assert!(leader.push(gone(9)).await.failed.is_empty());
    assert!(!file.exists());
    let mut rest = Vec::new();
    old.read_to_end(&mut rest).expect("reads");
    assert_eq!(rest, b"", "a descriptor opened before reads end of file");
    agent.stop(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_without_managers_keeps_and_a_reconnection_revokes_first() {
    let Some(case) = Case::new().await else { return };
    let agent = case.start(std::slice::from_ref(&case.address)).await;
    let mut leader = case.stream().await;
    leader.push(placed(5)).await;
    let (up, ()) = tokio::join!(agent.up(DEADLINE), async {
        leader.running().await;
        let set = leader.set(1, b"kept", 6);
        leader.push(set).await;
    });
    let file = up.expect("in place").join("password");
    agent.stop(false).await;
    drop(leader);
    assert_eq!(fs::read(&file).expect("readable"), b"kept");

    // Nobody listens there: the agent is alone, and what is here is served.
    let agent = case.start(&["127.0.0.1:1".to_owned()]).await;
    agent.up(DEADLINE).await.expect("served from what is here");
    let state = agent.handle.view().await.expect("a view");
    assert_eq!(state.state, LinkState::Offline);
    assert_eq!(state.services[0].state, ServiceState::InPlace);
    assert!(state.offline_since.is_some());
    agent.stop(false).await;

    let agent = case.start(std::slice::from_ref(&case.address)).await;
    let mut leader = case.stream().await;
    assert_eq!(leader.hello.revision, 6);
    assert_eq!(leader.hello.running.len(), 1, "up by hand is remembered");
    assert_eq!(leader.hello.held[0].digest, vec![1; 32]);
    leader.push(api::Push { placed_changed: true, ..gone(7) }).await;
    assert!(!file.exists());
    let refused = agent.up(DEADLINE).await.expect_err("not placed any more");
    assert!(refused.text.contains("not placed"), "{refused:?}");
    agent.stop(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_counts_until_its_last_process_is_gone() {
    let Some(case) = Case::new().await else { return };
    let agent = case.start(std::slice::from_ref(&case.address)).await;
    let mut leader = case.stream().await;
    leader.push(placed(5)).await;

    // What `skep exec` does, in a shell: ask, enclose itself, become the command.
    let go = case.folder.path().join("go");
    let script = format!(
        "while [ ! -s {go} ]; do sleep 0.01; done; exec unshare -m sh -c 'mount -t tmpfs none /run; \
         mkdir /run/secrets; mount --bind $(cat {go}) /run/secrets; \
         setsid sleep 60 & exec sleep 60'",
        go = go.display()
    );
    let mut main = process(&script);
    let number = pid(&main);
    let (exec, ()) =
        tokio::join!(agent.handle.exec("web".to_owned(), 0, number, DEADLINE), async {
            assert_eq!(leader.running().await, 1);
            let set = leader.set(1, b"value", 6);
            leader.push(set).await;
        });
    let live = exec.expect("granted").path;
    assert!(live.join("password").exists());
    File::create(&go)
        .and_then(|mut file| file.write_all(live.display().to_string().as_bytes()))
        .expect("written");
    until("a namespace of its own", || {
        namespace(&number.to_string()) != namespace("self")
            && fs::read_to_string(format!("/proc/{number}/comm")).is_ok_and(|c| c == "sleep\n")
    })
    .await;
    agent.handle.enclosed(0, number, None).await.expect("known");
    let inside = namespace(&number.to_string());

    // `kill -9`, and an agent that starts again: the other process still counts.
    main.kill().expect("killed");
    main.wait().expect("reaped");
    agent.stop(false).await;
    drop(leader);
    let agent = case.start(std::slice::from_ref(&case.address)).await;
    let mut leader = case.stream().await;
    assert_eq!(leader.hello.running.len(), 1);
    leader.push(placed(7)).await;

    let inside_still = others_in(&inside);
    assert_eq!(inside_still.len(), 1, "{inside:?}: {inside_still:?}");
    kill(inside_still[0]);
    assert_eq!(leader.running().await, 0);
    leader.push(gone(8)).await;
    agent.stop(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_answers_and_refuses_in_words() {
    let Some(case) = Case::new().await else { return };
    let agent = case.start(std::slice::from_ref(&case.address)).await;
    let mut leader = case.stream().await;
    leader.push(placed(5)).await;
    let channel = connect_local(&agent.socket).await.expect("connects");
    let mut client = AgentClient::new(channel);
    let status = client.status(local::StatusRequest {}).await.expect("answers").into_inner();
    assert_eq!(status.state(), local::AgentState::Connected);
    assert_eq!((status.cluster_name.as_str(), status.node_name.as_str()), ("prod", "n1"));
    assert_eq!(status.services[0].state(), local::ServiceState::Idle);

    let exec = |service: &str| local::ExecRequest {
        service: service.to_owned(),
        timeout_ms: 200,
        inside: false,
        on_change: String::new(),
    };
    let refused = client.exec(exec("other")).await.expect_err("not placed");
    let problem = skep_client::transport::read_problem(&refused).expect("a problem");
    assert!(problem.text.contains("not placed on this node") && !problem.hint.is_empty());
    let late = client.exec(exec("web")).await.expect_err("nothing is delivered");
    assert_eq!(
        skep_client::transport::read_problem(&late).map(|problem| problem.exit),
        Some(skep_core::base::Exit::NotConfirmed)
    );
    let inside = local::ExecRequest { inside: true, ..exec("web") };
    client.exec(inside).await.expect_err("not in a namespace of its own");
    client.leave(local::LeaveRequest {}).await.expect("leaves");
    let ending = tokio::time::timeout(DEADLINE, agent.driving).await.expect("in time");
    assert_eq!(ending.expect("no panic"), Ok(Ending::Left));
}
