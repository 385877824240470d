//! What the state says of the holder of a verified certificate.
//!
//! A chain that ends in the root is necessary and not enough: on every call the
//! id *and* the public key must be those that the state lists, so that a removed
//! identity is refused from that revision on (P8). A member that renews has two keys
//! until it was seen with the next one.

use std::sync::Arc;

use crate::manager::problem;
use skep_client::ca::{CertificateRole, Leaf};
use skep_client::transport::Problem;
use skep_core::base::{ClusterId, Name, Stamp, limits};
use skep_core::domain::{Actor, Member, Method, NodeRole, Operator, Renewal, State, Who};

/// A member that the state lists with the key of its certificate.
#[derive(Debug)]
pub(super) struct Listed<'a> {
    /// What it may be.
    pub(super) who: Who,
    /// Which one.
    pub(super) member: Member,
    /// Whether its key is the one to which it renews.
    pub(super) next: bool,
    /// The operator that it is, if it is one.
    pub(super) operator: Option<&'a Arc<Operator>>,
    name: &'a Name,
    renewal: Renewal,
}

/// What the state says of the holder of a verified certificate.
///
/// # Errors
/// What the caller is told whom it does not list.
pub(super) fn listed<'a>(
    leaf: &Leaf,
    cluster: ClusterId,
    state: &'a State,
) -> Result<Listed<'a>, Problem> {
    let mut operator = None;
    let found = match leaf.subject.role {
        _ if leaf.subject.cluster != cluster => None,
        CertificateRole::Manager(id) => node(state, Member::Node(id), NodeRole::Manager),
        CertificateRole::Worker(id) => node(state, Member::Node(id), NodeRole::Worker),
        CertificateRole::Operator(id) => state.operators.get(&id).map(|of| {
            operator = Some(of);
            (Who::of(of), Member::Operator(id), of.key, &of.name, of.renewal)
        }),
    };
    let (who, member, key, name, renewal) = found.ok_or_else(problem::access::not_listed)?;
    let next = renewal.next_key == Some(leaf.key);
    if key != leaf.key && !next {
        return Err(problem::access::not_listed());
    }
    if operator.is_some_and(|of| of.suspended) {
        return Err(problem::access::suspended());
    }
    Ok(Listed { who, member, next, operator, name, renewal })
}

type Found<'a> = (Who, Member, [u8; 32], &'a Name, Renewal);

fn node(state: &State, member: Member, role: NodeRole) -> Option<Found<'_>> {
    let Member::Node(id) = member else { return None };
    let node = state.nodes.get(&id).filter(|node| node.role == role)?;
    let who = match role {
        NodeRole::Manager => Who::Manager,
        NodeRole::Worker => Who::Worker,
    };
    Some((who, member, node.key, &node.name, node.renewal))
}

impl Listed<'_> {
    /// Whether its time is not over, by this manager's clock or the cluster's.
    ///
    /// # Errors
    /// What an operator is told whose time is.
    pub(super) fn in_time(&self, now: Stamp) -> Result<(), Problem> {
        match self.operator {
            Some(of) if of.has_ended(now) => Err(problem::access::time_is_over(self.name)),
            Some(_) | None => Ok(()),
        }
    }
    /// As whom it acts.
    pub(super) fn actor(&self) -> Actor {
        match self.member {
            Member::Node(id) => Actor::Node(id),
            Member::Operator(id) => Actor::Operator(id),
        }
    }
    /// What it may be with a certificate that ended at `ends`: `now` by the clock of this
    /// manager, and `stamp` by the cluster's.
    ///
    /// # Errors
    /// What it is told that may not call this method any more.
    pub(super) fn after(
        &self,
        ends: Stamp,
        now: Stamp,
        stamp: Stamp,
        method: Method,
    ) -> Result<Who, Problem> {
        let readmitted = self.renewal.readmitted_until.is_some_and(|until| stamp < until);
        if now >= ends.plus_ms(limits::GRACE_MS) && !readmitted {
            return Err(problem::access::ended(self.member, self.who == Who::Manager, self.name));
        }
        if method != Method::Renew {
            return Err(problem::access::renews_first());
        }
        Ok(Who::Expired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::admit::tests::{CLUSTER, NODE, OPERATOR, leaf, state};
    use skep_core::base::{Exit, NodeId};

    #[test]
    fn id_and_key_must_be_those_of_the_state() {
        let state = state();
        let worker = leaf(CertificateRole::Worker(NODE), [1; 32]);
        let worker = listed(&worker, CLUSTER, &state).expect("listed");
        assert_eq!((worker.who, worker.next), (Who::Worker, false));
        let editor = leaf(CertificateRole::Operator(OPERATOR), [7; 32]);
        let editor = listed(&editor, CLUSTER, &state).expect("listed");
        assert_eq!(editor.actor(), Actor::Operator(OPERATOR));

        let refused = [
            leaf(CertificateRole::Worker(NODE), [9; 32]),
            leaf(CertificateRole::Manager(NODE), [1; 32]),
            leaf(CertificateRole::Worker(NodeId::from_bytes([8; 16])), [1; 32]),
            leaf(CertificateRole::Operator(OPERATOR), [1; 32]),
        ];
        for leaf in refused {
            assert!(listed(&leaf, CLUSTER, &state).is_err(), "{leaf:?}");
        }
        let elsewhere = ClusterId::from_bytes([5; 16]);
        let leaf = leaf(CertificateRole::Worker(NODE), [1; 32]);
        assert!(listed(&leaf, elsewhere, &state).is_err());
        assert!(listed(&leaf, CLUSTER, &State::default()).is_err(), "removed");
    }

    #[test]
    fn who_renews_is_listed_with_both_keys() {
        let mut state = state();
        let mut node = state.nodes[&NODE].as_ref().clone();
        node.renewal.next_key = Some([2; 32]);
        state.nodes.insert(NODE, Arc::new(node));
        let next = |key| {
            let leaf = leaf(CertificateRole::Worker(NODE), [key; 32]);
            listed(&leaf, CLUSTER, &state).ok().map(|listed| listed.next)
        };
        assert_eq!([next(1), next(2), next(3)], [Some(false), Some(true), None]);
    }

    #[test]
    fn a_certificate_that_has_ended_is_good_for_its_renewal_alone() {
        let mut state = state();
        let found = leaf(CertificateRole::Worker(NODE), [1; 32]);
        let ends = found.ends;
        let ask = |state: &State, now: Stamp, method| {
            listed(&found, CLUSTER, state).expect("listed").after(ends, now, now, method)
        };
        let last = Stamp(ends.plus_ms(limits::GRACE_MS).0 - 1);
        assert_eq!(ask(&state, ends, Method::Renew).as_ref(), Ok(&Who::Expired));
        assert_eq!(ask(&state, last, Method::Renew).as_ref(), Ok(&Who::Expired));
        let other = ask(&state, last, Method::Session).expect_err("refused");
        assert_eq!(other.exit, Exit::Refused, "it may still renew");
        let over = ask(&state, last.plus_ms(1), Method::Renew).expect_err("refused");
        assert_eq!(over.exit, Exit::IdentityEnded);

        let mut node = state.nodes[&NODE].as_ref().clone();
        node.renewal.readmitted_until = Some(last.plus_ms(10));
        state.nodes.insert(NODE, Arc::new(node));
        assert_eq!(ask(&state, last.plus_ms(9), Method::Renew).as_ref(), Ok(&Who::Expired));
        assert!(ask(&state, last.plus_ms(9), Method::Session).is_err());
        assert!(ask(&state, last.plus_ms(10), Method::Renew).is_err());
    }
}
