//! Members among strangers: who is told from whom, and who has to go.

use std::collections::BTreeSet;

use rustls::server::Acceptor;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use super::*;
use crate::ca::CertificateRole;
use crate::ca::fixtures::{operator, worker};
use crate::machine::os_dice;
use crate::transport::hello::id_of;
use skep_core::base::{Key32, NodeId};
use skep_core::seal::{HelloPlace, HelloSecret};

const OWN: NodeId = NodeId::from_bytes([1; 16]);

fn secret() -> Arc<HelloSecret> {
    Arc::new(HelloSecret::new(Key32::copy_of(&[5; 32]).expect("a key")))
}

/// Knows everybody but these.
fn recognition(strangers: &[CertificateRole]) -> Recognition {
    let strangers = strangers.to_vec();
    let may_be = Arc::new(move |role| !strangers.contains(&role));
    Recognition::new(secret(), OWN, clock_at(NOW), may_be)
}

fn greeting(role: CertificateRole) -> Greeting {
    let place = match role {
        CertificateRole::Manager(_) => HelloPlace::Manager,
        CertificateRole::Worker(_) => HelloPlace::Node,
        CertificateRole::Operator(_) => HelloPlace::Operator,
    };
    Greeting::new(secret().key_of(place, &id_of(role)).expect("a key"), role, os_dice)
}

/// A member with a hello.
fn member(authority: &Authority, role: CertificateRole) -> ClientTls {
    authority.holder(role).client(authority).greeting(greeting(role))
}

async fn rig(bounds: Bounds, authority: &Authority, strangers: &[CertificateRole]) -> Rig {
    let own = authority.holder(manager(1)).credentials();
    let tls = ServerTls::new(&own, authority.fingerprint(), clock_at(NOW));
    Rig::with(bounds, tls.recognising(recognition(strangers))).await
}

/// A connection from an address of one's own.
async fn from(rig: &Rig, host: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((host, 0))).expect("bound");
    socket.connect(rig.address).await.expect("a connection")
}

async fn is_open(stream: &mut TcpStream) -> bool {
    timeout(Duration::from_millis(20), stream.read_u8()).await.is_err()
}

/// The server name of the first message that a client sends.
async fn sent(tls: &ClientTls, expect: Expect) -> Option<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address").to_string();
    let asked = async { crate::transport::connect(&address, tls, expect, PATIENCE).await.is_err() };
    let heard = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await.expect("a hello");
        begun.client_hello().server_name().map(str::to_owned)
    };
    let (failed, name) = tokio::join!(asked, heard);
    assert!(failed, "nobody answered");
    name
}

#[tokio::test]
async fn what_is_sent_is_a_hello_made_anew_each_time_or_nothing() {
    let authority = Authority::new(1);
    let known = recognition(&[]);
    for role in [manager(2), worker(3), operator(4)] {
        let tls = member(&authority, role);
        let mut names = BTreeSet::new();
        for expect in [Expect::AnyManager, Expect::Manager(OWN), Expect::AnyManager] {
            let name = sent(&tls, expect).await.expect("a name");
            assert_eq!(known.member(&name), Some((role, false)));
            assert_eq!(known.member(&name), None, "it is good once");
            assert!(!name.contains(&role.id_text()), "no id crosses the network");
            names.insert(name);
        }
        assert_eq!(names.len(), 3);
        let elsewhere = Expect::Manager(NodeId::from_bytes([9; 16]));
        let name = sent(&tls, elsewhere).await.expect("a name");
        assert_eq!(known.member(&name), None, "for another manager");
    }
    let raft = member(&authority, manager(2)).of_raft();
    let name = sent(&raft, Expect::Manager(OWN)).await.expect("a name");
    assert_eq!(known.member(&name), Some((manager(2), true)));
    let name = sent(&raft, Expect::AnyManager).await.expect("a name");
    assert_eq!(known.member(&name), Some((manager(2), false)), "it is not meant for one");
    assert_eq!(sent(&anonymous(&authority), Expect::AnyManager).await, None);
    let silent = authority.holder(worker(3)).client(&authority);
    assert_eq!(sent(&silent, Expect::AnyManager).await, None);
}

/// What else a manager is asked for delays no heartbeat.
#[tokio::test]
async fn messages_of_raft_are_served_where_raft_runs() {
    const RAFT: &str = "raft-of-a-test";
    let authority = Authority::new(1);
    let own = authority.holder(manager(1)).credentials();
    let tls = ServerTls::new(&own, authority.fingerprint(), clock_at(NOW));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(RAFT)
        .enable_all()
        .build()
        .expect("a runtime");
    let tls = tls.recognising(recognition(&[]));
    let rig = Rig::with_raft(Bounds::default(), tls, runtime.handle().clone()).await;
    let thread = async |tls: &ClientTls| {
        let (channel, _) = rig.connect(tls, Expect::Manager(OWN)).await.expect("a connection");
        read_problem(&call(channel, "thread").await).expect("a problem").text
    };
    let peer = member(&authority, manager(2));
    assert_eq!(thread(&peer.of_raft()).await, RAFT);
    for other in [peer, member(&authority, operator(4)), anonymous(&authority)] {
        assert_ne!(thread(&other).await, RAFT);
    }
    runtime.shutdown_background();
}

