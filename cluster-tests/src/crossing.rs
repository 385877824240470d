//! A way to a daemon from another address of this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Hands on whatever connects to the address that it answers, each connection from `from`, as
/// long as the runtime lives.
///
/// # Panics
/// Where no port is free.
pub async fn crossing(to: SocketAddr, from: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let socket = TcpSocket::new_v4().expect("a socket");
                let from = SocketAddr::from((IpAddr::from(from), 0));
                socket.bind(from).expect("an address of this machine");
                if let Ok(mut far) = socket.connect(to).await {
                    drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                }
            });
        }
    });
    address
}
