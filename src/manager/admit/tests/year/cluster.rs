//! The leader's side: the state, the gate before it, and who signs.

use std::sync::Arc;

use parking_lot::Mutex;
use tonic::Extensions;

use crate::manager::LEAF_MS;
use crate::manager::admit::caller::Admitted;
use crate::manager::dispatch::certificate::{Due, due};
use crate::manager::problem;
use skep_client::ca::fixtures::{Authority, NOW};
use skep_client::ca::{CertificateRole, Leaf};
use skep_client::transport::{Caller, Peer, Problem};
use skep_core::base::testing::Seeded;
use skep_core::base::{BootTime, Clock, NodeId, Stamp, TokenId, WrappedKey};
use skep_core::domain::testing::{World, join, join_manager, token};
use skep_core::domain::{Act, Change, Cluster, Member, Method, NodeRole, Outcome, Refusal, Token};

/// Milliseconds of a day.
pub(super) const DAY_MS: u64 = 24 * 3_600_000;
const MANAGERS: TokenId = TokenId::from_bytes([4; 16]);

/// The clock of everybody.
#[derive(Debug)]
pub(super) struct SetClock(Mutex<Stamp>);

impl Clock for SetClock {
    fn now(&self) -> Stamp {
        *self.0.lock()
    }
    fn boot(&self) -> BootTime {
        BootTime(0)
    }
}

/// A certificate as a manager sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) leaf: Leaf,
    pub(super) issuer: Stamp,
}

/// Why somebody is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A message was lost, or it died: it tries again.
    Lost,
    /// Its grace is over.
    Over,
    /// It is not listed.
    Removed,
}

pub(super) struct Side {
    pub(super) world: World,
    pub(super) clock: Arc<SetClock>,
    pub(super) dice: Seeded,
    authority: Authority,
    calm: bool,
}

impl Side {
    pub(super) fn new(seed: u64) -> Self {
        let mut world = World::founded();
        let managers = Token { role: NodeRole::Manager, uses_left: Some(2), ..token() };
        world.one(Change::CreateToken { id: MANAGERS, token: managers }).expect("a token");
        for n in 1..=5 {
            let joined = world.act(Act::Join(Box::new(join(n, &format!("n{n}")))));
            assert!(joined.outcome.is_ok(), "{joined:?}");
        }
        for n in [8, 9] {
            let joined = world.act(Act::Join(Box::new(join_manager(n, MANAGERS, 1))));
            assert!(joined.outcome.is_ok(), "{joined:?}");
        }
        let clock = Arc::new(SetClock(Mutex::new(NOW.plus_ms(DAY_MS))));
        let authority = Authority::new(5);
        let mut side = Self { world, clock, dice: Seeded::new(seed), authority, calm: false };
        side.install();
        let begins = side.issuer();
        side.act(Act::RetireIssuers { begins }).expect("the first one");
        side
    }

    fn install(&mut self) {
        let number = self.cluster().cluster_key.number;
        let issuing_key = WrappedKey { number, bytes: vec![1; 80] };
        let issuing = Arc::from(self.authority.issuing.clone());
        let begins = self.authority.issuer.begins();
        self.act(Act::RotateIssuer { issuing, issuing_key, begins }).expect("a later one");
    }

    /// Another issuing CA signs from now on.
    pub(super) fn rotate(&mut self) {
        self.authority = self.authority.rotated();
        self.install();
    }

    pub(super) fn now(&self) -> Stamp {
        self.clock.now()
    }

    pub(super) fn passes(&mut self, ms: u64) {
        let mut now = self.clock.0.lock();
        *now = now.plus_ms(ms);
    }

    /// Nothing is lost, and nobody dies any more.
    pub(super) fn calm(&mut self) {
        self.calm = true;
    }

    /// Whether something bad happens.
    pub(super) fn happens(&mut self, one_in: u8) -> bool {
        !self.calm && self.dice.one_in(one_in)
    }

    pub(super) fn act(&mut self, act: Act) -> Result<Outcome, Refusal> {
        let mut command = self.world.command(act);
        command.stamp = self.now();
        command.deadline = command.stamp.plus_ms(60_000);
        self.world.apply(&command).outcome
    }

