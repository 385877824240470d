//! The other managers: one connection to each, made when it is needed.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tonic::transport::Channel;

use super::problem::Problem;
use crate::base::NodeId;
use crate::transport::rpc::api::control_client::ControlClient;
use crate::transport::{ClientTls, Expect, connect};

/// How long one address may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(1);

/// Speaks to another manager as this manager.
pub(super) type PeerClient = ControlClient<Channel>;

/// Connections to the other managers. They do not reconnect: whoever sees one fail
/// says so, and the next call makes a new one.
pub(super) struct Peers {
    tls: ClientTls,
    open: Mutex<BTreeMap<NodeId, Channel>>,
}

impl Peers {
    /// With this manager's own certificate.
    pub(super) fn new(tls: ClientTls) -> Self {
        Self { tls, open: Mutex::default() }
    }
    /// A client for `node`, which must show its own certificate.
    ///
    /// # Errors
    /// It is not reached; nothing was sent.
    pub(super) async fn client(
        &self,
        node: NodeId,
        addresses: &[String],
    ) -> Result<PeerClient, Problem> {
        let open = self.open.lock().get(&node).cloned();
        if let Some(channel) = open {
            return Ok(ControlClient::new(channel));
        }
        let mut why = "no address of it is known".to_owned();
        for address in addresses {
            match connect(address, &self.tls, Expect::Manager(node), CONNECT).await {
                Ok((channel, _)) => {
                    self.open.lock().insert(node, channel.clone());
                    return Ok(ControlClient::new(channel));
                }
                Err(error) => why = error.to_string(),
            }
        }
        Err(Problem::unavailable(format!("the other manager is not reached: {why}"))
            .hint("nothing was done; skep status shows which managers can be reached"))
    }
    /// The connection to `node` has failed.
    pub(super) fn lost(&self, node: NodeId) {
        self.open.lock().remove(&node);
    }
}
