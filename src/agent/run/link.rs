//! One session with a manager at a time, each a task of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use crate::agent::member::Own;
use crate::agent::run::cause::{Never, RENEW, cause_of, refused_of};
use crate::agent::run::renew::{Renewer, reach};
use crate::agent::run::upward::Upward;
use crate::agent::session::problem;
use crate::agent::session::{Cause, Hello, Refused};
use crate::agent::vault::Reads;
use skep_client::ca::CertificateRole;
use skep_client::transport::Peer;
use skep_client::transport::rpc::api::delivery_client::DeliveryClient;
use skep_core::base::{BootTime, Dice, NodeId, ServiceId, Stamp};
use skep_core::seal::{SessionHalf, SessionKey};
use skep_core::wire::api;
use skep_core::wire::convert::{
    read_confirmed, read_managers, read_push, read_values, read_welcome, write_ack, write_held,
    write_hooks, write_opened,
};
use skep_core::wire::delivery::{Ack, Confirmed, HookStand, Malformed, Push, SentValue, Welcome};

/// From the hello to the welcome.
const GREETING: Duration = Duration::from_secs(10);
/// The answer to a leave.
const LEAVING: Duration = Duration::from_secs(30);
/// Bytes of one message of the leader's: it sends 2 MiB at most.
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Messages that wait to be taken, either way: the stream itself holds back the rest.
const WAITING: usize = 16;
/// Between two looks at what was opened: it is handed in together.
const GATHER: Duration = Duration::from_millis(500);
/// The answer to what is handed in, and how long to wait after none came.
const HANDING_IN: Duration = Duration::from_secs(10);

/// What a node says of itself in a hello: shown to people, never used.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// The boot's id, 16 bytes.
    pub boot_id: Vec<u8>,
    /// Its host name.
    pub hostname: String,
}

/// Makes connections.
pub struct Links {
    /// Own certificate, and whom to accept.
    pub own: Own,
    /// This node.
    pub node: NodeId,
    /// What it says of itself.
    pub machine: Machine,
    /// Makes dice.
    pub dice: fn() -> Box<dyn Dice>,
    /// What was opened here, to be handed in.
    pub reads: Reads,
    /// What is asked beside the session.
    pub upward: Upward,
}

/// A connection, being made or made.
#[derive(Debug)]
pub struct Link {
    outgoing: mpsc::Sender<Outgoing>,
    incoming: mpsc::Receiver<LinkEvent>,
    task: AbortHandle,
}

/// What a connection tells.
#[derive(Debug)]
pub enum LinkEvent {
    /// A manager is there.
    Reached {
        /// Where.
        address: String,
    },
    /// It leads, and the key is agreed.
    Welcome {
        /// What it said.
        welcome: Welcome,
        /// For this session's data keys.
        key: Arc<SessionKey>,
    },
    /// Where all managers are now.
    Managers(Vec<String>),
    /// Values ahead of a push.
    Values {
        /// Of which.
        number: u64,
        /// Sealed.
        values: Vec<SentValue>,
    },
    /// A push.
    Push(Push),
    /// The leader answered what was asked.
    Confirmed(Confirmed),
    /// There is no connection any more.
    Ended(Cause),
    /// The answer to a leave.
    Left(Result<(), Refused>),
}

enum Outgoing {
    Hello(Hello),
    Message(api::FromAgent),
    Leave,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Links({})", self.node)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Links {
    /// A random number.
    #[must_use]
    pub fn jitter(&self) -> u16 {
        u16::from_be_bytes(skep_core::base::draw((self.dice)().as_mut()))
    }

    /// Begins to connect.
    #[must_use]
    pub fn connect(&self, address: String, after: Duration) -> Link {
        let (outgoing, said) = mpsc::channel(WAITING);
        let (tell, incoming) = mpsc::channel(WAITING);
        let connection = Connection {
            own: self.own.clone(),
            node: self.node,
            machine: self.machine.clone(),
            dice: self.dice,
            said,
            tell: tell.clone(),
            reads: self.reads.clone(),
            upward: self.upward.clone(),
        };
        let task = tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let cause = match Box::pin(connection.run(address)).await {
                Ok(never) => match never {},
                Err(cause) => cause,
            };
            // Nobody listens any more where the link was dropped.
            tell.send(LinkEvent::Ended(cause)).await.ok();
        });
        Link { outgoing, incoming, task: task.abort_handle() }
    }
}

impl Link {
    /// Waits for what this connection tells; forever where there is none.
    pub async fn listen(link: Option<&mut Self>) -> Option<LinkEvent> {
        match link {
            Some(link) => link.incoming.recv().await,
            None => std::future::pending().await,
        }
    }

    /// Says hello. False, here and below: it takes nothing more.
    #[must_use]
    pub fn hello(&self, hello: Hello) -> bool {
        self.outgoing.try_send(Outgoing::Hello(hello)).is_ok()
    }

