//! Who is recognised as what.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::ca::fixtures::{LEAF_MS, operator, worker};
use crate::ca::{Identity, START_TOLERANCE_MS, read_leaf};
use crate::machine::os_dice;
use crate::transport::OutOfTime;
use crate::transport::exchange::{CLASSICAL, KeyExchange, REQUIRED};
use skep_core::base::{NodeId, SecretBytes};
use skep_core::seal::HelloKey;

#[tokio::test]
async fn both_sides_recognise_each_other() {
    let authority = Authority::new(1);
    let rig = Rig::manager(Bounds::default(), &authority).await;
    for role in [manager(2), worker(3), operator(4)] {
        let holder = authority.holder(role);
        let tls = holder.client(&authority);
        let expect = Expect::Manager(NodeId::from_bytes([1; 16]));
        let (channel, peer) = rig.connect(&tls, expect).await.expect("a connection");
        assert_eq!(peer.leaf().subject, authority.subject(manager(1)));
        let leaf = read_leaf(&holder.chain[0]).expect("a leaf");
        assert_eq!(
            who(channel).await,
            format!("{:?}", Caller::Peer(Peer::stand_in(leaf, authority.issuer.begins())))
        );
    }
}

#[tokio::test]
async fn no_certificate_is_anonymous() {
    let authority = Authority::new(1);
    let rig = Rig::manager(Bounds::default(), &authority).await;
    assert_eq!(rig.who(&anonymous(&authority)).await, "Anonymous");
}

#[tokio::test]
async fn other_clusters_are_refused_both_ways() {
    let (ours, other) = (Authority::new(1), Authority::new(2));
    let rig = Rig::manager(Bounds::default(), &ours).await;
    let holder = other.holder(worker(1));

    // Their client doesn't accept our server.
    let error = rig.connect(&holder.client(&other), Expect::AnyManager).await.expect_err("refused");
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("does not belong to the cluster"), "{error}");
    // Our server doesn't accept their certificate, in a client that accepts ours.
    let mixed = ClientTls::new(&holder.credentials(), ours.fingerprint(), clock_at(NOW));
    let error = rig.connect(&mixed, Expect::AnyManager).await.expect_err("refused");
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("does not accept our certificate"), "{error}");
    // And it goes on.
    assert_eq!(rig.who(&anonymous(&ours)).await, "Anonymous");
}

#[tokio::test]
async fn only_a_manager_serves() {
    let authority = Authority::new(1);
    for role in [worker(1), operator(1)] {
        let own = authority.holder(role).credentials();
        let tls = ServerTls::new(&own, authority.fingerprint(), clock_at(NOW));
        let rig = Rig::with(Bounds::default(), tls).await;
        let error = rig.connect(&anonymous(&authority), Expect::AnyManager).await;
        let error = error.expect_err("refused");
        assert!(error.to_string().contains("not a manager's"), "{error}");
    }
}

#[tokio::test]
async fn another_manager_than_expected_is_refused() {
    let authority = Authority::new(1);
    let rig = Rig::manager(Bounds::default(), &authority).await;
    let tls = authority.holder(manager(2)).client(&authority);
    let expect = Expect::Manager(NodeId::from_bytes([3; 16]));
    let error = rig.connect(&tls, expect).await.expect_err("refused");
    let found = NodeId::from_bytes([1; 16]).to_string();
    assert!(error.to_string().contains(&found), "{error}");
}

#[tokio::test]
async fn an_expired_certificate_is_recognised_as_such() {
    let authority = Authority::new(1);
    let server = authority.holder_from(manager(1), NOW.plus_ms(LEAF_MS)).credentials();
    let clock = clock_at(NOW.plus_ms(LEAF_MS));
    let tls = ServerTls::new(&server, authority.fingerprint(), clock.clone());
    let rig = Rig::with(Bounds::default(), tls).await;
    let holder = authority.holder(worker(5));
    let client = ClientTls::new(&holder.credentials(), authority.fingerprint(), clock.clone());
    let leaf = read_leaf(&holder.chain[0]).expect("a leaf");
    assert_eq!(
        rig.who(&client).await,
        format!("{:?}", Caller::Expired(Peer::stand_in(leaf, authority.issuer.begins())))
    );

    // An expired server is no server, and a certificate from the future is nobody's.
    *clock.0.lock() = NOW.plus_ms(2 * LEAF_MS);
    let error = rig.connect(&client, Expect::AnyManager).await.expect_err("refused");
    let ConnectError::OutOfTime { clocks, .. } = &error else { panic!("{error}") };
    // Nothing here says what time it is.
    assert!(matches!(clocks.certificate, OutOfTime::Ended(_)) && clocks.said.is_none(), "{error}");
    *clock.0.lock() = NOW.plus_ms(LEAF_MS);
    let late = NOW.plus_ms(LEAF_MS + 2 * START_TOLERANCE_MS);
    let holder = authority.holder_from(worker(5), late);
    let client = ClientTls::new(&holder.credentials(), authority.fingerprint(), clock);
    let error = rig.connect(&client, Expect::AnyManager).await.expect_err("refused");
    let ConnectError::OutOfTime { clocks, .. } = &error else { panic!("{error}") };
    assert_eq!(clocks.certificate, OutOfTime::Ours);
}

