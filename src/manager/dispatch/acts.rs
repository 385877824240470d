//! What agents do beside receiving: they open a session, report what was opened, and leave.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::Stream;
use tokio::sync::mpsc;
use tonic::Status;

use super::Dispatch;
use super::Hub;
use super::ending::Ending;
use super::session::{self, Agent};
use super::table::Cut;
use crate::consensus::ProposeError;
use crate::manager::core::Origin;
use crate::manager::problem::{self, Explain};
use crate::manager::unproposed::Unproposed;
use skep_core::base::NodeId;
use skep_core::domain::{Act, Actor, Change, Refusal};
use skep_core::wire::api;
use skep_core::wire::convert::read_opened;

/// Messages on their way to one agent: the next waits until it has taken these.
const UNDER_WAY: usize = 2;

impl Dispatch {
    /// Begins a session with an agent that was admitted. The messages to it come at once: its
    /// hello is read after that.
    pub(in crate::manager) fn session<S>(
        &self,
        agent: Agent,
        incoming: S,
    ) -> mpsc::Receiver<Result<api::FromLeader, Status>>
    where
        S: Stream<Item = Result<api::FromAgent, Status>> + Unpin + Send + 'static,
    {
        let (out, messages) = mpsc::channel(UNDER_WAY);
        tokio::spawn(session::run(Arc::clone(&self.hub), agent, incoming, out));
        messages
    }

    /// Records what was opened on a node.
    ///
    /// # Errors
    /// What the agent is told.
    pub(in crate::manager) async fn report_opened(
        &self,
        (node, from): (NodeId, Option<IpAddr>),
        report: api::ReportOpenedRequest,
    ) -> Result<(), Status> {
        if self.hub.reports.check_key(&node).is_err() {
            return Err(problem::access::opens_too_often().into());
        }
        let opened = read_opened(node, report).map_err(Explain::explain)?;
        let origin = Origin { actor: Actor::Node(node), from };
        let proposed = self.hub.propose(origin, Act::Opened(opened)).await;
        let applied = proposed.map_err(|error| self.hub.unproposed(node, &error))?;
        applied.outcome.map_err(Explain::explain)?;
        Ok(())
    }

    /// Removes a node that leaves. An agent wipes before it leaves, and says so by leaving:
    /// what is still recorded is then written off.
    ///
    /// # Errors
    /// What the agent is told.
    pub(in crate::manager) async fn leave(
        &self,
        id: NodeId,
        from: Option<IpAddr>,
    ) -> Result<(), Status> {
        for force in [false, true] {
            let act = Act::Change(vec![Change::RemoveNode { id, force }]);
            let proposed = self.hub.propose(Origin { actor: Actor::Node(id), from }, act).await;
            match proposed.map_err(|error| self.hub.unproposed(id, &error))?.outcome {
                Ok(_) | Err(Refusal::NotFound { .. }) => break,
                Err(Refusal::Holds { .. }) if !force => {}
                Err(refusal) => return Err(refusal.explain().into()),
            }
        }
        if let Some(live) = self.hub.table.live(id) {
            live.cut(Cut::Removed);
        }
        Ok(())
    }
}

impl Hub {
    /// How a proposal's failure is told to an agent.
    fn unproposed(&self, node: NodeId, error: &Unproposed) -> Status {
        match error {
            Unproposed::Consensus(ProposeError::NotLeader(_)) => {
                self.status(node, &Ending::Deposed)
            }
            other => problem::of_proposal(other.clone(), |_| Vec::new()).into(),
        }
    }
}
