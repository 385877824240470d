//! From a request's extensions to somebody who may call a method.

use std::net::IpAddr;

use tonic::Extensions;

use crate::consensus::{Listing, listing};
use crate::manager::admit::behalf::Behalf;
use crate::manager::admit::listed::listed;
use crate::manager::admit::local::{LocalRules, LocalUser};
use crate::manager::core::Origin;
use crate::manager::problem::{self, Explain};
use skep_client::ca::{CertificateRole, Leaf};
use skep_client::transport::{Caller, Problem, caller};
use skep_core::base::{ClusterId, NodeId, Stamp};
use skep_core::domain::{
    Actor, Change, Member, Method, OperatorRole, Policy, Scope, State, Who, concerns, may_change,
};

/// Somebody the state knows, a user of the control socket, or nobody in particular,
/// allowed to call one method. Only this module makes one, and only the gate
/// (`admit`) asks for it: it stands in a request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::manager) struct Admitted {
    who: Who,
    method: Method,
    actor: Option<Actor>,
    local: Option<LocalUser>,
    /// The key with which it came, where that is the one to which it renews.
    next: Option<[u8; 32]>,
    /// Within which names it stays.
    scope: Scope,
    /// From where it asks, where that is over the network.
    from: Option<IpAddr>,
}

impl LocalUser {
    /// The same as whoever changes something by itself, at `manager`.
    #[must_use]
    pub(in crate::manager) fn acting(self, manager: NodeId) -> Admitted {
        let actor = Some(Actor::Local { uid: self.uid, manager });
        let (method, local, scope) = (Method::Intake, Some(self), Scope::everything());
        Admitted { who: self.who, method, actor, local, next: None, scope, from: None }
    }
}

