//! What goes on while strangers flood all managers, and a rack that joins at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_tests::rpc::identity;
use cluster_tests::{Cluster, DEADLINE, Flood, rack, until};
use skep_client::machine::SystemClock;
use skep_client::transport::ClientTls;

use super::row::Row;
use super::size::{Size, VALUE};

/// Machines of the rack.
const RACK: usize = 200;

fn anonymous(cluster: &Cluster) -> ClientTls {
    ClientTls::anonymous(identity(&cluster.identity()).fingerprint, Arc::new(SystemClock))
}

/// Two floods, and the rack without one.
pub(super) fn rows(size: &Size) -> Vec<Row> {
    let silent = |cluster: &Cluster| Flood::silent(targets(cluster));
    let hellos = |cluster: &Cluster| Flood::of_hellos(targets(cluster), &anonymous(cluster));
    let mut rows = amid(size, "silent connections", &silent);
    rows.extend(amid(size, "begun handshakes", &hellos));
    rows.push(joins_at_once());
    rows
}

fn targets(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster.managers().map(|manager| manager.address().parse().expect("an address")).collect()
}

/// Commands, joins and fail-overs during one flood.
fn amid(size: &Size, kind: &str, flood: &dyn Fn(&Cluster) -> Flood) -> Vec<Row> {
    let mut cluster = Cluster::start_with(3, 0);
    let token = cluster.ok(&["join-token", "worker", "-q"]);
    let value = cluster.file("value", &[b'x'; VALUE]);
    let flooding = flood(&cluster).start();
    until("the flood", || (flooding.opened() > 5_000).then_some(()));
    let began = Instant::now();
    let mut creates = Vec::new();
    while began.elapsed() < size.flood {
        let start = Instant::now();
        let _ = cluster.ok(&["secret", "create", &format!("amid-{}", creates.len()), &value]);
        creates.push(start.elapsed());
    }
    let leader = cluster.managers().nth(cluster.leader()).expect("the leader").address();
    let mut joins = Vec::new();
    for number in 0..size.deliveries {
        let start = Instant::now();
        let _ = rack(&leader, &anonymous(&cluster), &token, &format!("late-{number}"), 1);
        joins.push(start.elapsed());
    }
    let mut client = cluster.client(DEADLINE);
    let fail_overs = super::fail_over::fail_overs(&mut cluster, &mut client, size.fail_overs);
    let (opened, took) = (flooding.opened(), began.elapsed());
    let note = format!("3 managers, {opened} {kind} from 40 networks in {took:.0?}");
    vec![
        Row::of("flood: create, a process each", creates).note(note),
        Row::of("flood: join of one machine", joins).note(kind),
        Row::of("flood: leader killed -> next write acknowledged", fail_overs).note(kind),
    ]
}

fn joins_at_once() -> Row {
    let cluster = Cluster::start_with(3, 0);
    let token = cluster.ok(&["join-token", "worker", "-q"]);
    let leader = cluster.managers().nth(cluster.leader()).expect("the leader").address();
    let start = Instant::now();
    let tries = rack(&leader, &anonymous(&cluster), &token, "rack", RACK);
    let took: Duration = start.elapsed();
    let most = tries.iter().max().copied().unwrap_or_default();
    Row::of(format!("{RACK} machines behind one address join at once"), vec![took])
        .note(format!("until the last one is through; {most} tries at most"))
}
