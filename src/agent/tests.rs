//! The whole agent but its process: a leader of the test's own over mutual TLS,
//! real mounts, real processes, the local socket. As root only.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Workloads;
use super::local::{LocalService, Stage};
use super::mount::{Mounts, Options};
use super::session::{Ending, Session};
use super::workload::boot_id;
use super::*;
use crate::base::{
    Clock, ClusterId, Fingerprint, Name, NodeId, SecretBytes, SecretId, ServiceId, Stamp, VersionId,
};
use crate::ca::{CertificateRole, Issuer, PrivateKey, Root, Subject};
use crate::host::{RealDisk, SystemClock, os_dice};
use crate::seal::{DataKey, SessionHalf, SessionKey, ValueContext, seal_value};
use crate::transport::rpc::api::delivery_server::{Delivery, DeliveryServer};
use crate::transport::rpc::local::agent_client::AgentClient;
use crate::transport::{ClientTls, Credentials, ServerTls, connect_local, serve, serve_local};
use crate::wire::{api, local};

const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
const LEADER: NodeId = NodeId::from_bytes([2; 16]);
const NODE: NodeId = NodeId::from_bytes([3; 16]);
const WEB: ServiceId = ServiceId::from_bytes([4; 16]);
const SECRET: SecretId = SecretId::from_bytes([5; 16]);
const DEADLINE: Duration = Duration::from_secs(20);

type Streams = Arc<Mutex<mpsc::Receiver<Stream>>>;

/// A session as the leader sees it.
#[derive(Debug)]
struct Stream {
    hello: api::Hello,
    incoming: Streaming<api::FromAgent>,
    outgoing: mpsc::Sender<Result<api::FromLeader, Status>>,
    key: SessionKey,
    number: u64,
}

