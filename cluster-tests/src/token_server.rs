//! A registry's token server under an agent's `skep exec`.

use std::net::SocketAddr;

use data_encoding::BASE64;

use crate::{Cluster, Served};

/// One that runs as a workload of `web.auth`; it ends with this.
#[derive(Debug)]
pub struct TokenServer(Served);

impl TokenServer {
    /// Starts it on this agent's node, and waits until it listens.
    ///
    /// # Panics
    /// When it ends, or doesn't listen in time.
    pub fn start(cluster: &Cluster, agent: usize) -> Self {
        Self::start_at(cluster, agent, "127.0.0.1:0")
    }

    /// The same at this address.
    ///
    /// # Panics
    /// When it ends, or doesn't listen in time.
    #[must_use]
    pub fn start_at(cluster: &Cluster, agent: usize, address: &str) -> Self {
        Self(Served::start(cluster, agent, "web.auth", &["auth", "web", "--listen", address]))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Asks as this account: the status and the body.
    ///
    /// # Panics
    /// When it doesn't answer.
    pub fn ask(&self, query: &str, name: &str, password: &str) -> (u16, String) {
        self.0.exchange(&format!("GET /auth?{query}"), &basic(name, password), "")
    }

    /// Sends a form, with these lines of a head: the status and the body.
    ///
    /// # Panics
    /// When it doesn't answer.
    pub fn post(&self, path: &str, lines: &str, form: &str) -> (u16, String) {
        let lines = format!("content-type: application/x-www-form-urlencoded\r\n{lines}");
        self.0.exchange(&format!("POST {path}"), &lines, form)
    }
}

/// The line of a head that says who asks.
#[must_use]
pub fn basic(name: &str, password: &str) -> String {
    let both = BASE64.encode(format!("{name}:{password}").as_bytes());
    format!("authorization: Basic {both}\r\n")
}