impl Admitted {
    /// Whoever made this request on the control socket, if it may call the method.
    ///
    /// # Errors
    /// What the caller is told.
    pub(super) fn on_socket(
        rules: &LocalRules,
        extensions: &Extensions,
        method: Method,
    ) -> Result<Self, Problem> {
        let user = rules.user(extensions)?;
        check(user.who, method)?;
        let (local, scope) = (Some(user), Scope::everything());
        Ok(Self { who: user.who, method, actor: None, local, next: None, scope, from: None })
    }
    /// Whoever made this request over mTLS, if the state knows it and the policy
    /// allows the method. By `now` it is judged whether its certificate has ended.
    ///
    /// # Errors
    /// What the caller is told.
    pub(super) fn remote(
        extensions: &Extensions,
        cluster: ClusterId,
        state: &State,
        method: Method,
        now: Stamp,
    ) -> Result<Self, Problem> {
        if method.is_local() {
            // Whoever it is, and for whomever a manager asks.
            return Err(problem::access::for_the_socket());
        }
        let (mut next, mut scope) = (None, Scope::everything());
        let (who, actor) = match caller(extensions) {
            None => return Err(problem::access::no_caller()),
            Some(Caller::Anonymous) => (Who::Anonymous, None),
            Some(Caller::Expired(peer) | Caller::Peer(peer)) => {
                let Leaf { key, ends, .. } = *peer.leaf();
                let found = listed(peer.leaf(), cluster, state)?;
                found.in_time(now.max(state.stamp))?;
                if let Some(operator) = found.operator {
                    scope.clone_from(&operator.scope);
                }
                let who = if now < ends {
                    found.who
                } else {
                    found.after(ends, now, now.max(state.stamp), method)?
                };
                next = found.next.then_some(key);
                (who, Some(found.actor()))
            }
        };
        let (who, actor) = match (extensions.get::<Behalf>(), actor) {
            (Some(behalf), Some(Actor::Node(manager))) => {
                check(who, Method::Forward)?;
                (behalf.who, Some(Actor::Local { uid: behalf.uid, manager }))
            }
            (Some(_), _) => {
                check(who, Method::Forward)?;
                return Err(problem::access::speaks_for_nobody());
            }
            (None, actor) => (who, actor),
        };
        check(who, method)?;
        // For whom a manager asks is at that manager's socket.
        let local = matches!(actor, Some(Actor::Local { .. }));
        let from = source(extensions).filter(|_| !local);
        Ok(Self { who, method, actor, local: None, next, scope, from })
    }
    /// Whether this request shows a certificate that the state does not list. Only
    /// whoever leads knows for sure that nobody has it.
    #[must_use]
    pub(super) fn unlisted(extensions: &Extensions, cluster: ClusterId, state: &State) -> bool {
        match caller(extensions) {
            Some(Caller::Expired(peer) | Caller::Peer(peer)) => {
                listed(peer.leaf(), cluster, state).is_err()
            }
            Some(Caller::Anonymous) | None => false,
        }
    }
    /// A manager by its certificate, for what managers ask of each other: the state may be
    /// behind and not know it yet. Where the state lists its id, the key is the listed one.
    ///
    /// # Errors
    /// What another caller is told.
    pub(super) fn raft(
        extensions: &Extensions,
        cluster: ClusterId,
        state: &State,
    ) -> Result<Self, Problem> {
        let who = match caller(extensions) {
            Some(Caller::Peer(peer)) if peer.leaf().subject.cluster == cluster => {
                let leaf = peer.leaf();
                match leaf.subject.role {
                    CertificateRole::Manager(node)
                        if listing(state, node, leaf) == Listing::Another =>
                    {
                        return Err(problem::access::not_listed());
                    }
                    CertificateRole::Manager(_) => Who::Manager,
                    CertificateRole::Worker(_) => Who::Worker,
                    // Which role, the state says; none takes part.
                    CertificateRole::Operator(_) => Who::Operator(OperatorRole::Viewer),
                }
            }
            Some(Caller::Peer(_) | Caller::Anonymous | Caller::Expired(_)) | None => Who::Anonymous,
        };
        check(who, Method::Raft)?;
        let (method, scope) = (Method::Raft, Scope::everything());
        Ok(Self { who, method, actor: None, local: None, next: None, scope, from: None })
    }
    /// Whom the gate admitted, for a handler of this method.
    ///
    /// # Errors
    /// The call did not come through the gate, or as another method: nobody is served so.
    pub(in crate::manager) fn of(
        extensions: &Extensions,
        method: Method,
    ) -> Result<&Self, Problem> {
        let admitted = extensions.get::<Self>().filter(|admitted| admitted.method == method);
        admitted.ok_or_else(|| problem::access::not_admitted(method.text()))
    }
    /// The user of this manager's control socket that it is, if it is one.
    #[must_use]
    pub(in crate::manager) fn local(&self) -> Option<LocalUser> {
        self.local
    }
    /// The same as an actor: a local user is one of this manager.
    #[must_use]
    pub(in crate::manager) fn at(&self, manager: NodeId) -> Self {
        let local = self.local.map(|user| Actor::Local { uid: user.uid, manager });
        Self { actor: local.or_else(|| self.actor.clone()), ..self.clone() }
    }
    /// What it is.
    #[must_use]
    pub(in crate::manager) fn who(&self) -> Who {
        self.who
    }
    /// Which one, for a line in the log; empty where nobody knows.
    #[must_use]
    pub(in crate::manager) fn id(&self) -> String {
        match (&self.local, &self.actor) {
            (Some(user), _) => user.uid.to_string(),
            (None, Some(Actor::Node(id) | Actor::Leader(id))) => id.to_string(),
            (None, Some(Actor::Operator(id))) => id.to_string(),
            (None, Some(Actor::Local { uid, manager })) => format!("{uid}@{manager}"),
            (None, Some(Actor::Token(id))) => id.to_string(),
            (None, None) => String::new(),
        }
    }
    /// The member that it is by its certificate.
    ///
    /// # Errors
    /// It is none.
    pub(in crate::manager) fn member(&self) -> Result<Member, Problem> {
        match self.actor {
            Some(Actor::Node(id)) => Ok(Member::Node(id)),
            Some(Actor::Operator(id)) => Ok(Member::Operator(id)),
            Some(Actor::Leader(_) | Actor::Local { .. } | Actor::Token(_)) | None => {
                Err(problem::access::no_identity())
            }
        }
    }
    /// The same, and its key, where that is the one to which it renews.
    pub(super) fn renewed(&self) -> Option<(Member, [u8; 32])> {
        Some((self.member().ok()?, self.next?))
    }
    /// Checks one change that the call makes, once it is read, against the table and against the
    /// state as it is here. Of operators it is asked again when the command is applied.
    ///
    /// # Errors
    /// What somebody who may not is told.
    pub(in crate::manager) fn may_change<K>(
        &self,
        state: &State,
        change: &Change<K>,
    ) -> Result<(), Problem> {
        check(self.who, concerns(change))?;
        let Some(actor) = &self.actor else { return Err(problem::access::no_identity()) };
        may_change(state, actor, change).map_err(Explain::explain)
    }
    /// Within which names of secrets and services it stays.
    #[must_use]
    pub(in crate::manager) fn scope(&self) -> &Scope {
        &self.scope
    }
    /// Whether it is another manager, asking for itself.
    #[must_use]
    pub(in crate::manager) fn is_manager(&self) -> bool {
        self.who == Who::Manager
    }
    /// As whom, and from where, a command is proposed.
    ///
    /// # Errors
    /// A caller without an identity has no commands.
    pub(in crate::manager) fn origin(&self) -> Result<Origin, Problem> {
        Ok(Origin { actor: self.actor()?, from: self.from })
    }
    /// As whom a command is proposed.
    ///
    /// # Errors
    /// A caller without an identity has no commands.
    pub(in crate::manager) fn actor(&self) -> Result<Actor, Problem> {
        self.actor.clone().ok_or_else(problem::access::no_identity)
    }
}

