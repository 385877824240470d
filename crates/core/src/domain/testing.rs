//! Things for tests: ids, values, a cluster to try commands on.

#![allow(
    missing_docs,
    missing_debug_implementations,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_errors_doc,
    reason = "helpers of tests say by their names what they make, and fail by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    Act, Actor, Applied, Availability, Change, Changed, Cluster, ClusterKey, Command, Genesis,
    Grant, Issuers, Join, NewVersion, Node, NodeRole, Opened, OpenedList, Operator, OperatorRole,
    Outcome, Placement, Reader, Recipient, Recover, Refusal, Rekey, Renewal, Scope, ServiceSpec,
    State, Token, apply, invariant,
};
use crate::base::{
    ClusterId, Epoch, Labels, Name, NodeId, OperatorId, RecipientId, RequestId, Revision,
    SealedValue, SecretId, ServiceId, Stamp, TokenId, VersionId, WrappedKey,
};

/// The id of the first manager.
pub const MANAGER: NodeId = NodeId::from_bytes([0xaa; 16]);
/// A token for workers, there from the start.
pub const TOKEN: TokenId = TokenId::from_bytes([0xbb; 16]);

pub fn secret_id(n: u8) -> SecretId {
    SecretId::from_bytes([n; 16])
}

pub fn service_id(n: u8) -> ServiceId {
    ServiceId::from_bytes([n; 16])
}

pub fn node_id(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

pub fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// A worker of this name.
pub fn worker(called: &str) -> Node {
    Node {
        name: name(called),
        role: NodeRole::Worker,
        key: [1; 32],
        labels: Labels::default(),
        availability: Availability::Active,
        box_key: None,
        addresses: Vec::new(),
        joined: Stamp(1),
        certificate_ends: Stamp(2),
        renewal: Renewal::default(),
        learner: false,
    }
}

/// A new version of 16 bytes, drawn as number `n`.
pub fn version(n: u64) -> NewVersion {
    sized_version(n, 16)
}

/// A new version of so many bytes.
pub fn sized_version(n: u64, size: u32) -> NewVersion {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_le_bytes());
    let sealed = vec![0; usize::try_from(size).expect("small") + 40];
    NewVersion {
        id: VersionId::from_bytes(id),
        size,
        value: SealedValue(Arc::from(sealed)),
        data_key: WrappedKey { number: 1, bytes: vec![3; 80] },
        public: None,
    }
}

pub fn everywhere() -> ServiceSpec {
    let placement = Placement { everywhere: true, ..Placement::default() };
    ServiceSpec { placement, ..ServiceSpec::default() }
}

pub fn grant(secret: u8, target: &str) -> Grant {
    Grant {
        secret: secret_id(secret),
        target: target.parse().expect("a target"),
        uid: 0,
        gid: 0,
        mode: 0o444,
        pin: None,
        write: false,
    }
}

pub fn genesis() -> Genesis {
    let node = Node {
        role: NodeRole::Manager,
        box_key: Some([2; 32]),
        addresses: vec!["m1:4440".to_owned()],
        ..worker("m1")
    };
    let recipient = Recipient { public: [4; 32], label: "first".to_owned(), only: None };
    let cluster = Cluster {
        id: ClusterId::from_bytes([5; 16]),
        name: name("prod"),
        epoch: Epoch { counter: 1, tail: [6; 16] },
        created: Stamp(1_000),
        root: Arc::from(vec![7; 10]),
        sealed_root_key: Arc::from(vec![8; 10]),
        issuing: Arc::from(vec![9; 10]),
        issuing_key: WrappedKey { number: 1, bytes: vec![10; 80] },
        recipients: BTreeMap::from([(RecipientId::from_bytes([11; 16]), recipient)]),
        cluster_key: ClusterKey {
            number: 1,
            intake: [12; 32],
            boxes: BTreeMap::from([(MANAGER, vec![13; 72])]),
            previous: BTreeMap::new(),
        },
        removed_managers: BTreeMap::new(),
        anchors: BTreeMap::new(),
        issuers: Issuers::default(),
        recovered: None,
    };
    let admin = Operator {
        name: name("admin"),
        role: OperatorRole::Admin,
        key: [14; 32],
        created: Stamp(1_000),
        certificate_ends: Stamp(9_000_000),
        renewal: Renewal::default(),
        suspended: false,
        scope: Scope::everything(),
        constraints: Vec::new(),
        ends: None,
        recovered: false,
    };
    let operator = OperatorId::from_bytes([15; 16]);
    Genesis { cluster, manager: MANAGER, node, operator, admin }
}