    /// Tells what runs.
    #[must_use]
    pub fn running(&self, running: &BTreeSet<ServiceId>) -> bool {
        let services = running.iter().map(|service| service.as_bytes().to_vec()).collect();
        self.message(api::from_agent::Of::Running(api::Running { services }))
    }

    /// Acknowledges a push.
    #[must_use]
    pub fn ack(&self, ack: Ack) -> bool {
        self.message(api::from_agent::Of::Ack(write_ack(ack)))
    }

    /// Asks whether what is here is what is due.
    #[must_use]
    pub fn ask(&self, now: BootTime) -> bool {
        self.message(api::from_agent::Of::Ask(api::Ask { at_ms: now.0 }))
    }

    /// Tells how hooks stand.
    #[must_use]
    pub fn hooks(&self, stands: &BTreeMap<ServiceId, HookStand>) -> bool {
        self.message(api::from_agent::Of::Hooks(write_hooks(stands)))
    }

    /// Asks to leave the cluster.
    #[must_use]
    pub fn leave(&self) -> bool {
        self.outgoing.try_send(Outgoing::Leave).is_ok()
    }

    fn message(&self, of: api::from_agent::Of) -> bool {
        self.outgoing.try_send(Outgoing::Message(api::FromAgent { of: Some(of) })).is_ok()
    }
}

struct Connection {
    own: Own,
    node: NodeId,
    machine: Machine,
    dice: fn() -> Box<dyn Dice>,
    said: mpsc::Receiver<Outgoing>,
    tell: mpsc::Sender<LinkEvent>,
    reads: Reads,
    upward: Upward,
}

impl Connection {
    async fn run(mut self, address: String) -> Result<Never, Cause> {
        let (channel, peer) = reach(&self.own, &address).await?;
        self.tell(LinkEvent::Reached { address: address.clone() }).await?;
        let Some(Outgoing::Hello(hello)) = self.said.recv().await else {
            return Err(dropped());
        };
        let greeted = self.greet(channel.clone(), &peer, hello).await;
        let (mut stream, sender) = greeted.inspect_err(|cause| {
            if *cause == Cause::Refused(RENEW.to_owned()) {
                self.own.want();
            }
        })?;
        // The stream goes on over the connection on which it began; what is asked beside it
        // shows the newest certificate.
        let (newest, calls) = watch::channel(channel);
        let renewer = Renewer::new(self.own.clone(), address, self.dice, newest);
        let renewing = renewer.keep();
        let _open = self.upward.open(calls.clone());
        let handing_in = hand_in(calls.clone(), self.node, self.reads.clone());
        tokio::pin!(handing_in, renewing);
        loop {
            tokio::select! {
                never = &mut handing_in => match never {},
                never = &mut renewing => match never {},
                message = stream.message() => {
                    let message = message.map_err(|status| cause_of(&status))?;
                    match message.and_then(|message| message.of) {
                        Some(api::from_leader::Of::Renew(api::Renew {})) => renewer.asked(),
                        of => self.incoming(&peer, of).await?,
                    }
                }
                said = self.said.recv() => match said {
                    Some(Outgoing::Message(message)) => {
                        sender.send(message).await.map_err(|_| dropped())?;
                    }
                    Some(Outgoing::Leave) => self.leave(calls.borrow().clone()),
                    Some(Outgoing::Hello(_)) | None => return Err(dropped()),
                },
            }
        }
    }

