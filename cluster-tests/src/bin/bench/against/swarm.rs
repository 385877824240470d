//! Docker's swarm: three engines, each with a network and mounts of its own, asked over their
//! sockets as docker itself asks them, on connections that are kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixStream;

use cluster_tests::{BUSYBOX, DEADLINE, DockerHost, Net, until};

use super::turn::{Client, Members, System, Turn, Work, fill, turn};
use crate::row::Row;
use crate::size::{Size, VALUE};

/// Its API, as Debian's engine speaks it.
const API: &str = "/v1.40";

/// Three managers, the first of which leads.
pub(super) struct Swarm {
    hosts: Vec<DockerHost>,
    _net: Net,
    _folder: TempDir,
}

impl Swarm {
    pub(super) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("skep-swarm-").tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("the folder");
        let mut net = Net::new();
        let names = ["s1", "s2", "s3"];
        let hosts = names.map(|name| DockerHost::without_agent(&mut net, &path, name));
        let first = &hosts[0];
        let _ = first.ok(&["swarm", "init", "--advertise-addr", &first.address()]);
        let token = first.ok(&["swarm", "join-token", "-q", "manager"]);
        for host in &hosts[1..] {
            let own = host.address();
            let words = ["swarm", "join", "--advertise-addr", &own, "--token", &token];
            let _ = host.ok(&[&words[..], &[&format!("{}:2377", first.address())]].concat());
        }
        let status = ["node", "ls", "--format", "{{.ManagerStatus}}"];
        until("three managers", || {
            let listed = first.docker(&status).out;
            let all: Vec<&str> = listed.lines().map(str::trim).collect();
            let led = all.iter().filter(|status| **status == "Leader").count() == 1;
            let follow = all.iter().filter(|status| **status == "Reachable").count() == 2;
            (led && follow).then_some(())
        });
        Self { hosts: hosts.into(), _net: net, _folder: folder }
    }

    fn leader(&self) -> &DockerHost {
        &self.hosts[0]
    }

    fn socket(&self) -> PathBuf {
        self.leader().docker_socket()
    }
}

impl System for Swarm {
    fn name(&self) -> &'static str {
        "Swarm"
    }

    fn members(&self) -> Members {
        let pids: Vec<u32> = self.hosts.iter().map(DockerHost::engine_pid).collect();
        Members { leader: pids[0], followers: pids[1..].to_vec() }
    }

    fn can(&self, work: Work) -> bool {
        // A call makes one secret, and none changes one.
        work != Work::Act
    }

    fn fill(&self, things: usize) {
        let socket = self.socket();
        fill(async |_| EngineClient::open(&socket).await, things);
    }

    fn turn(&self, work: Work, clients: usize, time: Duration, prefix: &str) -> Turn {
        let (socket, members) = (self.socket(), self.members());
        let open = async |_| EngineClient::open(&socket).await;
        turn(open, &members, (work, clients, time, prefix))
    }
}

struct EngineClient(SendRequest<Full<Bytes>>);

impl EngineClient {
    async fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).await.expect("an engine");
        let (send, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP");
        drop(tokio::task::spawn_local(connection));
        Self(send)
    }

    async fn call(&mut self, method: Method, path: &str, body: String) -> (StatusCode, Bytes) {
        let request = Request::builder().method(method).uri(format!("{API}{path}"));
        let request = request.header("host", "docker").header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        self.0.ready().await.expect("a connection that is kept");
        let answer = self.0.send_request(request).await.expect("an answer of the engine");
        let status = answer.status();
        (status, answer.into_body().collect().await.expect("a body").to_bytes())
    }

    async fn get(&mut self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, String::new()).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        serde_json::from_slice(&body).expect("JSON")
    }
}

impl Client for EngineClient {
    async fn create(&mut self, name: &str) {
        let body = json!({ "Name": name, "Data": BASE64.encode(&[b'x'; VALUE]) }).to_string();
        let (status, body) = self.call(Method::POST, "/secrets/create", body).await;
        assert_eq!(status, StatusCode::CREATED, "{name}: {}", String::from_utf8_lossy(&body));
    }

    async fn read(&mut self, name: &str) {
        let secret = self.get(&format!("/secrets/{name}")).await;
        assert_eq!(secret["Spec"]["Name"], name);
    }

    async fn list(&mut self) -> usize {
        self.get("/secrets").await.as_array().expect("a list").len()
    }

    async fn act(&mut self, _prefix: &str) {
        unreachable!("not asked for it");
    }
}

/// How soon the containers of a service on two nodes have another value: the secret and the
/// update of the service, which starts other containers.
pub(super) fn delivery(size: &Size) -> Row {
    let swarm = Swarm::start();
    let host = swarm.leader();
    secret(host, "theirs-0");
    let own = host.ok(&["info", "--format", "{{.Swarm.NodeID}}"]);
    let create = ["service", "create", "--detach", "--name", "theirs", "--network", "host"];
    // Containers end as soon as they are told to, and the next ones start at once.
    let kind = ["--stop-signal", "KILL", "--restart-delay", "0s", "--no-resolve-image"];
    let elsewhere = format!("node.id!={own}");
    let both = ["--mode", "global", "--update-parallelism", "2", "--constraint", &elsewhere];
    let has = ["--secret", "source=theirs-0,target=value", BUSYBOX, "sleep", "1000000"];
    let _ = host.ok(&[&create[..], &kind, &both, &has].concat());
    until("the swarm's first containers", || (have("theirs-0") == 2).then_some(()));
    let mut times = Vec::new();
    for round in 1..=size.replaced {
        let (before, value) = (format!("theirs-{}", round - 1), format!("theirs-{round}"));
        let add = format!("source={value},target=value");
        let start = Instant::now();
        secret(host, &value);
        let update = ["service", "update", "--detach", "--no-resolve-image"];
        let which = ["--secret-rm", &before, "--secret-add", &add, "theirs"];
        let _ = host.ok(&[&update[..], &which].concat());
        while have(&value) < 2 {
            assert!(start.elapsed() < DEADLINE, "no containers with {value}");
        }
        times.push(start.elapsed());
        let state = ["service", "inspect", "--format", "{{.UpdateStatus.State}}", "theirs"];
        until("the end of the update", || (host.ok(&state) == "completed").then_some(()));
    }
    let _ = host.ok(&["service", "rm", "theirs"]);
    Row::of("Swarm: new value -> read in containers on two nodes", times)
        .note("secret create, service update")
}

fn secret(host: &DockerHost, value: &str) {
    let file = host.folder().join("value");
    fs::write(&file, value).expect("a file");
    let _ = host.ok(&["secret", "create", value, &file.display().to_string()]);
}

/// How many processes stand where the file shows this.
fn have(value: &str) -> usize {
    let processes = fs::read_dir("/proc").expect("a list").flatten();
    let shown = processes.filter_map(|process| {
        fs::read_to_string(process.path().join("root/run/secrets/value")).ok()
    });
    shown.filter(|shown| shown == value).count()
}
