//! Who comes, told before a handshake: by the tag in the server name (docs/keys.md, 8).
//!
//! Nothing here decides whom to trust: that is the certificate's part. A tag says in
//! which lane a connection waits.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ca::CertificateRole;
use skep_core::base::{Clock, Dice, NodeId, OperatorId, Stamp};
use skep_core::seal::{HelloKey, HelloPlace, HelloSecret, HelloTo, SeenHellos};

use super::peer::Expect;

/// What a member says first on each connection that it makes.
#[derive(Clone)]
pub struct Greeting {
    key: Arc<HelloKey>,
    role: CertificateRole,
    raft: bool,
    dice: fn() -> Box<dyn Dice>,
}

impl Greeting {
    /// The member that its certificate names so, with its own key.
    #[must_use]
    pub fn new(key: HelloKey, role: CertificateRole, dice: fn() -> Box<dyn Dice>) -> Self {
        Self { key: Arc::new(key), role, raft: false, dice }
    }

    /// The same for messages of Raft.
    #[must_use]
    pub(super) fn of_raft(&self) -> Self {
        Self { raft: true, ..self.clone() }
    }

    /// A server name for one connection.
    pub(super) fn name(&self, expect: Expect, now: Stamp) -> Option<String> {
        let to = match expect {
            Expect::AnyManager => HelloTo::Anybody,
            Expect::Manager(id) => HelloTo::Manager(id),
        };
        let place = match self.role {
            // Messages of Raft are meant for one manager.
            CertificateRole::Manager(_) if self.raft && to != HelloTo::Anybody => HelloPlace::Raft,
            CertificateRole::Manager(_) => HelloPlace::Manager,
            CertificateRole::Worker(_) => HelloPlace::Node,
            CertificateRole::Operator(_) => HelloPlace::Operator,
        };
        let dice = &mut *(self.dice)();
        self.key.name(dice, place, &id_of(self.role), to, now).ok()
    }
}

impl fmt::Debug for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Greeting({})", self.role.word())
    }
}

/// The id that a certificate names.
pub(super) fn id_of(role: CertificateRole) -> [u8; 16] {
    match role {
        CertificateRole::Manager(id) | CertificateRole::Worker(id) => *id.as_bytes(),
        CertificateRole::Operator(id) => *id.as_bytes(),
    }
}

/// Whether this identity may be a member, as far as this manager knows now.
pub type MayBe = Arc<dyn Fn(CertificateRole) -> bool + Send + Sync>;

/// How a listener tells members from strangers. Clones remember together.
#[derive(Clone)]
pub struct Recognition(Arc<Inner>);

struct Inner {
    secret: Arc<HelloSecret>,
    own: NodeId,
    clock: Arc<dyn Clock>,
    may_be: MayBe,
    seen: Mutex<SeenHellos>,
}

impl Recognition {
    /// For the listener of the manager `own`.
    #[must_use]
    pub fn new(
        secret: Arc<HelloSecret>,
        own: NodeId,
        clock: Arc<dyn Clock>,
        may_be: MayBe,
    ) -> Self {
        let seen = Mutex::default();
        Self(Arc::new(Inner { secret, own, clock, may_be, seen }))
    }

    /// Whose connection this server name says that it is, and whether it is one of Raft's.
    /// None: a stranger's. A tag is good once.
    pub(super) fn member(&self, name: &str) -> Option<(CertificateRole, bool)> {
        let inner = &*self.0;
        let hello = inner.secret.read(name, inner.own)?;
        let role = match hello.place() {
            HelloPlace::Raft | HelloPlace::Manager => {
                CertificateRole::Manager(NodeId::from_bytes(*hello.id()))
            }
            HelloPlace::Node => CertificateRole::Worker(NodeId::from_bytes(*hello.id())),
            HelloPlace::Operator => CertificateRole::Operator(OperatorId::from_bytes(*hello.id())),
        };
        let (now, boot) = (inner.clock.now(), inner.clock.boot());
        let good = self.may_be(role) && inner.seen.lock().takes(&hello, now, boot);
        good.then_some((role, hello.place() == HelloPlace::Raft))
    }

    /// Whether this identity may be a member.
    pub(super) fn may_be(&self, role: CertificateRole) -> bool {
        (self.0.may_be)(role)
    }
}

impl fmt::Debug for Recognition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recognition({})", self.0.own)
    }
}
