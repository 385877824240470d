//! Who is at the other end, and who is expected there.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use tokio::net::UnixStream;

use super::exchange::KeyExchange;
use crate::ca::{CertificateRole, Issued, Leaf};
use skep_core::base::{NodeId, Stamp};

/// The server name that stands for any manager; ids have 26 characters.
pub(super) const ANY_MANAGER: &str = "manager.skep.internal";

/// Whom the caller expects to reach; the certificate must say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Any manager of the cluster.
    AnyManager,
    /// This manager.
    Manager(NodeId),
}

impl Expect {
    /// The name that the verifier is asked for.
    pub(super) fn name(self) -> String {
        match self {
            Self::AnyManager => ANY_MANAGER.to_owned(),
            Self::Manager(id) => CertificateRole::Manager(id).dns_name(),
        }
    }
}

/// A peer whose chain verified. Only this module's verifier makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    issued: Issued,
    exchange: Option<KeyExchange>,
}

impl Peer {
    /// What its certificate says.
    #[must_use]
    pub fn leaf(&self) -> &Leaf {
        &self.issued.leaf
    }

    /// When the issuing CA that signed it begins.
    #[must_use]
    pub fn issuer(&self) -> Stamp {
        self.issued.issuer
    }

    /// How the keys of the connection to it were agreed on.
    #[must_use]
    pub fn key_exchange(&self) -> Option<KeyExchange> {
        self.exchange
    }

    /// A peer for tests of what stands above.
    #[cfg(any(test, feature = "testing"))]
    pub fn stand_in(leaf: Leaf, issuer: Stamp) -> Self {
        Self { issued: Issued { leaf, issuer }, exchange: Some(KeyExchange::Hybrid) }
    }

    pub(super) fn verified(issued: Issued) -> Self {
        Self { issued, exchange: None }
    }

    /// The same over this connection.
    pub(super) fn over(self, exchange: Option<KeyExchange>) -> Self {
        Self { exchange, ..self }
    }
}

/// The verifier's three answers. A request over mTLS has one in its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// No certificate: may call `join` only.
    Anonymous,
    /// All right but past its end: it is told so, and may call nothing.
    Expired(Peer),
    /// A chain of this cluster's.
    Peer(Peer),
}

impl Caller {
    /// The same over this connection.
    pub(super) fn over(self, exchange: Option<KeyExchange>) -> Self {
        match self {
            Self::Anonymous => Self::Anonymous,
            Self::Expired(peer) => Self::Expired(peer.over(exchange)),
            Self::Peer(peer) => Self::Peer(peer.over(exchange)),
        }
    }
}

/// Who called over mTLS. None where a request came another way.
#[must_use]
pub fn caller(extensions: &tonic::Extensions) -> Option<&Caller> {
    extensions.get()
}

/// Who called, from `SO_PEERCRED` and `SO_PEERGROUPS`. In the extensions of every local request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCaller {
    uid: u32,
    gid: u32,
    groups: Arc<[u32]>,
    pid: i32,
}

impl LocalCaller {
    /// User id.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }
    /// Group id.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.gid
    }
    /// Supplementary group ids.
    #[must_use]
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }
    /// Process id, as this process's pid namespace shows it.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A caller for tests of what stands above.
    #[cfg(any(test, feature = "testing"))]
    pub fn stand_in(uid: u32, gid: u32, pid: i32) -> Self {
        Self { uid, gid, groups: Arc::default(), pid }
    }

    /// What the kernel wrote down when the other end connected.
    pub(super) fn of(stream: &UnixStream) -> Option<Self> {
        let peer = stream.peer_cred().ok()?;
        let groups = Arc::from(locked_pages::peer_groups(stream.as_fd()).ok()?);
        Some(Self { uid: peer.uid(), gid: peer.gid(), groups, pid: peer.pid()? })
    }
}

/// Who called over a local socket. None where a request came another way.
#[must_use]
pub fn local_caller(extensions: &tonic::Extensions) -> Option<LocalCaller> {
    extensions.get().cloned()
}
