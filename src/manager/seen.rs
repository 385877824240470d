//! A member that renewed was seen with its next key: the one before is listed no more.

use std::sync::Arc;

use crate::manager::core::Core;
use crate::manager::problem::{self, Explain};
use skep_client::transport::Problem;
use skep_core::base::RequestId;
use skep_core::domain::{Act, Actor, Member, Node, Operator, State};

/// The key listed, and the one to which the member renews.
fn keys(state: &State, member: Member) -> Option<([u8; 32], Option<[u8; 32]>)> {
    match member {
        Member::Node(id) => {
            state.nodes.get(&id).map(|node: &Arc<Node>| (node.key, node.renewal.next_key))
        }
        Member::Operator(id) => state
            .operators
            .get(&id)
            .map(|operator: &Arc<Operator>| (operator.key, operator.renewal.next_key)),
    }
}

impl Core {
    /// Makes sure that this key is the one listed for a member that was seen with it: the one
    /// before is listed no more.
    ///
    /// # Errors
    /// The state lists it not at all, or nothing could be written now.
    pub(in crate::manager) async fn seen(
        &self,
        member: Member,
        key: [u8; 32],
    ) -> Result<(), Problem> {
        match self.consensus.read(|state| keys(state, member)) {
            Some((listed, _)) if listed == key => return Ok(()),
            Some((_, Some(next))) if next == key => {}
            _ => return Err(problem::access::not_listed()),
        }
        let request = RequestId::draw(&mut *(self.dice)());
        let act = Act::Renewed { member, key };
        let applied = self.propose(request, Actor::Leader(self.node), act).await;
        let applied = applied.map_err(|error| self.problem(error))?;
        applied.outcome.map_err(Explain::explain)?;
        tracing::info!(event = "certificate_renewed", ?member);
        Ok(())
    }

    /// The same in passing, as a leader that hears of it: what does not come to be now will
    /// when the member is seen again.
    pub(in crate::manager) fn seen_in_passing(self: &Arc<Self>, member: Member, key: [u8; 32]) {
        let Some(turn) = self.renewing.alone(member) else { return };
        let core = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = core.seen(turn.member(), key).await {
                tracing::debug!(event = "renewal_not_noted", member = ?turn.member(), why = %error);
            }
        });
    }
}
