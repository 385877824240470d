//! A server's process, and what concerns it as a process.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;

use crate::client::{DEADLINE, basic};
use crate::site::{Authority, Site};

pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_skep-registry");

/// Waits for a condition, with a deadline.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
}

/// A running server; it ends with this, and with the test.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
    _folder: TempDir,
}

pub(crate) fn command(site: &Site, more: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", BIN, "auth", "web", "--secrets"]);
    command.arg(site.path()).args(more).stdin(Stdio::null());
    command
}

impl Server {
    pub(crate) fn start(site: &Site, more: &[&str]) -> Self {
        Self::start_as(command(site, &[&["--listen", "127.0.0.1:0"], more].concat()))
    }

    pub(crate) fn start_as(mut command: Command) -> Self {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("log");
        let file = File::create(&log).unwrap();
        let mut child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let address = until("a server", || {
            let said = std::fs::read_to_string(&log).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "it ended: {said}");
            let line = said.lines().find(|line| line.contains("listening"))?;
            line.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
        });
        Self { child, address, log, _folder: folder }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Asks it to end, and answers its status.
    pub(crate) fn stop(mut self) -> i32 {
        // It may have been asked already, and be gone.
        let _gone = kill_process(self.pid(), Signal::TERM);
        let status = until("its end", || self.child.try_wait().unwrap());
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn ended(command: &mut Command) -> Output {
    command.output().unwrap()
}

#[test]
fn off_loopback_it_needs_a_certificate() {
    let site = Site::new();
    let out = ended(&mut command(&site, &["--listen", "0.0.0.0:0"]));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(23), "{said}");
    assert!(said.contains("tls.key") && said.contains("hint: "), "{said}");
}

#[test]
fn an_address_in_use_is_status_22() {
    let site = Site::new();
    let server = Server::start(&site, &[]);
    let out = ended(&mut command(&site, &["--listen", &server.address.to_string()]));
    assert_eq!(out.status.code(), Some(22));
}

#[test]
fn health_says_whether_tokens_are_given() {
    let mut site = Site::new();
    let server = Server::start(&site, &[]);
    let address = server.address.to_string();
    let health = |site: &Site| {
        let out = ended(&mut command(site, &["--health", "--listen", &address]));
        (out.status.code().unwrap(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    assert_eq!(health(&site).0, 0);
    site.set("acl.toml", "damaged =");
    site.flip();
    let (status, said) = health(&site);
    assert!(status == 8 && said.contains("acl.toml is damaged"), "{status} {said}");
    assert_eq!(server.stop(), 0);
    assert_eq!(health(&site).0, 3);
}

/// The certificate that a server shows now.
fn shown(address: SocketAddr, root: &str) -> Option<CertificateDer<'static>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    client.complete_io(&mut stream).ok()?;
    Some(client.peer_certificates()?.first()?.clone().into_owned())
}

#[test]
fn the_certificate_is_swapped_without_a_restart() {
    let mut site = Site::new();
    let next = |site: &mut Site| {
        let authority = Authority::new();
        let (key, chain) = authority.leaf();
        site.set("tls.key", &key);
        site.set("tls.crt", &chain);
        site.flip();
        authority.root
    };
    let first = next(&mut site);
    let server = Server::start_as(command(&site, &["--listen", "0.0.0.0:0"]));
    let address = SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    assert!(shown(address, &first).is_some());
    let second = next(&mut site);
    assert!(shown(address, &second).is_some(), "the new one");
    assert!(shown(address, &first).is_none(), "the old one");
    let health = ["--health", "--listen", &server.address.to_string()];
    assert_eq!(ended(&mut command(&site, &health)).status.code(), Some(0), "over TLS too");
}

#[test]
fn what_is_under_way_comes_to_its_end() {
    let mut site = Site::new();
    site.person("alice", "hunter2", 4);
    site.flip();
    let server = Server::start(&site, &[]);
    let address = server.address;
    // The answer to a wrong password takes its time: the server is asked to end meanwhile.
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let wrong = basic("alice", "no");
    write!(stream, "GET /auth HTTP/1.1\r\nhost: x\r\n{wrong}\r\n").unwrap();
    until("the request to be read", || {
        let port = format!(":{:04X}", address.port());
        let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
        let read = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            words[1].ends_with(&port) && words[3] == "01" && words[4].ends_with(":00000000")
        };
        table.lines().skip(1).any(read).then_some(())
    });
    kill_process(server.pid(), Signal::TERM).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let _ = crate::client::told(&answer).expect("an answer").status(401);
    assert_eq!(server.stop(), 0);
}

#[test]
fn settings_of_time_are_checked() {
    let site = Site::new();
    for (limit, status) in [("4s", 2), ("2d", 2), ("ten", 2)] {
        let out = ended(&mut command(&site, &["--stale-limit", limit]));
        assert_eq!(out.status.code(), Some(status), "{limit}");
    }
}
