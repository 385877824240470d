//! The other managers: one connection to each, made when it is needed, and what
//! each said of itself lately.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::manager::core::Core;
use crate::manager::problem;
use skep_client::ca::IssuerFloor;
use skep_client::transport::rpc::api::control_client::ControlClient;
use skep_client::transport::{
    ClientTls, ConnectError, Expect, KeyExchange, Problem, Said, connect,
};
use skep_core::base::{BootTime, Clock, NodeId, Stamp};
use skep_core::domain::NodeRole;

/// How long one address may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(1);

/// Speaks to another manager as this manager.
pub(in crate::manager) type PeerClient = ControlClient<Channel>;

/// What a manager said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::manager) struct Heard {
    /// When, by this machine's clock.
    pub at: BootTime,
    /// How far its clock is ahead of this manager's.
    pub ahead_ms: i64,
    /// Its version.
    pub version: String,
}

/// Whether a manager that shows this key is the one of this id; `None`: the id is not known.
type Listed = dyn Fn(NodeId, &[u8; 32]) -> Option<bool> + Send + Sync;

/// Connections to the other managers. They do not reconnect: whoever sees one fail
/// says so, and the next call makes a new one.
pub(in crate::manager) struct Peers {
    tls: ClientTls,
    listed: Arc<Listed>,
    clock: Arc<dyn Clock>,
    open: Mutex<BTreeMap<NodeId, (Channel, Option<KeyExchange>)>>,
    /// The newest issuing CA of a certificate that one of them has shown: it only rises.
    newest_issuer: IssuerFloor,
    heard: Mutex<BTreeMap<NodeId, Heard>>,
}

impl Peers {
    /// With this manager's own certificate, to managers whose key is the one that is listed
    /// as far as the state knows them.
    pub(in crate::manager) fn new(tls: ClientTls, core: Arc<Core>) -> Self {
        let clock = Arc::clone(&core.clock);
        let listed = move |node: NodeId, key: &[u8; 32]| {
            core.consensus.read(|state| {
                let listed = state.nodes.get(&node);
                listed.map(|node| node.role == NodeRole::Manager && node.shows(key))
            })
        };
        Self {
            tls,
            listed: Arc::new(listed),
            clock,
            open: Mutex::default(),
            heard: Mutex::default(),
            newest_issuer: IssuerFloor::default(),
        }
    }
    /// A client for `node`, which must show its own certificate.
    ///
    /// # Errors
    /// It is not reached; nothing was sent.
    pub(in crate::manager) async fn client(
        &self,
        node: NodeId,
        addresses: &[String],
    ) -> Result<PeerClient, Problem> {
        self.channel(node, addresses).await.map(ControlClient::new)
    }
    /// When the newest issuing CA begins of which one of them has shown a certificate.
    pub(in crate::manager) fn newest_issuer(&self) -> Stamp {
        self.newest_issuer.oldest()
    }
    /// The connection to `node`, for another service than the one that most calls are for.
    ///
    /// # Errors
    /// It is not reached; nothing was sent.
    pub(in crate::manager) async fn channel(
        &self,
        node: NodeId,
        addresses: &[String],
    ) -> Result<Channel, Problem> {
        let open = self.open.lock().get(&node).cloned();
        if let Some((channel, _)) = open {
            return Ok(channel);
        }
        let mut why = "no address of it is known".to_owned();
        for address in addresses {
            match connect(address, &self.tls, Expect::Manager(node), CONNECT).await {
                // A certificate is necessary and not enough.
                Ok((_, peer)) if (self.listed)(node, &peer.leaf().key) == Some(false) => {
                    why = format!("{address}: it shows another key than the cluster lists");
                }
                Ok((channel, peer)) => {
                    self.newest_issuer.raise(peer.issuer());
                    let opened = (channel.clone(), peer.key_exchange());
                    self.open.lock().insert(node, opened);
                    return Ok(channel);
                }
                Err(error) => {
                    self.learn_of_clock(node, &error);
                    why = error.to_string();
                }
            }
        }
        Err(problem::members::peer_silent(why))
    }
    /// A manager whose certificate is right but for the time has said what time it is there: it
    /// counts like what it says in a status, if its key is the one that is listed.
    fn learn_of_clock(&self, node: NodeId, error: &ConnectError) {
        let ConnectError::OutOfTime { clocks, .. } = error else { return };
        let is_listed = |said: &Said| (self.listed)(node, &said.key) == Some(true);
        let Some(said) = clocks.said.filter(is_listed) else { return };
        let version = self.said(node).map(|before| before.version).unwrap_or_default();
        let heard = Heard { at: self.clock.boot(), ahead_ms: said.ahead_ms, version };
        self.heard(node, heard);
    }
    /// Whether `node` answers at one of these addresses now, whatever connection to it is open.
    pub(in crate::manager) async fn reaches(&self, node: NodeId, addresses: &[String]) -> bool {
        for address in addresses {
            if connect(address, &self.tls, Expect::Manager(node), CONNECT).await.is_ok() {
                return true;
            }
        }
        false
    }
    /// Asks `node` one thing, connecting included for `limit` at most. `None`: it did not
    /// answer, or not in time; its connection is given up, and the next call makes a new one.
    pub(in crate::manager) async fn ask<T, F>(
        &self,
        node: NodeId,
        addresses: &[String],
        limit: Duration,
        call: impl FnOnce(PeerClient) -> F,
    ) -> Option<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let asking = async {
            let client = self.client(node, addresses).await.ok()?;
            call(client).await.ok()
        };
        let answer = tokio::time::timeout(limit, asking).await.ok().flatten();
        if answer.is_none() {
            self.lost(node);
        }
        answer.map(Response::into_inner)
    }
    /// How the keys of the connection to `node` were agreed on, where one is open; empty where
    /// none is.
    pub(in crate::manager) fn key_exchange(&self, node: NodeId) -> String {
        let exchange = self.open.lock().get(&node).and_then(|(_, exchange)| *exchange);
        exchange.map(|exchange| exchange.to_string()).unwrap_or_default()
    }
    /// The connection to `node` has failed.
    pub(in crate::manager) fn lost(&self, node: NodeId) {
        self.open.lock().remove(&node);
    }
    /// The next call to each of them goes over a new connection: this manager has another
    /// certificate to show. Calls under way go on.
    pub(in crate::manager) fn connect_anew(&self) {
        self.open.lock().clear();
    }
    /// `node` said this of itself.
    pub(in crate::manager) fn heard(&self, node: NodeId, heard: Heard) {
        self.heard.lock().insert(node, heard);
    }
    /// What `node` said of itself the last time.
    pub(in crate::manager) fn said(&self, node: NodeId) -> Option<Heard> {
        self.heard.lock().get(&node).cloned()
    }
    /// Forgets whoever is not among these.
    pub(in crate::manager) fn keep_only(&self, nodes: &[NodeId]) {
        self.open.lock().retain(|node, _| nodes.contains(node));
        self.heard.lock().retain(|node, _| nodes.contains(node));
    }
}
