//! From a request's extensions to somebody the state knows.
//!
//! A chain that ends in the root is necessary and not enough: on every call the
//! id *and* the public key must be those that the state lists, so that a removed
//! identity is refused from that revision on (P8).

use std::net::IpAddr;

use tonic::Extensions;

use super::policy::{Method, Policy, Who};
use super::problem::Problem;
use crate::base::{ClusterId, NodeId, OperatorId};
use crate::ca::{CertificateRole, Leaf};
use crate::domain::{Actor, NodeRole, OperatorRole, State};
use crate::transport::{Caller, LocalCaller, caller, local_caller};

/// A caller on the control socket that may be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocalUser {
    who: Who,
    uid: u32,
}

/// Somebody the state knows, or nobody in particular, allowed to do what was
/// asked. Only this module makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    who: Who,
    actor: Option<Actor>,
}

/// Which local users may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalRules {
    /// The daemon's own user.
    pub uid: u32,
    /// What groups may do, beside uid 0 and the daemon's own.
    pub groups: Vec<(u32, OperatorRole)>,
}

impl LocalRules {
    fn role(&self, uid: u32, gid: u32) -> Option<Who> {
        if uid == 0 || uid == self.uid {
            return Some(Who::Local);
        }
        let group = self.groups.iter().find(|(group, _)| *group == gid);
        group.map(|(_, role)| Who::Operator(*role))
    }
    /// The local user that made this request; `None` where it came over mTLS.
    ///
    /// # Errors
    /// What a user without a role is told.
    pub(super) fn user(&self, extensions: &Extensions) -> Result<Option<LocalUser>, Problem> {
        let Some(LocalIds { uid, gid }) = local_caller(extensions).map(LocalIds::of) else {
            return Ok(None);
        };
        let who = self.role(uid, gid).ok_or_else(|| {
            Problem::not_allowed(format!("uid {uid} may not use this manager's control socket"))
                .hint("call as root or as the manager's user, or start it with --socket-role")
        })?;
        Ok(Some(LocalUser { who, uid }))
    }
}

struct LocalIds {
    uid: u32,
    gid: u32,
}

impl LocalIds {
    fn of(caller: LocalCaller) -> Self {
        Self { uid: caller.uid(), gid: caller.gid() }
    }
}

impl LocalUser {
    /// Checks the policy.
    ///
    /// # Errors
    /// What somebody who may not is told.
    pub(super) fn may(self, method: Method) -> Result<(), Problem> {
        check(self.who, method)
    }
    /// The same as an actor of `manager`.
    #[must_use]
    pub(super) fn admitted(self, manager: NodeId) -> Admitted {
        Admitted { who: self.who, actor: Some(Actor::Local { uid: self.uid, manager }) }
    }
}

impl Admitted {
    /// Whoever made this request over mTLS, if the state knows it and the policy
    /// allows the method.
    ///
    /// # Errors
    /// What the caller is told.
    pub(super) fn remote(
        extensions: &Extensions,
        cluster: ClusterId,
        state: &State,
        method: Method,
    ) -> Result<Self, Problem> {
        let admitted = match caller(extensions) {
            None => return Err(Problem::not_allowed("the caller is not known")),
            Some(Caller::Anonymous) => Self { who: Who::Anonymous, actor: None },
            Some(Caller::Expired(_)) => {
                return Err(Problem::not_allowed("the certificate has expired")
                    .hint("join again, or have an admin make a new identity"));
            }
            Some(Caller::Peer(peer)) => listed(peer.leaf(), cluster, state)?,
        };
        check(admitted.who, method)?;
        Ok(admitted)
    }
    /// Whether this request shows a certificate that the state does not list. Only
    /// whoever leads knows for sure that nobody has it.
    #[must_use]
    pub(super) fn unlisted(extensions: &Extensions, cluster: ClusterId, state: &State) -> bool {
        match caller(extensions) {
            Some(Caller::Peer(peer)) => listed(peer.leaf(), cluster, state).is_err(),
            Some(Caller::Anonymous | Caller::Expired(_)) | None => false,
        }
    }
    /// A manager by its certificate, for Raft: the members' state may be behind.
    ///
    /// # Errors
    /// What another caller is told.
    pub(super) fn raft(extensions: &Extensions, cluster: ClusterId) -> Result<(), Problem> {
        let who = match caller(extensions) {
            Some(Caller::Peer(peer)) if peer.leaf().subject.cluster == cluster => {
                match peer.leaf().subject.role {
                    CertificateRole::Manager(_) => Who::Manager,
                    CertificateRole::Worker(_) => Who::Worker,
                    // Which role, the state says; none takes part.
                    CertificateRole::Operator(_) => Who::Operator(OperatorRole::Viewer),
                }
            }
            Some(Caller::Peer(_) | Caller::Anonymous | Caller::Expired(_)) | None => Who::Anonymous,
        };
        check(who, Method::Raft)
    }
    /// Checks one more thing that the same call does.
    ///
    /// # Errors
    /// What somebody who may not is told.
    pub(super) fn may(&self, method: Method) -> Result<(), Problem> {
        check(self.who, method)
    }
    /// As whom a command is proposed.
    ///
    /// # Errors
    /// A caller without an identity has no commands.
    pub(super) fn actor(&self) -> Result<Actor, Problem> {
        let unknown = || Problem::not_allowed("the caller has no identity");
        self.actor.clone().ok_or_else(unknown)
    }
}

