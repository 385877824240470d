//! From a request's extensions to somebody the state knows.
//!
//! A chain that ends in the root is necessary and not enough: on every call the
//! id *and* the public key must be those that the state lists, so that a removed
//! identity is refused from that revision on (P8).

use std::net::IpAddr;

use prost::Message;
use tonic::Extensions;
use tonic::codegen::http::request::Parts;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::manager::admit::policy::{Method, Policy, Resource, Who};
use skep_client::ca::{CertificateRole, Leaf};
use skep_client::transport::{Caller, Problem, caller, local_caller};
use skep_core::base::{ClusterId, NodeId, OperatorId};
use skep_core::domain::{Actor, NodeRole, OperatorRole, State};
use skep_core::wire::api;

/// A caller on the control socket that may be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) struct LocalUser {
    who: Who,
    uid: u32,
}

/// Somebody the state knows, a user of the control socket, or nobody in particular,
/// allowed to call one method. Only this module makes one, and only the gate
/// (`admit`) asks for it: it stands in a request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::manager) struct Admitted {
    who: Who,
    method: Method,
    actor: Option<Actor>,
    local: Option<LocalUser>,
}

/// For which of its local users another manager asks. Stands in a request's
/// extensions once [`Behalf::take`] has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) struct Behalf {
    who: Who,
    uid: u32,
}

/// Where a request that is sent on says for whom.
const BEHALF: &str = "skep-on-behalf-bin";

impl Behalf {
    /// Writes it into a request that goes to the leader.
    pub(in crate::manager) fn write(self, metadata: &mut MetadataMap) {
        let role = Role::of(self.who).map_or("", Role::text).to_owned();
        let bytes = api::OnBehalf { uid: self.uid, role }.encode_to_vec();
        metadata.insert_bin(BEHALF, MetadataValue::from_bytes(&bytes));
    }
    /// Moves it from a request's metadata to its extensions. Whether the caller may
    /// speak for others is asked when the call is admitted.
    ///
    /// # Errors
    /// Nobody that is known.
    pub(in crate::manager) fn take(parts: &mut Parts) -> Result<(), Problem> {
        if !parts.headers.contains_key(BEHALF) {
            return Ok(());
        }
        let metadata = MetadataMap::from_headers(std::mem::take(&mut parts.headers));
        let read = metadata.get_bin(BEHALF).and_then(|value| value.to_bytes().ok());
        parts.headers = metadata.into_headers();
        let who = || {
            let read = api::OnBehalf::decode(read?).ok()?;
            let role = Role::ALL.into_iter().find(|role| role.text() == read.role)?;
            Some(Self { who: role.0, uid: read.uid })
        };
        let unsound = || Problem::bad_input("the request says for whom it is in an unknown way");
        let behalf = who().ok_or_else(unsound)?;
        parts.extensions.insert(behalf);
        Ok(())
    }
}

/// What a local user may be.
#[derive(Clone, Copy)]
struct Role(Who);

impl Role {
    const ALL: [Self; 5] = [
        Self(Who::Local),
        Self(Who::Operator(OperatorRole::Admin)),
        Self(Who::Operator(OperatorRole::Editor)),
        Self(Who::Operator(OperatorRole::Viewer)),
        Self(Who::Operator(OperatorRole::Auditor)),
    ];
    fn of(who: Who) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.0 == who)
    }
    fn text(self) -> &'static str {
        match self.0 {
            Who::Local => "local",
            Who::Operator(OperatorRole::Admin) => "admin",
            Who::Operator(OperatorRole::Editor) => "editor",
            Who::Operator(OperatorRole::Viewer) => "viewer",
            Who::Operator(OperatorRole::Auditor) => "auditor",
            Who::Anonymous | Who::Worker | Who::Manager => "",
        }
    }
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
    /// Whether it is root, or the daemon's own user.
    pub(in crate::manager) fn is_owner(&self, uid: u32) -> bool {
        uid == 0 || uid == self.uid
    }
    /// Of several groups that a user is in, the first one given counts.
    fn role(&self, uid: u32, gid: u32, others: &[u32]) -> Option<Who> {
        if self.is_owner(uid) {
            return Some(Who::Local);
        }
        let group = self.groups.iter().find(|(group, _)| *group == gid || others.contains(group));
        group.map(|(_, role)| Who::Operator(*role))
    }
    /// The local user that made this request.
    ///
    /// # Errors
    /// What a user without a role is told.
    fn user(&self, extensions: &Extensions) -> Result<LocalUser, Problem> {
        let caller = local_caller(extensions);
        let caller = caller.ok_or_else(|| Problem::not_allowed("the caller is not known"))?;
        let uid = caller.uid();
        let who = self.role(uid, caller.gid(), caller.groups()).ok_or_else(|| {
            Problem::not_allowed(format!("uid {uid} may not use this manager's control socket"))
                .hint("call as root or as the manager's user, or start it with --socket-role")
        })?;
        Ok(LocalUser { who, uid })
    }
}

