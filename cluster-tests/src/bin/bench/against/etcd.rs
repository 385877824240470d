//! etcd: three members with TLS, whose clients show certificates, as ours do. The few messages
//! that are sent stand here, because etcd's own .proto files take `protoc` in a build.

use std::fs::File;
use std::future::ready;
use std::net::TcpStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use cluster_tests::until;
use skep::daemon::dev::free_ports;

use super::certificates::Certificates;
use super::turn::{Client, Members, System, Turn, Work, fill, turn, wait};
use crate::size::{ACT, VALUE};

/// As it is found on the way of programs.
const PROGRAM: &str = "etcd";
/// As a client of ours has them.
const STREAM_WINDOW: u32 = 1024 * 1024;
const WINDOW: u32 = 4 * 1024 * 1024;
/// The end of what begins with `filled-`.
const AFTER_FILLED: &[u8] = b"filled.";

#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Range {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    end: Vec<u8>,
    #[prost(bool, tag = "8")]
    keys_only: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Found {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

/// Of a transaction, what is done where nothing is compared.
#[derive(Clone, PartialEq, prost::Message)]
struct Transaction {
    #[prost(message, repeated, tag = "2")]
    success: Vec<Operation>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Operation {
    #[prost(message, optional, tag = "2")]
    put: Option<Put>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Done {
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MemberStatus {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

/// A member's process and its port for clients.
struct EtcdMember {
    child: Child,
    port: u16,
}

impl Drop for EtcdMember {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Three members.
pub(super) struct Etcd {
    members: Vec<EtcdMember>,
    leader: usize,
    certificates: Certificates,
    _folder: TempDir,
}

impl Etcd {
    pub(super) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("skep-etcd-").tempdir().expect("a folder");
        let certificates = Certificates::make(folder.path());
        let ports = free_ports(6).expect("free ports");
        let (clients, peers) = ports.split_at(3);
        let all = peers.iter().enumerate();
        let all = all.map(|(number, port)| format!("e{number}=https://127.0.0.1:{port}"));
        let all = all.collect::<Vec<_>>().join(",");
        let members = clients.iter().zip(peers).enumerate().map(|(number, (port, peer))| {
            let words = words(&format!("e{number}"), *port, *peer, &all);
            let child = member(folder.path(), &certificates, number, &words);
            EtcdMember { child, port: *port }
        });
        let members = members.collect();
        let mut etcd = Self { members, leader: 0, certificates, _folder: folder };
        for member in &etcd.members {
            until("a member of etcd", || StdStream::connect(("127.0.0.1", member.port)).ok());
        }
        etcd.leader = until("etcd's leader", || etcd.leads());
        etcd
    }

    /// Which member says that it leads.
    fn leads(&self) -> Option<usize> {
        wait(async || {
            for (number, member) in self.members.iter().enumerate() {
                let mut client = self.open_at(member.port).await;
                let status = client.try_call("/etcdserverpb.Maintenance/Status", ());
                let status: MemberStatus = status.await.ok()?;
                if status.header.is_some_and(|own| own.member_id == status.leader) {
                    return Some(number);
                }
            }
            None
        })
    }

    async fn open(&self) -> EtcdClient {
        self.open_at(self.members[self.leader].port).await
    }

    /// One connection, which is kept.
    async fn open_at(&self, port: u16) -> EtcdClient {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("etcd");
        stream.set_nodelay(true).expect("a socket");
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = TlsConnector::from(self.certificates.client.clone());
        let stream = tls.connect(name, stream).await.expect("TLS");
        let mut only = Some(TokioIo::new(stream));
        let connector = tower::service_fn(move |_| {
            let closed = || std::io::Error::from(std::io::ErrorKind::NotConnected);
            ready(only.take().ok_or_else(closed))
        });
        let endpoint = Endpoint::from_static("http://localhost")
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(WINDOW);
        let channel = endpoint.connect_with_connector(connector).await.expect("HTTP/2");
        EtcdClient(Grpc::new(channel))
    }
}

fn words(name: &str, port: u16, peer: u16, all: &str) -> Vec<String> {
    let (client, peer) = (format!("https://127.0.0.1:{port}"), format!("https://127.0.0.1:{peer}"));
    let words = [
        ("name", name),
        ("listen-client-urls", &client),
        ("advertise-client-urls", &client),
        ("listen-peer-urls", &peer),
        ("initial-advertise-peer-urls", &peer),
        ("initial-cluster", all),
        ("initial-cluster-state", "new"),
        ("log-level", "error"),
        ("logger", "zap"),
    ];
    words.iter().flat_map(|(word, value)| [format!("--{word}"), (*value).to_owned()]).collect()
}

fn member(folder: &Path, certificates: &Certificates, number: usize, words: &[String]) -> Child {
    let log = File::create(folder.join(format!("{number}.log"))).expect("a log");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", PROGRAM]).args(words);
    command.arg("--data-dir").arg(folder.join(number.to_string()));
    for kind in ["", "peer-"] {
        let file = |command: &mut Command, word: &str, path: &PathBuf| {
            command.arg(format!("--{kind}{word}")).arg(path);
        };
        file(&mut command, "cert-file", &certificates.certificate);
        file(&mut command, "key-file", &certificates.key);
        file(&mut command, "trusted-ca-file", &certificates.ca);
        command.arg(format!("--{kind}client-cert-auth"));
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
    command.spawn().expect("etcd")
}

impl System for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn members(&self) -> Members {
        let pids: Vec<u32> = self.members.iter().map(|member| member.child.id()).collect();
        let followers = pids.iter().enumerate().filter(|(number, _)| *number != self.leader);
        Members { leader: pids[self.leader], followers: followers.map(|(_, pid)| *pid).collect() }
    }

    fn can(&self, _work: Work) -> bool {
        true
    }

    fn fill(&self, things: usize) {
        fill(async |_| self.open().await, things);
    }

    fn turn(&self, work: Work, clients: usize, time: Duration, prefix: &str) -> Turn {
        turn(async |_| self.open().await, &self.members(), (work, clients, time, prefix))
    }
}

struct EtcdClient(Grpc<Channel>);

impl EtcdClient {
    async fn try_call<Q, A>(&mut self, path: &'static str, message: Q) -> Result<A, tonic::Status>
    where
        Q: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let ready = self.0.ready().await;
        ready.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let (request, path) = (Request::new(message), PathAndQuery::from_static(path));
        let answer = self.0.unary(request, path, ProstCodec::<Q, A>::default()).await?;
        Ok(answer.into_inner())
    }

    async fn call<Q, A>(&mut self, path: &'static str, message: Q) -> A
    where
        Q: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        self.try_call(path, message).await.expect("an answer of etcd")
    }
}

fn put(name: &str) -> Put {
    Put { key: name.as_bytes().to_vec(), value: vec![b'x'; VALUE] }
}

impl Client for EtcdClient {
    async fn create(&mut self, name: &str) {
        let () = self.call("/etcdserverpb.KV/Put", put(name)).await;
    }

    async fn read(&mut self, name: &str) {
        let range = Range { key: name.as_bytes().to_vec(), ..Range::default() };
        let found: Found = self.call("/etcdserverpb.KV/Range", range).await;
        assert_eq!(found.kvs.len(), 1, "{name}");
    }

    async fn list(&mut self) -> usize {
        let (key, end) = (b"filled-".to_vec(), AFTER_FILLED.to_vec());
        let range = Range { key, end, keys_only: true };
        let found: Found = self.call("/etcdserverpb.KV/Range", range).await;
        found.kvs.len()
    }

    async fn act(&mut self, prefix: &str) {
        let put = |number| Operation { put: Some(put(&format!("{prefix}-act-{number}"))) };
        let transaction = Transaction { success: (0..ACT).map(put).collect() };
        let done: Done = self.call("/etcdserverpb.KV/Txn", transaction).await;
        assert!(done.succeeded);
    }
}