#[tokio::test]
async fn a_hello_of_nobody_or_of_another_time_is_a_strangers() {
    let authority = Authority::new(1);
    let name = sent(&member(&authority, worker(3)), Expect::AnyManager).await.expect("a name");
    assert_eq!(recognition(&[worker(3)]).member(&name), None, "the state doesn't list it");
    let other = Arc::new(HelloSecret::new(Key32::copy_of(&[6; 32]).expect("a key")));
    let other = Recognition::new(other, OWN, clock_at(NOW), Arc::new(|_| true));
    assert_eq!(other.member(&name), None, "of another cluster");
    let late = clock_at(NOW.plus_ms(6 * 60_000));
    let late = Recognition::new(secret(), OWN, late, Arc::new(|_| true));
    assert_eq!(late.member(&name), None);
    assert_eq!(recognition(&[]).member(&name), Some((worker(3), false)));
}

#[tokio::test]
async fn members_come_in_while_strangers_take_all_their_places() {
    let authority = Authority::new(1);
    let bounds = Bounds {
        strangers: 9,
        hello_time: 10 * PATIENCE,
        stranger_time: 10 * PATIENCE,
        ..Bounds::default()
    };
    let rig = rig(bounds, &authority, &[]).await;
    let mut flood = Vec::new();
    for number in 0..100 {
        flood.push(from(&rig, [127, 0, 2, number % 2 + 1]).await);
    }
    for role in [manager(2), worker(3), operator(4)] {
        assert!(rig.who(&member(&authority, role)).await.starts_with("Peer"));
    }
    // And so does a stranger from elsewhere: the flood displaces itself.
    assert_eq!(rig.who(&anonymous(&authority)).await, "Anonymous");
    let mut open = 0;
    for stream in &mut flood {
        open += usize::from(is_open(stream).await);
    }
    assert!((1..=8).contains(&open), "{open} of the flood are open");
    for stream in flood.iter_mut().take(50) {
        assert!(!is_open(stream).await, "the oldest have gone");
    }
}

#[tokio::test]
async fn a_member_has_its_own_places_and_no_more() {
    let authority = Authority::new(1);
    let bounds = Bounds { per_known: 2, ..Bounds::default() };
    let rig = rig(bounds, &authority, &[]).await;
    let tls = member(&authority, worker(3));
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(rig.connect(&tls, Expect::AnyManager).await.expect("a connection"));
    }
    assert!(rig.connect(&tls, Expect::AnyManager).await.is_err());
    // One without a hello counts by its certificate.
    let bare = authority.holder(worker(3)).client(&authority);
    assert!(rig.connect(&bare, Expect::AnyManager).await.is_err());
    assert!(rig.who(&member(&authority, worker(4))).await.starts_with("Peer"));
    drop(held);
    let until = std::time::Instant::now() + PATIENCE;
    while rig.connect(&bare, Expect::AnyManager).await.is_err() {
        assert!(std::time::Instant::now() < until, "the places came back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn handshakes_of_a_member_wait_behind_its_own_alone() {
    let authority = Authority::new(1);
    let bounds = Bounds { handshakes_each: 1, handshake_time: 10 * PATIENCE, ..Bounds::default() };
    let rig = rig(bounds, &authority, &[]).await;
    // One says hello as a member and never goes on.
    let (config, name) =
        member(&authority, worker(3)).connection(Expect::AnyManager).expect("a configuration");
    let mut half = rustls::ClientConnection::new(config, name).expect("a connection");
    let mut hello = Vec::new();
    half.write_tls(&mut hello).expect("a hello");
    let mut stream = from(&rig, [127, 0, 2, 1]).await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, &hello).await.expect("written");
    stream.read_u8().await.expect("it is that one's turn");
    assert!(rig.who(&member(&authority, worker(4))).await.starts_with("Peer"));
    let late = member(&authority, worker(3));
    let waits = rig.connect(&late, Expect::AnyManager);
    tokio::pin!(waits);
    assert!(timeout(Duration::from_millis(100), &mut waits).await.is_err(), "it waits");
    drop(stream);
    assert!(waits.await.is_ok());
}

#[tokio::test]
async fn the_idle_guests_of_whoever_has_most_go() {
    let authority = Authority::new(1);
    let bounds = Bounds { guests: 5, ..Bounds::default() };
    let rig = rig(bounds, &authority, &[]).await;
    let guest = anonymous(&authority);
    let kept = rig.connect(&guest, Expect::AnyManager).await.expect("a connection").0;
    let kept = tokio::spawn(call(kept, "keep"));
    timeout(PATIENCE, KEPT.acquire()).await.expect("in time").expect("a place").forget();
    let mut idle = Vec::new();
    for _ in 0..20 {
        // One after the other: each is a guest once it is accepted.
        idle.push(rig.connect(&guest, Expect::AnyManager).await.expect("a connection").0);
    }
    assert_eq!(rig.who(&guest).await, "Anonymous", "there is room for one more");
    assert!(!kept.is_finished(), "who shows a good token stays");
    let status = call(idle.swap_remove(0), "").await;
    assert_eq!(read_problem(&status), None, "the oldest idle one has gone: {status:?}");
    assert!(rig.who(&member(&authority, worker(3))).await.starts_with("Peer"));
    kept.abort();
}

#[tokio::test]
async fn whom_the_state_does_not_list_is_a_guest() {
    let authority = Authority::new(1);
    let bounds = Bounds { guests: 3, known: 1, ..Bounds::default() };
    let rig = rig(bounds, &authority, &[worker(3)]).await;
    let removed = member(&authority, worker(3));
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(rig.connect(&removed, Expect::AnyManager).await.expect("a connection"));
    }
    // It is told who it is, and has no place of a member's.
    assert!(rig.who(&removed).await.starts_with("Peer"));
    assert!(rig.who(&member(&authority, worker(4))).await.starts_with("Peer"));
}
