//! Garbage, floods and excess: bounded, and the server goes on serving.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::handshakes::bare;
use super::*;
use crate::ca::fixtures::{operator, worker};

/// Reads until the other end closes.
async fn closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    drop(read.expect("closed in time"));
    bytes
}

#[tokio::test]
async fn garbage_is_closed() {
    let authority = Authority::new(1);
    let rig = Rig::manager(Bounds::default(), &authority).await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], &[0x16, 3, 1, 0xff, 0xff]] {
        let mut stream = TcpStream::connect(rig.address).await.expect("a connection");
        stream.write_all(garbage).await.expect("written");
        stream.shutdown().await.expect("half closed");
        closed(&mut stream).await;
    }
    assert_eq!(rig.who(&anonymous(&authority)).await, "Anonymous");
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let authority = Authority::new(1);
    let rig = Rig::manager(Bounds::default(), &authority).await;
    // A hello that offers TLS 1.2 alone: no `supported_versions`.
    let mut hello = vec![3, 3];
    hello.extend([7; 32]); // random
    hello.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]); // suites, no compression
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 29][..],  // groups: X25519
        &[0, 13, 0, 6, 0, 4, 8, 7, 4, 3], // signatures: Ed25519, P-256
        &[0, 11, 0, 2, 1, 0],             // point formats
    ]
    .concat();
    hello.extend(u16::try_from(extensions.len()).expect("short").to_be_bytes());
    hello.extend(extensions);
    let length = u8::try_from(hello.len()).expect("short");
    let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    let mut stream = TcpStream::connect(rig.address).await.expect("a connection");
    stream.write_all(&record).await.expect("written");
    let answer = closed(&mut stream).await;
    // A fatal alert: protocol version.
    assert_eq!(answer, [0x15, 3, 3, 0, 2, 2, 70]);
}

#[tokio::test]
async fn slow_handshakes_end() {
    let authority = Authority::new(1);
    let bounds = Bounds { hello_time: Duration::from_millis(200), ..Bounds::default() };
    let rig = Rig::manager(bounds, &authority).await;
    let mut slow = TcpStream::connect(rig.address).await.expect("a connection");
    slow.write_all(&[0x16, 3, 1]).await.expect("written");
    assert_eq!(rig.who(&anonymous(&authority)).await, "Anonymous");
    closed(&mut slow).await;
}

#[tokio::test]
async fn a_first_message_without_end_is_closed() {
    let authority = Authority::new(1);
    let patient = Bounds { hello_time: 10 * PATIENCE, ..Bounds::default() };
    let rig = Rig::manager(patient, &authority).await;
    let mut stream = TcpStream::connect(rig.address).await.expect("a connection");
    // A hello of 65,535 bytes, as the protocol allows, in records of 8 KiB.
    let mut piece = vec![0x16, 3, 1, 0x20, 0];
    piece.extend([1, 0, 0xff, 0xff]);
    piece.resize(5 + 0x2000, 0);
    for _ in 0..7 {
        // It may be closed by now.
        if stream.write_all(&piece).await.is_err() {
            break;
        }
        piece.splice(5..9, [0; 4]);
    }
    closed(&mut stream).await;
    assert_eq!(rig.who(&anonymous(&authority)).await, "Anonymous");
}

#[tokio::test]
async fn oversized_frames_end_the_connection() {
    let authority = Authority::new(1);
    let rig = Rig::manager(Bounds::default(), &authority).await;
    let tls = authority.holder(worker(1)).client(&authority);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let frames: [&[u8]; 3] = [
        &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], // 16 MiB of data
        &[0, 0x40, 1, 1, 4, 0, 0, 0, 1],       // one byte more of headers than a frame holds
        &[0, 0, 1, 4, 0, 0, 0, 0, 0],          // settings of one byte
    ];
    for frame in frames {
        let mut stream = bare(&rig, &tls).await;
        stream.write_all(preface).await.expect("written");
        stream.write_all(&settings).await.expect("written");
        stream.write_all(frame).await.expect("written");
        stream.write_all(&[0; 64]).await.expect("written");
        stream.flush().await.expect("sent");
        let answer = closed(&mut stream).await;
        assert!(answer.len() < 200, "settings and a farewell, {} bytes", answer.len());
    }
    let (channel, _) = rig.connect(&tls, Expect::AnyManager).await.expect("a connection");
    assert!(who(channel).await.starts_with("Peer"));
}

#[tokio::test]
async fn oversized_headers_are_refused() {
    let authority = Authority::new(1);
    let rig = Rig::manager(Bounds::default(), &authority).await;
    let tls = authority.holder(worker(1)).client(&authority);
    let (channel, _) = rig.connect(&tls, Expect::AnyManager).await.expect("a connection");
    let mut request = Request::new(JoinRequest::default());
    let long = "x".repeat(64 * 1024).parse().expect("a value");
    request.metadata_mut().insert("long", long);
    let status = MembershipClient::new(channel).join(request).await.expect_err("refused");
    assert_eq!(read_problem(&status), None, "it never came to the service: {status:?}");
    assert!(rig.who(&tls).await.starts_with("Peer"));
}

#[tokio::test]
async fn one_peer_does_not_take_all() {
    let authority = Authority::new(1);
    let bounds = Bounds { per_known: 2, ..Bounds::default() };
    let rig = Rig::manager(bounds, &authority).await;
    let tls = authority.holder(operator(1)).client(&authority);
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(rig.connect(&tls, Expect::AnyManager).await.expect("a connection"));
    }
    assert!(rig.connect(&tls, Expect::AnyManager).await.is_err());
    let other = authority.holder(operator(2)).client(&authority);
    assert!(rig.who(&other).await.starts_with("Peer"));
}

#[tokio::test]
async fn guests_are_sent_away() {
    let authority = Authority::new(1);
    let bounds = Bounds { guest_time: Duration::from_millis(200), ..Bounds::default() };
    let rig = Rig::manager(bounds, &authority).await;
    let guest = anonymous(&authority);
    let (channel, _) = rig.connect(&guest, Expect::AnyManager).await.expect("a connection");
    let status = timeout(PATIENCE, call(channel, "hang")).await.expect("an end");
    assert_eq!(read_problem(&status), None, "{status:?}");
}

#[tokio::test]
async fn hanging_calls_are_cut_when_the_server_stops() {
    let authority = Authority::new(1);
    let bounds = Bounds { drain_time: Duration::from_millis(200), ..Bounds::default() };
    let rig = Rig::manager(bounds, &authority).await;
    let tls = authority.holder(worker(1)).client(&authority);
    let (channel, _) = rig.connect(&tls, Expect::AnyManager).await.expect("a connection");
    let hanging = tokio::spawn(call(channel.clone(), "hang"));
    who(channel).await; // the connection is served
    rig.stop.send(()).expect("serving");
    timeout(PATIENCE, rig.serving).await.expect("an end").expect("no panic").expect("clean");
    let status = timeout(PATIENCE, hanging).await.expect("an end").expect("no panic");
    assert_eq!(read_problem(&status), None, "{status:?}");
}

#[tokio::test]
async fn a_dropped_server_leaves_no_connection() {
    let authority = Authority::new(1);
    let rig = Rig::manager(Bounds::default(), &authority).await;
    let tls = authority.holder(worker(1)).client(&authority);
    let (channel, _) = rig.connect(&tls, Expect::AnyManager).await.expect("a connection");
    let hanging = tokio::spawn(call(channel.clone(), "hang"));
    who(channel).await;
    rig.serving.abort();
    timeout(PATIENCE, hanging).await.expect("an end").expect("no panic");
}