    fn cluster(&self) -> &Cluster {
        self.world.state.cluster.as_deref().expect("a cluster")
    }

    /// When the issuing CA begins that is in use.
    pub(super) fn issuer(&self) -> Stamp {
        self.cluster().issuers.current
    }

    pub(super) fn oldest(&self) -> Stamp {
        self.cluster().issuers.oldest
    }

    pub(super) fn is_rotating(&self) -> bool {
        self.cluster().issuers.rotating.is_some()
    }

    /// Nodes with certificates of an older issuing CA.
    pub(super) fn lagging(&self) -> Vec<Member> {
        let old = |issuer: Stamp| issuer < self.issuer();
        let nodes = self.world.state.nodes.iter();
        nodes
            .filter(|(_, node)| old(node.renewal.issuer))
            .map(|(id, _)| Member::Node(*id))
            .collect()
    }

    pub(super) fn is_readmitted(&self, member: Member) -> bool {
        let Member::Node(id) = member else { return false };
        let node = self.world.state.nodes.get(&id);
        node.and_then(|node| node.renewal.readmitted_until).is_some_and(|until| self.now() < until)
    }

    /// Whether the leader asks a node with a session to renew.
    pub(super) fn asks(&self, node: NodeId) -> bool {
        let (cluster, now) = (self.cluster(), self.now());
        let node = &self.world.state.nodes[&node];
        due(cluster, node, now, now.max(self.world.state.stamp)) == Due::Asking
    }

    /// What the gate says to somebody who shows this certificate.
    pub(super) fn call(&self, shown: &Shown, method: Method) -> Result<(), Problem> {
        if method != Method::Renew && shown.issuer < self.oldest() {
            return Err(problem::issuer::retired());
        }
        let now = self.now();
        let peer = Peer::stand_in(shown.leaf.clone(), shown.issuer);
        let mut extensions = Extensions::new();
        extensions.insert(if now < shown.leaf.ends {
            Caller::Peer(peer)
        } else {
            Caller::Expired(peer)
        });
        let (cluster, state) = (self.cluster().id, &self.world.state);
        Admitted::remote(&extensions, cluster, state, method, now).map(|_| ())
    }

    /// The leader sees somebody with this key.
    pub(super) fn seen(&mut self, member: Member, key: [u8; 32]) {
        self.act(Act::Renewed { member, key }).expect("a key that the gate lets in");
    }

    /// The next certificate for a key, by somebody who shows the one before.
    pub(super) fn renew(
        &mut self,
        member: Member,
        shown: &Shown,
        key: [u8; 32],
    ) -> Result<Shown, Why> {
        if self.happens(6) {
            return Err(Why::Lost);
        }
        self.call(shown, Method::Renew).map_err(|problem| Self::why(&problem))?;
        self.seen(member, shown.leaf.key);
        let (starts, issuer) = (self.now(), self.issuer());
        let ends = starts.plus_ms(LEAF_MS);
        self.act(Act::Renew { member, key, certificate_ends: ends, issuer }).expect("listed");
        if self.happens(4) {
            return Err(Why::Lost);
        }
        Ok(Shown { leaf: Leaf { key, starts, ends, ..shown.leaf.clone() }, issuer })
    }

    /// A chain for a certificate that was committed.
    pub(super) fn sign(&self, public: &[u8], role: CertificateRole) -> Vec<Vec<u8>> {
        let (now, subject) = (self.now(), self.authority.subject(role));
        let ends = now.plus_ms(LEAF_MS);
        let leaf = self.authority.issuer.sign_leaf(public, &subject, now, ends).expect("a leaf");
        vec![leaf, self.authority.issuing.clone(), self.authority.root.certificate.clone()]
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What a refusal means to whoever hears it.
    pub(super) fn why(problem: &Problem) -> Why {
        match problem {
            over if over.is_certificate_over() => Why::Over,
            other if other.wants_renewal() => Why::Lost,
            // Of whom the state does not list, the leader says so for good.
            _ => Why::Removed,
        }
    }
}