    async fn greet(
        &mut self,
        channel: Channel,
        peer: &Peer,
        hello: Hello,
    ) -> Result<(tonic::Streaming<api::FromLeader>, mpsc::Sender<api::FromAgent>), Cause> {
        let held = hello.held.iter();
        let held = held.map(|(service, held)| write_held(*service, held.digest, &held.versions));
        let half = SessionHalf::draw((self.dice)().as_mut());
        let hello = api::Hello {
            session_public: half.public().to_vec(),
            boot_id: self.machine.boot_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hostname: self.machine.hostname.clone(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            running: hello.running.iter().map(|service| service.as_bytes().to_vec()).collect(),
            epoch_counter: hello.epoch.counter,
            epoch_tail: hello.epoch.tail.to_vec(),
            revision: hello.revision.0,
            held: held.collect(),
        };
        let (sender, messages) = mpsc::channel(WAITING);
        let hello = api::FromAgent { of: Some(api::from_agent::Of::Hello(hello)) };
        sender.send(hello).await.map_err(|_| dropped())?;
        let mut client = DeliveryClient::new(channel).max_decoding_message_size(MESSAGE_BYTES);
        let greeting = async {
            let mut stream = client.session(ReceiverStream::new(messages)).await?.into_inner();
            let first = stream.message().await?;
            Ok::<_, Status>((stream, first))
        };
        let (stream, first) = tokio::time::timeout(GREETING, greeting)
            .await
            .map_err(|_| Cause::Lost("the manager did not answer the hello in time".to_owned()))?
            .map_err(|status| cause_of(&status))?;
        let Some(api::from_leader::Of::Welcome(welcome)) = first.and_then(|first| first.of) else {
            return Err(Cause::Lost("the manager did not welcome".to_owned()));
        };
        self.refuse_before(peer, Stamp(welcome.oldest_issuer));
        let welcome = read_welcome(welcome).map_err(|bad| malformed(&bad))?;
        // The key is for whom the certificate names, not for whom the message does.
        if peer.leaf().subject.role != CertificateRole::Manager(welcome.leader) {
            return Err(Cause::Refused("the manager gave another's name".to_owned()));
        }
        let key = half
            .agree(false, welcome.leader, self.node, &welcome.session_public)
            .map_err(|error| Cause::Refused(error.to_string()))?;
        self.tell(LinkEvent::Welcome { welcome, key: Arc::new(key) }).await?;
        Ok((stream, sender))
    }

    /// Which issuing CAs are in use no more, as a manager says: kept beside the identity.
    fn refuse_before(&self, peer: &Peer, oldest: Stamp) {
        let (own, shown) = (self.own.clone(), peer.issuer());
        tokio::task::spawn_blocking(move || match own.refuse_before(oldest, shown) {
            Ok(true) => tracing::info!(event = "issuers_refused", oldest = oldest.0),
            Ok(false) => {}
            Err(error) => tracing::warn!(event = "issuer_floor_not_kept", why = %error),
        });
    }

    async fn incoming(
        &self,
        peer: &Peer,
        message: Option<api::from_leader::Of>,
    ) -> Result<(), Cause> {
        match message {
            Some(api::from_leader::Of::Push(push)) => {
                let push = read_push(push).map_err(|bad| malformed(&bad))?;
                self.tell(LinkEvent::Push(push)).await
            }
            Some(api::from_leader::Of::Confirmed(confirmed)) => {
                let confirmed = read_confirmed(&confirmed).map_err(|bad| malformed(&bad))?;
                self.tell(LinkEvent::Confirmed(confirmed)).await
            }
            Some(api::from_leader::Of::Values(ahead)) => {
                let values = read_values(ahead.values).map_err(|bad| malformed(&bad))?;
                self.tell(LinkEvent::Values { number: ahead.push, values }).await
            }
            Some(api::from_leader::Of::Managers(managers)) => {
                self.refuse_before(peer, Stamp(managers.oldest_issuer));
                self.tell(LinkEvent::Managers(read_managers(managers.addresses))).await
            }
            Some(api::from_leader::Of::Welcome(_)) => {
                Err(Cause::Lost("the manager welcomed twice".to_owned()))
            }
            Some(api::from_leader::Of::Renew(_)) => Ok(()),
            None => Err(Cause::Lost("the manager ended the session".to_owned())),
        }
    }

    /// Beside the stream, so that it goes on meanwhile.
    fn leave(&self, channel: Channel) {
        let tell = self.tell.clone();
        tokio::spawn(async move {
            let mut client = DeliveryClient::new(channel);
            let asked = tokio::time::timeout(LEAVING, client.leave(api::LeaveRequest {})).await;
            let answer = match asked {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(status)) => Err(refused_of(&status)),
                Err(_) => Err(problem::leader_silent()),
            };
            // The link may be gone; the session then was told of that.
            tell.send(LinkEvent::Left(answer)).await.ok();
        });
    }

    async fn tell(&self, event: LinkEvent) -> Result<(), Cause> {
        self.tell.send(event).await.map_err(|_| dropped())
    }
}

/// Hands in what is opened, as long as the connection lasts. What isn't acknowledged stays,
/// and is handed in again: to this leader, or to the next one.
async fn hand_in(calls: watch::Receiver<Channel>, node: NodeId, reads: Reads) -> Never {
    loop {
        let mut client = DeliveryClient::new(calls.borrow().clone());
        let Some(list) = reads.first(node) else {
            tokio::time::sleep(GATHER).await;
            continue;
        };
        let report = client.report_opened(write_opened(&list));
        match tokio::time::timeout(HANDING_IN, report).await {
            Ok(Ok(_)) => {
                reads.let_go(&list);
                tracing::info!(event = "opens_handed_in", ends = "opens_not_handed_in");
            }
            Ok(Err(status)) => {
                tracing::warn!(event = "opens_not_handed_in", why = status.message());
                tokio::time::sleep(HANDING_IN).await;
            }
            Err(_) => tracing::warn!(event = "opens_not_handed_in", why = "no answer in time"),
        }
    }
}

fn malformed(bad: &Malformed) -> Cause {
    Cause::Lost(bad.to_string())
}

fn dropped() -> Cause {
    Cause::Lost("the connection was given up".to_owned())
}
