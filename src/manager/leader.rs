//! Who leads, where it is reached, and whether this manager may act as the leader.

use std::sync::atomic::Ordering;

use crate::consensus::Member;
use crate::manager::steady::{Doubt, SHARED_MS};
use crate::manager::unproposed::Unproposed;
use crate::manager::{Core, problem};
use skep_client::transport::Problem;
use skep_core::base::NodeId;
use skep_core::domain::State;

impl Core {
    /// The leader as far as is known, this manager included, and where it is.
    pub(in crate::manager) fn leader(&self) -> Option<(NodeId, Vec<String>)> {
        let leader = self.consensus.leadership().borrow().leader?;
        Some((leader, self.addresses_of(leader)))
    }
    /// The leader, where that is another manager.
    pub(in crate::manager) fn other_leader(&self) -> Option<NodeId> {
        let leader = self.consensus.leadership().borrow().leader;
        leader.filter(|leader| *leader != self.node)
    }
    /// Whether it leads; who does, if it does not.
    ///
    /// # Errors
    /// Another manager leads, or none.
    pub(in crate::manager) fn is_leader(&self) -> Result<(), Problem> {
        if self.consensus.leadership().borrow().own {
            return Ok(());
        }
        let other = self.leader().filter(|(node, _)| *node != self.node);
        Err(problem::not_leader(other))
    }
    /// Whether it leads and may act as the leader; who leads, if it does not.
    ///
    /// # Errors
    /// Another manager leads, or none, or this one's clock is not to be believed.
    pub(in crate::manager) fn leads(&self) -> Result<(), Problem> {
        self.is_leader()?;
        self.sure_of_time()
    }
    /// Whether its clock may be believed, as far as is known.
    ///
    /// # Errors
    /// It is far from the majority's, or in doubt.
    pub(in crate::manager) fn sure_of_time(&self) -> Result<(), Problem> {
        if let Some(off) = self.clock_off_ms() {
            return Err(problem::clock_off(off));
        }
        match self.reading() {
            // Whatever is proposed waits until its clock is compared.
            Ok(_) | Err(Doubt::Fresh) => Ok(()),
            Err(doubt) => Err(problem::clock_doubted(doubt)),
        }
    }
    /// Milliseconds by which the majority's clocks are ahead of this manager's, where that
    /// is too far.
    pub(in crate::manager) fn clock_off_ms(&self) -> Option<i64> {
        let off = self.off_ms.load(Ordering::Relaxed);
        (off.unsigned_abs() > SHARED_MS).then_some(off)
    }
    /// The majority's clocks are found to be ahead by so many milliseconds.
    pub(in crate::manager) fn set_clock_off(&self, off_ms: i64) {
        self.off_ms.store(off_ms, Ordering::Relaxed);
    }
    /// The members of consensus as this manager sees them.
    pub(in crate::manager) fn members(&self) -> Vec<Member> {
        self.consensus.members()
    }
    /// Where a manager is.
    pub(in crate::manager) fn addresses_of(&self, node: NodeId) -> Vec<String> {
        let listed = |state: &State| state.nodes.get(&node).map(|node| node.addresses.clone());
        let listed = self.consensus.read(listed);
        // After a start the state lags: the members stand in the log.
        let member = || self.members().into_iter().find(|member| member.node == node);
        listed.or_else(|| member().map(|member| member.addresses)).unwrap_or_default()
    }
    /// What a failed proposal or read becomes.
    pub(in crate::manager) fn problem(&self, error: impl Into<Unproposed>) -> Problem {
        problem::of_proposal(error, |node| self.addresses_of(node))
    }
}