impl LocalUser {
    /// The same as whoever changes something by itself, at `manager`.
    #[must_use]
    pub(in crate::manager) fn acting(self, manager: NodeId) -> Admitted {
        let actor = Some(Actor::Local { uid: self.uid, manager });
        Admitted { who: self.who, method: Method::Intake, actor, local: Some(self) }
    }
    /// For whom the leader is asked.
    #[must_use]
    pub(in crate::manager) fn behalf(self) -> Behalf {
        Behalf { who: self.who, uid: self.uid }
    }
}

impl Admitted {
    /// Whoever made this request on the control socket, if it may call the method.
    ///
    /// # Errors
    /// What the caller is told.
    pub(in crate::manager) fn on_socket(
        rules: &LocalRules,
        extensions: &Extensions,
        method: Method,
    ) -> Result<Self, Problem> {
        let user = rules.user(extensions)?;
        check(user.who, method, None)?;
        Ok(Self { who: user.who, method, actor: None, local: Some(user) })
    }
    /// Whoever made this request over mTLS, if the state knows it and the policy
    /// allows the method.
    ///
    /// # Errors
    /// What the caller is told.
    pub(in crate::manager) fn remote(
        extensions: &Extensions,
        cluster: ClusterId,
        state: &State,
        method: Method,
    ) -> Result<Self, Problem> {
        if method.is_local() {
            // Whoever it is, and for whomever a manager asks.
            return Err(for_the_socket());
        }
        let (who, actor) = match caller(extensions) {
            None => return Err(Problem::not_allowed("the caller is not known")),
            Some(Caller::Anonymous) => (Who::Anonymous, None),
            Some(Caller::Expired(peer)) => return Err(expired(peer.leaf())),
            Some(Caller::Peer(peer)) => listed(peer.leaf(), cluster, state)?,
        };
        let (who, actor) = match (extensions.get::<Behalf>(), actor) {
            (Some(behalf), Some(Actor::Node(manager))) => {
                check(who, Method::Forward, None)?;
                (behalf.who, Some(Actor::Local { uid: behalf.uid, manager }))
            }
            (Some(_), _) => {
                check(who, Method::Forward, None)?;
                return Err(Problem::not_allowed("only a manager speaks for others"));
            }
            (None, actor) => (who, actor),
        };
        check(who, method, None)?;
        Ok(Self { who, method, actor, local: None })
    }
    /// Whether this request shows a certificate that the state does not list. Only
    /// whoever leads knows for sure that nobody has it.
    #[must_use]
    pub(in crate::manager) fn unlisted(
        extensions: &Extensions,
        cluster: ClusterId,
        state: &State,
    ) -> bool {
        match caller(extensions) {
            Some(Caller::Peer(peer)) => listed(peer.leaf(), cluster, state).is_err(),
            Some(Caller::Anonymous | Caller::Expired(_)) | None => false,
        }
    }
    /// A manager by its certificate, for Raft: the members' state may be behind.
    ///
    /// # Errors
    /// What another caller is told.
    pub(in crate::manager) fn raft(
        extensions: &Extensions,
        cluster: ClusterId,
    ) -> Result<Self, Problem> {
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
        check(who, Method::Raft, None)?;
        Ok(Self { who, method: Method::Raft, actor: None, local: None })
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
        admitted
            .ok_or_else(|| Problem::bug(format!("a call to {} was not admitted", method.text())))
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
    /// Checks one change that the call makes, once it is known to what.
    ///
    /// # Errors
    /// What somebody who may not is told.
    pub(in crate::manager) fn may_change(
        &self,
        method: Method,
        on: &Resource<'_>,
    ) -> Result<(), Problem> {
        check(self.who, method, Some(on))
    }
    /// Whether it is another manager, asking for itself.
    #[must_use]
    pub(in crate::manager) fn is_manager(&self) -> bool {
        self.who == Who::Manager
    }
    /// As whom a command is proposed.
    ///
    /// # Errors
    /// A caller without an identity has no commands.
    pub(in crate::manager) fn actor(&self) -> Result<Actor, Problem> {
        let unknown = || Problem::not_allowed("the caller has no identity");
        self.actor.clone().ok_or_else(unknown)
    }
}

fn check(who: Who, method: Method, on: Option<&Resource<'_>>) -> Result<(), Problem> {
    let allowed = match on {
        None => Policy::allow(who, method),
        Some(resource) => Policy::allow_on(who, method, resource),
    };
    if allowed {
        return Ok(());
    }
    Err(Problem::not_allowed(format!("{} may not {}", who.text(), method.text())))
}

fn for_the_socket() -> Problem {
    Problem::not_allowed("that is for the manager's own control socket alone")
        .hint("call it on the manager's machine, without --host")
}

/// What the holder of a certificate that has expired is told. An agent ends then.
fn expired(leaf: &Leaf) -> Problem {
    match leaf.subject.role {
        CertificateRole::Worker(_) => {
            Problem::identity_ended("this node's certificate has expired")
                .hint("join it again with a new token")
        }
        CertificateRole::Manager(_) | CertificateRole::Operator(_) => {
            Problem::not_allowed("the certificate has expired")
                .hint("join again, or have an admin make a new identity")
        }
    }
}

/// What the state says of the holder of a verified certificate.
fn listed(leaf: &Leaf, cluster: ClusterId, state: &State) -> Result<(Who, Option<Actor>), Problem> {
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
    Ok((who, Some(actor)))
}

fn node(state: &State, id: NodeId, role: NodeRole, key: &[u8; 32]) -> bool {
    state.nodes.get(&id).is_some_and(|node| node.role == role && node.key == *key)
}

fn operator(state: &State, id: OperatorId, key: &[u8; 32]) -> Option<OperatorRole> {
    state.operators.get(&id).filter(|operator| operator.key == *key).map(|operator| operator.role)
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
    use crate::manager::testing::NOW;
    use skep_client::ca::Subject;
    use skep_core::base::{Exit, Stamp};
    use skep_core::domain::Operator;
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
        state.nodes.insert(NODE, Arc::new(skep_core::domain::testing::worker("w1")));
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
        assert_eq!(worker.expect("listed").0, Who::Worker);
        let editor = listed(&leaf(CertificateRole::Operator(OPERATOR), [7; 32]), CLUSTER, &state);
        assert_eq!(editor.expect("listed").1, Some(Actor::Operator(OPERATOR)));

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
        assert_eq!(rules.role(0, 0, &[]), Some(Who::Local));
        assert_eq!(rules.role(900, 1, &[]), Some(Who::Local));
        assert_eq!(rules.role(1000, 50, &[]), Some(Who::Operator(OperatorRole::Viewer)));
        assert_eq!(rules.role(1000, 1000, &[]), None);
        let viewer = Some(Who::Operator(OperatorRole::Viewer));
        assert_eq!(rules.role(1000, 1000, &[7, 50]), viewer, "a supplementary group");
    }

