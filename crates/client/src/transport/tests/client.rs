//! What a client says and does where there is no manager.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::ca::fixtures::worker;

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address").to_string();
    (listener, address)
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let tls = anonymous(&Authority::new(1));
    let (listener, address) = listener().await;
    drop(listener);
    for address in [address.as_str(), "no-such-host.invalid:1", "no port", ""] {
        let error = connect(address, &tls, Expect::AnyManager, PATIENCE).await;
        let error = error.expect_err("nobody");
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    }
}

#[tokio::test]
async fn silence_times_out() {
    let tls = anonymous(&Authority::new(1));
    let (_listener, address) = listener().await;
    let short = Duration::from_millis(100);
    let error = connect(&address, &tls, Expect::AnyManager, short).await.expect_err("silence");
    let ConnectError::Unreachable { source, .. } = error else { panic!("{error}") };
    assert_eq!(source.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let tls = anonymous(&Authority::new(1));
    let (listener, address) = listener().await;
    let other = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await.expect("written");
        let mut hello = Vec::new();
        stream.read_to_end(&mut hello).await.ok();
        hello
    });
    let error = connect(&address, &tls, Expect::AnyManager, PATIENCE).await.expect_err("refused");
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");

    // What went over the wire names nobody.
    let hello = other.await.expect("a hello");
    assert!(!hello.windows(4).any(|part| part == b"skep"));
}

#[tokio::test]
async fn a_channel_does_not_reconnect() {
    let authority = Authority::new(1);
    let rig = Rig::manager(Bounds::default(), &authority).await;
    let tls = authority.holder(worker(1)).client(&authority);
    let (channel, _) = rig.connect(&tls, Expect::AnyManager).await.expect("a connection");
    who(channel.clone()).await;
    rig.stop.send(()).expect("serving");
    rig.serving.await.expect("no panic").expect("a clean end");
    let again = TcpListener::bind(rig.address).await.expect("the port is free");
    let status = call(channel, "").await;
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let soon = Duration::from_millis(50);
    assert!(tokio::time::timeout(soon, again.accept()).await.is_err(), "no second connection");
}
