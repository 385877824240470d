//! Members that renew their certificates: one renewal of each at a time, and not too often.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota};
use parking_lot::Mutex;

use crate::manager::problem;
use skep_client::transport::Problem;
use skep_core::domain::Member;

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
    pub(in crate::manager) fn alone(&self, member: Member) -> Option<Turn> {
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