    fn extensions(leaf: Leaf, behalf: Option<Behalf>) -> Extensions {
        let mut extensions = Extensions::default();
        extensions.insert(Caller::Peer(skep_client::transport::Peer::stand_in(leaf)));
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
            Admitted::remote(&extensions(leaf(role, key), behalf), CLUSTER, &state, method)
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

    fn parts(metadata: MetadataMap) -> Parts {
        let (mut parts, ()) = tonic::codegen::http::Request::new(()).into_parts();
        parts.headers = metadata.into_headers();
        parts
    }

    #[test]
    fn for_whom_travels_in_the_metadata() {
        for role in Role::ALL {
            let behalf = Behalf { who: role.0, uid: 7 };
            let mut metadata = MetadataMap::new();
            behalf.write(&mut metadata);
            let mut parts = parts(metadata);
            Behalf::take(&mut parts).expect("sound");
            assert_eq!(parts.extensions.get(), Some(&behalf));
        }
        for bytes in [
            &b"\xff\xff"[..],
            b"",
            &api::OnBehalf { uid: 0, role: "manager".into() }.encode_to_vec(),
        ] {
            let mut metadata = MetadataMap::new();
            metadata.insert_bin(BEHALF, MetadataValue::from_bytes(bytes));
            assert!(Behalf::take(&mut parts(metadata)).is_err(), "{bytes:?}");
        }
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
        let ask = |method| Admitted::remote(&extensions, CLUSTER, &state, method);
        assert!(ask(Method::Lock).is_ok());
        for method in [Method::Init, Method::Enter, Method::Leave, Method::Unlock, Method::Repair] {
            assert!(ask(method).is_err(), "{method:?}");
        }
    }

    #[test]
    fn a_request_without_a_caller_is_refused() {
        let extensions = Extensions::default();
        let refused = Admitted::remote(&extensions, CLUSTER, &state(), Method::Join);
        assert_eq!(refused.expect_err("refused").exit, Exit::Refused);
        assert!(LocalRules::default().user(&extensions).is_err());
        let handled = Admitted::of(&extensions, Method::Join);
        assert_eq!(handled.expect_err("not admitted").exit, Exit::Bug);
    }

    #[test]
    fn a_handler_serves_only_what_was_admitted_as_its_own() {
        let mut found = extensions(leaf(CertificateRole::Worker(NODE), [1; 32]), None);
        let admitted = Admitted::remote(&found, CLUSTER, &state(), Method::Session);
        found.insert(admitted.expect("admitted"));
        assert!(Admitted::of(&found, Method::Session).is_ok());
        assert!(Admitted::of(&found, Method::Read).is_err());
    }
}
