//! Calls that never end, by people who may not make them: hundreds of connections, each
//! with as many unfinished calls as it is given room for. A manager reads none of them,
//! and whoever may goes on working.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body::{Body as HttpBody, Frame};
use tonic::body::Body;
use tonic::client::GrpcService as _;
use tonic::codegen::http::Request;
use tonic::transport::Channel;

use cluster_tests::rpc::{identity, runtime, tls};
use cluster_tests::{Cluster, DEADLINE, crossing};
use skep_client::machine::SystemClock;
use skep_client::transport::{ClientTls, Expect, connect};

/// Bytes that each call announces.
const MESSAGE: u32 = 4 * 1024 * 1024;
/// What a manager may grow by, whatever they do; with what the allocator keeps.
const MOST_GROWTH_KB: u64 = 200 * 1024;
/// Machines that the attack comes from, each with an address of its own.
const SOURCES: u8 = 8;
/// Connections of each.
const EACH: usize = 32;

/// What became of the calls of an attack.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    /// Connections that were not to be had.
    closed: AtomicUsize,
    calls: AtomicUsize,
    /// Calls that are over, or whose whole body but for its end was taken.
    settled: AtomicUsize,
    refused: AtomicUsize,
    bytes: AtomicU64,
}

/// A message that announces 4 MiB, or what else, and lacks its last byte for ever.
struct Unfinished {
    prefix: Option<Vec<u8>>,
    left: usize,
    seen: Arc<Seen>,
    counted: bool,
}

static PIECE: [u8; 16 * 1024] = [7; 16 * 1024];

impl HttpBody for Unfinished {
    type Data = tonic::codegen::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        if let Some(prefix) = self.prefix.take() {
            return Poll::Ready(Some(Ok(Frame::data(prefix.into()))));
        }
        let piece = &PIECE[..self.left.min(PIECE.len())];
        if piece.is_empty() {
            self.settle();
            return Poll::Pending;
        }
        self.left -= piece.len();
        self.seen.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(tonic::codegen::Bytes::from_static(piece)))))
    }
}

impl Unfinished {
    fn settle(&mut self) {
        if !std::mem::replace(&mut self.counted, true) {
            self.seen.settled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.settle();
    }
}

async fn unfinished(mut channel: Channel, path: &'static str, bytes: u32, seen: Arc<Seen>) {
    seen.calls.fetch_add(1, Ordering::Relaxed);
    let prefix = Some([&[0][..], &bytes.to_be_bytes()].concat());
    let left = usize::try_from(bytes).expect("small") - 1;
    let body = Unfinished { prefix, left, seen: seen.clone(), counted: false };
    let request = Request::builder().method("POST").uri(path);
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    let request = request.body(Body::new(body)).expect("a request");
    if std::future::poll_fn(|context| channel.poll_ready(context)).await.is_err() {
        return;
    }
    if let Ok(response) = channel.call(request).await
        && response.headers().contains_key("grpc-status")
    {
        seen.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// Opens all connections, and on each one call after the other of these.
async fn attack(
    to: SocketAddr,
    tls: ClientTls,
    calls: &'static [(&'static str, u32)],
    per_connection: usize,
    seen: Arc<Seen>,
) {
    let mut attackers = Vec::new();
    for source in 0..SOURCES {
        let address = crossing(to, Ipv4Addr::new(127, 9, source + 1, 1)).await.to_string();
        for _ in 0..EACH {
            let (tls, seen, address) = (tls.clone(), seen.clone(), address.clone());
            attackers.push(tokio::spawn(async move {
                let connected = connect(&address, &tls, Expect::AnyManager, DEADLINE).await;
                let Ok((channel, _)) = connected else {
                    seen.closed.fetch_add(1, Ordering::Relaxed);
                    return;
                };
                seen.connections.fetch_add(1, Ordering::Relaxed);
                let mut all = tokio::task::JoinSet::new();
                for number in 0..per_connection {
                    let (path, bytes) = calls[number % calls.len()];
                    all.spawn(unfinished(channel.clone(), path, bytes, seen.clone()));
                }
                while all.join_next().await.is_some() {}
            }));
        }
    }
    for attacker in attackers {
        drop(attacker.await);
    }
}

/// Who works meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Works {
    Admin,
    /// A user of the control socket: the admin's identity is the attacker's.
    Local,
}

