//! A server of the registry side under an agent's `skep exec`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};

use crate::{Cluster, DEADLINE, binary, until};

/// One that runs as a workload of a service; it ends with this.
#[derive(Debug)]
pub struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    /// Starts `skep registry WORDS` on this agent's node as a workload of `service`, and waits
    /// until it listens.
    ///
    /// # Panics
    /// When it ends, or doesn't listen in time.
    #[must_use]
    pub fn start(cluster: &Cluster, agent: usize, service: &str, words: &[&str]) -> Self {
        let log = cluster.folder().join(format!("{service}-{agent}.log"));
        let file = File::create(&log).expect("a log");
        let program = binary().with_file_name("skep-registry").display().to_string();
        let words = [&[program.as_str()], words].concat();
        let mut command = cluster.agents[agent].exec(service, &words);
        let mut child = command.stdin(Stdio::null()).stderr(file).spawn().expect("skep exec");
        let address = until("a server", || {
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

    /// Sends a request with these lines of a head: the status and the body. Nothing, where the
    /// connection is not made or breaks off.
    #[must_use]
    pub fn try_exchange(&self, what: &str, lines: &str, body: &str) -> Option<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        let length = body.len();
        let head = format!(
            "{what} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-length: {length}\r\n{lines}\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
        let status = std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()?;
        Some((status, answer.split_off(end + 4)))
    }

    /// The same of a server that answers, in text.
    ///
    /// # Panics
    /// When it doesn't answer.
    #[must_use]
    pub fn exchange(&self, what: &str, lines: &str, body: &str) -> (u16, String) {
        let (status, body) = self.try_exchange(what, lines, body).expect("an answer");
        (status, String::from_utf8(body).expect("text"))
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}
