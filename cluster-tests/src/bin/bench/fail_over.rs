//! How long nobody leads after a leader's death, and whether anybody calls an election without
//! one.

use std::time::{Duration, Instant};

use cluster_tests::{Client, Cluster, DEADLINE, until};

use super::creates::Load;
use super::row::{Row, rate};
use super::size::Size;

/// Clients of the load under which no election may be called.
const CLIENTS: usize = 64;

/// How long after each death of a leader the next write is acknowledged.
pub(super) fn fail_overs(
    cluster: &mut Cluster,
    client: &mut Client,
    count: usize,
) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..count {
        let leader = cluster.leader();
        let _ = client.create(&format!("before-{number}"), b"v").ok();
        let start = Instant::now();
        cluster.manager_mut(leader).kill();
        let _ = client.create(&format!("after-{number}"), b"v").ok();
        times.push(start.elapsed());
        cluster.bring_back(leader);
        until("its return", || {
            (cluster.manager_mut(leader).state_here() == "follower").then_some(())
        });
    }
    times
}

/// The leader killed -> the next write acknowledged to a client that was connected.
pub(super) fn row(size: &Size) -> Row {
    killed(size.fail_overs)
}

/// The same so many times, and then the load for so many minutes.
pub(super) fn rows(kills: usize, minutes: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    if kills > 0 {
        rows.push(killed(kills));
    }
    if minutes > 0 {
        rows.push(loaded(Duration::from_secs(minutes * 60)));
    }
    rows
}

fn killed(count: usize) -> Row {
    let mut cluster = Cluster::start_with(3, 0);
    let mut client = cluster.client(DEADLINE);
    let times = fail_overs(&mut cluster, &mut client, count);
    Row::of("leader killed -> next write acknowledged", times).note("3 managers")
}

/// The newest term that any manager knows: each election that is called begins one.
fn term(cluster: &Cluster) -> u64 {
    let terms = cluster.managers().map(|manager| manager.status_here()["term"].as_u64());
    terms.max().flatten().expect("a manager's term")
}

fn loaded(time: Duration) -> Row {
    let cluster = Cluster::start_with(3, 0);
    let _leads = cluster.leader();
    let load = Load::of(&cluster, CLIENTS);
    let before = term(&cluster);
    let (times, took) = load.go_on(time);
    let elections = term(&cluster) - before;
    let longest = times.iter().max().map_or(0, Duration::as_millis);
    let rate = rate(times.len(), took);
    let what = format!("new values by {CLIENTS} clients for {took:.0?}");
    let note = format!("{elections} elections, the longest write {longest} ms, 3 managers");
    Row::of(what, times).at_rate(rate).note(note)
}