struct FakeLeader(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl Delivery for FakeLeader {
    type SessionStream = ReceiverStream<Result<api::FromLeader, Status>>;

    async fn report_opened(
        &self,
        _: Request<api::ReportOpenedRequest>,
    ) -> Result<Response<api::ReportOpenedReply>, Status> {
        Ok(Response::new(api::ReportOpenedReply {}))
    }

    async fn session(
        &self,
        request: Request<Streaming<api::FromAgent>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut incoming = request.into_inner();
        let (outgoing, messages) = mpsc::channel(4);
        let streams = self.0.clone();
        tokio::spawn(async move {
            let first = incoming.message().await.expect("a stream").expect("a hello");
            let Some(api::from_agent::Of::Hello(hello)) = first.of else { panic!("no hello") };
            let half = SessionHalf::draw(os_dice().as_mut());
            let welcome = api::Welcome {
                session_public: half.public().to_vec(),
                leader: LEADER.as_bytes().to_vec(),
                cluster_name: "prod".to_owned(),
                addresses: Vec::new(),
                epoch_counter: 1,
                epoch_tail: vec![6; 16],
                revision: hello.revision.max(5),
            };
            let theirs = hello.session_public.as_slice().try_into().expect("32 bytes");
            let key = half.agree(true, LEADER, NODE, theirs).expect("agreed");
            let of = Some(api::from_leader::Of::Welcome(welcome));
            outgoing.send(Ok(api::FromLeader { of })).await.expect("sent");
            let stream = Stream { hello, incoming, outgoing, key, number: 0 };
            streams.send(stream).await.expect("wanted");
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn leave(
        &self,
        _: Request<api::LeaveRequest>,
    ) -> Result<Response<api::LeaveReply>, Status> {
        Ok(Response::new(api::LeaveReply {}))
    }
}

impl Stream {
    async fn push(&mut self, push: api::Push) -> api::Ack {
        self.number += 1;
        let push = api::Push { number: self.number, ..push };
        let of = Some(api::from_leader::Of::Push(push));
        self.outgoing.send(Ok(api::FromLeader { of })).await.expect("sent");
        loop {
            if let api::from_agent::Of::Ack(ack) = self.heard().await {
                assert_eq!(ack.push, self.number);
                return ack;
            }
        }
    }

    async fn heard(&mut self) -> api::from_agent::Of {
        let message = tokio::time::timeout(DEADLINE, self.incoming.message()).await;
        message.expect("in time").expect("a stream").expect("a message").of.expect("something")
    }

    async fn running(&mut self) -> usize {
        loop {
            if let api::from_agent::Of::Running(running) = self.heard().await {
                return running.services.len();
            }
        }
    }

    /// The set of `WEB` with one file of this version and value.
    fn set(&self, version: u8, value: &[u8], revision: u64) -> api::Push {
        let version = VersionId::from_bytes([version; 16]);
        let size = u32::try_from(value.len()).expect("small");
        let context = ValueContext { cluster: CLUSTER, secret: SECRET, version, size };
        let (mut dice, key) = (os_dice(), DataKey::draw(os_dice().as_mut()));
        let value = SecretBytes::copy_of(value);
        let sealed = seal_value(dice.as_mut(), &key, &context, &value).expect("sealed");
        let file = api::File {
            target: "password".to_owned(),
            uid: 0,
            gid: 0,
            mode: 0o444,
            secret: SECRET.as_bytes().to_vec(),
            number: 1,
            version: version.as_bytes().to_vec(),
            size,
        };
        api::Push {
            revision,
            sets: vec![api::ServiceSet {
                service: WEB.as_bytes().to_vec(),
                name: "web".to_owned(),
                mount: "tmpfs".to_owned(),
                files: vec![file],
                digest: vec![context.version.as_bytes()[0]; 32],
                ..Default::default()
            }],
            values: vec![api::Value {
                secret: SECRET.as_bytes().to_vec(),
                version: version.as_bytes().to_vec(),
                size,
                sealed_value: sealed.0.to_vec().into(),
                sealed_key: self.key.seal(dice.as_mut(), &key, &context).expect("sealed"),
            }],
            ..Default::default()
        }
    }
}

fn placed(revision: u64) -> api::Push {
    let web = api::PlacedService {
        id: WEB.as_bytes().to_vec(),
        name: "web".to_owned(),
        activation: "running".to_owned(),
        grants: 1,
        ..Default::default()
    };
    api::Push { revision, placed: vec![web], placed_changed: true, ..Default::default() }
}

fn gone(revision: u64) -> api::Push {
    api::Push { revision, gone: vec![WEB.as_bytes().to_vec()], ..Default::default() }
}

struct Pki {
    fingerprint: Fingerprint,
    root: Vec<u8>,
    issuing: Vec<u8>,
    issuer: Issuer,
    now: Stamp,
}

impl Pki {
    fn new() -> Self {
        let now = SystemClock.now();
        let name: Name = "prod".parse().expect("a name");
        let root = Root::generate(CLUSTER, &name, now).expect("made");
        let key = PrivateKey::generate().expect("made");
        let issuing = root.sign_issuing(&key.public(), CLUSTER, now).expect("signed");
        Self {
            fingerprint: Fingerprint::of_root(&root.certificate),
            root: root.certificate,
            issuer: Issuer::new(issuing.clone(), key).expect("fits"),
            issuing,
            now,
        }
    }

    fn credentials(&self, role: CertificateRole) -> Credentials {
        let key = PrivateKey::generate().expect("made");
        let name = "x".parse().expect("a name");
        let subject = Subject { cluster: CLUSTER, role, name };
        let ends = self.now.plus_ms(3_600_000);
        let leaf = self.issuer.sign_leaf(&key.public(), &subject, self.now, ends).expect("signed");
        let chain = [leaf, self.issuing.clone(), self.root.clone()];
        Credentials::new(&chain, &SecretBytes::copy_of(key.expose())).expect("fits")
    }
}

struct Case {
    folder: tempfile::TempDir,
    pki: Pki,
    address: String,
    streams: Streams,
}

/// What a failed test leaves behind goes with it.
impl Drop for Case {
    fn drop(&mut self) {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points: Vec<&str> = table.lines().filter_map(|line| line.split(' ').nth(4)).collect();
        for point in
            points.iter().rev().filter(|point| std::path::Path::new(point).starts_with(self.root()))
        {
            rustix::mount::unmount(*point, rustix::mount::UnmountFlags::DETACH).ok();
        }
    }
}

struct Running {
    handle: Handle,
    driving: tokio::task::JoinHandle<Result<Ending, Broken>>,
    socket: PathBuf,
}

impl Case {
    async fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let pki = Pki::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound").to_string();
        let (sender, streams) = mpsc::channel(4);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let credentials = pki.credentials(CertificateRole::Manager(LEADER));
        let tls = ServerTls::new(&credentials, pki.fingerprint, clock);
        let routes = tonic::service::Routes::new(DeliveryServer::new(FakeLeader(sender)));
        tokio::spawn(serve(listener, tls, routes, std::future::pending()));
        let folder = tempfile::tempdir().expect("a folder");
        let streams = Arc::new(Mutex::new(streams));
        Some(Self { folder, pki, address, streams })
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("secrets")
    }

    async fn start(&self, managers: &[String]) -> Running {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let book = Book::new(Arc::new(RealDisk), self.folder.path());
        let memory = book.load().expect("loads");
        let roster = book.load_roster().expect("loads").unwrap_or_default();
        let mut opened = None;
        // The thread of the agent before may still be on its way out.
        until("the root is free", || {
            opened = Mounts::open(&self.root(), Options::default(), clock.boot()).ok();
            opened.is_some()
        })
        .await;
        let (mounts, adopted) = opened.expect("opens");
        let session = Session::new(memory, shelf_of(&mounts), managers);
        let (worker, reports) =
            Worker::start(mounts, book, Arc::clone(&clock), CLUSTER).expect("starts");
        let (ended, ends) = mpsc::unbounded_channel();
        let workloads = Workloads::new(
            worker.clone(),
            boot_id().expect("an id"),
            crate::agent::vault::Guests::default(),
            ended,
        );
        let alive = workloads.adopt(&roster, &adopted);
        let credentials = self.pki.credentials(CertificateRole::Worker(NODE));
        let links = Links {
            tls: ClientTls::new(&credentials, self.pki.fingerprint, Arc::clone(&clock)),
            node: NODE,
            machine: Machine::default(),
            dice: os_dice,
            ends: self.pki.now.plus_ms(3_600_000),
            clock: Arc::clone(&clock),
            reads: crate::agent::vault::Reads::default(),
        };
        let (driver, handle) =
            Driver::new(session, links, (worker, reports), (workloads, ends), Arc::clone(&clock));
        let socket = self.folder.path().join("agent.sock");
        fs::remove_file(&socket).ok();
        let listener = UnixListener::bind(&socket).expect("binds");
        let name = "n1".parse().expect("a name");
        let stage = Stage::Serving { node: NODE, name, handle: handle.clone() };
        let (keep, stages) = watch::channel(stage);
        let routes = LocalService::routes(stages, clock);
        tokio::spawn(async move {
            let _keep = keep;
            serve_local(listener, routes, std::future::pending()).await
        });
        Running { handle, driving: tokio::spawn(driver.run(alive)), socket }
    }

    async fn stream(&self) -> Stream {
        let mut streams = self.streams.lock().await;
        tokio::time::timeout(DEADLINE, streams.recv()).await.expect("in time").expect("a session")
    }
}

impl Running {
    async fn stop(self, wipe: bool) {
        self.handle.stop(wipe).await;
        let ending = tokio::time::timeout(DEADLINE, self.driving).await;
        assert_eq!(ending.expect("in time").expect("no panic"), Ok(Ending::Stopped));
    }

    async fn up(&self, wait: Duration) -> Result<PathBuf, session::Refused> {
        self.handle.up("web".to_owned(), wait).await
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + DEADLINE;
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}

fn process(script: &str) -> Child {
    Command::new("sh").args(["-c", script]).stdout(Stdio::null()).spawn().expect("starts")
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("a pid")
}

fn namespace(pid: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap_or_default()
}

fn others_in(inside: &PathBuf) -> Vec<u32> {
    assert!(inside.to_string_lossy().starts_with("mnt:"));
    let there = fs::read_dir("/proc").expect("readable").filter_map(|entry| {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        if namespace(&name) == *inside { name.parse().ok() } else { None }
    });
    there.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_arrive_rotate_and_go() {
    let Some(case) = Case::new().await else { return };
    let agent = case.start(std::slice::from_ref(&case.address)).await;
    let mut leader = case.stream().await;
    assert!(leader.hello.held.is_empty() && leader.hello.running.is_empty());
    leader.push(placed(5)).await;

    let (up, ()) = tokio::join!(agent.up(DEADLINE), async {
        assert_eq!(leader.running().await, 1);
        let first = leader.set(1, b"first value", 6);
        assert!(leader.push(first).await.failed.is_empty());
    });
    let file = up.expect("in place").join("password");
    assert_eq!(fs::read(&file).expect("readable"), b"first value");
    let mut old = File::open(&file).expect("opens");

    let second = leader.set(2, b"second value", 7);
    assert!(leader.push(second).await.failed.is_empty());
    assert_eq!(fs::read(&file).expect("readable"), b"second value");

    // One that does not open: the set stays as it is, and the leader hears that it is no use.
    let mut bad = leader.set(3, b"third value", 8);
    bad.values[0].sealed_key[3] ^= 1;
    let ack = leader.push(bad).await;
    assert!(ack.failed[0].r#final, "{ack:?}");
    assert_eq!(fs::read(&file).expect("readable"), b"second value");

    assert!(leader.push(gone(9)).await.failed.is_empty());
    assert!(!file.exists());
    let mut rest = Vec::new();
    old.read_to_end(&mut rest).expect("reads");
    assert_eq!(rest, b"", "a descriptor opened before reads end of file");
    agent.stop(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_without_managers_keeps_and_a_reconnection_revokes_first() {
    let Some(case) = Case::new().await else { return };
    let agent = case.start(std::slice::from_ref(&case.address)).await;
    let mut leader = case.stream().await;
    leader.push(placed(5)).await;
    let (up, ()) = tokio::join!(agent.up(DEADLINE), async {
        leader.running().await;
        let set = leader.set(1, b"kept", 6);
        leader.push(set).await;
    });
    let file = up.expect("in place").join("password");
    agent.stop(false).await;
    drop(leader);
    assert_eq!(fs::read(&file).expect("readable"), b"kept");

    // Nobody listens there: the agent is alone, and what is here is served.
    let agent = case.start(&["127.0.0.1:1".to_owned()]).await;
    agent.up(DEADLINE).await.expect("served from what is here");
    let state = agent.handle.view().await.expect("a view");
    assert_eq!((state.state.word(), state.services[0].state), ("offline", "in-place"));
    assert!(state.offline_since.is_some());
    agent.stop(false).await;

    let agent = case.start(std::slice::from_ref(&case.address)).await;
    let mut leader = case.stream().await;
    assert_eq!(leader.hello.revision, 6);
    assert_eq!(leader.hello.running.len(), 1, "up by hand is remembered");
    assert_eq!(leader.hello.held[0].digest, vec![1; 32]);
    leader.push(api::Push { placed_changed: true, ..gone(7) }).await;
    assert!(!file.exists());
    let refused = agent.up(DEADLINE).await.expect_err("not placed any more");
    assert!(refused.text.contains("not placed"), "{refused:?}");
    agent.stop(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_counts_until_its_last_process_is_gone() {
    let Some(case) = Case::new().await else { return };
    let agent = case.start(std::slice::from_ref(&case.address)).await;
    let mut leader = case.stream().await;
    leader.push(placed(5)).await;

    // What `skep exec` does, in a shell: ask, enclose itself, become the command.
    let go = case.folder.path().join("go");
    let script = format!(
        "while [ ! -s {go} ]; do sleep 0.01; done; exec unshare -m sh -c 'mount -t tmpfs none /run; \
         mkdir /run/secrets; mount --bind $(cat {go}) /run/secrets; \
         setsid sleep 60 & exec sleep 60'",
        go = go.display()
    );
    let mut main = process(&script);
    let number = pid(&main);
    let (exec, ()) =
        tokio::join!(agent.handle.exec("web".to_owned(), 0, number, DEADLINE), async {
            assert_eq!(leader.running().await, 1);
            let set = leader.set(1, b"value", 6);
            leader.push(set).await;
        });
    let live = exec.expect("granted").path;
    assert!(live.join("password").exists());
    File::create(&go)
        .and_then(|mut file| file.write_all(live.display().to_string().as_bytes()))
        .expect("written");
    until("a namespace of its own", || {
        namespace(&number.to_string()) != namespace("self")
            && fs::read_to_string(format!("/proc/{number}/comm")).is_ok_and(|c| c == "sleep\n")
    })
    .await;
    agent.handle.enclosed(number).await.expect("known");
    let inside = namespace(&number.to_string());

    // `kill -9`, and an agent that starts again: the other process still counts.
    main.kill().expect("killed");
    main.wait().expect("reaped");
    agent.stop(false).await;
    drop(leader);
    let agent = case.start(std::slice::from_ref(&case.address)).await;
    let mut leader = case.stream().await;
    assert_eq!(leader.hello.running.len(), 1);
    leader.push(placed(7)).await;

    let inside_still = others_in(&inside);
    assert_eq!(inside_still.len(), 1, "{inside:?}: {inside_still:?}");
    kill(inside_still[0]);
    assert_eq!(leader.running().await, 0);
    leader.push(gone(8)).await;
    agent.stop(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_answers_and_refuses_in_words() {
    let Some(case) = Case::new().await else { return };
    let agent = case.start(std::slice::from_ref(&case.address)).await;
    let mut leader = case.stream().await;
    leader.push(placed(5)).await;
    let channel = connect_local(&agent.socket).await.expect("connects");
    let mut client = AgentClient::new(channel);
    let status = client.status(local::StatusRequest {}).await.expect("answers").into_inner();
    assert_eq!(status.state, "connected");
    assert_eq!((status.cluster_name.as_str(), status.node_name.as_str()), ("prod", "n1"));
    assert_eq!(status.services[0].state, "idle");

    let exec = |service: &str| local::ExecRequest {
        service: service.to_owned(),
        timeout_ms: 200,
        inside: false,
    };
    let refused = client.exec(exec("other")).await.expect_err("not placed");
    let problem = crate::transport::read_problem(&refused).expect("a problem");
    assert!(problem.text.contains("not placed on this node") && !problem.hint.is_empty());
    let late = client.exec(exec("web")).await.expect_err("nothing is delivered");
    assert_eq!(crate::transport::read_problem(&late).map(|problem| problem.exit), Some(5));
    let inside = local::ExecRequest { inside: true, ..exec("web") };
    client.exec(inside).await.expect_err("not in a namespace of its own");
    client.leave(local::LeaveRequest {}).await.expect("leaves");
    let ending = tokio::time::timeout(DEADLINE, agent.driving).await.expect("in time");
    assert_eq!(ending.expect("no panic"), Ok(Ending::Left));
}