/// An operator of that role, within these scopes and constraints.
pub fn operator(n: u8, role: OperatorRole, scope: &[&str], constraints: &[&str]) -> Operator {
    let constraint = |text: &&str| text.parse().expect("a constraint");
    Operator {
        name: name(&format!("operator-{n}")),
        role,
        key: [n; 32],
        scope: Scope::new(scope).expect("a scope"),
        constraints: constraints.iter().map(constraint).collect(),
        ..genesis().admin
    }
}

pub fn operator_id(n: u8) -> OperatorId {
    OperatorId::from_bytes([n; 16])
}

/// Puts an operator into a state, however full that is.
pub fn list_operator(state: &mut State, n: u8, of: Operator) {
    drop(super::keep::operator(state, operator_id(n), Some(Arc::new(of))));
}

/// The cluster key of this number for those that stay.
pub fn rekey(number: u64, staying: impl IntoIterator<Item = NodeId>) -> Rekey {
    let byte = u8::try_from(number % 256).expect("a byte");
    Rekey {
        number,
        intake: [byte; 32],
        boxes: staying.into_iter().map(|id| (id, vec![byte; 72])).collect(),
        previous: WrappedKey { number, bytes: vec![byte; 120] },
        issuing_key: WrappedKey { number, bytes: vec![byte; 120] },
        issuer: Stamp(0),
    }
}

/// The first recovery of a cluster, by this manager.
pub fn recovery(survivor: NodeId) -> Recover {
    let epoch = Epoch { counter: 2, tail: [7; 16] };
    Recover { survivor, epoch, operator: None, rekey: Some(rekey(2, [survivor])) }
}

/// A manager's join, by a token with that id and digest 16.
pub fn join_manager(n: u8, token: TokenId, number: u64) -> Join {
    Join {
        token,
        role: NodeRole::Manager,
        box_key: Some([n; 32]),
        cluster_key_box: Some((number, vec![n; 72])),
        addresses: vec![format!("m{n}:4440")],
        ..join(n, &format!("m{n}"))
    }
}

pub fn token() -> Token {
    Token {
        digest: [16; 32],
        role: NodeRole::Worker,
        labels: Labels::default(),
        name_pattern: None,
        created: Stamp(1_000),
        ends: Stamp(1_000_000_000),
        uses_left: None,
    }
}

pub fn join(n: u8, called: &str) -> Join {
    Join {
        token: TOKEN,
        digest: [16; 32],
        node: node_id(n),
        name: name(called),
        role: NodeRole::Worker,
        key: [n; 32],
        box_key: None,
        cluster_key_box: None,
        addresses: Vec::new(),
        certificate_ends: Stamp(5_000_000),
        issuer: Stamp(0),
        learner: false,
    }
}

/// So many opens of secret 1 by service 1 on a node, the first of this number.
pub fn opens(node: u8, first: u64, count: usize) -> OpenedList {
    let one = |number: u64| Opened {
        at: Stamp(1_000 + number),
        service: service_id(1),
        secret: secret_id(1),
        version: VersionId::from_bytes([1; 16]),
        number: 1,
        reader: Reader::Workload { pid: 7, started: 8 },
        uid: 9,
        pid: 10,
        executable: "/bin/cat".to_owned(),
    };
    let list = (first..).take(count).map(one).collect();
    OpenedList { node: node_id(node), origin: [1; 16], first, dropped: 0, list }
}

/// Puts an answer there as if a command had been answered so.
pub fn remember(state: &mut State, request: RequestId, answer: super::Answer) {
    drop(super::keep::answer(state, request, Some(answer)));
}

