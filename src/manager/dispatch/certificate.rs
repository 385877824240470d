//! The certificate behind a session: asked for before it ends, and cut after its grace.
//!
//! A session goes on over the connection on which it began, whatever the node renews
//! meanwhile; it lasts as long as the newest certificate of its node may be renewed. What
//! begins anew is judged by `admit`.

use super::Hub;
use skep_core::base::{NodeId, Stamp, limits};
use skep_core::domain::{Cluster, Node, State};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// How long before its end a node is asked to renew: it did not by itself.
const SOON_MS: u64 = 10 * DAY_MS;

/// What the leader does about a node's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Due {
    /// Nothing.
    Nothing,
    /// It asks for its renewal.
    Asking,
    /// It may not even be renewed any more.
    Over,
}

/// What is due for a node at `now` by the leader's clock.
pub(in crate::manager) fn due(cluster: &Cluster, node: &Node, now: Stamp, stamp: Stamp) -> Due {
    let readmitted = node.renewal.readmitted_until.is_some_and(|until| stamp < until);
    if now >= node.certificate_ends.plus_ms(limits::GRACE_MS) && !readmitted {
        return Due::Over;
    }
    let soon = now.plus_ms(SOON_MS) >= node.certificate_ends;
    let other = node.renewal.issuer != cluster.issuers.current;
    if soon || other { Due::Asking } else { Due::Nothing }
}

impl Hub {
    /// What is due for a node that has a session. A clock in doubt makes nothing due.
    pub(super) fn certificate(&self, node: NodeId) -> Due {
        let core = &self.core;
        if core.sure_of_time().is_err() || core.reading().is_err() {
            return Due::Nothing;
        }
        let now = core.clock.now();
        let of = |state: &State| {
            let (cluster, node) = (state.cluster.as_deref()?, state.nodes.get(&node)?);
            Some(due(cluster, node, now, now.max(state.stamp)))
        };
        core.consensus.read(of).unwrap_or(Due::Nothing)
    }
    /// Whether such an ask may be repeated after one at `before`: an agent that could not then
    /// tries by itself.
    pub(super) fn asks_again(before: Option<Stamp>, now: Stamp) -> bool {
        before.is_none_or(|before| now >= before.plus_ms(DAY_MS / 24) || now < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::domain::testing::{World, node_id};

    #[test]
    fn a_session_is_asked_for_the_next_certificate_and_cut_when_its_grace_is_over() {
        let world = World::with_workers(1);
        let cluster = world.state.cluster.as_deref().expect("a cluster").clone();
        let mut node = world.state.nodes[&node_id(1)].as_ref().clone();
        node.certificate_ends = Stamp(90 * DAY_MS);
        node.renewal.issuer = cluster.issuers.current;
        let at = |node: &Node, day: u64| due(&cluster, node, Stamp(day * DAY_MS), Stamp(0));
        let days = [0, 79, 80, 90, 119, 120, 400].map(|day| at(&node, day));
        let (nothing, asks, over) = (Due::Nothing, Due::Asking, Due::Over);
        assert_eq!(days, [nothing, nothing, asks, asks, asks, over, over]);
        node.renewal.readmitted_until = Some(Stamp(1));
        assert_eq!(at(&node, 400), Due::Asking, "it was readmitted");
        node.renewal.issuer = cluster.issuers.current.plus_ms(1);
        assert_eq!(at(&node, 0), Due::Asking, "another issuing CA is in use");
    }

    #[test]
    fn it_is_asked_once_an_hour() {
        assert!(Hub::asks_again(None, Stamp(5)));
        assert!(!Hub::asks_again(Some(Stamp(5)), Stamp(5)));
        assert!(Hub::asks_again(Some(Stamp(5)), Stamp(5 + DAY_MS / 24)));
        assert!(Hub::asks_again(Some(Stamp(5)), Stamp(4)), "the clock was set back");
    }
}
