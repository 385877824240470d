//! A registry's token server under an agent's `skep exec`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};

use data_encoding::BASE64;

use crate::{Cluster, DEADLINE, binary, until};

/// One that runs as a workload of `web.auth`; it ends with this.
#[derive(Debug)]
pub struct TokenServer {
    child: Child,
    address: SocketAddr,
}

impl TokenServer {
    /// Starts it on this agent's node, and waits until it listens.
    ///
    /// # Panics
    /// When it ends, or doesn't listen in time.
    pub fn start(cluster: &Cluster, agent: usize) -> Self {
        let log = cluster.folder().join(format!("registry-{agent}.log"));
        let file = File::create(&log).expect("a log");
        let program = binary().with_file_name("skep-registry").display().to_string();
        let words = [program.as_str(), "auth", "web", "--listen", "127.0.0.1:0"];
        let mut command = cluster.agents[agent].exec("web.auth", &words);
        let mut child = command.stdin(Stdio::null()).stderr(file).spawn().expect("skep exec");
        let address = until("a token server", || {
            let said = std::fs::read_to_string(&log).ok()?;
            assert!(child.try_wait().expect("a child").is_none(), "it ended: {said}");
            let line = said.lines().find(|line| line.contains("listening"))?;
            line.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
        });
        Self { child, address }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks as this account: the status and the body.
    ///
    /// # Panics
    /// When it doesn't answer.
    pub fn ask(&self, query: &str, name: &str, password: &str) -> (u16, String) {
        self.exchange(&format!("GET /auth?{query}"), &basic(name, password), "")
    }

    /// Sends a form, with these lines of a head: the status and the body.
    ///
    /// # Panics
    /// When it doesn't answer.
    pub fn post(&self, path: &str, lines: &str, form: &str) -> (u16, String) {
        let lines = format!("content-type: application/x-www-form-urlencoded\r\n{lines}");
        self.exchange(&format!("POST {path}"), &lines, form)
    }

    fn exchange(&self, what: &str, lines: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).expect("a server");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let length = body.len();
        let head = format!(
            "{what} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-length: {length}\r\n{lines}\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        (status.expect("a status"), body.to_owned())
    }
}

/// The line of a head that says who asks.
#[must_use]
pub fn basic(name: &str, password: &str) -> String {
    let both = BASE64.encode(format!("{name}:{password}").as_bytes());
    format!("authorization: Basic {both}\r\n")
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
