//! Members that renew their certificates: one renewal of each at a time, and not too often.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota};
use parking_lot::Mutex;

use crate::manager::core::Core;
use crate::manager::problem::{self, Explain};
use skep_client::transport::Problem;
use skep_core::base::RequestId;
use skep_core::domain::{Act, Actor, Member, Node, Operator, State};

/// Renewals that a member may ask for at once: it may end in the midst of one, more than once.
const AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
/// After that, one for each of these.
const EACH: Duration = Duration::from_secs(30);
/// Members remembered before those that asked long ago are forgotten.
const REMEMBERED: usize = 4_096;

/// Who renews now, and who did lately. Clones see the same.
#[derive(Clone)]
pub(in crate::manager) struct Renewing(Arc<Inner>);

struct Inner {
    busy: Mutex<BTreeSet<Member>>,
    lately: DefaultKeyedRateLimiter<Member>,
}

/// One member's turn: it ends when this is dropped.
pub(in crate::manager) struct Turn {
    of: Renewing,
    member: Member,
}

impl Default for Renewing {
    fn default() -> Self {
        let quota = Quota::with_period(EACH).unwrap_or(Quota::per_minute(NonZeroU32::MIN));
        let lately = DefaultKeyedRateLimiter::keyed(quota.allow_burst(AT_ONCE));
        Self(Arc::new(Inner { busy: Mutex::default(), lately }))
    }
}

impl Renewing {
    /// The turn of a member that the state lists.
    ///
    /// # Errors
    /// It is renewing, or asks too often.
    pub(in crate::manager) fn enter(&self, member: Member) -> Result<Turn, Problem> {
        if self.0.lately.len() >= REMEMBERED {
            self.0.lately.retain_recent();
        }
        if self.0.lately.check_key(&member).is_err() {
            return Err(problem::access::renews_too_often());
        }
        self.alone(member).ok_or_else(problem::access::renews_already)
    }
    /// The same however often it was asked; `None`: it is renewing.
    fn alone(&self, member: Member) -> Option<Turn> {
        let free = self.0.busy.lock().insert(member);
        free.then(|| Turn { of: self.clone(), member })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.0.busy.lock().remove(&self.member);
    }
}

impl Turn {
    /// Whose it is.
    pub(in crate::manager) fn member(&self) -> Member {
        self.member
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::base::{Exit, NodeId, OperatorId};

    #[test]
    fn one_renewal_of_a_member_at_a_time_and_a_few_in_a_row() {
        let renewing = Renewing::default();
        let node = Member::Node(NodeId::from_bytes([1; 16]));
        let turn = renewing.enter(node).unwrap_or_else(|refused| panic!("refused: {refused}"));
        assert_eq!(turn.member(), node);
        let busy = renewing.enter(node).err().expect("it is under way");
        assert_eq!(busy.exit, Exit::Unreachable, "later it may");
        assert!(renewing.enter(Member::Operator(OperatorId::from_bytes([1; 16]))).is_ok());
        drop(turn);
        let more = (0..9).filter(|_| renewing.enter(node).is_ok()).count();
        assert_eq!(more, 3, "each that was asked for counts");
        assert!(renewing.alone(node).is_some());
        assert!(renewing.0.busy.lock().is_empty(), "nothing is kept");
    }
}
