//! Floods by people who are not known: commands, sessions, joins and fail-overs go on.
//!
//! `SKEP_FLOOD_SECONDS` makes the floods longer than they are otherwise,
//! `SKEP_FLOOD_PER_SECOND` wilder.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_tests::rpc::{identity, runtime};
use cluster_tests::{Cluster, DEADLINE, Flood, Flooding, rack, until};
use skep_client::machine::SystemClock;
use skep_client::transport::{ClientTls, Expect, connect};

/// What strangers may add to a manager's memory, whatever they do.
const GROWTH_KIB: u64 = 256 * 1024;

fn asked<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// How long a flood goes on at least.
fn duration() -> Duration {
    Duration::from_secs(asked("SKEP_FLOOD_SECONDS").unwrap_or(15))
}

fn targets(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster.managers().map(|manager| manager.address().parse().expect("an address")).collect()
}

fn anonymous(cluster: &Cluster) -> ClientTls {
    ClientTls::anonymous(identity(&cluster.identity()).fingerprint, Arc::new(SystemClock))
}

/// Does it and prints how long it took.
fn timed<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = act();
    println!("{what}: {:?}", start.elapsed());
    done
}

/// All that has to go on, while a flood does.
fn everything_goes_on(cluster: &mut Cluster, mut flood: Flood, joins: bool) {
    flood.per_second = asked("SKEP_FLOOD_PER_SECOND").unwrap_or(flood.per_second);
    let per_second = u64::from(flood.per_second);
    let before: Vec<u64> = cluster.managers().map(|manager| manager.memory("VmRSS")).collect();
    let start = Instant::now();
    let flooding: Flooding = flood.start();
    until("the flood", || (flooding.opened() > per_second).then_some(()));
    let mut number = 0;
    let mut commands = |cluster: &Cluster, count: usize| {
        for _ in 0..count {
            number += 1;
            timed("a command", || cluster.secret(&format!("amid-{number}"), b"v"));
        }
    };
    commands(cluster, 5);
    timed("an agent's reconnect", || {
        cluster.agents[0].kill();
        cluster.agents[0].start_again();
        cluster.agents[0].connected();
    });
    timed("a delivery", || cluster.update("db", b"two"));
    if joins {
        timed("a join", || drop(cluster.join("late", &[]).data()));
    }
    let leader = cluster.leader();
    timed("a fail-over", || {
        cluster.manager_mut(leader).kill();
        until("a new leader", || {
            cluster.managers().find(|manager| manager.state() == "leader").map(|_| ())
        });
        commands(cluster, 1);
    });
    while start.elapsed() < duration() {
        commands(cluster, 1);
    }
    timed("a delivery", || cluster.update("db", b"three"));
    for (number, manager) in cluster.managers().enumerate().filter(|(number, _)| *number != leader)
    {
        let (before, most) = (before[number], manager.memory("VmHWM"));
        println!("{before} KiB before, {most} KiB at most");
        assert!(most < before + GROWTH_KIB, "{before} KiB before, {most} KiB at most");
    }
    timed("the manager's return", || cluster.bring_back(leader));
    let (opened, took) = (flooding.opened(), start.elapsed());
    println!("{opened} connections in {took:?}");
    drop(flooding);
    assert!(opened > 100 * took.as_secs(), "hardly a flood: {opened} in {took:?}");
    assert!(cluster.agents[0].file("web", "db").exists());
}

/// Three managers and an agent that is given a secret.
fn cluster() -> Cluster {
    let cluster = Cluster::start_with(3, 1);
    cluster.secret("db", b"one");
    let words = ["service", "create", "web", "--node", "node-1", "--activation", "placed"];
    let _ = cluster.ok(&words);
    let _ = cluster.ok(&["service", "grant", "web", "db"]);
    cluster
}

#[test]
fn p11_silent_connections_from_forty_networks_stop_nothing() {
    let mut cluster = cluster();
    let flood = Flood::silent(targets(&cluster));
    everything_goes_on(&mut cluster, flood, true);
}

#[test]
fn p11_handshakes_that_are_begun_and_left_stop_nothing() {
    let mut cluster = cluster();
    let flood = Flood::of_hellos(targets(&cluster), &anonymous(&cluster));
    everything_goes_on(&mut cluster, flood, true);
}

/// Every stranger is displaced before its turn comes: only those who are known go on.
#[test]
fn p11_members_go_on_where_no_stranger_gets_through() {
    let mut cluster = cluster();
    let hellos = Flood::of_hellos(targets(&cluster), &anonymous(&cluster));
    let flood = Flood { sources: 1_000, each: 3, per_second: 10_000, ..hellos };
    everything_goes_on(&mut cluster, flood, false);
}

/// A connection of a guest's from this address, once it is one.
async fn guest(
    from: [u8; 4],
    to: SocketAddr,
    tls: &ClientTls,
) -> Option<tonic::transport::Channel> {
    let near = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = near.local_addr().expect("its address").to_string();
    tokio::spawn(async move {
        let Ok((mut near, _)) = near.accept().await else { return };
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((from, 0))).expect("an address of this machine");
        if let Ok(mut far) = socket.connect(to).await {
            drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
        }
    });
    let connected = connect(&address, tls, Expect::AnyManager, DEADLINE).await;
    connected.ok().map(|(channel, _)| channel)
}

#[test]
fn p11_idle_guests_from_five_addresses_keep_nobody_from_joining() {
    let mut cluster = Cluster::start(0);
    let (to, tls) = (targets(&cluster)[0], anonymous(&cluster));
    let runtime = runtime();
    let mut guests = Vec::new();
    for number in 0..320_u16 {
        let from = [127, 9, u8::try_from(number % 5).expect("small") + 1, 1];
        let came = runtime.block_on(guest(from, to, &tls));
        guests.push(came.expect("nobody is refused, and each displaces an older one"));
    }
    timed("a join", || drop(cluster.join("late", &[]).data()));
    // And now they come again and again, each in the place of an older one.
    for number in 0..20_u8 {
        let tls = tls.clone();
        runtime.spawn(async move {
            let mut kept = std::collections::VecDeque::new();
            loop {
                kept.extend(guest([127, 9, number % 5 + 1, 1], to, &tls).await);
                kept.drain(..kept.len().saturating_sub(16));
            }
        });
    }
    timed("a join", || drop(cluster.join("later", &[]).data()));
    timed("a command", || cluster.secret("amid", b"v"));
    runtime.shutdown_background();
    drop(guests);
}

#[test]
fn a_rack_of_200_machines_behind_one_address_joins_at_once() {
    let cluster = Cluster::start_with(3, 0);
    let text = cluster.ok(&["join-token", "worker", "-q"]);
    let leader = cluster.managers().nth(cluster.leader()).expect("the leader").address();
    let start = Instant::now();
    let tries = rack(&leader, &anonymous(&cluster), &text, "rack", 200);
    let most = tries.iter().max();
    println!("200 joins in {:?}, {most:?} tries at most", start.elapsed());
    let listed = cluster.ok(&["node", "ls", "--format", "json"]);
    assert_eq!(listed.lines().filter(|line| line.contains("rack-")).count(), 200);
}
