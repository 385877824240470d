//! HTTP by hand, so that odd requests can be made.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::Value;

/// How long a test waits for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

/// What was answered.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Told {
    #[track_caller]
    pub(crate) fn status(self, wanted: u16) -> Self {
        assert_eq!(self.status, wanted, "{} {}", self.head, self.body);
        self
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_else(|| panic!("{name}: {}", self.body)).to_owned()
    }

    /// The token's claims.
    pub(crate) fn claims(&self) -> Value {
        let token = self.text("token");
        let part = token.split('.').nth(1).expect("a body");
        serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
    }

    /// The scopes that were granted.
    pub(crate) fn scope(&self) -> String {
        self.text("scope")
    }
}

pub(crate) fn basic(name: &str, password: &str) -> String {
    let both = BASE64.encode(format!("{name}:{password}").as_bytes());
    format!("authorization: Basic {both}\r\n")
}

/// Sends these bytes and reads to the end.
pub(crate) fn raw(address: SocketAddr, bytes: &[u8]) -> Option<Told> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // A server that has answered already may have closed.
    drop(stream.write_all(bytes));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    told(&answer)
}

pub(crate) fn told(answer: &[u8]) -> Option<Told> {
    let text = String::from_utf8_lossy(answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = serde_json::from_str(body).unwrap_or(Value::Null);
    Some(Told { status, head: head.to_ascii_lowercase(), body })
}

pub(crate) fn get(address: SocketAddr, query: &str, headers: &str) -> Told {
    let text =
        format!("GET /auth?{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    raw(address, text.as_bytes()).expect("an answer")
}

pub(crate) fn post(address: SocketAddr, body: &str, headers: &str) -> Told {
    let length = body.len();
    let text = format!(
        "POST /token HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\ncontent-type: application/x-www-form-urlencoded\r\n{headers}\r\n{body}"
    );
    raw(address, text.as_bytes()).expect("an answer")
}