#[tokio::test]
async fn a_server_of_an_issuing_ca_that_is_in_use_no_more_is_refused() {
    let authority = Authority::new(1);
    let next = authority.rotated();
    assert_eq!(authority.fingerprint(), next.fingerprint());
    let server = authority.holder(manager(1)).credentials();
    let tls = ServerTls::new(&server, authority.fingerprint(), clock_at(NOW));
    let rig = Rig::with(Bounds::default(), tls).await;
    let holder = authority.holder(worker(5));
    let client = holder.client(&authority);
    let (_open, peer) = rig.connect(&client, Expect::AnyManager).await.expect("a connection");
    assert_eq!(peer.issuer(), authority.issuer.begins());

    // Whoever has the old key could make such a server.
    assert!(client.clone().floor().raise(next.issuer.begins()));
    let error = rig.connect(&client, Expect::AnyManager).await.expect_err("refused");
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("an issuing CA that is in use no more"), "{error}");

    // A client with an old one is recognised: it is to ask for a new one.
    let renewed = next.holder(manager(1));
    server.swap(&renewed.chain, &renewed.secret()).expect("its key");
    let leaf = read_leaf(&holder.chain[0]).expect("a leaf");
    let old = Peer::stand_in(leaf, authority.issuer.begins());
    assert_eq!(rig.who(&client).await, format!("{:?}", Caller::Peer(old)));
    let identity = Identity {
        cluster: "prod".parse().expect("a name"),
        fingerprint: authority.fingerprint(),
        addresses: Vec::new(),
        oldest_issuer: next.issuer.begins(),
        chain: holder.chain,
        key: holder.key,
        hello: HelloKey::parse(&SecretBytes::copy_of(&[7; 64])).expect("a hello key"),
        sealed: None,
    };
    let kept = ClientTls::of(&identity, clock_at(NOW), os_dice).expect("sound");
    assert!(kept.floor().refuses(authority.issuer.begins()));
}

#[tokio::test]
async fn swapped_certificates_are_used_by_the_next_handshake() {
    let authority = Authority::new(1);
    let server = authority.holder(manager(1)).credentials();
    let tls = ServerTls::new(&server, authority.fingerprint(), clock_at(NOW));
    let rig = Rig::with(Bounds::default(), tls).await;
    let client = authority.holder(worker(5)).credentials();
    let tls = ClientTls::new(&client, authority.fingerprint(), clock_at(NOW));
    let (before, peer_before) = rig.connect(&tls, Expect::AnyManager).await.expect("a connection");
    let who_before = who(before.clone()).await;

    let next = authority.holder(worker(5));
    client.swap(&next.chain, &next.secret()).expect("its key");
    let next_server = authority.holder(manager(1));
    server.swap(&next_server.chain, &next_server.secret()).expect("its key");
    let (after, peer_after) = rig.connect(&tls, Expect::AnyManager).await.expect("a connection");
    let leaf = read_leaf(&next.chain[0]).expect("a leaf");
    assert_eq!(
        who(after).await,
        format!("{:?}", Caller::Peer(Peer::stand_in(leaf, authority.issuer.begins())))
    );
    assert_ne!(peer_before.leaf().key, peer_after.leaf().key);
    assert_eq!(who(before).await, who_before, "a live connection stays as it is");

    let foreign = authority.holder(worker(5));
    assert!(client.swap(&next.chain, &foreign.secret()).is_err());
    assert!(client.swap(&next.chain[..2], &next.secret()).is_err());
}

/// A handshake without HTTP/2 above it.
pub(super) async fn bare(rig: &Rig, tls: &ClientTls) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(rig.address).await.expect("a connection");
    let (config, name) = tls.connection(Expect::AnyManager).expect("a configuration");
    TlsConnector::from(config).connect(name, stream).await.expect("a handshake")
}

#[tokio::test]
async fn handshakes_are_full_and_post_quantum() {
    let authority = Authority::new(1);
    let rig = Rig::manager(Bounds::default(), &authority).await;
    let tls = authority.holder(worker(1)).client(&authority);
    for _ in 0..2 {
        let mut stream = bare(&rig, &tls).await;
        // Tickets would come before the first byte of HTTP/2.
        stream.read_u8().await.expect("the server speaks first");
        let (_, connection) = stream.get_ref();
        assert_eq!(connection.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(connection.handshake_kind(), Some(rustls::HandshakeKind::Full));
        let group = connection.negotiated_key_exchange_group().expect("a group");
        assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
        assert_eq!(connection.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(connection.tls13_tickets_received(), 0);
    }
}

#[tokio::test]
async fn who_requires_ml_kem_has_no_connection_without_it() {
    let authority = Authority::new(1);
    let server = authority.holder(manager(1)).credentials();
    let own = authority.holder(worker(1)).credentials();
    let rig = async |groups| {
        let tls = ServerTls::with(groups, &server, authority.fingerprint(), clock_at(NOW));
        Rig::with(Bounds::default(), tls).await
    };
    let client =
        |groups, own| ClientTls::build(groups, own, authority.fingerprint(), clock_at(NOW));
    let any = Expect::AnyManager;
    for (served, asked) in [(REQUIRED, CLASSICAL), (CLASSICAL, REQUIRED)] {
        let rig = rig(served).await;
        for own in [Some(&own), None] {
            let error = rig.connect(&client(asked, own), any).await.expect_err("refused");
            assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
            assert!(error.to_string().contains("requires X25519MLKEM768"), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
    let rows =
        [(REQUIRED, REQUIRED, KeyExchange::Hybrid), (CLASSICAL, CLASSICAL, KeyExchange::Classical)];
    for (served, asked, wanted) in rows {
        let rig = rig(served).await;
        let (_, peer) = rig.connect(&client(asked, Some(&own)), any).await.expect("a connection");
        assert_eq!(peer.key_exchange(), Some(wanted));
    }
}
