//! A leader of the test's own, an agent under test, processes.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::agent::doors::LocalService;
use crate::agent::machine::boot_id;
use crate::agent::mount::{Mounts, Options};
use crate::agent::run::*;
use crate::agent::session::{Ending, Session};
use crate::host::RealDisk;
use skep_client::ca::{CertificateRole, Issuer, PrivateKey, Root, Subject};
use skep_client::machine::{SystemClock, os_dice};
use skep_client::transport::rpc::api::delivery_server::{Delivery, DeliveryServer};
use skep_client::transport::{Credentials, ServerTls, serve, serve_local_behind};
use skep_core::base::{
    Clock, ClusterId, Fingerprint, Name, NodeId, SecretBytes, SecretId, ServiceId, Stamp, VersionId,
};
use skep_core::seal::{DataKey, SessionHalf, SessionKey, ValueContext, seal_value};
use skep_core::wire::api;

pub(super) const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
pub(super) const LEADER: NodeId = NodeId::from_bytes([2; 16]);
pub(super) const NODE: NodeId = NodeId::from_bytes([3; 16]);
pub(super) const WEB: ServiceId = ServiceId::from_bytes([4; 16]);
pub(super) const SECRET: SecretId = SecretId::from_bytes([5; 16]);
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

pub(super) type Streams = Arc<Mutex<mpsc::Receiver<Stream>>>;

/// A session as the leader sees it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) hello: api::Hello,
    pub(super) incoming: Streaming<api::FromAgent>,
    pub(super) outgoing: mpsc::Sender<Result<api::FromLeader, Status>>,
    pub(super) key: SessionKey,
    pub(super) number: u64,
}