thread_local! {
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Nodes, services and pairs that were looked at, on this thread.
pub fn count_steps(steps: usize) {
    STEPS.set(STEPS.get() + steps);
}

/// How many were looked at while `act` ran.
pub fn steps_of<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let before = STEPS.get();
    let done = act();
    (done, STEPS.get() - before)
}

/// A cluster to try commands on; every invariant is checked after each.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub state: State,
    pub commands: u64,
}

impl World {
    /// With one manager and the token.
    pub fn founded() -> Self {
        let mut world = Self::default();
        let founded = world.act(Act::Genesis(Box::new(genesis())));
        assert_eq!(founded.outcome, Ok(Outcome::Done));
        world.one(Change::CreateToken { id: TOKEN, token: token() }).expect("a token");
        world
    }

    /// With workers `n1` to `n<count>` beside.
    pub fn with_workers(count: u8) -> Self {
        let mut world = Self::founded();
        for n in 1..=count {
            let joined = world.act(Act::Join(Box::new(join(n, &format!("n{n}")))));
            assert!(joined.outcome.is_ok(), "{joined:?}");
        }
        world
    }

    /// The same with a service on all of them that has the secret of [`opens`].
    pub fn with_readers(count: u8) -> Self {
        let mut world = Self::with_workers(count);
        let version = NewVersion { id: VersionId::from_bytes([1; 16]), ..version(1) };
        let (id, labels) = (secret_id(1), Labels::default());
        world
            .one(Change::CreateSecret {
                id,
                name: name("db"),
                labels,
                forward_only: false,
                version,
            })
            .expect("new");
        world.service(1, "web", everywhere());
        let grant = Change::Grant { service: service_id(1), grant: grant(1, "db").into() };
        world.one(grant).expect("granted");
        (1..=count).for_each(|node| world.expose(node, 1));
        world
    }

    /// The next command, a second after the one before.
    pub fn command(&mut self, act: Act) -> Command {
        self.commands += 1;
        let mut request = [0; 16];
        request[..8].copy_from_slice(&self.commands.to_le_bytes());
        let stamp = Stamp(self.state.stamp.0 + 1_000);
        Command {
            request: RequestId::from_bytes(request),
            stamp,
            deadline: stamp.plus_ms(60_000),
            actor: Actor::Leader(MANAGER),
            from: None,
            act,
        }
    }

    pub fn apply(&mut self, command: &Command) -> Applied {
        let revision = Revision(self.state.revision.0 + 1);
        let applied = apply(&mut self.state, revision, command).applied;
        assert_eq!(invariant::broken(&self.state), Vec::<&str>::new(), "after {command:?}");
        applied
    }

    pub fn act(&mut self, act: Act) -> Applied {
        let command = self.command(act);
        self.apply(&command)
    }

    pub fn change(&mut self, list: Vec<Change>) -> Result<Vec<Changed>, Refusal> {
        match self.act(Act::Change(list)).outcome? {
            Outcome::Changed(list) => Ok(list.iter().cloned().collect()),
            other => panic!("{other:?}"),
        }
    }

    pub fn one(&mut self, change: Change) -> Result<Changed, Refusal> {
        self.change(vec![change]).map(|list| list[0].clone())
    }

    pub fn secret(&mut self, n: u8, called: &str) {
        let version = version(self.commands * 1_000);
        let labels = Labels::default();
        let id = secret_id(n);
        self.one(Change::CreateSecret {
            id,
            name: name(called),
            labels,
            forward_only: false,
            version,
        })
        .expect("new");
    }

    pub fn service(&mut self, n: u8, called: &str, spec: ServiceSpec) {
        let create = Change::CreateService { id: service_id(n), name: name(called), spec };
        self.one(create).expect("new");
    }

    pub fn expose(&mut self, node: u8, service: u8) {
        let pairs = vec![(node_id(node), service_id(service))];
        assert_eq!(self.act(Act::Expose(pairs)).outcome, Ok(Outcome::Done));
    }

    /// Whether the pair is exposed, and whether it is behind.
    pub fn pair(&self, node: u8, service: u8) -> Option<bool> {
        let exposure = self.state.exposed.get(&(node_id(node), service_id(service)))?;
        Some(exposure.behind.is_some())
    }
}
