//! Agents by the hundreds in one thread: they join and take what they are pushed as an agent does,
//! opening each value, and mount nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_stream::wrappers::ReceiverStream;

use super::{Cluster, DEADLINE, Manager};
use skep::agent::member::{Application, JoinError, Member};
use skep_client::ca::{JoinToken, PrivateKey};
use skep_client::machine::{SystemClock, os_dice};
use skep_client::transport::rpc::api::delivery_client::DeliveryClient;
use skep_client::transport::{ClientTls, Expect, connect};
use skep_core::base::{Clock, ServiceId, VersionId};
use skep_core::seal::{SessionHalf, SessionKey, ValueContext, open_value};
use skep_core::wire::api;
use skep_core::wire::convert::{read_push, read_welcome, write_ack};
use skep_core::wire::delivery::{Ack, Push};

/// Between two tries of one machine: managers bound what comes from one address.
const PAUSE: Duration = Duration::from_millis(100);

/// So many files an agent has, since then.
struct Has {
    agent: usize,
    files: usize,
    since: Instant,
}

/// Agents that have sessions as long as this lives.
pub struct Simulated {
    _runtime: Runtime,
    events: Receiver<Has>,
    files: RefCell<Vec<usize>>,
}

impl std::fmt::Debug for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Simulated({})", self.files.borrow().len())
    }
}

impl Simulated {
    /// Lets so many join, and waits until each has a session with the leader.
    ///
    /// # Panics
    /// Where one of them is not admitted in time.
    #[must_use]
    pub fn join(cluster: &Cluster, count: usize) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let token = cluster.ok(&["join-token", "worker", "-q"]);
        let leader = cluster.managers().nth(cluster.leader()).map(Manager::address);
        let leader = leader.expect("a leader");
        let (tell, events) = channel();
        let (up, ups) = channel();
        for agent in 0..count {
            let (leader, token) = (leader.clone(), token.clone());
            let (tell, up) = (tell.clone(), up.clone());
            runtime.spawn(async move {
                let member = joins(&leader, &token, agent).await;
                let mut session = Session::begin(&leader, member).await;
                up.send(()).expect("somebody waits");
                session.go_on(agent, &tell).await;
            });
        }
        for _ in 0..count {
            ups.recv_timeout(DEADLINE).expect("a session");
        }
        Self { _runtime: runtime, events, files: RefCell::new(vec![0; count]) }
    }

    /// Waits until each of them has so many files, and answers when the last one had.
    ///
    /// # Panics
    /// At the deadline.
    pub fn all_have(&self, wanted: usize) -> Instant {
        let mut files = self.files.borrow_mut();
        let mut last = Instant::now();
        while files.iter().any(|files| *files != wanted) {
            let has = self.events.recv_timeout(DEADLINE).expect("what the agents are to have");
            files[has.agent] = has.files;
            last = has.since;
        }
        last
    }
}

async fn joins(leader: &str, token: &str, agent: usize) -> Member {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let application = Application {
        token: JoinToken::parse(token.as_bytes()).expect("a token"),
        managers: vec![leader.to_owned()],
        name: format!("simulated-{agent}").parse().expect("a name"),
        key: PrivateKey::generate().expect("a key"),
    };
    let start = Instant::now();
    loop {
        match application.ask(&clock).await {
            Ok(member) => return member,
            Err(JoinError::Unreachable(_) | JoinError::NotNow(_)) if start.elapsed() < DEADLINE => {
            }
            Err(error) => panic!("not admitted: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One agent's session.
struct Session {
    member: Member,
    key: SessionKey,
    incoming: tonic::Streaming<api::FromLeader>,
    outgoing: tokio::sync::mpsc::Sender<api::FromAgent>,
    held: BTreeMap<ServiceId, BTreeSet<VersionId>>,
}

impl Session {
    async fn begin(leader: &str, member: Member) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let tls = ClientTls::of(&member.identity, clock, os_dice).expect("credentials");
        let start = Instant::now();
        let (channel, _) = loop {
            match connect(leader, &tls, Expect::AnyManager, DEADLINE).await {
                Ok(connected) => break connected,
                Err(error) => assert!(start.elapsed() < DEADLINE, "{error}"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let half = SessionHalf::draw(os_dice().as_mut());
        let hello = api::Hello {
            session_public: half.public().to_vec(),
            boot_id: [*member.node.as_bytes(), *member.node.as_bytes()].concat(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..api::Hello::default()
        };
        let (outgoing, messages) = tokio::sync::mpsc::channel(16);
        let hello = api::FromAgent { of: Some(api::from_agent::Of::Hello(hello)) };
        outgoing.send(hello).await.expect("an open channel");
        let mut client = DeliveryClient::new(channel);
        let streaming = client.session(ReceiverStream::new(messages)).await;
        let mut incoming = streaming.expect("a session").into_inner();
        let first = incoming.message().await.expect("an answer").and_then(|first| first.of);
        let Some(api::from_leader::Of::Welcome(welcome)) = first else {
            panic!("not welcomed: {first:?}");
        };
        let welcome = read_welcome(welcome).expect("a welcome");
        let agreed = half.agree(false, welcome.leader, member.node, &welcome.session_public);
        let key = agreed.expect("a key");
        Self { member, key, incoming, outgoing, held: BTreeMap::new() }
    }

    /// Takes pushes until the stream ends.
    async fn go_on(&mut self, agent: usize, tell: &Sender<Has>) {
        while let Ok(Some(message)) = self.incoming.message().await {
            let Some(api::from_leader::Of::Push(push)) = message.of else { continue };
            let push = read_push(push).expect("a push");
            let number = push.number;
            self.take(push);
            let files = self.held.values().map(BTreeSet::len).sum();
            let has = Has { agent, files, since: Instant::now() };
            let ack = Ack { push: number, failed: Vec::new(), unchanged: Vec::new() };
            let ack = api::FromAgent { of: Some(api::from_agent::Of::Ack(write_ack(ack))) };
            if self.outgoing.send(ack).await.is_err() || tell.send(has).is_err() {
                return;
            }
        }
    }

    fn take(&mut self, push: Push) {
        for service in push.gone {
            self.held.remove(&service);
        }
        for set in push.sets {
            for value in &push.values {
                let file = set.files.iter().find(|file| file.version == value.version);
                let Some(file) = file else { continue };
                let context = ValueContext {
                    cluster: self.member.cluster,
                    secret: file.secret,
                    version: file.version,
                    size: file.size,
                };
                let key = self.key.open(&value.sealed_key, &context).expect("its data key");
                let _opened = open_value(&key, &context, &value.sealed_value).expect("its value");
            }
            let versions = set.files.iter().map(|file| file.version).collect();
            self.held.insert(set.service, versions);
        }
    }
}
