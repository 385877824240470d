//! A fake agent: keeps what it is sent, opens it, says what it is told to say.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::fixture::{Cluster, LONG, Machine, soon};
use skep_client::machine::OsDice;
use skep_client::transport::rpc::api::delivery_client::DeliveryClient;
use skep_client::transport::{Expect, Problem, connect, read_problem};
use skep_core::base::{NodeId, SecretBytes, SecretId, ServiceId, VersionId};
use skep_core::seal::{SessionHalf, SessionKey, ValueContext, open_value};
use skep_core::wire::api;
use skep_core::wire::api::from_leader::Of;

/// What the agent has: files by service and target, values by version.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    pub(crate) sets: BTreeMap<ServiceId, api::ServiceSet>,
    pub(crate) values: BTreeMap<VersionId, Vec<u8>>,
    pub(crate) boot: u8,
}

/// A session with the leader.
pub(crate) struct Session {
    pub(crate) to: mpsc::Sender<api::FromAgent>,
    from: Streaming<api::FromLeader>,
    key: SessionKey,
    cluster: skep_core::base::ClusterId,
    pub(crate) welcome: api::Welcome,
}

pub(crate) fn hello(agent: &Agent, public: [u8; 32], running: &[ServiceId]) -> api::Hello {
    api::Hello {
        session_public: public.to_vec(),
        boot_id: vec![agent.boot; 16],
        version: "0.1.0".to_owned(),
        hostname: "db1\u{1b}[31m".to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        running: running.iter().map(|id| id.as_bytes().to_vec()).collect(),
        held: agent.sets.values().map(held).collect(),
        ..api::Hello::default()
    }
}

fn held(set: &api::ServiceSet) -> api::Held {
    api::Held {
        service: set.service.clone(),
        digest: set.digest.clone(),
        versions: set.files.iter().map(|file| file.version.clone()).collect(),
    }
}

/// Opens the stream with this first message.
pub(crate) async fn open(
    cluster: &Cluster,
    machine: &Machine,
    first: api::from_agent::Of,
) -> Result<(mpsc::Sender<api::FromAgent>, Streaming<api::FromLeader>), Status> {
    let (channel, _) =
        connect(&cluster.address, &machine.tls, Expect::AnyManager, LONG).await.expect("connected");
    let (to, messages) = mpsc::channel(8);
    to.send(api::FromAgent { of: Some(first) }).await.expect("room");
    let mut client = DeliveryClient::new(channel);
    let from = soon(client.session(ReceiverStream::new(messages))).await?.into_inner();
    Ok((to, from))
}

impl Agent {
    /// A session, as far as the welcome.
    pub(crate) async fn connect(
        &self,
        cluster: &Cluster,
        machine: &Machine,
        running: &[ServiceId],
    ) -> Result<Session, Status> {
        let half = SessionHalf::draw(&mut OsDice);
        let hello = hello(self, half.public(), running);
        let first = api::from_agent::Of::Hello(hello);
        let (to, mut from) = open(cluster, machine, first).await?;
        let message = soon(from.message()).await?.expect("a message");
        let Some(Of::Welcome(welcome)) = message.of else { panic!("not a welcome") };
        let leader = NodeId::try_from(welcome.leader.as_slice()).expect("an id");
        let public = welcome.session_public.as_slice().try_into().expect("a key");
        let key = half.agree(false, leader, machine.node, &public).expect("agreed");
        Ok(Session { to, from, key, cluster: cluster.core.cluster, welcome })
    }

    /// Carries a push out: all its files can be had, and no value came needlessly.
    pub(crate) fn apply(&mut self, push: &api::Push, values: Vec<(VersionId, Vec<u8>)>) {
        for gone in &push.gone {
            self.sets.remove(&service(gone));
        }
        for set in &push.sets {
            self.sets.insert(service(&set.service), set.clone());
        }
        for (version, value) in values {
            assert!(self.values.insert(version, value).is_none(), "it was there already");
        }
        let files = self.sets.values().flat_map(|set| &set.files);
        let used: BTreeSet<_> = files.map(|file| version(&file.version)).collect();
        assert!(used.iter().all(|version| self.values.contains_key(version)), "a value is missing");
        self.values.retain(|version, _| used.contains(version));
    }

    /// The value of a file.
    pub(crate) fn file(&self, of: ServiceId, target: &str) -> Option<&[u8]> {
        let file = self.sets.get(&of)?.files.iter().find(|file| file.target == target)?;
        self.values.get(&version(&file.version)).map(Vec::as_slice)
    }
}

impl Session {
    /// The next push with its values, opened.
    pub(crate) async fn push(&mut self) -> Result<(api::Push, Vec<(VersionId, Vec<u8>)>), Status> {
        let mut values = Vec::new();
        loop {
            let message = soon(self.from.message()).await?;
            match message.ok_or_else(|| Status::cancelled("ended"))?.of {
                Some(Of::Values(frame)) => values.extend(frame.values),
                Some(Of::Push(push)) => {
                    values.extend(push.values.iter().cloned());
                    let opened = values.iter().map(|value| self.open(value)).collect();
                    return Ok((push, opened));
                }
                Some(Of::Managers(_) | Of::Renew(_) | Of::Confirmed(_)) => {}
                Some(Of::Welcome(_)) | None => panic!("not a push"),
            }
        }
    }

    fn open(&self, value: &api::Value) -> (VersionId, Vec<u8>) {
        let context = ValueContext {
            cluster: self.cluster,
            secret: SecretId::try_from(value.secret.as_slice()).expect("an id"),
            version: version(&value.version),
            size: value.size,
        };
        let key = self.key.open(&value.sealed_key, &context).expect("the data key");
        let opened: SecretBytes = open_value(&key, &context, &value.sealed_value).expect("value");
        (context.version, opened.expose().to_vec())
    }

    pub(crate) async fn ack(&self, push: u64, failed: Vec<api::Failed>) {
        self.say(api::from_agent::Of::Ack(api::Ack { push, failed, ..api::Ack::default() })).await;
    }

    pub(crate) async fn runs(&self, running: &[ServiceId]) {
        let services = running.iter().map(|id| id.as_bytes().to_vec()).collect();
        self.say(api::from_agent::Of::Running(api::Running { services })).await;
    }

    pub(crate) async fn say(&self, of: api::from_agent::Of) {
        self.to.send(api::FromAgent { of: Some(of) }).await.expect("the session lives");
    }

    /// Takes a push, carries it out and says so.
    pub(crate) async fn follow(&mut self, agent: &mut Agent) -> api::Push {
        let (push, values) = self.push().await.expect("a push");
        agent.apply(&push, values);
        self.ack(push.number, Vec::new()).await;
        push
    }

    /// The problem with which the session ends.
    pub(crate) async fn end(&mut self) -> Problem {
        loop {
            match soon(self.from.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("ended without a problem"),
                Err(status) => return problem(&status),
            }
        }
    }
}

pub(crate) fn problem(status: &Status) -> Problem {
    read_problem(status).unwrap_or_else(|| panic!("no problem: {status:?}"))
}

fn service(id: &[u8]) -> ServiceId {
    ServiceId::try_from(id).expect("an id")
}

fn version(id: &[u8]) -> VersionId {
    VersionId::try_from(id).expect("an id")
}
