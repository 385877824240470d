//! A connection over which servers of the registry side are asked.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use cluster_tests::DEADLINE;

/// What can be asked.
trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// A connection to a server, which is kept.
pub(super) struct Connection(BufReader<Box<dyn Stream>>);

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a server");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
    stream.set_nodelay(true).expect("a socket");
    stream
}

impl Connection {
    pub(super) fn plain(address: SocketAddr) -> Self {
        Self(BufReader::new(Box::new(connect(address))))
    }

    /// By TLS, to a server that calls itself `localhost`.
    pub(super) fn sealed(address: SocketAddr, trusted: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::clone(trusted), name).expect("a session");
        Self(BufReader::new(Box::new(StreamOwned::new(session, connect(address)))))
    }

    /// Sends a request with these lines of a head: the status and the body.
    pub(super) fn exchange(&mut self, what: &str, lines: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let length = body.len();
        let head = format!("{what} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n{lines}\r\n");
        self.0.get_mut().write_all(&[head.as_bytes(), body].concat()).expect("asked");
        let (mut line, mut status, mut length) = (String::new(), String::new(), 0);
        while line != "\r\n" {
            line.clear();
            let read = self.0.read_line(&mut line).expect("a line");
            assert!(read > 0, "it closed the connection");
            if status.is_empty() {
                status.clone_from(&line);
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("a body");
        let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body)
    }
}