/// Attacks while somebody works, and fails where the manager grows.
fn withstood(
    cluster: &Cluster,
    tls: ClientTls,
    works: Works,
    calls: &'static [(&'static str, u32)],
    per_connection: usize,
) {
    let manager = &cluster.manager;
    let to: SocketAddr = manager.address().parse().expect("an address");
    let before = manager.memory("VmRSS");
    let seen = Arc::new(Seen::default());
    let runtime = runtime();
    let attacking = runtime.spawn(attack(to, tls, calls, per_connection, seen.clone()));
    let start = Instant::now();
    let (mut most, mut written) = (before, 0);
    let all = usize::from(SOURCES) * EACH;
    let mut client = cluster.client(DEADLINE);
    while start.elapsed() < DEADLINE {
        most = most.max(manager.memory("VmRSS"));
        let name = format!("amid-{}", start.elapsed().as_nanos());
        match works {
            Works::Admin => drop(client.create(&name, b"v").ok()),
            Works::Local => {
                drop(manager.skep_with(&["secret", "create", &name, "-"], b"v").ok());
            }
        }
        written += 1;
        let count = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        let tried = count(&seen.connections) + count(&seen.closed) == all;
        let asked = count(&seen.calls) == count(&seen.connections) * per_connection;
        if attacking.is_finished()
            || (tried && asked && written >= 5 && count(&seen.settled) == count(&seen.calls))
        {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    most = most.max(manager.memory("VmRSS"));
    runtime.shutdown_background();
    let grown = most.saturating_sub(before);
    println!(
        "{:?} of {all} connections, {:?} calls, {:?} refused, {:?} bytes sent; {before} kB, \
         {grown} kB more at most, {written} secrets written in {:?}",
        seen.connections,
        seen.calls,
        seen.refused,
        seen.bytes,
        start.elapsed(),
    );
    assert!(grown < MOST_GROWTH_KB, "it grew by {grown} kB");
    let (came, called) = (&seen.connections, &seen.calls);
    let (came, called) = (came.load(Ordering::Relaxed), called.load(Ordering::Relaxed));
    assert!(came >= 32 && called >= came, "hardly an attack: {came} came in, {called} calls");
}

const CONTROL: (&str, u32) = ("/skep.api.v1.Control/Apply", MESSAGE);
const REPORT: (&str, u32) = ("/skep.api.v1.Delivery/ReportOpened", MESSAGE);
const SESSION: (&str, u32) = ("/skep.api.v1.Delivery/Session", MESSAGE);
const APPEND: (&str, u32) = ("/skep.raft.v1.Raft/Append", 4 * MESSAGE);
const SNAPSHOT: (&str, u32) = ("/skep.raft.v1.Raft/Snapshot", MESSAGE);
const NOBODY: (&str, u32) = ("/skep.api.v1.Nobody/Serves", MESSAGE);
const LIST: (&str, u32) = ("/skep.api.v1.Control/ListSecrets", 4 * 1024);
const JOIN: (&str, u32) = ("/skep.api.v1.Membership/Join", 16 * 1024);

#[test]
fn p11_unfinished_calls_without_a_certificate_cost_little() {
    let cluster = Cluster::start(0);
    let admin = identity(&cluster.identity());
    let anonymous = ClientTls::anonymous(admin.fingerprint, Arc::new(SystemClock));
    withstood(&cluster, anonymous, Works::Admin, &[CONTROL, JOIN, APPEND, NOBODY], 4);
}

#[test]
fn p11_unfinished_calls_of_a_removed_node_cost_little() {
    let mut cluster = Cluster::start(1);
    let worker = identity(&cluster.agents[0].data().join("identity"));
    cluster.agents[0].kill();
    let _ = cluster.ok(&["node", "rm", "--force", "--yes", "node-1"]);
    withstood(&cluster, tls(&worker), Works::Admin, &[CONTROL, REPORT, SESSION, APPEND], 16);
}

#[test]
fn p11_unfinished_calls_of_a_node_cost_little() {
    let cluster = Cluster::start(1);
    let worker = identity(&cluster.agents[0].data().join("identity"));
    withstood(&cluster, tls(&worker), Works::Admin, &[CONTROL, REPORT, SESSION, SNAPSHOT], 16);
    assert!(cluster.agents[0].is_connected());
}

#[test]
fn p11_unfinished_calls_of_an_operator_cost_little() {
    let cluster = Cluster::start(0);
    let admin = identity(&cluster.identity());
    withstood(&cluster, tls(&admin), Works::Local, &[LIST, APPEND, CONTROL], 24);
}