pub(super) struct FakeLeader(mpsc::Sender<Stream>);

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
                ..api::Welcome::default()
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
    pub(super) async fn push(&mut self, push: api::Push) -> api::Ack {
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

    pub(super) async fn heard(&mut self) -> api::from_agent::Of {
        let message = tokio::time::timeout(DEADLINE, self.incoming.message()).await;
        message.expect("in time").expect("a stream").expect("a message").of.expect("something")
    }

    pub(super) async fn running(&mut self) -> usize {
        loop {
            if let api::from_agent::Of::Running(running) = self.heard().await {
                return running.services.len();
            }
        }
    }

    /// The set of `WEB` with one file of this version and value.
    pub(super) fn set(&self, version: u8, value: &[u8], revision: u64) -> api::Push {
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
                mount: api::Mount::Tmpfs.into(),
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

pub(super) fn placed(revision: u64) -> api::Push {
    let web = api::PlacedService {
        id: WEB.as_bytes().to_vec(),
        name: "web".to_owned(),
        activation: api::Activation::Running.into(),
        grants: 1,
        ..Default::default()
    };
    api::Push { revision, placed: vec![web], placed_changed: true, ..Default::default() }
}

pub(super) fn gone(revision: u64) -> api::Push {
    api::Push { revision, gone: vec![WEB.as_bytes().to_vec()], ..Default::default() }
}

pub(super) struct Pki {
    pub(super) fingerprint: Fingerprint,
    pub(super) root: Vec<u8>,
    pub(super) issuing: Vec<u8>,
    pub(super) issuer: Issuer,
    pub(super) now: Stamp,
}

impl Pki {
    pub(super) fn new() -> Self {
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

    pub(super) fn credentials(&self, role: CertificateRole) -> Credentials {
        let (chain, key) = self.signed(role);
        Credentials::new(&chain, &SecretBytes::copy_of(key.expose())).expect("fits")
    }

    fn own(&self, folder: &std::path::Path, clock: Arc<dyn Clock>) -> crate::agent::member::Own {
        let (chain, key) = self.signed(CertificateRole::Worker(NODE));
        let identity = skep_client::ca::Identity {
            cluster: "prod".parse().expect("a name"),
            fingerprint: self.fingerprint,
            addresses: Vec::new(),
            oldest_issuer: Stamp(0),
            chain,
            key,
            hello: skep_core::seal::HelloKey::parse(&SecretBytes::zeroed(64)).expect("a key"),
            sealed: None,
        };
        let own =
            crate::agent::member::Own::new(Arc::new(RealDisk), folder, identity, clock, os_dice);
        own.expect("sound")
    }

    fn signed(&self, role: CertificateRole) -> (Vec<Vec<u8>>, PrivateKey) {
        let key = PrivateKey::generate().expect("made");
        let name = "x".parse().expect("a name");
        let subject = Subject { cluster: CLUSTER, role, name };
        let ends = self.now.plus_ms(3_600_000);
        let leaf = self.issuer.sign_leaf(&key.public(), &subject, self.now, ends).expect("signed");
        (vec![leaf, self.issuing.clone(), self.root.clone()], key)
    }
}

pub(super) struct Case {
    pub(super) folder: tempfile::TempDir,
    pub(super) pki: Pki,
    pub(super) address: String,
    pub(super) streams: Streams,
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

pub(super) struct Running {
    pub(super) handle: Handle,
    pub(super) driving: tokio::task::JoinHandle<Result<Ending, Broken>>,
    pub(super) socket: PathBuf,
}

impl Case {
    pub(super) async fn new() -> Option<Self> {
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
        tokio::spawn(async move {
            let places = skep_core::base::ManagerPlaces::default();
            serve(listener, tls, routes, &places, std::future::pending()).await
        });
        let folder = tempfile::tempdir().expect("a folder");
        let streams = Arc::new(Mutex::new(streams));
        Some(Self { folder, pki, address, streams })
    }

    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().join("secrets")
    }

    pub(super) async fn start(&self, managers: &[String]) -> Running {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let book = Book::new(Arc::new(RealDisk), self.folder.path());
        let memory = book.load().expect("loads");
        let boot = boot_id().expect("an id");
        let roster = book.load_roster(&boot).expect("loads");
        let notes = book.notes(&boot).expect("starts");
        let mut opened = None;
        // The thread of the agent before may still be on its way out.
        until("the root is free", || {
            opened = Mounts::open(&self.root(), Options::default(), clock.boot()).ok();
            opened.is_some()
        })
        .await;
        let (mounts, adopted) = opened.expect("opens");
        let session = Session::new(memory, mounts.held(), managers);
        let (worker, reports) =
            Worker::start(mounts, book, Arc::clone(&clock), CLUSTER, boot).expect("starts");
        let guests = crate::agent::vault::Guests::default();
        let (ended, ends) = mpsc::unbounded_channel();
        let workloads = Workloads::new(
            worker.clone(),
            notes,
            guests.clone(),
            skep_core::base::AgentPlaces::default().workloads,
            ended,
        );
        let alive = workloads.adopt(roster, &adopted);
        let links = Links {
            own: self.pki.own(self.folder.path(), Arc::clone(&clock)),
            node: NODE,
            machine: Machine::default(),
            dice: os_dice,
            reads: crate::agent::vault::Reads::default(),
            upward: crate::agent::run::Upward::default(),
        };
        let own = links.own.clone();
        let puts = Puts::new(CLUSTER, (worker.clone(), guests), links.upward.clone(), os_dice);
        let (told, hooked) = mpsc::unbounded_channel();
        let hooks = (crate::agent::hook::HookRunner::new([], None, told), hooked);
        let (worker, workloads) = ((worker, reports), (workloads, ends));
        let (driver, handle) =
            Driver::new(session, links, worker, workloads, hooks, Arc::clone(&clock));
        let socket = self.folder.path().join("agent.sock");
        fs::remove_file(&socket).ok();
        let listener = UnixListener::bind(&socket).expect("binds");
        let name = "n1".parse().expect("a name");
        let stage = Stage::Serving { node: NODE, name, own, handle: handle.clone(), puts };
        let (keep, stages) = watch::channel(stage);
        let routes = LocalService::routes(stages, clock, None);
        tokio::spawn(async move {
            let _keep = keep;
            let doors = LocalService::doors();
            serve_local_behind(doors, listener, routes, 64, std::future::pending()).await
        });
        Running { handle, driving: tokio::spawn(driver.run(alive)), socket }
    }

    pub(super) async fn stream(&self) -> Stream {
        let mut streams = self.streams.lock().await;
        tokio::time::timeout(DEADLINE, streams.recv()).await.expect("in time").expect("a session")
    }
}

impl Running {
    pub(super) async fn stop(self, wipe: bool) {
        self.handle.stop(wipe).await;
        let ending = tokio::time::timeout(DEADLINE, self.driving).await;
        assert_eq!(ending.expect("in time").expect("no panic"), Ok(Ending::Stopped));
    }

    pub(super) async fn up(
        &self,
        wait: Duration,
    ) -> Result<PathBuf, crate::agent::session::Refused> {
        self.handle.up("web".to_owned(), wait).await
    }
}

pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + DEADLINE;
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}

pub(super) fn process(script: &str) -> Child {
    Command::new("sh").args(["-c", script]).stdout(Stdio::null()).spawn().expect("starts")
}

pub(super) fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("a pid")
}

pub(super) fn namespace(pid: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap_or_default()
}

pub(super) fn others_in(inside: &PathBuf) -> Vec<u32> {
    assert!(inside.to_string_lossy().starts_with("mnt:"));
    let there = fs::read_dir("/proc").expect("readable").filter_map(|entry| {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        if namespace(&name) == *inside { name.parse().ok() } else { None }
    });
    there.collect()
}
