//! Who is at the other end.

use crate::ca::Leaf;

/// A peer whose chain verified. Only this module's verifier makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    leaf: Leaf,
}

impl Peer {
    /// What its certificate says.
    #[must_use]
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// A peer for tests of what stands above.
    #[cfg(any(test, feature = "testing"))]
    pub fn stand_in(leaf: Leaf) -> Self {
        Self { leaf }
    }

    pub(super) fn verified(leaf: Leaf) -> Self {
        Self { leaf }
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

/// Who called over mTLS. None where a request came another way.
#[must_use]
pub fn caller(extensions: &tonic::Extensions) -> Option<&Caller> {
    extensions.get()
}