fn check(who: Who, method: Method) -> Result<(), Problem> {
    if Policy::allow(who, method) {
        return Ok(());
    }
    Err(problem::access::may_not(who.text(), method.text()))
}

/// From where a request came; `None` over a local socket.
#[must_use]
pub(in crate::manager) fn source(extensions: &Extensions) -> Option<IpAddr> {
    let info = extensions.get::<tonic::transport::server::TcpConnectInfo>()?;
    info.remote_addr().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::admit::tests::{CLUSTER, NODE, OPERATOR, leaf, state};
    use skep_core::base::Exit;
    use skep_core::domain::NodeRole;
    use std::sync::Arc;

    /// No certificate of these tests has ended by then.
    const BEFORE: Stamp = Stamp(0);

    fn extensions(leaf: Leaf, behalf: Option<Behalf>) -> Extensions {
        let mut extensions = Extensions::default();
        extensions.insert(Caller::Peer(skep_client::transport::Peer::stand_in(
            leaf,
            skep_core::base::Stamp(0),
        )));
        if let Some(behalf) = behalf {
            extensions.insert(behalf);
        }
        extensions
    }

    #[test]
    fn a_manager_speaks_for_its_local_users_and_nobody_else_does() {
        let mut state = state();
        let manager = NodeId::from_bytes([9; 16]);
        let mut listed = skep_core::domain::testing::worker("m2");
        listed.role = NodeRole::Manager;
        state.nodes.insert(manager, Arc::new(listed));
        let of = |who| Some(Behalf { who, uid: 1000 });
        let ask = |role, key, behalf, method| {
            Admitted::remote(&extensions(leaf(role, key), behalf), CLUSTER, &state, method, BEFORE)
        };
        let as_manager = CertificateRole::Manager(manager);
        let admitted = ask(as_manager, [1; 32], of(Who::Local), Method::WriteTokens);
        let actor = admitted.expect("admitted").actor;
        assert_eq!(actor, Some(Actor::Local { uid: 1000, manager }));
        let viewer = of(Who::Operator(OperatorRole::Viewer));
        assert!(ask(as_manager, [1; 32], viewer, Method::Read).is_ok());
        assert!(ask(as_manager, [1; 32], viewer, Method::WriteTokens).is_err());
        assert!(ask(as_manager, [1; 32], None, Method::Read).is_err(), "for itself it may not");
        assert!(ask(as_manager, [2; 32], viewer, Method::Read).is_err(), "not the listed key");
        let operator = CertificateRole::Operator(OPERATOR);
        assert!(ask(operator, [7; 32], None, Method::Read).is_ok());
        assert!(ask(operator, [7; 32], viewer, Method::Read).is_err());
        assert!(ask(CertificateRole::Worker(NODE), [1; 32], viewer, Method::Read).is_err());
    }

    #[test]
    fn what_is_for_the_socket_is_refused_to_all_that_come_over_the_network() {
        let mut state = state();
        let manager = NodeId::from_bytes([9; 16]);
        let mut listed = skep_core::domain::testing::worker("m2");
        listed.role = NodeRole::Manager;
        state.nodes.insert(manager, Arc::new(listed));
        let behalf = Some(Behalf { who: Who::Local, uid: 0 });
        let extensions = extensions(leaf(CertificateRole::Manager(manager), [1; 32]), behalf);
        let ask = |method| Admitted::remote(&extensions, CLUSTER, &state, method, BEFORE);
        assert!(ask(Method::Lock).is_ok());
        for method in [Method::Init, Method::Enter, Method::Leave, Method::Unlock, Method::Repair] {
            assert!(ask(method).is_err(), "{method:?}");
        }
    }

    #[test]
    fn a_request_without_a_caller_is_refused() {
        let extensions = Extensions::default();
        let refused = Admitted::remote(&extensions, CLUSTER, &state(), Method::Join, BEFORE);
        assert_eq!(refused.expect_err("refused").exit, Exit::Refused);
        assert!(LocalRules::default().user(&extensions).is_err());
        let handled = Admitted::of(&extensions, Method::Join);
        assert_eq!(handled.expect_err("not admitted").exit, Exit::Bug);
    }

    #[test]
    fn a_handler_serves_only_what_was_admitted_as_its_own() {
        let mut found = extensions(leaf(CertificateRole::Worker(NODE), [1; 32]), None);
        let admitted = Admitted::remote(&found, CLUSTER, &state(), Method::Session, BEFORE);
        found.insert(admitted.expect("admitted"));
        assert!(Admitted::of(&found, Method::Session).is_ok());
        assert!(Admitted::of(&found, Method::Read).is_err());
    }
}