fn check(who: Who, method: Method) -> Result<(), Problem> {
    if Policy::allow(who, method) {
        return Ok(());
    }
    tracing::warn!(event = "call_refused", who = who.text(), what = method.text());
    Err(Problem::not_allowed(format!("{} may not {}", who.text(), method.text())))
}

/// What the state says of the holder of a verified certificate.
fn listed(leaf: &Leaf, cluster: ClusterId, state: &State) -> Result<Admitted, Problem> {
    let removed = || {
        Problem::not_allowed("this identity is not (or no longer) one of the cluster's")
            .hint("it may have been removed: skep node ls on a manager")
    };
    if leaf.subject.cluster != cluster {
        return Err(removed());
    }
    let found =
        match leaf.subject.role {
            CertificateRole::Manager(id) => node(state, id, NodeRole::Manager, &leaf.key)
                .then_some((Who::Manager, Actor::Node(id))),
            CertificateRole::Worker(id) => node(state, id, NodeRole::Worker, &leaf.key)
                .then_some((Who::Worker, Actor::Node(id))),
            CertificateRole::Operator(id) => operator(state, id, &leaf.key)
                .map(|role| (Who::Operator(role), Actor::Operator(id))),
        };
    let (who, actor) = found.ok_or_else(removed)?;
    Ok(Admitted { who, actor: Some(actor) })
}

fn node(state: &State, id: NodeId, role: NodeRole, key: &[u8; 32]) -> bool {
    state.nodes.get(&id).is_some_and(|node| node.role == role && node.key == *key)
}

fn operator(state: &State, id: OperatorId, key: &[u8; 32]) -> Option<OperatorRole> {
    state.operators.get(&id).filter(|operator| operator.key == *key).map(|operator| operator.role)
}

/// From where a request came; `None` over a local socket.
#[must_use]
pub(super) fn source(extensions: &Extensions) -> Option<IpAddr> {
    let info = extensions.get::<tonic::transport::server::TcpConnectInfo>()?;
    info.remote_addr().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stamp;
    use crate::ca::Subject;
    use crate::domain::Operator;
    use crate::manager::testing::NOW;
    use std::sync::Arc;

    const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
    const NODE: NodeId = NodeId::from_bytes([2; 16]);
    const OPERATOR: OperatorId = OperatorId::from_bytes([3; 16]);

    fn leaf(role: CertificateRole, key: [u8; 32]) -> Leaf {
        let name = "x".parse().expect("a name");
        let subject = Subject { cluster: CLUSTER, role, name };
        Leaf { subject, key, starts: Stamp(0), ends: NOW }
    }

    fn state() -> State {
        let mut state = State::default();
        state.nodes.insert(NODE, Arc::new(crate::domain::testing::worker("w1")));
        let operator = Operator {
            name: "ops".parse().expect("a name"),
            role: OperatorRole::Editor,
            key: [7; 32],
            created: Stamp(0),
            certificate_ends: NOW,
        };
        state.operators.insert(OPERATOR, Arc::new(operator));
        state
    }

    #[test]
    fn id_and_key_must_be_those_of_the_state() {
        let state = state();
        let worker = listed(&leaf(CertificateRole::Worker(NODE), [1; 32]), CLUSTER, &state);
        assert_eq!(worker.expect("listed").who, Who::Worker);
        let editor = listed(&leaf(CertificateRole::Operator(OPERATOR), [7; 32]), CLUSTER, &state);
        assert_eq!(editor.expect("listed").actor, Some(Actor::Operator(OPERATOR)));

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
    fn the_socket_is_for_root_the_daemon_and_named_groups() {
        let rules = LocalRules { uid: 900, groups: vec![(50, OperatorRole::Viewer)] };
        assert_eq!(rules.role(0, 0), Some(Who::Local));
        assert_eq!(rules.role(900, 1), Some(Who::Local));
        assert_eq!(rules.role(1000, 50), Some(Who::Operator(OperatorRole::Viewer)));
        assert_eq!(rules.role(1000, 1000), None);
    }

    #[test]
    fn a_request_without_a_caller_is_refused() {
        let extensions = Extensions::default();
        let refused = Admitted::remote(&extensions, CLUSTER, &state(), Method::Join);
        assert_eq!(refused.expect_err("refused").exit(), 1);
        assert_eq!(LocalRules::default().user(&extensions), Ok(None));
    }
}
