//! Why a session ends, and how an agent is told.

use tonic::Status;

use super::Hub;
use super::ledger::Misbehaved;
use super::table::Cut;
use crate::manager::problem;
use skep_core::base::NodeId;
use skep_core::domain::{Member, State};

/// Why a session did not begin, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ending {
    /// The agent has ended it, or the connection is gone.
    #[error("the agent left")]
    Left,
    /// The state does not list it.
    #[error("the node was removed")]
    Removed,
    /// The grace of its certificate is over.
    #[error("the certificate of the node ended more than 30 days ago")]
    Over,
    /// The same agent has a newer session.
    #[error("a newer session of this agent has taken its place")]
    Replaced,
    /// Another agent has a session.
    #[error("another machine with this node's identity has a session")]
    Taken,
    /// This manager does not lead.
    #[error("this manager is not the leader")]
    Deposed,
    /// What it would be given can't be recorded.
    #[error("the audit log of the leader can't be written")]
    Unrecorded,
    /// It does not keep to the protocol.
    #[error("the agent {0}")]
    Misbehaved(&'static str),
}

impl From<Cut> for Ending {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Replaced => Self::Replaced,
            Cut::Removed => Self::Removed,
            Cut::Deposed => Self::Deposed,
        }
    }
}

impl From<Misbehaved> for Ending {
    fn from(Misbehaved(what): Misbehaved) -> Self {
        Self::Misbehaved(what)
    }
}

impl Hub {
    /// How an ending is told to the agent.
    pub(super) fn status(&self, node: NodeId, end: &Ending) -> Status {
        let problem = match end {
            Ending::Left => problem::members::session_left(end),
            Ending::Removed => problem::node_removed(),
            Ending::Over => {
                let name = |state: &State| state.nodes.get(&node).map(|node| node.name.clone());
                match self.core.consensus.read(name) {
                    Some(name) => problem::access::ended(Member::Node(node), false, &name),
                    None => problem::node_removed(),
                }
            }
            Ending::Replaced => problem::members::session_replaced(end),
            Ending::Taken => problem::members::identity_taken(end),
            Ending::Deposed => problem::delivered_elsewhere(self.core.leader()),
            Ending::Unrecorded => problem::audit::not_recorded(end.to_string()),
            Ending::Misbehaved(_) => problem::members::agent_misbehaved(end),
        };
        problem.into()
    }
}
